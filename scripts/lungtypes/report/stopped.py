"""The page of a run that stopped: why, what to do, and what became of every scan until then."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lungtypes.provenance import write_text
from lungtypes.report.blocks import Finding, Paragraph, Section
from lungtypes.report.cohort_sections import flow_section, protocol_section, template_section
from lungtypes.report.methods_text import reproducibility_section
from lungtypes.report.render import render_page
from lungtypes.report.results import Results, without_paths

LEAD = (
    "This run ended before it was done. Below stands why, and what the stages before left. Mend the cause and run the "
    "same command again: finished work is kept. This page goes when a run ends well."
)


def write_stopped_page(page: Path, *, results: Path, run_config: Mapping[str, object], reasons: str) -> None:
    """Write the page from what there is.

    reasons : what :func:`lungtypes.failures.describe_failures` says: a line, then paragraphs by job. Paths go.
    """
    first, *paragraphs = [part.strip() for part in without_paths(reasons).split("\n\n") if part.strip()]
    head, _, job = first.partition("\n")
    jobs = [job, *paragraphs] if job else paragraphs
    findings = [Finding("red", text) for text in (_in_a_line(part) for part in jobs) if text]
    read = Results(Path(results))
    sections = [flow_section(read), protocol_section(read), template_section(read, run_config)]
    sections = [section for section in sections if _says_something(section)]
    html = render_page(
        title="lungtypes: the run stopped",
        heading="This run stopped",
        lead=LEAD,
        findings=findings or [Finding("red", head)],
        methods=(),
        sections=(*sections, reproducibility_section(read, run_config)),
    )
    write_text(page, html)


def _in_a_line(paragraph: str) -> str:
    """The lines of a job, but the one that names its log, as sentences."""
    words = []
    for line in paragraph.splitlines():
        name, _, text = line.strip().partition("  ")
        if name in ("stage", "why", "to do") and text.strip():
            words.append(f"{name.capitalize()}: {text.strip().rstrip('.')}.")
    return " ".join(words)


def _says_something(section: Section) -> bool:
    """Whether there is more in it than that nothing was found."""
    return not all(isinstance(block, Paragraph) and block.text.startswith("No ") for block in section.blocks)
