"""The section on clinical association: characteristics, outcomes, comparison, missing values, image quantities."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from lungtypes.report.association_pictures import (
    balance_picture,
    box_pictures,
    counts_picture,
    dumbbell_picture,
    effect_picture,
    embedding_picture,
)
from lungtypes.report.association_tables import association_table
from lungtypes.report.blocks import Block, Bullets, Fragment, Heading, Paragraph, Section, method_name
from lungtypes.report.results import DRAM_METHODS, Results

EXTERNAL = "external"  # folder of a cohort that was only assigned


def association_section(results: Results, method: str, *, has_outcomes: bool) -> Section:
    """Everything below association/{method}, in the order of a paper."""
    anchor, title, short = f"{method}-association", f"{method_name(method)}: clinical association", "Association"
    if not has_outcomes:
        what = "the burden of lesions was" if method in DRAM_METHODS else "the clusters were"
        text = f"No clinical table was given, so {what} not compared with characteristics or outcomes."
        return Section(anchor, title, short, (Paragraph(text, "note"),))
    blocks = association_blocks(results, f"association/{method}", method)
    blocks += embedding_picture(results, method)
    return Section(anchor, title, short, tuple(blocks) or (Paragraph("No association tables were found."),))


def external_section(results: Results) -> Section | None:
    """The same tables for an external cohort; None if there is none."""
    blocks = association_blocks(results, f"association/{EXTERNAL}", EXTERNAL)
    if not blocks:
        return None
    return Section("external-association", "External cohort: clinical association", "External cohort", tuple(blocks))


def phenotype_sections(results: Results, names: Sequence[str]) -> list[Section]:
    """The same tables for each phenotype that stands for the clusters."""
    sections = []
    for name in names:
        blocks = association_blocks(results, f"association/{name}", name)
        title = f"{name.replace('_', ' ')}: clinical association"
        if blocks:
            anchor = f"{name.replace('_', '-')}-association"
            sections.append(Section(anchor, title, name.replace("_", " "), tuple(blocks)))
    return sections


def association_blocks(results: Results, folder: str, prefix: str) -> list[Block]:
    """Tables and figures of one folder; ``prefix`` opens the names of its figures."""
    blocks: list[Block] = []
    blocks += _fragment(results, f"{folder}/table_one.html", "Characteristics")
    blocks += balance_picture(results, folder, prefix)
    blocks += _fragment(results, f"{folder}/outcomes.html", "Outcomes")
    blocks += effect_picture(results, folder, prefix)
    blocks += box_pictures(results, folder, prefix)
    if len(association_table(results, folder, "adjusted_means")):
        blocks += _folded(results, f"{folder}/adjusted_means.html", "Adjusted means")
    blocks += _folded(results, f"{folder}/contrasts.html", "All contrasts")
    blocks += _comparison(results, folder)
    blocks += dumbbell_picture(results, folder, prefix)
    blocks += counts_picture(results, folder, prefix)
    blocks += _fragment(results, f"{folder}/missing.html", "Missing values")
    imputed = association_table(results, folder, "imputed")
    if len(imputed) and (imputed["status"] == "ok").any():
        blocks += _fragment(results, f"{folder}/imputed.html", "Sensitivity: missing values imputed")
    blocks += _folded(results, f"{folder}/diagnostics.html", "Diagnostics of the models")
    if len(association_table(results, folder, "descriptive")):
        blocks += _fragment(results, f"{folder}/descriptive.html", "Image quantities, described only")
    return blocks


def association_methods(results: Results, methods: tuple[str, ...]) -> tuple[Block, ...]:
    """Paragraphs of methods.md of the first method that has one (they differ in the clusters only), for the methods."""
    for method in methods:
        text = results.text(f"association/{method}/methods.md")
        if text:
            words, _, references = text.partition("\n\nReferences\n\n")
            paragraphs = [Paragraph(part.strip()) for part in words.split("\n\n") if part.strip()]
            items = tuple(line.partition(". ")[2] for line in references.splitlines() if line.strip())
            numbered = tuple(f"[{i}] {item}" for i, item in enumerate(items, start=1))
            return (Heading("Association"), *paragraphs, Heading("References of the association"), Bullets(numbered))
    return ()


def _fragment(results: Results, name: str, heading: str) -> list[Block]:
    html = results.text(name)
    return [Heading(heading), Fragment(html, heading)] if html else []


def _folded(results: Results, name: str, summary: str) -> list[Block]:
    html = results.text(name)
    if not html:
        return []
    return [Fragment(f"<details><summary>{escape(summary)}</summary>\n{html}</details>", summary)]


def _comparison(results: Results, folder: str) -> list[Block]:
    heading, table = "Beside the existing classification", association_table(results, folder, "comparison")
    if table.empty:
        return []
    if (table["status"] == "ok").any():
        return _fragment(results, f"{folder}/comparison.html", heading)
    reasons = "; ".join(f"{status}: {n}" for status, n in table["status"].value_counts(sort=False).items())
    return [Heading(heading), Paragraph(f"None of {len(table)} outcomes could be compared ({reasons}).", "warning")]
