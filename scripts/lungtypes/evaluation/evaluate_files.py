"""The evaluation of one method's clusters from its tables to evaluation/{method}.tsv and {method}_confusion.tsv."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lungtypes.cohort.clinical_values import MISSING
from lungtypes.cohort.tables import read_table
from lungtypes.errors import InputError
from lungtypes.evaluation.agreement import confusion_table
from lungtypes.evaluation.evaluate import HELD_OUT, evaluate_clustering
from lungtypes.provenance import write_table


def evaluate_stage(
    *,
    assignment: str | Path,
    embedding: str | Path,
    choice: str | Path,
    common: str | Path,
    refits: Sequence[str | Path],
    table: str | Path,
    confusion: str | Path,
    reference_table: str,
    reference_column: str,
    reference_order: Sequence[str],
    n_permutations: int,
    n_bootstrap: int,
    n_resamples: int,
    n_null: int,
    seed: int,
    learnt: bool = False,
) -> None:
    """Read the tables, find the reference label if the config names one, write metrics and confusion.

    Scans of the splits train and test are evaluated together, and those of test also by themselves; repeats are left
    out. common : a path, or empty. learnt : the method was trained on the reference, so that its agreement and its
    confusion are told of scans of the split test, where these have labels.
    """
    assigned = read_assignment(assignment)
    chosen = json.loads(Path(choice).read_text())
    reference = read_reference(reference_table, reference_column, order=reference_order)
    result = evaluate_clustering(
        assigned,
        read_subjects(embedding),
        reference=reference,
        reference_name=reference_column,
        common=read_subjects(common) if str(common) else None,
        refits=[read_subjects(path) for path in refits],
        n_permutations=n_permutations,
        n_bootstrap=n_bootstrap,
        n_resamples=n_resamples,
        n_null=n_null,
        null_p=chosen["null_p"],
        seed=seed,
        learnt=learnt,
    )
    if learnt and (result["space"] == "held_out")[result["metric"] == "accuracy"].any():
        assigned = assigned[assigned["split"] == HELD_OUT]
    write_table(table, result.assign(flag=chosen["flag"]))
    counts = confusion_table(assigned["subject"], assigned["cluster"], reference)
    write_table(confusion, counts.assign(flag=chosen["flag"]))


def read_subjects(path: str | Path) -> pd.DataFrame:
    """A table of this workflow whose column subject is text."""
    return pd.read_csv(path, sep="\t", dtype={"subject": str})


def read_assignment(path: str | Path) -> pd.DataFrame:
    """A method's assignment without further scans of one person (split ``repeat``), which are not independent."""
    table = pd.read_csv(path, sep="\t", dtype={"subject": str}, keep_default_na=False)
    return table[table["split"] != "repeat"].reset_index(drop=True)


def read_reference(path: str, column: str, *, order: Sequence[str] = ()) -> pd.Series | None:
    """Reference label by subject, or None when no table is named; labels that are missing (empty, NA) are left out.

    order : every label from mild to severe, for an ordered categorical; empty for labels without order.

    Raises InputError when the table lacks the column, or holds a label that the order lacks.
    """
    if not path:
        return None
    frame = read_table(path)
    for name in ("subject", column):
        if name not in frame:
            raise InputError(f"{path}: found no column {name!r}, there are {', '.join(frame)}. Mend the config.")
    labels = frame.set_index("subject")[column]
    labels = labels[~labels.isin(MISSING)]
    if not order:
        return labels
    unknown = sorted(set(labels) - set(order))
    if unknown:
        raise InputError(
            f"{path}, column {column}: found {', '.join(unknown)}, expected one of {', '.join(order)}, the config's "
            "evaluate.reference_order. Mend either."
        )
    return labels.astype(pd.CategoricalDtype(list(order), ordered=True))
