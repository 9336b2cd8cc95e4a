"""Paints one of three diseases into a virtual lung, and returns where: the truth of every later test.

Emphysema: low attenuation in the upper lobes. Fibrosis: subpleural, lower zones, with honeycombing.
Sarcoid: perihilar nodules with ground glass. Our own construction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from lungtypes.phantom.shapes import Points

LESION_LABELS = {"emphysema": 1, "ground_glass": 2, "reticulation": 3, "honeycombing": 4, "nodule": 5}
OPACITIES = tuple(label for kind, label in LESION_LABELS.items() if kind != "emphysema")  # what makes lung denser


def paint_lesions(
    hu: NDArray[np.float32],
    *,
    points: Points,
    lungs: NDArray[np.uint8],
    lobes: NDArray[np.uint8],
    pleura_mm: NDArray[np.float32],
    hila: Sequence[tuple[float, float, float]],
    group: str,
    severity: float,
    spacing_mm: tuple[float, float, float],
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Paint the disease of ``group`` into ``hu`` in place; return the label map (LESION_LABELS).

    pleura_mm is the depth below the pleural surface, severity lies in 0-1.
    """
    lesions = np.zeros(lungs.shape, np.uint8)
    if group == "control" or severity <= 0:
        return lesions
    painters: dict[str, Callable] = {"emphysema": _emphysema, "fibrosis": _fibrosis, "sarcoid": _sarcoid}
    field = _patches(rng, lungs.shape, spacing_mm)
    painters[group](hu, lesions, points, lungs, lobes, pleura_mm, hila, severity, field, rng)
    return lesions


def _patches(rng: np.random.Generator, shape: tuple, spacing_mm: tuple) -> NDArray[np.float32]:
    noise = rng.standard_normal(shape, dtype=np.float32)
    fine = ndimage.gaussian_filter(noise, [4.5 / s for s in spacing_mm], mode="wrap")
    coarse = ndimage.gaussian_filter(noise, [14 / s for s in spacing_mm], mode="wrap")
    return fine / fine.std() + 0.6 * coarse / coarse.std()


def _take(field: NDArray, where: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    """The ``share`` of the voxels of ``where`` with the largest field."""
    if not where.any() or share <= 0:
        return np.zeros(where.shape, bool)
    return where & (field >= np.quantile(field[where], 1 - min(share, 1.0)))


def _emphysema(hu, lesions, points, lungs, lobes, pleura_mm, hila, severity, field, rng) -> None:
    del pleura_mm, hila
    upper = np.isin(lobes, (1, 4))
    apical = field + 0.02 * points[0]  # densest at the apex, thinning out downwards
    holes = _take(apical, upper, 0.3 + 0.5 * severity) | _take(field, (lungs > 0) & ~upper, 0.12 * severity)
    density = -984 + 6 * rng.standard_normal(hu.shape, dtype=np.float32)
    hu[holes] = np.minimum(hu[holes], density[holes])
    lesions[holes] = LESION_LABELS["emphysema"]


def _fibrosis(hu, lesions, points, lungs, lobes, pleura_mm, hila, severity, field, rng) -> None:
    del lobes, hila
    z, y, x = points
    depth_mm = 12 + 20 * severity
    lower = (lungs > 0) & (z < 0 + 25 * severity) & (pleura_mm < depth_mm)
    # thickest at the very base and at the back
    weight = field + 0.012 * (-z) + 0.006 * y - 0.05 * pleura_mm
    disease = _take(weight, lower, 0.3 + 0.4 * severity)
    honeycomb = disease & (pleura_mm < 0.55 * depth_mm) & (z < -20 + 10 * severity)
    reticular = disease & ~honeycomb
    hu[reticular] = -590 + 110 * np.clip(field[reticular], -1.5, 1.5)
    lesions[reticular] = LESION_LABELS["reticulation"]
    if honeycomb.any():
        spots = np.stack([c[honeycomb] for c in (z, y, x)], axis=1)
        lattice = np.unique(np.round(spots / 10.0).astype(int), axis=0) * 10.0
        centres = lattice + rng.uniform(-2.5, 2.5, lattice.shape)
        distance, _ = cKDTree(centres).query(spots)
        share = np.clip(0.5 - (distance - 4.2) / 2.5, 0, 1)  # cysts of about 8 mm, walls between them
        hu[honeycomb] = share * -920 + (1 - share) * -260
        lesions[honeycomb] = LESION_LABELS["honeycombing"]


def _sarcoid(hu, lesions, points, lungs, lobes, pleura_mm, hila, severity, field, rng) -> None:
    del lobes
    z, y, x = points
    reach = np.full(hu.shape, np.inf, np.float32)
    for hz, hy, hx in hila:
        away = np.sqrt(((z - hz) / 1.25) ** 2 + (y - hy) ** 2 + (x - hx) ** 2)
        reach = np.minimum(reach, away)
    around = (lungs > 0) & (reach < 38 + 24 * severity)
    glass = _take(field - 0.02 * reach, around, 0.35 + 0.4 * severity)
    hu[glass] = np.maximum(hu[glass], -610 + 60 * np.clip(field[glass], -1.5, 1.5))
    lesions[glass] = LESION_LABELS["ground_glass"]
    centres_at = np.flatnonzero(((lungs > 0) & (reach < 58) & (pleura_mm > 4)).reshape(-1))
    if centres_at.size == 0:
        return
    chosen = rng.choice(centres_at, size=min(int(50 + 110 * severity), centres_at.size), replace=False)
    centres = np.stack([c.reshape(-1)[chosen] for c in points], axis=1)
    radii = rng.uniform(2.5, 5.5, len(centres))
    spots_at = np.flatnonzero((lungs > 0).reshape(-1))
    spots = np.stack([c.reshape(-1)[spots_at] for c in points], axis=1)
    tree = cKDTree(spots)
    flat_hu, flat_lesions = hu.reshape(-1), lesions.reshape(-1)
    for centre, radius in zip(centres, radii, strict=True):
        near = np.asarray(tree.query_ball_point(centre, radius + 2), dtype=int)
        if near.size == 0:
            continue
        distance = np.linalg.norm(spots[near] - centre, axis=1)
        share = np.clip(0.5 - (distance - radius) / 2.5, 0, 1).astype(np.float32)
        at = spots_at[near]
        flat_hu[at] += share * (10 - flat_hu[at])
        flat_lesions[at[share > 0.5]] = LESION_LABELS["nodule"]
