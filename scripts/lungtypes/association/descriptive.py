"""Quantities of the images that made the clusters, by cluster: effect sizes only, on purpose without p values.

Tested by cluster, a feature from which the clusters were made differs even where there is one group only (double
dipping; Gao, Bien & Witten, J Am Stat Assoc 119:332-342, 2024).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lungtypes.association.group_tests import smd_means
from lungtypes.association.table_one import OVERALL

DESCRIPTIVE_COLUMNS = [
    "quantity",
    "label",
    "unit",
    "group",
    "n",
    "mean",
    "sd",
    "median",
    "q1",
    "q3",
    "eta2",
    "smd",
    "note",
]


@dataclass(frozen=True)
class Quantity:
    """A column of an image table, its printed label and unit."""

    label: str
    unit: str


DENSITY = {
    "volume_ml": Quantity("Lung volume", "mL"),
    "mass_g": Quantity("Lung mass", "g"),
    "mean_hu": Quantity("Mean lung density", "HU"),
    "sd_hu": Quantity("SD of lung density", "HU"),
    "perc15_hu": Quantity("15th percentile of density", "HU"),
    "laa950_percent": Quantity("Lung below -950 HU (LAA)", "%"),
    "haa_percent": Quantity("Lung from -600 to -250 HU (HAA)", "%"),
}
MAPS = {
    "active_ml": Quantity("Activated lung", "mL"),
    "active_percent": Quantity("Activated lung", "% of lung volume"),
    "active_mean_hu": Quantity("Density of activated lung", "HU"),
    "inactive_mean_hu": Quantity("Density of the rest", "HU"),
    "mean_importance": Quantity("Mean importance in the lungs", "0-1"),
}
QUANTITIES = {**DENSITY, **MAPS}


def image_quantities(densitometry: pd.DataFrame | None, map_summary: pd.DataFrame | None) -> pd.DataFrame:
    """The quantities of whole lungs and maps, one row a subject (index: subject as text), one column a quantity.

    Parameters
    ----------
    densitometry : table densitometry.tsv; its rows of the region "lungs" are taken.
    map_summary : table map_summary.tsv of a method. Columns that a table lacks are left out.
    """
    parts = []
    if densitometry is not None and "subject" in densitometry:
        lungs = densitometry[densitometry["region"] == "lungs"].set_index("subject")
        parts.append(lungs[[name for name in DENSITY if name in lungs]])
    if map_summary is not None and "subject" in map_summary:
        maps = map_summary.set_index("subject")
        parts.append(maps[[name for name in MAPS if name in maps]])
    parts = [part.set_axis(part.index.astype(str)).apply(pd.to_numeric, errors="coerce") for part in parts]
    return pd.concat(parts, axis=1) if parts else pd.DataFrame()


def describe_image_quantities(quantities: pd.DataFrame, clusters: pd.Series) -> pd.DataFrame:
    """Each quantity overall and by cluster.

    Parameters
    ----------
    quantities : one row a subject (index), one numeric column a quantity.
    clusters : int by subject.

    Returns
    -------
    DataFrame : columns ``DESCRIPTIVE_COLUMNS``; group is "overall" or the cluster as text. Once per quantity, on the
        row "overall": eta2 (share of the variance between clusters, 0-1) and smd (largest standardised difference
        of two clusters, named in ``note``).
    """
    clusters = clusters.dropna().astype(np.int64)
    clusters = clusters.set_axis(clusters.index.astype(str)).sort_index()
    table = quantities.reindex(clusters.index)
    codes, rows = clusters.to_numpy(), []
    for name in table.columns:
        values = table[name].to_numpy(np.float64)
        present = np.isfinite(values)
        known = QUANTITIES.get(name, Quantity(name, ""))
        groups = {str(c): values[present & (codes == c)] for c in np.unique(codes).tolist()}
        first = len(rows)
        for group, x in {OVERALL: values[present], **groups}.items():
            row: dict = dict.fromkeys(DESCRIPTIVE_COLUMNS, np.nan)
            row |= {"quantity": name, "label": known.label, "unit": known.unit, "group": group, "note": ""}
            rows.append(row | _summary(x))
        rows[first] |= _effect(groups)
    return pd.DataFrame(rows, columns=DESCRIPTIVE_COLUMNS)


def _summary(x: NDArray) -> dict:
    if len(x) == 0:
        return {"n": 0}
    q1, median, q3 = np.percentile(x, [25, 50, 75]).tolist()
    sd = float(x.std(ddof=1)) if len(x) > 1 else np.nan
    return {"n": len(x), "mean": float(x.mean()), "sd": sd, "median": median, "q1": q1, "q3": q3}


def _effect(groups: dict[str, NDArray]) -> dict:
    used = {name: x for name, x in groups.items() if len(x) >= 2}
    if len(used) < 2:
        return {"note": "fewer than two clusters with two values"}
    everyone = np.concatenate(list(used.values()))
    total = float(((everyone - everyone.mean()) ** 2).sum())
    if total == 0:
        return {"note": "no variation"}
    between = sum(len(x) * float(x.mean() - everyone.mean()) ** 2 for x in used.values())
    largest, names = smd_means(list(used.values())), list(used)
    if largest is None:
        return {"eta2": between / total, "note": "no variation within the clusters"}
    pair = f"{names[largest.first]} v {names[largest.second]}"
    return {"eta2": between / total, "smd": largest.value, "note": f"SMD of {pair}"}
