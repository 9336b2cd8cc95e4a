"""Every table and figure of a study in one folder, numbered; a README says which is which. No image of a scan."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lungtypes.provenance import whole_folder, write_table, write_text
from lungtypes.report.blocks import Bullets, Fragment, Heading, Paragraph, Picture, Section, Table
from lungtypes.report.page import page_sections
from lungtypes.report.results import Results
from lungtypes.report.share import OF_PERSONS
from lungtypes.report.style import Png

logger = logging.getLogger(__name__)

PRINTED = {  # what the report calls a printed table, and its file in association/
    "Characteristics": "table_one",
    "Outcomes": "outcomes",
    "Adjusted means": "adjusted_means",
    "All contrasts": "contrasts",
    "Beside the existing classification": "comparison",
    "Missing values": "missing",
    "Sensitivity: missing values imputed": "imputed",
    "Diagnostics of the models": "diagnostics",
    "Image quantities, described only": "descriptive",
}
ENDINGS = (".tsv", ".html", ".tex")


@dataclass(frozen=True)
class Entry:
    """A line of the README: number as printed, file without ending, where it stands in the report, its words."""

    number: str
    file: str
    section: str
    words: str


def write_paper(folder: Path, *, results: Path, run_config: Mapping[str, object], has_outcomes: bool, dpi: int) -> None:
    """Write figures/ (PNG, ``dpi`` pixels an inch, with data as TSV), tables/ (TSV, printed ones also HTML and LaTeX),
    methods.md and README.md into ``folder``, whole or not at all.

    Figures of single scans and tables by subject are not among them; data of figures have no column of subjects.
    """
    read = Results(Path(results))
    sections = page_sections(read, run_config, has_outcomes=has_outcomes)
    with whole_folder(Path(folder)) as building:
        for name in ("figures", "tables"):
            (building / name).mkdir()
        figures = list(_figures(building / "figures", sections, dpi))
        tables = list(_tables(building / "tables", sections, read))
        methods = [section for section in sections if section.anchor in ("methods", "limitations")]
        write_text(building / "methods.md", _methods(methods))
        write_text(building / "README.md", _readme(figures, tables))
    logger.info("paper: %d figures, %d tables", len(figures), len(tables))


def _figures(folder: Path, sections: tuple[Section, ...], dpi: int) -> Iterator[Entry]:
    number = 0
    for section in sections:
        for block in section.blocks:
            if not isinstance(block, Picture) or block.of_scans or not isinstance(block.png, Png):
                continue
            number += 1
            name = f"figure_{number:02d}_{block.name}"
            (folder / f"{name}.png").write_bytes(block.png.at(dpi))
            data = block.data.drop(columns=[c for c in block.data if str(c).lower() in OF_PERSONS])
            write_table(folder / f"{name}.tsv", data)
            yield Entry(f"Figure {number}", f"figures/{name}", section.title, block.caption)


def _tables(folder: Path, sections: tuple[Section, ...], results: Results) -> Iterator[Entry]:
    number = 0
    for section in sections:
        for block in section.blocks:
            if isinstance(block, Table) and block.header[0].lower() not in OF_PERSONS and block.rows:
                number += 1
                name = f"table_{number:02d}_{section.anchor}_{_slug(block.caption)}"
                lines = ["\t".join(_cell(cell) for cell in row) for row in (block.header, *block.rows)]
                write_text(folder / f"{name}.tsv", "\n".join(lines) + "\n")
            elif isinstance(block, Fragment) and block.caption in PRINTED:
                number += 1
                source = f"association/{section.anchor.removesuffix('-association')}/{PRINTED[block.caption]}"
                name = f"table_{number:02d}_{section.anchor}_{PRINTED[block.caption]}"
                for ending in ENDINGS:
                    if (results.folder / f"{source}{ending}").exists():
                        shutil.copyfile(results.folder / f"{source}{ending}", folder / f"{name}{ending}")
            else:
                continue
            yield Entry(f"Table {number}", f"tables/{name}", section.title, block.caption)


def _slug(words: str) -> str:
    """A name for a file from a caption: its first words, letters and digits only."""
    return "_".join(re.findall(r"[a-z0-9]+", words.lower())[:5])


def _cell(text: str) -> str:
    """A cell of a TSV; one that a spreadsheet would take for a formula gets an apostrophe."""
    plain = " ".join(text.split())
    return f"'{plain}" if plain.startswith(("=", "+", "@")) else plain


def _methods(sections: list[Section]) -> str:
    parts = []
    for section in sections:
        parts.append(f"# {section.title}")
        for block in section.blocks:
            if isinstance(block, Heading):
                parts.append(f"## {block.text}")
            elif isinstance(block, Paragraph):
                parts.append(block.text)
            elif isinstance(block, Bullets):
                parts.append("\n".join(f"- {item}" for item in block.items))
    return "\n\n".join(parts) + "\n"


def _readme(figures: list[Entry], tables: list[Entry]) -> str:
    lines = [
        "# Tables and figures of this study",
        "",
        "Made by lungtypes (`snakemake paper`) from the same results as the report, in its order. No image of a single",
        "scan is among them, no table by subject, and data of figures name no subject. Small counts stay as they are.",
        "Figures: PNG, with their data as TSV of the same name. Printed tables: TSV with every number, HTML, LaTeX",
        "(booktabs). `methods.md` is written from what ran.",
    ]
    for heading, entries in (("Tables", tables), ("Figures", figures)):
        lines += ["", f"## {heading}", "", "| | file | section of the report | what |", "|---|---|---|---|"]
        lines += [f"| {e.number} | `{e.file}` | {_escaped(e.section)} | {_escaped(e.words)} |" for e in entries]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Text for a cell of Markdown: as it stands, whatever a label holds."""
    return re.sub(r"([\\`*_{}\[\]<>|$])", r"\\\1", " ".join(text.split()))
