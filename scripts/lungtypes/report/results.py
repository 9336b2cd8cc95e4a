"""Reading what the stages left behind; a file that is not there is None, and no path on a disk gets through."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lungtypes.imaging.geometry import Volume, oriented_lps, read_volume, to_sitk
from lungtypes.imaging.resample import resample_labels

METHODS = ("clam", "dcam", "dcam-encoder", "dcam-supervised")
DRAM_METHODS = ("dram", "dram-cam", "dram-supervised")
# Every other column is a number
TEXT_COLUMNS = frozenset(
    [
        "subject",
        "stage",
        "status",
        "code",
        "message",
        "remedy",
        "decisions",
        "decision",
        "by",
        "reason",
        "note",
        "series",
        "kernel",
        "kernel_class",
        "manufacturer",
        "model",
        "verdict",
        "region",
        "metric",
        "space",
        "label",
        "unit",
        "outcome",
        "family",
        "phase",
        "criterion",
        "level",
        "group",
        "variable",
        "test",
        "contrast",
        "comparator",
        "split",
        "flag",
        "chosen",
        "converged",
        "kind",
        "effect_name",
        "reference",
        "given_kind",
        "grade",
        "map",
        "control",
        "layer",
    ]
)
FREE_TEXT = frozenset(("message", "reason", "note", "decisions"))
FILE_NAME = r"[^:\"',\n/\\]*\.(?:nii(?:\.gz)?|dcm|nrrd|mha|mhd|tsv|csv|json)"
PATH = re.compile(
    # absolute, home, drive or dotted paths anywhere; any path that opens a message, up to its colon
    r"(?:(?<=\s)|(?<=[\"'(=])|^)(?:~|[A-Za-z]:|\.{1,2})?[/\\](?=[^\s/])(?:[^:\"'\n]*[/\\])?"
    rf"(?:{FILE_NAME}|[^\s:\"',]*)|^[^:\s]+/[^:\n]*(?=:)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Results:
    """The results folder of one run."""

    folder: Path

    def methods(self) -> tuple[str, ...]:
        """The clustering methods that left an assignment, in the order of METHODS."""
        return tuple(m for m in METHODS if (self.folder / m / "assignment.tsv").exists())

    def dram_methods(self) -> tuple[str, ...]:
        """The methods that segment lesions and left a burden of each scan, in the order of DRAM_METHODS."""
        return tuple(m for m in DRAM_METHODS if (self.folder / m / "phenotype.tsv").exists())

    def subjects(self) -> tuple[str, ...]:
        """Every scan of the sheet, in its order."""
        table = self.table("cohort/attrition.tsv")
        return () if table is None else tuple(table["subject"])

    def table(self, name: str) -> pd.DataFrame | None:
        """A TSV with text columns as they stand ("NA" is a text) and all others as numbers; paths are removed."""
        path = self.folder / name
        if not path.exists() or path.stat().st_size < 2:
            return None
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        for column in table:
            if column in FREE_TEXT:
                table[column] = table[column].map(without_paths)
            elif column not in TEXT_COLUMNS:
                table[column] = pd.to_numeric(table[column], errors="coerce")
        return table

    def record(self, name: str) -> dict:
        """A JSON file, or an empty dict."""
        path = self.folder / name
        return json.loads(path.read_text()) if path.exists() else {}

    def text(self, name: str) -> str | None:
        """A text file."""
        path = self.folder / name
        return path.read_text() if path.exists() else None

    def volume(self, name: str) -> Volume | None:
        """An image with its axes along x, y, z of LPS."""
        path = self.folder / name
        return oriented_lps(read_volume(path)) if path.exists() else None

    def lungs_on(self, grid: Volume) -> NDArray[np.uint8]:
        """The template's lungs on the grid of another image: 1 right, 2 left."""
        mask = self.volume("template/mask.nii.gz")
        if mask is None:
            return np.ones(grid.array.shape, np.uint8)
        return resample_labels(mask, to_sitk(grid))

    def scanners(self) -> pd.Series:
        """Scanner of each subject's chosen series, manufacturer and model."""
        series = self.table("ingest/series.tsv")
        if series is None:
            return pd.Series(dtype=str)
        chosen = series[series["verdict"] == "chosen"].drop_duplicates("subject").set_index("subject")
        names = (chosen["manufacturer"] + " " + chosen["model"]).str.strip()
        return names.where(names != "", "not stated")


def without_paths(text: str) -> str:
    """The text without paths of files, which may hold names of persons."""
    return PATH.sub("[path]", text)


def clusters_of(assignment: pd.DataFrame) -> tuple[int, ...]:
    """1..K, empty clusters included: there is one column q_ for each."""
    k = sum(str(name).startswith("q_") for name in assignment)
    return tuple(range(1, max(k, int(assignment["cluster"].max())) + 1))
