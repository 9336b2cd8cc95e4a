"""Draws and paints what sarcoidosis does to virtual lungs: enlarged hila, and patches of diffuse disease.

Three kinds of patches: ground glass, micronodules, reticulation. Our own construction, after the wording of the CLAM
paper's section 5.3: raised HU throughout the lungs, most in the upper zones and around the hila, or at the hila alone.
The sizes were set by eye, and so that the lungs' mean density by itself does not tell the subtypes apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lungtypes.phantom.shapes import Points, ellipsoid, fraction_inside
from lungtypes.phantom.thorax import smooth_field

KINDS = {"ground_glass": 0.5, "nodular": 0.3, "reticular": 0.2}  # shares of the patches
NODE_HU, NODES_PER_SIDE = 35.0, 4
NODE_SPREAD_MM = (10.0, 7.0, 6.0)  # of the nodes' centres about the hilum (z, y, x)
HEALTHY_HU, FULL_HU = -850.0, 30.0  # disease adds in full to aerated lung, nothing to solid tissue


@dataclass(frozen=True)
class Disease:
    """One patient's disease, drawn.

    nodes : (n, 4) z, y, x, radius in mm. hilar_hu : rise of density around the hila. haze_hu : fine disease through
    the lungs where it is most likely. patches : (n, 8) z, y, x, three widths in mm, strength, kind (index of KINDS).
    """

    nodes: NDArray[np.float32]
    hilar_hu: float
    haze_hu: float
    patches: NDArray[np.float32]


def draw_disease(
    subtype: str,
    severity: float,
    *,
    points: Points,
    lungs: NDArray[np.bool_],
    hilum_mm: NDArray[np.float32],
    hila: Sequence[tuple[float, float, float]],
    rng: np.random.Generator,
) -> Disease:
    """Draw the disease of one patient of ``subtype`` (diffuse or hilar); severity in 0-1, arrays (Z, Y, X)."""
    size = 0.9 + 0.45 * severity if subtype == "hilar" else 0.55 + 0.3 * severity
    nodes = []
    for hilum in hila:
        centres = np.asarray(hilum) + rng.normal(0, NODE_SPREAD_MM, (NODES_PER_SIDE, 3))
        nodes.append(np.column_stack([centres, size * rng.uniform(7, 11, NODES_PER_SIDE)]))
    hilar_hu = float(size * rng.uniform(80, 140))
    patches = np.zeros((0, 8), np.float32)
    if subtype == "diffuse":
        patches = _draw_patches(severity, points, lungs, hilum_mm, rng)
    haze_hu = 0.0 if subtype == "hilar" else float((0.4 + 0.6 * severity) * rng.uniform(45, 63))
    return Disease(np.vstack(nodes).astype(np.float32), hilar_hu, haze_hu, patches)


def disease_hu(
    disease: Disease,
    hu: NDArray[np.float32],
    *,
    points: Points,
    hilum_mm: NDArray[np.float32],
    spacing_mm: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Rise of density (Z, Y, X) in HU over ``hu``, the lungs without disease."""
    added = disease.hilar_hu * np.exp(-0.5 * (hilum_mm / 17.0) ** 2)
    if len(disease.patches):
        shape, spacing = hu.shape, (spacing_mm,) * 3
        coarse = node_field(rng, shape[0], spacing_mm, 9.0)
        fine = smooth_field(rng, shape, spacing, 3.2)
        spots = np.clip(fine - 0.9, 0, 1.6)
        lines = np.clip(1 - np.abs(fine) / 0.5, 0, 1)
        rise = {"ground_glass": 210.0, "nodular": 50 + 330 * spots, "reticular": 60 + 210 * lines}
        for kind, name in enumerate(KINDS):
            added = added + rise[name] * _presence(disease.patches[disease.patches[:, 7] == kind], points, coarse)
        added = added + disease.haze_hu * likelihood(points, hilum_mm) * (0.6 + 1.5 * spots)
    room = 1 - np.clip((hu - HEALTHY_HU) / (FULL_HU - HEALTHY_HU), 0, 1)
    return (added * room).astype(np.float32)


