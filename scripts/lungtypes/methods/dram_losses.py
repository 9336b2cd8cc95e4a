"""The losses of dRAM (Xie et al. 2021): interval regression of a region's percentage, refinement, and the reference's.

Every function gives one value for each region of the batch; shares are 0-1. ``mask`` (n, 1, Z, Y, X) is 1 in the
region.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

FREQUENCY_LIMITS = (0.2, 0.8)  # of a grade among the training regions, as the divisor of its loss
BALANCE_LIMITS = (0.25, 0.75)  # of the weight of foreground
BALANCED, BOOTSTRAPPED = 0.9, 0.1


@dataclass(frozen=True)
class Interval:
    """What a region's share may be: low and high (n,), 0-1. Inside of it nothing is to be learnt."""

    low: Tensor
    high: Tensor


def region_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean (n,) of (n, 1, Z, Y, X) over each region."""
    return (values * mask).flatten(1).sum(dim=1) / mask.flatten(1).sum(dim=1)


def percent_interval(percent: Tensor, *, band: float) -> Interval:
    """An exact percentage (n,) 0-100, give or take ``band`` (a share), within 0-1."""
    share = percent / 100
    return Interval((share - band).clamp(0, 1), (share + band).clamp(0, 1))


def grade_interval(candidates: Tensor, low: Tensor, high: Tensor, *, band: float) -> Interval:
    """A visual grade's bounds, narrowed by the share of voxels that could be lesion at all.

    Parameters
    ----------
    candidates : (n,) share of lesion candidates in the region. low, high : (n,) bounds of its grade, 0-1.
    band : half-width around the candidates' share.

    Where band and bounds do not meet: the band when it lies below the grade (there cannot be more lesion than
    candidates), the grade when the band lies above (vessels are candidates too).
    """
    below, above = candidates - band, candidates + band
    start, end = torch.maximum(below, low), torch.minimum(above, high)
    meet, under = start <= end, above < low
    start = torch.where(meet, start, torch.where(under, below, low))
    end = torch.where(meet, end, torch.where(under, above, high))
    return Interval(start.clamp(0, 1), end.clamp(0, 1))


def interval_loss(share: Tensor, wanted: Interval, frequency: Tensor) -> Tensor:
    """max(0, (p - m)^2 - h^2) with the interval's middle m and half-width h, divided by the grade's frequency.

    share : (n,) mean of the sigmoid map over the region. frequency : (n,) of its grade among the training regions,
    clipped to 0.2-0.8. Zero if and only if the share lies in the interval.
    """
    middle, half = (wanted.low + wanted.high) / 2, (wanted.high - wanted.low) / 2
    return functional.relu((share - middle).square() - half.square()) / frequency.clamp(*FREQUENCY_LIMITS)


def pseudo_labels(logits: Tensor, mask: Tensor, candidates: Tensor, diseased: Tensor) -> Tensor:
    """What the refinement learns: candidates of the region that the map calls lesion; none in a region of grade 0.

    diseased : (n,) of 0 and 1. The labels (n, 1, Z, Y, X) carry no gradient.
    """
    return (logits.detach() > 0).to(mask) * mask * candidates * diseased.view(-1, 1, 1, 1, 1)


def refinement_loss(refined: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Loss (n,) of refined logits R: zero outside the region; inside, the labels and the map's own hard decision.

    Outside, the mean cross-entropy. Inside, 0.9 x cross-entropy with the foreground weighted by alpha, the share of
    background clipped to 0.25-0.75, and the rest by 1 - alpha; 0.1 x cross-entropy with R's own hard labels.
    """
    outside = 1 - mask
    beyond = (functional.softplus(refined) * outside).flatten(1).sum(dim=1) / outside.flatten(1).sum(dim=1).clamp_min(1)
    alpha = (1 - region_mean(labels, mask)).clamp(*BALANCE_LIMITS).view(-1, 1, 1, 1, 1)
    weight = torch.where(labels > 0, alpha, 1 - alpha)
    balanced = functional.binary_cross_entropy_with_logits(refined, labels, weight=weight, reduction="none")
    own = functional.softplus(-refined.abs())  # cross-entropy with 1[R > 0]
    return beyond + region_mean(BALANCED * balanced + BOOTSTRAPPED * own, mask)


def overlap_loss(logits: Tensor, lesions: Tensor, mask: Tensor) -> Tensor:
    """Soft Dice loss plus cross-entropy (n,) of lesion masks (n, 1, Z, Y, X), inside the region."""
    probability = torch.sigmoid(logits) * mask
    both = (probability * lesions).flatten(1).sum(dim=1)
    total = (probability + lesions * mask).flatten(1).sum(dim=1)
    entropy = functional.binary_cross_entropy_with_logits(logits, lesions, reduction="none")
    return 1 - (2 * both + 1) / (total + 1) + region_mean(entropy, mask)
