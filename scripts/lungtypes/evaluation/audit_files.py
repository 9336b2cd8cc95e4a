"""The confounder audit of one method from the tables of all stages to evaluation/{method}_confounders.tsv."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from lungtypes.cohort.clinical_values import MISSING
from lungtypes.cohort.collect import collect_json
from lungtypes.cohort.tables import read_table
from lungtypes.evaluation.confounders import Variable, audit_confounders
from lungtypes.evaluation.evaluate_files import read_assignment, read_subjects
from lungtypes.evaluation.spaces import phase_points
from lungtypes.provenance import write_table

# (column of ingest/series.tsv, words, kind)
SERIES_VARIABLES = (
    ("manufacturer", "Scanner manufacturer", "categorical"),
    ("scanner", "Scanner model", "categorical"),
    ("kernel", "Reconstruction kernel", "categorical"),
    ("kernel_class", "Kernel, soft or sharp", "categorical"),
    ("kvp", "Tube voltage (kV)", "categorical"),
    ("contrast", "Contrast agent", "categorical"),
    ("thickness_mm", "Slice thickness (mm)", "numeric"),
    ("gap_mm", "Distance of slices (mm)", "numeric"),
)
REGISTRATION_VARIABLES = (
    ("dice", "Lung overlap with the template (Dice, worse lung)"),
    ("hd95_mm", "Distance of lung surfaces (mm, worse lung)"),
    ("hu_correlation", "Correlation of lung HU with the template"),
)
SHEET_VARIABLES = (("site", "Site", "scanner"), ("sex", "Sex", "person"))


def audit_stage(
    *,
    assignment: str | Path,
    embedding: str | Path,
    series: str | Path,
    densitometry: str | Path,
    registered: Mapping[str, str | Path],
    sheet: Mapping[str, Mapping[str, str]],
    clinical: str | Path,
    table: str | Path,
    min_level: int,
    n_permutations: int,
    seed: int,
) -> None:
    """Gather what is known of the scans and write the audit.

    Scans of the splits train and test are audited together, as in the evaluation; repeats are left out.

    registered : subject -> folder of the registration. sheet : subject -> site and sex, where the sheet has them.
    clinical : a path, or empty: site and sex for subjects of which the sheet does not say them.
    """
    assigned = read_assignment(assignment)
    clusters = assigned.set_index("subject")["cluster"]
    audited = audit_confounders(
        clusters,
        phase_points(read_subjects(embedding), "before", clusters.index),
        gather_variables(series=series, densitometry=densitometry, registered=registered, sheet=sheet,
                         clinical=clinical),
        min_level=min_level,
        n_permutations=n_permutations,
        seed=seed,
    )  # fmt: skip
    write_table(table, audited)


def gather_variables(
    *,
    series: str | Path,
    densitometry: str | Path,
    registered: Mapping[str, str | Path],
    sheet: Mapping[str, Mapping[str, str]],
    clinical: str | Path,
) -> list[Variable]:
    """Every variable of the audit, those without a value included; arguments as :func:`audit_stage`."""
    return [
        *_series_variables(series),
        *_sheet_variables(sheet, clinical),
        _lung_volume(densitometry),
        *_registration_variables(registered),
    ]


def _series_variables(path: str | Path) -> list[Variable]:
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    chosen = table[table["verdict"] == "chosen"].drop_duplicates("subject").set_index("subject")
    model = chosen.get("model", pd.Series("", chosen.index))
    maker = chosen.get("manufacturer", pd.Series("", chosen.index))
    chosen = chosen.assign(scanner=(maker + " " + model).str.strip().where(model != "", ""))
    variables = []
    for name, label, kind in SERIES_VARIABLES:
        values = chosen.get(name, pd.Series("", index=chosen.index))
        if name == "kvp":  # 120 and 120.0 are one setting
            values = _number(values).map(lambda kv: "" if pd.isna(kv) else f"{kv:g}")
        variables.append(Variable(name, label, "scanner", kind, _number(values) if kind == "numeric" else values))
    return variables


def _sheet_variables(sheet: Mapping[str, Mapping[str, str]], clinical: str | Path) -> list[Variable]:
    rows = pd.DataFrame.from_dict(dict(sheet), orient="index", dtype=str).fillna("")
    second = read_table(clinical).set_index("subject") if str(clinical) else pd.DataFrame()
    variables = []
    for name, label, family in SHEET_VARIABLES:
        values = rows[name] if name in rows else pd.Series(dtype=str)
        values = values[values != ""]
        if name in second:
            more = second[name][~second[name].isin(MISSING)]
            values = values.combine_first(more)
        variables.append(Variable(name, label, family, "categorical", values.astype(object)))
    return variables


def _lung_volume(path: str | Path) -> Variable:
    table = pd.read_csv(path, sep="\t", dtype={"subject": str})
    lungs = table[table["region"] == "lungs"].set_index("subject")["volume_ml"]
    return Variable("lung_volume_ml", "Lung volume (mL)", "person", "numeric", lungs.astype(float))


def _registration_variables(folders: Mapping[str, str | Path]) -> list[Variable]:
    found = pd.DataFrame.from_dict(collect_json(folders, "registration.json"), orient="index")
    values = {
        "dice": _worse(found, "dice_right", "dice_left", "min"),
        "hd95_mm": _worse(found, "hd95_right_mm", "hd95_left_mm", "max"),
        "hu_correlation": _worse(found, "hu_correlation", "hu_correlation", "min"),
    }
    return [Variable(name, label, "registration", "numeric", values[name]) for name, label in REGISTRATION_VARIABLES]


def _worse(found: pd.DataFrame, right: str, left: str, rule: str) -> pd.Series:
    """The worse of both lungs; NaN where one was not measured."""
    if not {right, left} <= set(found):
        return pd.Series(np.nan, index=found.index)
    return found[[right, left]].astype(float).agg(rule, axis=1, skipna=False)


def _number(values: pd.Series) -> pd.Series:
    return pd.to_numeric(values, errors="coerce")
