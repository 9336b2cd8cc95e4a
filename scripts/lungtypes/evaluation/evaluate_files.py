"""The evaluation of one method's clusters from its tables to evaluation/{method}.tsv."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from lungtypes.cohort.tables import read_table
from lungtypes.errors import InputError
from lungtypes.evaluation.evaluate import evaluate_clustering
from lungtypes.provenance import write_table


def evaluate_stage(
    *,
    assignment: str | Path,
    embedding: str | Path,
    choice: str | Path,
    table: str | Path,
    reference_table: str,
    reference_column: str,
    n_permutations: int,
    n_bootstrap: int,
    seed: int,
) -> None:
    """Read the tables, find the reference label if the config names one, write the metrics."""
    assigned = pd.read_csv(assignment, sep="\t", dtype={"subject": str}, keep_default_na=False)
    chosen = json.loads(Path(choice).read_text())
    result = evaluate_clustering(
        assigned[assigned["split"] != "repeat"],  # further scans of one person are not independent
        pd.read_csv(embedding, sep="\t", dtype={"subject": str}),
        reference=read_reference(reference_table, reference_column),
        reference_name=reference_column,
        n_permutations=n_permutations,
        n_bootstrap=n_bootstrap,
        null_p=chosen["null_p"],
        seed=seed,
    )
    write_table(table, result.assign(flag=chosen["flag"]))


def read_reference(path: str, column: str) -> pd.Series | None:
    """Reference label by subject, or None when no table is named; empty labels are left out.

    Raises InputError when the table lacks the column.
    """
    if not path:
        return None
    frame = read_table(path)
    for name in ("subject", column):
        if name not in frame:
            raise InputError(f"{path}: found no column {name!r}, there are {', '.join(frame)}. Mend the config.")
    labels = frame.set_index("subject")[column]
    return labels[labels != ""]
