"""How far from the training scans a new one may lie: percentiles, limits, and what lies beyond them, in words.

Numbers of a few dozen scans hold no 99th percentile worth the name: of 30, one new scan in 31 exceeds the largest. So a
limit is the larger of that percentile and some robust standard deviations above the median, from the values above it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

PERCENTILE = 99.0
ROBUST_SDS = 4.0
FITTED_SDS = 6.0  # for values of scans that the model was fitted to: new ones lie further out
MAD_TO_SD = 1.4826  # of a normal distribution
MIN_SCANS = 8  # fewer give no limit
MIN_HELD = 0.9  # share of the lungs, as for the training scans
MAX_DEVIATION = 3.0  # standard deviations, on average over voxels or features

OF_THE_MODEL = {
    "distance": "distance {:.3g} to its centroid",
    "deviation": "deviation {:.3g} from the training scans",
    "reconstruction_error": "reconstruction error {:.3g}",
}
# figure: words, and which side is suspect
OF_THE_IMAGE = {
    "dice": ("lung overlap with the template (Dice) of {:.3f}", "low"),
    "hd95_mm": ("5 % of a lung's surface more than {:.1f} mm from the template's", "high"),
    "jacobian_p01": ("1 % of the lungs squeezed below {:.2g} of their own change", "low"),
    "jacobian_p99": ("1 % of the lungs stretched above {:.2g} of their own change", "high"),
    "hu_correlation": ("correlation of lung HU with the template of {:.2f}", "low"),
    "lung_ml": ("lungs of {:.0f} mL", "both"),
    "side_ratio": ("right/left volume ratio {:.2f}", "both"),
    "mean_hu": ("mean lung density {:.0f} HU", "both"),
}


def image_figures(lungs: Mapping[str, object] | None, registration: Mapping[str, float | None]) -> dict[str, float]:
    """The numbers of OF_THE_IMAGE from a scan's lungs.json and registration.json; what was not measured is left out."""
    found: dict[str, float | None] = {name: registration.get(name) for name in OF_THE_IMAGE}
    found["dice"] = min(registration["dice_right"], registration["dice_left"])
    surfaces = [registration.get(f"hd95_{side}_mm") for side in ("right", "left")]
    found["hd95_mm"] = None if None in surfaces else max(surfaces)
    if lungs:
        found["lung_ml"] = lungs["right_ml"] + lungs["left_ml"]
        found["side_ratio"] = lungs["right_ml"] / lungs["left_ml"]
        found["mean_hu"] = lungs["checks"]["mean_hu"]["value"]
    return {name: float(value) for name, value in found.items() if value is not None and np.isfinite(value)}


def image_limits(figures: Sequence[Mapping[str, float]]) -> dict[str, list[float | None]]:
    """[low, high] of each figure from those of the study's scans; None where there is no limit on that side."""
    limits = {}
    for name, (_, side) in OF_THE_IMAGE.items():
        values = np.array([row[name] for row in figures if name in row])
        lowest = upper_limit(-values) if side in ("low", "both") else None
        highest = upper_limit(values) if side in ("high", "both") else None
        limits[name] = [None if lowest is None else -lowest, highest]
    return limits


def upper_limit(
    values: NDArray[np.float64] | Sequence[float], *, sds: float = ROBUST_SDS, at_most: float = np.inf
) -> float | None:
    """The limit described on top; None for fewer than MIN_SCANS values, or without spread above the median.

    at_most : a value that is suspect whatever the spread, unless PERCENTILE of the values lie above it.
    """
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    median = np.median(values) if len(values) >= MIN_SCANS else np.nan
    above = values[values > median] - median
    if not len(above):
        return None
    robust = min(median + sds * MAD_TO_SD * np.median(above), at_most)
    return float(max(np.percentile(values, PERCENTILE), robust))


def percentile_of(value: float, values: Sequence[float]) -> float:
    """Percent of the sorted ``values`` up to ``value``; NaN for a NaN or without values."""
    if not np.isfinite(value) or not len(values):
        return np.nan
    # numbers pass through text and back, and through batches of another size
    return 100.0 * float(np.searchsorted(values, value * (1 + 1e-6) + 1e-12, side="right")) / len(values)


def remarks(
    model: Mapping[str, float],
    model_limits: Mapping[str, float | None],
    image: Mapping[str, float],
    limits: Mapping[str, Sequence[float | None]],
    *,
    held: float,
) -> list[str]:
    """What of a scan lies beyond the limits, in words; none for a scan like those of the training."""
    found = []
    for name, words in OF_THE_MODEL.items():
        value, limit = model.get(name, np.nan), model_limits.get(name)
        if limit is not None and value > limit:
            found.append(f"{words.format(value)}, limit {limit:.3g}")
    if held < MIN_HELD:
        found.append(f"the network sees only {100 * held:.0f} % of the lungs, limit {100 * MIN_HELD:.0f} %")
    for name, (words, _) in OF_THE_IMAGE.items():
        low, high = limits.get(name, (None, None))
        value = image.get(name)
        if value is None:
            continue
        if low is not None and value < low:
            found.append(f"{words.format(value)}, limit {low:.3g}")
        if high is not None and value > high:
            found.append(f"{words.format(value)}, limit {high:.3g}")
    return found
