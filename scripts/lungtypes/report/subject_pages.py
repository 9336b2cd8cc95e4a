"""A page for every scan of the sheet, beside the report: what became of it, its quality, its clusters and maps."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd

from lungtypes.imaging.geometry import Volume, oriented_lps
from lungtypes.imaging.hounsfield import OUTSIDE
from lungtypes.imaging.volume_files import Cohort, read_cohort_array
from lungtypes.provenance import whole_folder, write_text
from lungtypes.report.blocks import Block, Heading, Link, Links, Paragraph, Picture, Section, Table, method_name, number
from lungtypes.report.profile_sections import cropped_to
from lungtypes.report.render import render_page
from lungtypes.report.results import Results
from lungtypes.report.slices import CT_SCALE, MAP_SCALE, Scale, choose_cuts, strips_png
from lungtypes.report.trust_section import SIGNED, kind_name, most_faithful

logger = logging.getLogger(__name__)

REGISTRATION = {
    "dice_right": ("Overlap of the right lung with the template's (Dice)", 3),
    "dice_left": ("Overlap of the left lung (Dice)", 3),
    "hd95_right_mm": ("Distance of the surfaces, right (HD95, mm)", 1),
    "hd95_left_mm": ("Distance of the surfaces, left (HD95, mm)", 1),
    "folded_percent": ("Folded voxels (%)", 3),
    "inverse_mm": ("There and back (mm)", 1),
    "hu_correlation": ("Correlation with the template (HU)", 2),
}
DENSITOMETRY = {
    "volume_ml": ("Lung volume (mL)", 0),
    "mean_hu": ("Mean density (HU)", 0),
    "laa950_percent": ("Below -950 HU (%)", 1),
    "haa_percent": ("High attenuation (%)", 1),
}
COVERAGE = {
    "active_ml": ("Activated volume (mL)", 0),
    "active_percent": ("Activated (% of the lungs)", 1),
    "active_mean_hu": ("Mean density there (HU)", 0),
    "inactive_mean_hu": ("Mean density elsewhere (HU)", 0),
}


def page_name(subject: str) -> str:
    """File of a subject's page; ids hold letters, digits, _ and - only (cohort/sheet.py)."""
    return f"{subject}.html"


def write_subject_pages(folder: Path, results: Path, *, workers: int) -> None:
    """Write ``folder``/{subject}.html for every scan of cohort/attrition.tsv, whole or not at all.

    results : the results folder; what a stage did not leave is not on the page. workers : processes.
    """
    study = Study(Results(Path(results)))
    subjects = study.subjects
    with whole_folder(Path(folder)) as building:
        write = partial(_write_page, study, building)
        if workers < 2 or len(subjects) < 2:
            list(map(write, range(len(subjects))))
        else:
            with ProcessPoolExecutor(min(workers, len(subjects))) as pool:
                list(pool.map(write, range(len(subjects)), chunksize=4))
    logger.info("%d pages of single scans", len(subjects))


@dataclass
class Study:
    """The tables of a run, each read once for all pages; ``tables`` keeps them by name."""

    results: Results
    tables: dict[str, pd.DataFrame | None] = field(default_factory=dict)

    @cached_property
    def subjects(self) -> tuple[str, ...]:
        """Every scan of the sheet, in its order."""
        return self.results.subjects()

    @cached_property
    def registration(self) -> pd.DataFrame:
        """The figures of every registration, by subject."""
        rows = {s: self.results.record(f"registered/{s}/registration.json") for s in self.subjects}
        table = pd.DataFrame.from_dict(rows, orient="index").reindex(self.subjects, columns=list(REGISTRATION))
        return table.apply(pd.to_numeric, errors="coerce")

    def table(self, name: str) -> pd.DataFrame | None:
        """A table of the results; None without it."""
        if name not in self.tables:
            self.tables[name] = self.results.table(name)
        return self.tables[name]

    def rows(self, name: str, subject: str) -> pd.DataFrame:
        """A subject's rows of a table; none where it has none, or there is no table."""
        table = self.table(name)
        return pd.DataFrame() if table is None or "subject" not in table else table[table["subject"] == subject]

    def cohort(self, method: str) -> Cohort | None:
        """The scans that a method was trained on: in template space, or each in its own."""
        settings = self.results.record(f"{method}/model.json")
        return self._cohorts.get(settings.get("space", "template"))

    @cached_property
    def _cohorts(self) -> dict[str, Cohort]:
        found = {}
        for name in ("template", "native"):
            array, description = (self.results.folder / f"cohort/{name}{ending}" for ending in (".npy", ".json"))
            if array.exists() and description.exists():
                found[name] = read_cohort_array(array, description)
        return found


