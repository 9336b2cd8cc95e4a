"""The rows of evaluation/{method}.tsv, the one table of everything that is measured about a clustering."""

from __future__ import annotations

import numpy as np

from lungtypes.evaluation.indices import Index

COLUMNS = ["metric", "space", "cluster", "value", "ci_low", "ci_high", "n", "note"]
NO_INTERVAL = (np.nan, np.nan)


def metric_row(
    metric: str,
    value: float | None,
    n: int,
    *,
    space: str = "",
    cluster: int | None = None,
    interval: tuple[float, float] = NO_INTERVAL,
    note: str = "",
) -> dict:
    """One row; ``None`` or NaN for a value that is not defined, whose reason belongs into ``note``.

    n : subjects behind the value. interval : 95 %, NaN for none.
    """
    return {
        "metric": metric,
        "space": space,
        "cluster": "" if cluster is None else str(cluster),
        "value": np.nan if value is None else float(value),
        "ci_low": interval[0],
        "ci_high": interval[1],
        "n": n,
        "note": note,
    }


def index_row(metric: str, index: Index, n: int, *, space: str = "", note: str = "") -> dict:
    """The row of an index: its reason where it is not defined, else ``note``."""
    return metric_row(metric, index.value, n, space=space, note=index.reason or note)
