"""Does a map lie where the truth lies? Energy and pointing games (Wang et al. 2020; Zhang et al. 2018), voxel AUC."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata


def localise(importance: NDArray, lesion: NDArray[np.bool_], lungs: NDArray[np.bool_]) -> dict[str, float]:
    """How one map agrees with a planted lesion, inside the lungs.

    Parameters
    ----------
    importance : (*size), any scale; its positive part is the map. lesion, lungs : masks (*size).

    Returns
    -------
    dict : energy, the share of the map that lies in the lesion; pointing, 1 where the largest value does (the share of
        its ties that do); voxel_auc, the probability that a lesion voxel has more than one beside it. lesion_share is
        what the first two are for a map without any knowledge (all lungs alike), which has an AUC of 0.5. NaN where
        undefined: without a lesion, with nothing but lesion, or for a map of zeros.
    """
    values, inside = np.asarray(importance, np.float64)[lungs], lesion[lungs]
    share = float(inside.mean()) if inside.size else np.nan
    row = {"energy": np.nan, "pointing": np.nan, "voxel_auc": np.nan, "lesion_share": share}
    if not 0 < share < 1:
        return row
    positive = np.maximum(values, 0)
    if positive.any():
        row["energy"] = float(positive[inside].sum() / positive.sum())
        row["pointing"] = float(inside[positive == positive.max()].mean())
        row["voxel_auc"] = _auc(values, inside)
    return row


def _auc(values: NDArray, inside: NDArray[np.bool_]) -> float:
    ranks, n = rankdata(values), int(inside.sum())
    return float((ranks[inside].sum() - n * (n + 1) / 2) / (n * (len(values) - n)))
