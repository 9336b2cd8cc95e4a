"""The association of clusters with the clinical table: from tables to tables, and the same for print."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path

import pandas as pd

from lungtypes.association.comparison import compare_with_classification
from lungtypes.association.outcomes import adjusted_means, associate_outcomes
from lungtypes.association.table_html import adjusted_means_html, comparison_html, outcomes_html, table_one_html
from lungtypes.association.table_one import table_one as build_table_one
from lungtypes.cohort.clinical import read_clinical
from lungtypes.provenance import write_table, write_text


def associate_stage(
    *,
    assignment: str | Path,
    clinical: str | Path,
    table_one: str | Path,
    outcomes_table: str | Path,
    adjusted_means_table: str | Path,
    comparison_table: str | Path,
    seed: int,
    settings: Mapping[str, object],
) -> None:
    """Write the four tables of association/{method}/, each as TSV and as HTML beside it.

    Columns of the settings that the clinical table lacks are left out; the tables then lack their rows.
    Further scans of one person (split ``repeat``) are left out too: the models need independent rows.
    """
    assigned = pd.read_csv(assignment, sep="\t", dtype={"subject": str}, keep_default_na=False)
    flag = assigned["flag"].iloc[0]
    clusters = assigned[assigned["split"] != "repeat"].set_index("subject")["cluster"]
    frame = read_clinical(clinical, settings)
    variables = [v for v in settings["table_one"] if v["name"] in frame]
    outcomes = [o for o in settings["outcomes"] if o["name"] in frame]
    common = {
        "outcomes": outcomes,
        "covariates": [name for name in settings["covariates"] if name in frame],
        "comparator": settings["comparator"] or None,
        "min_group": settings["min_group"],
    }
    drawing = {"n_bootstrap": settings["n_bootstrap"], "seed": seed}
    first = build_table_one(
        frame,
        clusters,
        variables=variables,
        variance=settings["variance"],
        yates=settings["yates"],
        n_permutations=settings["n_permutations"],
        min_group=settings["min_group"],
        seed=seed,
    )
    _write(table_one, first, table_one_html, flag)
    _write(outcomes_table, associate_outcomes(frame, clusters, **common, **drawing), outcomes_html, flag)
    _write(adjusted_means_table, adjusted_means(frame, clusters, **common), adjusted_means_html, flag)
    compared = compare_with_classification(frame, clusters, **common, **drawing)
    _write(comparison_table, compared, comparison_html, flag)


def _write(path: str | Path, table: pd.DataFrame, to_html: Callable[[pd.DataFrame], str], flag: str) -> None:
    write_table(path, table.assign(flag=flag))
    warning = f'<p class="flag">{escape(f"Read with care: {flag}.")}</p>\n' if flag else ""
    write_text(Path(path).with_suffix(".html"), warning + to_html(table))