def _write_page(study: Study, folder: Path, number_of_page: int) -> None:
    subject = study.subjects[number_of_page]
    html = render_page(
        title=f"{subject}: lungtypes",
        heading=f"Scan {subject}",
        findings=(),
        methods=(),
        sections=subject_sections(study, subject),
    )
    write_text(folder / page_name(subject), html)


def subject_sections(study: Study, subject: str) -> tuple[Section, ...]:
    """What the page of one scan holds, in reading order."""
    sections = [
        Section("scan", "What became of this scan", "Scan", (_way(study, subject), *_fate(study, subject))),
        *_quality(study, subject),
    ]
    for method in study.results.methods():
        sections += _cluster(study, subject, method)
    for method in study.results.dram_methods():
        sections += _lesions(study, subject, method)
    return tuple(sections)


def _way(study: Study, subject: str) -> Links:
    """Back to the report, and to the pages before and after in the order of the sheet."""
    place = study.subjects.index(subject)
    around = [("Previous", place - 1), ("Next", place + 1)]
    near = [Link(f"{word}: {study.subjects[i]}", page_name(study.subjects[i])) for word, i in around
            if 0 <= i < len(study.subjects)]  # fmt: skip
    return Links((Link("The report", "../index.html"), *near))


def _fate(study: Study, subject: str) -> list[Block]:
    row = study.rows("cohort/attrition.tsv", subject).iloc[0]
    blocks: list[Block] = []
    if row["status"] == "analysed":
        blocks.append(Paragraph("Analysed."))
    else:
        blocks.append(Paragraph(f"Excluded at stage {row['stage']}: {row['code'] or 'no code'}.", "warning"))
        blocks.append(Paragraph(f"{row['message']} What to do: {row['remedy']}"))
    if row["decisions"]:
        blocks.append(Paragraph(f"Decided by humans: {row['decisions']}"))
    blocks += [
        Paragraph(f"Proposed for a look ({r.stage}, {r.decision}): {r.reason}", "note")
        for r in study.rows("cohort/review.tsv", subject).itertuples()
    ]
    series = study.rows("ingest/series.tsv", subject)
    if len(series):
        rows = tuple(
            (str(r.series), f"{r.manufacturer} {r.model}".strip() or "not stated", r.kernel or "not stated",
             number(r.thickness_mm, 1), number(r.slices, 0), r.verdict, f"{r.code} {r.reason}".strip())
            for r in series.itertuples()
        )  # fmt: skip
        header = ("Series", "Scanner", "Kernel", "Thickness (mm)", "Slices", "Verdict", "Why")
        blocks.append(Table(f"Series of this scan (n = {len(rows)})", header, rows))
    return blocks


def _quality(study: Study, subject: str) -> list[Section]:
    blocks: list[Block] = []
    picture = study.results.folder / f"quality/{subject}/lungs.png"
    if picture.exists():
        blocks.append(
            Picture(
                "lungs",
                picture.read_bytes(),
                "Axial, coronal and sagittal slices with the border of the lungs, histogram of HU, area of each slice.",
                "Lung window; blue: border of the lungs. The patient's right is on the left of the image.",
                pd.DataFrame(),
            )
        )
    own = study.registration.loc[subject]
    if own.notna().any():
        known = {name: words for name, words in REGISTRATION.items() if pd.notna(own[name])}
        rows = [_beside(words, own[name], study.registration[name], digits) for name, (words, digits) in known.items()]
        blocks.append(_among("Registration to the template", rows))
    table = study.table("densitometry.tsv")
    if table is not None and len(table):
        lungs = table[table["region"] == "lungs"].set_index("subject")
        if subject in lungs.index:
            known = {name: words for name, words in DENSITOMETRY.items() if name in lungs}
            own = lungs.loc[subject]
            rows = [_beside(words, own[name], lungs[name], digits) for name, (words, digits) in known.items()]
            blocks.append(_among("Both lungs, measured on the scan itself", rows))
    return [Section("quality", "Quality and density", "Quality", tuple(blocks))] if blocks else []


def _beside(words: str, value: float, others: pd.Series, digits: int) -> tuple[str, ...]:
    """A value, the median and middle 90 % of all scans, and the share of scans that have less."""
    present = others.dropna()
    low, high = np.percentile(present, [5, 95])
    below = 100 * float((present < value).mean())
    return (words, number(value, digits), number(present.median(), digits),
            f"{number(low, digits)} to {number(high, digits)}", number(below, 0))  # fmt: skip


def _among(caption: str, rows: Sequence[tuple[str, ...]]) -> Table:
    header = ("", "This scan", "Median of all", "5th to 95th percentile", "Scans below (%)")
    return Table(caption, header, tuple(rows))


