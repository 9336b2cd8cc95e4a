"""Reads what is set against the outcomes: clusters of an assignment, or one phenotype; and the scanner's columns."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lungtypes.association.rows import Predictor
from lungtypes.association.table_print import CLUSTERS, Wording
from lungtypes.cohort.clinical_values import MISSING
from lungtypes.cohort.tables import read_table
from lungtypes.errors import InputError

ADMINISTRATIVE = ("subject", "split", "flag", "margin")
N_GROUPS = 3  # a phenotype is described by its thirds
THIRDS = {"1": "Lowest third", "2": "Middle third", "3": "Highest third"}
SERIES_NAMES = {"scanner_model": "model", "scanner_manufacturer": "manufacturer", "scanner_kernel": "kernel"}


@dataclass(frozen=True)
class Assigned:
    """A predictor with the groups that describe it.

    Attributes
    ----------
    predictor : of the models.
    groups : int by subject: the clusters, or the thirds of a phenotype (1 is the lowest).
    wording : how both are called.
    flag : warning of the clustering; empty for none.
    """

    predictor: Predictor
    groups: pd.Series
    wording: Wording
    flag: str


def read_predictor(path: str | Path, *, column: str = "", subjects: Collection[str] | None = None) -> Assigned:
    """A TSV, CSV or XLSX with the columns subject and cluster, or subject and one column of numbers (a phenotype).

    column : the phenotype in a table of several; of a table by region (densitometry) the rows of both lungs count, and
    rows with a flag (a scan without a value) are left out.
    subjects : only those, for a table without a split. Rows of the split ``repeat`` (further scans of one person) are
    left out: the models need independent rows. The columns split and flag may be absent; columns q_1, q_2 ... and
    margin are passed over.

    Raises
    ------
    InputError : no subject, no cluster and not exactly one column of numbers, or a cluster that is no whole number.
    """
    table = read_table(path).reset_index(drop=True)
    if "subject" not in table:
        raise InputError(
            f"{path}, line 1: found columns {', '.join(table)}, expected subject. Name the column subject."
        )
    if "split" in table:
        table = table[table["split"] != "repeat"]
    flags = [text for text in table["flag"] if text] if "flag" in table else []
    flag = flags[0] if flags else ""
    if column:
        if flags:
            flag = f"{len(flags)} of {len(table)} scans have no value and are left out ({flag})"
            table = table[table["flag"] == ""]
        table = table[table["region"] == "lungs"] if "region" in table else table
        absent = [name for name in ("subject", column) if name not in table]
        if absent:
            raise InputError(f"{path}, line 1: found no column {absent[0]}. There are: {', '.join(table)}.")
        table = table[["subject", column]]
    if subjects is not None:
        table = table[table["subject"].isin(list(subjects))]
    table = table.set_index("subject")
    if "cluster" in table:
        values = _numbers(table["cluster"], path)
        if (values % 1 != 0).any():
            raise InputError(
                f"{path}, column cluster: found {values[values % 1 != 0].iloc[0]}, expected whole numbers."
            )
        clusters = values.astype(np.int64)
        return Assigned(Predictor(clusters, "cluster"), clusters, CLUSTERS, flag)
    names = [name for name in table if name not in ADMINISTRATIVE]
    if len(names) != 1:
        raise InputError(
            f"{path}, line 1: found columns {', '.join(names) or 'none'} beside subject, expected cluster, or one "
            "phenotype. Name the column of the clusters cluster, or keep one column of numbers."
        )
    values = _numbers(table[names[0]], path)
    thirds = np.ceil(values.rank(method="average") / len(values) * N_GROUPS).clip(1, N_GROUPS).astype(np.int64)
    label = names[0].replace("_", " ")
    wording = Wording(noun=label, nouns=f"the values of {label}", groups=THIRDS)
    return Assigned(Predictor(values, "phenotype", name=names[0], label=label), thirds, wording, flag)


def with_scanner_columns(clinical: pd.DataFrame, series: str | Path, names: Sequence[str]) -> pd.DataFrame:
    """The clinical table with those columns of ``names`` that it lacks and the table of series has.

    Parameters
    ----------
    clinical : with a column subject.
    series : table ingest/series.tsv, or empty. The chosen series of a subject counts. scanner_model stands for its
        column model, scanner_manufacturer and scanner_kernel likewise; other names are taken as they are.
    """
    absent = [name for name in dict.fromkeys(names) if name not in clinical]
    if not absent or not str(series) or not Path(series).exists():
        return clinical
    table = pd.read_csv(series, sep="\t", dtype=str, keep_default_na=False)
    chosen = table[table["verdict"] == "chosen"].drop_duplicates("subject").set_index("subject")
    found = {name: chosen[SERIES_NAMES.get(name, name)] for name in absent if SERIES_NAMES.get(name, name) in chosen}
    columns = {name: clinical["subject"].map(_plain(values, name)) for name, values in found.items()}
    return clinical.assign(**{name: values for name, values in columns.items() if values.notna().any()})


def _plain(values: pd.Series, name: str) -> pd.Series:
    present = values.where(~values.isin(MISSING))
    if name in SERIES_NAMES:  # a model 16 is a name, no number
        return present
    numbers = pd.to_numeric(present, errors="coerce")
    return numbers if numbers.notna().equals(present.notna()) else present


def _numbers(values: pd.Series, path: str | Path) -> pd.Series:
    present = values[~values.isin(MISSING)]
    numbers = pd.to_numeric(present, errors="coerce")
    if numbers.isna().any():
        subject = numbers.index[numbers.isna()][0]
        raise InputError(
            f"{path}, subject {subject}, column {values.name}: found {present[subject]!r}, expected a number."
        )
    return numbers.astype(np.float64)
