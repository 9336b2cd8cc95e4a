"""Consensus of k-means over subsamples, and the share of ambiguous pairs (PAC) against one Gaussian.

Sources: Monti et al., Mach Learn 2003 (consensus); Senbabaoglu, Michailidis & Li, Sci Rep 2014 (PAC, and why it needs
a null: one group looks stable, too); John et al., Sci Rep 2020 (M3C: a null of the same covariance).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lungtypes.errors import InputError
from lungtypes.evaluation.indices import check_embedding
from lungtypes.evaluation.kmeans import kmeans, one_thread
from lungtypes.evaluation.null_test import gaussians, principal_scores
from lungtypes.randomness import derive_seed, stream

SHARE = 0.8  # of the scans in a subsample
AMBIGUOUS = (0.1, 0.9)  # Senbabaoglu et al. 2014
N_STARTS = 2  # the same for data and null, so that neither is searched harder


@dataclass(frozen=True)
class Consensus:
    """Share of ambiguous pairs at ``k`` clusters and its test against one Gaussian.

    Attributes
    ----------
    pac : 0-1, low is stable; ``None`` where it is not defined.
    null_mean : mean PAC of the Gaussian data sets.
    p_value : (1 + null sets with a PAC as low as the data's) / (1 + n_null).
    reason : why it is not defined; empty where it is.
    """

    k: int
    pac: float | None
    null_mean: float | None
    p_value: float | None
    reason: str = ""


def consensus_test(embedding: NDArray, k: int, *, n_resamples: int, n_null: int, seed: int) -> Consensus:
    """PAC of the data and of Gaussian data sets with the same covariance, all with the same subsamples.

    Parameters
    ----------
    embedding : (n, d) float, one row per subject.
    k : number of clusters.
    n_resamples : subsamples of 80 %, at least 2.
    n_null : Gaussian data sets, at least 19 for a p value of 0.05.
    seed : of draws, subsamples and k-means starts.
    """
    if n_resamples < 2 or n_null < 1:
        raise InputError(f"n_resamples, n_null: found {n_resamples}, {n_null}, expected at least 2 and 1.")
    points = principal_scores(check_embedding(embedding))
    if k < 2:
        return Consensus(k, None, None, None, "not defined for one cluster")
    if points.shape[1] == 0 or round(SHARE * len(points)) <= k:
        return Consensus(k, None, None, None, f"not defined: {len(points)} distinct scans for {k} clusters")
    with one_thread():
        observed, *null = [
            ambiguous_share(*consensus_matrix(drawn, k, n_resamples=n_resamples, seed=derive_seed(seed, "pac", i)))
            for i, drawn in enumerate([points, *gaussians(points, n_null, derive_seed(seed, "pac"))])
        ]
    extreme = int((np.array(null) <= observed).sum())
    return Consensus(k, observed, float(np.mean(null)), (1 + extreme) / (1 + n_null))


def consensus_matrix(points: NDArray, k: int, *, n_resamples: int, seed: int) -> tuple[NDArray, NDArray]:
    """How often each pair was drawn and put together: two (n, n) float32 counts, together and drawn.

    points : (n, d). Each subsample holds 80 % of them and is cut into ``k`` by k-means.
    """
    n, size = len(points), round(SHARE * len(points))
    rng = stream(seed, "consensus")
    members = np.zeros((n, n_resamples, k), np.float32)
    for i in range(n_resamples):
        picks = np.sort(rng.permutation(n)[:size])
        labels = kmeans(points[picks], k, n_init=N_STARTS, seed=derive_seed(seed, "consensus", i)).labels
        members[picks, i, labels] = 1
    drawn, flat = members.sum(axis=2), members.reshape(n, -1)
    return flat @ flat.T, drawn @ drawn.T


def ambiguous_share(together: NDArray, drawn: NDArray) -> float:
    """Share of pairs, drawn together at least once, whose consensus lies between 0.1 and 0.9 (both excluded).

    together, drawn : (n, n) counts, symmetric; a scan is always together with itself.
    """
    low, high = (round(10 * limit) for limit in AMBIGUOUS)
    ambiguous = (10 * together > low * drawn) & (10 * together < high * drawn)  # whole numbers: exact at the limits
    pairs = int((drawn > 0).sum()) - int((np.diag(drawn) > 0).sum())
    return float(ambiguous.sum() / pairs) if pairs else 0.0