def _cluster(study: Study, subject: str, method: str) -> list[Section]:
    assigned = study.rows(f"{method}/assignment.tsv", subject)
    if assigned.empty:
        return []
    row, name = assigned.iloc[0], method_name(method)
    q = [c for c in assigned if str(c).startswith("q_")]
    text = f"Cluster {number(row['cluster'], 0)}, {SPLITS.get(row['split'], row['split'])}."
    blocks: list[Block] = [
        Paragraph(text),
        Table(
            "Probability of each cluster",
            ("", *(f"Cluster {c.removeprefix('q_')}" for c in q), "Margin"),
            (("This scan", *(number(row[c], 3) for c in q), number(row["margin"], 3)),),
        ),
    ]
    covered, summary = study.rows(f"{method}/map_summary.tsv", subject), study.table(f"{method}/map_summary.tsv")
    if len(covered):
        if covered["degenerate"].iloc[0] == 1:
            blocks.append(Paragraph("The published map of this scan is degenerate: one value all over.", "warning"))
        peers = summary[summary["cluster"] == row["cluster"]]
        rows = [
            _beside(words, covered[c].iloc[0], peers[c], digits)
            for c, (words, digits) in COVERAGE.items()
            if c in covered and pd.notna(covered[c].iloc[0])
        ]
        blocks.append(_among(f"What the published map covers, beside the {len(peers)} scans of its cluster", rows))
    blocks += _map_blocks(study, subject, method)
    return [Section(f"{method}-cluster", f"{name}: cluster and maps", name, tuple(blocks))]


SPLITS = {"train": "a training scan", "test": "held out from training", "repeat": "a further scan of its person"}


def _map_blocks(study: Study, subject: str, method: str) -> list[Block]:
    """CT, published map and the most faithful further map on the same slices."""
    cohort = study.cohort(method)
    if cohort is None or subject not in cohort.subjects:
        return []
    place = cohort.subjects.index(subject)
    grid = cohort.grids[place] if cohort.grids else cohort.grid
    ct = oriented_lps(grid.volume(np.asarray(cohort.array[place])))
    lungs = ct.with_array((ct.array != OUTSIDE).astype(np.uint8))
    shown: dict[str, tuple[Volume, Scale]] = {"CT": (ct, CT_SCALE)}
    summary = study.table(f"{method}/faithfulness_summary.tsv")
    further = None if summary is None or summary.empty else most_faithful(summary)
    for kind in dict.fromkeys([method, further]):
        image = None if kind is None else study.results.volume(f"{method}/maps/{kind}/{subject}.nii.gz")
        if image is not None:
            shown[kind_name(kind)] = (image, MAP_SCALE if kind == method else SIGNED)
    lungs, *images = cropped_to(lungs, [lungs, *(image for image, _ in shown.values())])
    cuts = choose_cuts(lungs.array)
    rows = {name: (image.array, scale) for (name, (_, scale)), image in zip(shown.items(), images, strict=True)}
    space = "the scan's own space" if cohort.grids else "template space"
    caption = (
        f"Lungs as the network saw them ({space}), the published map, and the most faithful further map where there is "
        "one (orange speaks for the cluster, purple against it). The same slices in every row; the patient's right is "
        "on the left of the image. A region that tells clusters apart need not be an abnormal one."
    )
    alt = f"Three axial slices and one coronal slice of {', '.join(rows)}."
    png = strips_png(rows, cuts, lungs=lungs.array)
    return [Heading("Where"), Picture(f"{method}_maps", png, alt, caption, pd.DataFrame())]


def _lesions(study: Study, subject: str, method: str) -> list[Section]:
    burden, percents = study.rows(f"{method}/phenotype.tsv", subject), study.rows(f"{method}/percentages.tsv", subject)
    if burden.empty:
        return []
    row = burden.iloc[0]
    text = f"Lesions: {number(row['burden_percent'], 1)} % of the lungs, {number(row['burden_ml'], 0)} mL."
    blocks: list[Block] = [Paragraph(text)]
    if len(percents):
        rows = tuple(
            (r.region.replace("_", " "), number(r.given, 1), r.given_kind, number(r.predicted, 1))
            for r in percents.itertuples()
        )
        header = ("Region", "Given", "as", "Predicted (%)")
        blocks.append(Table("Share of each region that is lesion", header, rows))
    return [Section(f"{method}-lesions", f"{method_name(method)}: lesions", method_name(method), tuple(blocks))]


def links_to_pages(subjects: Sequence[str]) -> Links:
    """A link from the report to the page of each subject."""
    return Links(tuple(Link(subject, f"subjects/{page_name(subject)}") for subject in subjects))
