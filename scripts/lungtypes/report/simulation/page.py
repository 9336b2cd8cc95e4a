"""The page of the simulation study: the CLAM paper's claims beside our values, its figures redone, and the limits."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from lungtypes.errors import InputError
from lungtypes.provenance import whole_folder, write_table, write_text
from lungtypes.report.blocks import Block, Paragraph, Picture, Section
from lungtypes.report.render import render_page
from lungtypes.report.simulation.claims import claims_table, find_claims
from lungtypes.report.simulation.curves import accuracy_picture, silhouettes_picture, sweep_picture
from lungtypes.report.simulation.figures import (
    cluster_maps_picture,
    examples_picture,
    extra_maps_picture,
    features_picture,
    population_picture,
    single_maps_picture,
)
from lungtypes.report.simulation.map_claims import differences_table
from lungtypes.report.simulation.runs import Run, by_scenario, fits_table, read_runs
from lungtypes.report.simulation.tables import (
    LIMITS,
    accuracy_table,
    chosen_table,
    claims_block,
    comparator_table,
    extra_table,
    settings_table,
    verdict,
)
from lungtypes.report.simulation.verdicts import Claim

logger = logging.getLogger(__name__)

WORDS = {
    "title": "lungtypes simulation study",
    "heading": "CLAM on simulated lung slices: the paper's claims checked",
    "lead": "The simulation study of Ryan et al. 2020, section 4, done again by lungtypes. Numbers are of this run, "
    "but for those that are marked as the paper's.",
    "findings_title": "The verdict",
    "findings_short": "Verdict",
    "source": "File: figures/%s.png",
    "methods": (),
}


def write_simulation(folder: Path, *, scenarios: Path, settings: Mapping[str, object]) -> None:
    """Write fits.tsv, claims.tsv, tests.tsv, figures/ and index.html into ``folder``.

    Parameters
    ----------
    folder : where the study's summary goes; the same runs and settings give the same bytes.
    scenarios : the folder of all ``{scenario}/seed{n}``. Any of them may be absent: what it would say is "not run".
    settings : the config's section ``simulation`` with filters, loss, pretrain and cluster of ``clam``; its scenarios
        and seeds are the ones that are read.

    Raises
    ------
    InputError : not one of them was run.
    """
    folder = Path(folder)
    runs = read_runs(scenarios, names=settings["scenarios"], seeds=settings["seeds"])
    if not runs:
        raise InputError("simulation: found no finished scenario, expected one or more. Run `snakemake simulation`.")
    claims, tests = find_claims(runs), differences_table(runs)
    write_table(folder / "fits.tsv", fits_table(runs))
    write_table(folder / "claims.tsv", claims_table(claims))
    write_table(folder / "tests.tsv", tests)

    sections = page_sections(runs, claims, settings)
    pictures = [block for section in sections for block in section.blocks if isinstance(block, Picture)]
    with whole_folder(folder / "figures") as building:
        for picture in pictures:
            (building / f"{picture.name}.png").write_bytes(picture.png)
    html = render_page(findings=verdict(runs, claims, settings), sections=sections, **WORDS)
    write_text(folder / "index.html", html)
    logger.info("simulation: %d runs, %d claims, %d figures", len(runs), len(claims), len(pictures))


def page_sections(runs: Sequence[Run], claims: Sequence[Claim], settings: Mapping[str, object]) -> tuple[Section, ...]:
    """All sections after the verdict, in reading order."""
    named, scale = by_scenario(runs), {"spacing_mm": settings["spacing_mm"]}
    return (
        Section("claims", "The paper's claims", "Claims", claims_block(claims)),
        Section("accuracy", "Accuracy, every cell", "Accuracy", _some(accuracy_table(runs), accuracy_picture(runs))),
        Section("figure-2", "Simulated slices (figure 2)", "Slices", _some(examples_picture(named, **scale))),
        Section(
            "figure-3",
            "Features and the number of clusters (figure 3)",
            "Features and K",
            _some(
                features_picture(named.get("location-3", ())),
                chosen_table(runs),
                silhouettes_picture(named),
                sweep_picture(named),
            ),
        ),
        Section(
            "figures-4-6",
            "Activation maps (figures 4, 5 and 6)",
            "Maps",
            _some(
                population_picture(named, **scale),
                cluster_maps_picture(named, **scale),
                single_maps_picture(named, **scale),
            ),
        ),
        Section("extra", "Scenarios of our own", "Extra", _some(extra_table(runs), extra_maps_picture(named, **scale))),
        Section("comparator", "What simpler methods find", "Comparator", _some(comparator_table(runs))),
        Section("settings", "Settings", "Settings", (settings_table(settings, runs),)),
        Section("limits", "Limits", "Limits", LIMITS),
    )


def _some(*blocks: Block | None) -> tuple[Block, ...]:
    """What there is; where there is nothing, that it was not run."""
    found = tuple(block for block in blocks if block is not None)
    return found or (Paragraph("Not run.", "note"),)
