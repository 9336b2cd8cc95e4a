"""Reads the association tables of a run for the report: texts stay texts, all other columns are numbers."""

from __future__ import annotations

import pandas as pd

from lungtypes.report.results import Results, without_paths

TEXT = frozenset(
    [
        "subject",
        "outcome",
        "label",
        "unit",
        "family",
        "type",
        "status",
        "model",
        "predictor",
        "test",
        "r2_kind",
        "effect_name",
        "note",
        "flag",
        "model_set",
        "contrast",
        "scale",
        "comparator",
        "verdict",
        "variable",
        "level",
        "group",
        "smd_pair",
        "smd_covariate",
        "quantity",
        "changed",
    ]
)


def association_table(results: Results, folder: str, name: str) -> pd.DataFrame:
    """A table below the folder of one method; without rows or file an empty one."""
    path = results.folder / folder / f"{name}.tsv"
    if not path.exists():
        return pd.DataFrame()
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    for column in table:
        if column == "note":
            table[column] = table[column].map(without_paths)
        elif column not in TEXT and column != "same_image":
            table[column] = pd.to_numeric(table[column], errors="coerce")
    return table
