"""One HTML page with everything that a reader needs: no server, no network; data of every figure beside."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from lungtypes.provenance import write_table, write_text
from lungtypes.report.association_sections import (
    association_methods,
    association_section,
    external_section,
    phenotype_sections,
)
from lungtypes.report.blocks import Finding, Picture, Section
from lungtypes.report.cohort_sections import (
    flow_section,
    pages_section,
    protocol_section,
    quality_section,
    template_section,
)
from lungtypes.report.evaluation_section import evaluation_section
from lungtypes.report.findings import find
from lungtypes.report.lesion_section import lesion_section
from lungtypes.report.method_sections import (
    embedding_section,
    k_section,
    training_section,
)
from lungtypes.report.methods_text import limitations_section, methods_section, reproducibility_section
from lungtypes.report.paper_figures import paper_figures_section
from lungtypes.report.profile_sections import profile_section
from lungtypes.report.render import render_page
from lungtypes.report.results import Results
from lungtypes.report.share import NOTE, shared_findings, shared_sections
from lungtypes.report.style import Png
from lungtypes.report.trust_section import trust_section
from lungtypes.report.viewer import viewer_section

logger = logging.getLogger(__name__)

BUDGET_BYTES = 15_000_000


def write_page(
    page: Path,
    *,
    results: Path,
    run_config: Mapping[str, object],
    has_outcomes: bool,
    share: bool = False,
    print_dpi: int = 0,
) -> None:
    """Write the page, and ``data/*.tsv`` beside it with the data of every figure.

    Parameters
    ----------
    page : the HTML file to write; the same results and config give the same bytes.
    results : folder with the outputs of all stages; what is missing is said on the page.
    run_config : the resolved config, for the methods text and the reproducibility section.
    has_outcomes : whether a clinical table was given.
    share : also write share/index.html, which holds nothing of single scans, and its data.
    print_dpi : also write figures/*.png with so many pixels an inch; 0 for none.
    """
    page, read = Path(page), Results(Path(results))
    sections = page_sections(read, run_config, has_outcomes=has_outcomes)
    methods, segmenting = read.methods(), read.dram_methods()
    heading = {} if methods or not segmenting else {"heading": "Lung lesions: report of this run"}
    findings = find(read, has_outcomes=has_outcomes)
    content = {"methods": (*methods, *segmenting), **heading}
    _write(page, findings, sections, content)
    _write_figures(page.parent / "figures", sections, print_dpi)
    shared = page.parent / "share" / page.name
    if share:
        words = {**content, "lead": NOTE, "heading": "Lung subtypes: report to be shared"}
        _write(shared, shared_findings(findings, read), shared_sections(sections, read), words)
    else:
        shutil.rmtree(shared.parent, ignore_errors=True)  # of an earlier run, and so of other results


def _write(page: Path, findings: Sequence[Finding], sections: Sequence[Section], content: Mapping[str, object]) -> None:
    _write_data(page.parent / "data", sections)
    html = render_page(findings=findings, sections=sections, **content)
    write_text(page, html)
    size = len(html.encode())
    logger.info("%s: %d sections, %.1f MB", page.parent.name, len(sections), size / 1e6)
    if size > BUDGET_BYTES:
        logger.warning(
            "report: %.1f MB, expected at most %.1f MB. Some browsers will be slow.", size / 1e6, BUDGET_BYTES / 1e6
        )


def page_sections(results: Results, config: Mapping[str, object], *, has_outcomes: bool) -> tuple[Section, ...]:
    """All sections after the findings, in reading order."""
    methods, segmenting = results.methods(), results.dram_methods()
    sections = [
        flow_section(results),
        protocol_section(results),
        quality_section(results, config),
        *filter(None, [pages_section(results)]),
        template_section(results, config),
        *filter(None, [viewer_section(results, config)]),
    ]
    for method in methods:
        sections += [
            training_section(results, method),
            k_section(results, method),
            embedding_section(results, method),
            profile_section(results, method, config),
            *filter(None, [trust_section(results, method)]),
            *([paper_figures_section(results, config)] if method == "clam" else []),
            evaluation_section(results, method),
            association_section(results, method, has_outcomes=has_outcomes),
        ]
    for method in segmenting:
        sections += [
            lesion_section(results, method, config),
            association_section(results, method, has_outcomes=has_outcomes),
        ]
    external, all_methods = external_section(results), (*methods, *segmenting)
    return (
        *sections,
        *phenotype_sections(results, config.get("associate", {}).get("phenotypes", ())),
        *([external] if external else []),
        methods_section(
            config,
            all_methods,
            association=association_methods(results, all_methods),
            dram_models={method: results.record(f"{method}/model.json") for method in segmenting},
        ),
        reproducibility_section(results, config),
        limitations_section(config, all_methods),
    )


def _write_figures(folder: Path, sections: Sequence[Section], dpi: int) -> None:
    """The figures as files at print resolution; those that were drawn by other stages are files already."""
    shutil.rmtree(folder, ignore_errors=True)
    if dpi:
        folder.mkdir(parents=True)
        for picture in _pictures(sections):
            if isinstance(picture.png, Png):
                (folder / f"{picture.name}.png").write_bytes(picture.png.at(dpi))


def _pictures(sections: Sequence[Section]) -> list[Picture]:
    return [block for section in sections for block in section.blocks if isinstance(block, Picture)]


def _write_data(folder: Path, sections: Sequence[Section]) -> None:
    pictures = _pictures(sections)
    names = {f"{picture.name}.tsv" for picture in pictures}
    for old in folder.glob("*.tsv"):
        if old.name not in names:
            old.unlink()
    for picture in pictures:
        write_table(folder / f"{picture.name}.tsv", picture.data)
