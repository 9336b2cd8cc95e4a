"""The choice of K from the embedding table to files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lungtypes.errors import InputError
from lungtypes.evaluation.choose_k import choose_k, structure_flag
from lungtypes.provenance import write_json, write_table


def choose_stage(
    embedding: str | Path,
    *,
    table: str | Path,
    choice: str | Path,
    n_clusters: str | int,
    minimum: int,
    maximum: int,
    rule: str,
    n_init: int,
    n_null: int,
    n_permutations: int,
    seed: int,
) -> None:
    """Judge every K on the training scans' embedding; write k_selection.tsv and k_selection.json.

    A number for ``n_clusters`` fixes K; all criteria are computed and shown all the same. Raises InputError where
    fewer training scans are left than the wanted K needs: the sheet was checked before scans were excluded.
    """
    frame = pd.read_csv(embedding, sep="\t", dtype={"subject": str})
    frame = frame[frame["split"] == "train"]
    z = frame[[name for name in frame if name.startswith("z_")]].to_numpy(float)
    wanted = {"minimum": minimum} | ({} if n_clusters == "auto" else {"n_clusters": int(n_clusters)})
    faults = [
        f"config, k.{name}: found {k}, expected at most {len(z) - 1}: {len(z)} scans to learn from are left, "
        "cohort/attrition.tsv says why others were excluded. Lower it, or add scans."
        for name, k in wanted.items()
        if k > len(z) - 1
    ]
    if faults:
        raise InputError("\n".join(faults))
    maximum = min(maximum, len(z) - 1)
    selection = choose_k(
        z,
        k_min=minimum,
        k_max=maximum,
        rule=rule,
        n_init=n_init,
        n_null=n_null,
        n_permutations=n_permutations,
        seed=seed,
    )
    k, reason, chosen_by = selection.k, selection.reason, selection.rule
    if n_clusters != "auto":
        k, chosen_by = int(n_clusters), "config"
        reason = f"K = {k}: set in the config; the rule {rule} would have chosen {selection.k}. {selection.reason}"
        selection.table["chosen"] = selection.table["k"] == k
    flag = structure_flag(selection.null_p)
    write_table(table, selection.table.assign(flag=flag))
    found = {"k": int(k), "rule": chosen_by, "reason": reason, "null_p": float(selection.null_p), "flag": flag}
    write_json(choice, found)