def paint_nodes(hu: NDArray[np.float32], disease: Disease, points: Points, *, width_mm: float) -> None:
    """Paint the hilar lymph nodes into ``hu`` in place."""
    profiles = [p.mean(axis=tuple(j for j in range(3) if j != i)) for i, p in enumerate(points)]
    for z, y, x, radius in disease.nodes:
        reach = 1.3 * radius + 10
        box = tuple(
            slice(*np.searchsorted(profile, [c - reach, c + reach]))
            for profile, c in zip(profiles, (z, y, x), strict=True)
        )
        near = ellipsoid(tuple(p[box] for p in points), (z, y, x), (1.3 * radius, radius, radius))
        hu[box] += fraction_inside(near, 1.5 * width_mm) * np.maximum(NODE_HU - hu[box], 0)


def likelihood(points: Points, hilum_mm: NDArray[np.float32]) -> NDArray[np.float32]:
    """How likely diffuse disease is at each point, up to about 1.5: upper zones and around the hila."""
    upper = 1 / (1 + np.exp(-(points[0] - 15) / 22))
    return 0.05 + 0.8 * upper + 0.5 * np.exp(-0.5 * (hilum_mm / 38.0) ** 2)


def node_field(rng: np.random.Generator, size: int, spacing_mm: float, width_mm: float) -> NDArray[np.float32]:
    """A smooth random field of mean 0 and SD 1 on a cube: Gaussians of ``width_mm`` at the nodes of a coarse grid."""
    basis = _basis(size, spacing_mm, width_mm)
    field = rng.standard_normal((basis.shape[1],) * 3, dtype=np.float32)
    for _ in range(3):  # each turn interpolates the last axis and puts it first
        field = np.tensordot(basis, field, axes=(1, 2))
    return field


@cache
def _basis(size: int, spacing_mm: float, width_mm: float) -> NDArray[np.float32]:
    places = np.arange(size) * spacing_mm
    nodes = np.arange(-2 * width_mm, places[-1] + 3 * width_mm, width_mm)
    weights = np.exp(-0.5 * ((places[:, None] - nodes) / width_mm) ** 2)
    return (weights / np.sqrt((weights**2).sum(axis=1, keepdims=True))).astype(np.float32)


def _draw_patches(
    severity: float, points: Points, lungs: NDArray[np.bool_], hilum_mm: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    count = 6 + rng.poisson(22 * severity + 18 * severity**3)
    # every patient has places of predilection besides those of the disease
    taste = np.exp(0.5 * node_field(rng, lungs.shape[0], 3.0, 45.0))
    weight = (likelihood(points, hilum_mm) ** 1.5 * taste)[lungs]
    chosen = rng.choice(weight.size, size=count, p=weight / weight.sum())
    centres = np.stack([p[lungs][chosen] for p in points], axis=1)
    widths = rng.lognormal(np.log(10.0), 0.35, (count, 1)) * rng.lognormal(0, 0.2, (count, 3))
    strength = rng.uniform(0.6, 1.4, count) * (0.75 + 0.5 * severity)
    kind = rng.choice(len(KINDS), size=count, p=list(KINDS.values()))
    return np.column_stack([centres, widths, strength, kind]).astype(np.float32)


def _presence(patches: NDArray[np.float32], points: Points, coarse: NDArray[np.float32]) -> NDArray[np.float32]:
    """Share (0-1.3) in which a kind of disease fills each voxel; ``coarse`` frays the patches' edges."""
    axes = (points[0][:, 0, 0], points[1][0, :, 0], points[2][0, 0, :])
    profiles = [
        np.exp(-0.5 * ((axis[None, :] - patches[:, [i]]) / patches[:, [3 + i]]) ** 2) for i, axis in enumerate(axes)
    ]
    total = np.einsum("kz,ky,kx->zyx", patches[:, [6]] * profiles[0], profiles[1], profiles[2], optimize=True)
    return np.clip((total * (1 + 0.35 * coarse) - 0.25) / 0.5, 0, 1.3)
