"""Draws and paints the lesions of virtual COVID-19 pneumonia: patches at the pleura, at the back and at the base.

Ground glass, crazy paving (ground glass with a net of thickened septa), consolidation with air bronchograms, and
consolidation within ground glass. Each lobe gets the share that was planned. Our own construction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from lungtypes.phantom.pneumonia_person import AERATED_HU, CleanScan, air_share
from lungtypes.phantom.thorax import smooth_field

KINDS = ("none", "ground_glass", "crazy_paving", "consolidation", "mixed")
GRAIN_MM = (5.0, 11.0)  # patches are about two to four times as wide
COARSE = 2.2  # the second, wider pattern, in grains
HAZE_HU, HAZE_TEXTURE_HU, HAZE_LIMITS_HU = (165.0, 300.0), 30.0, (150.0, 350.0)
SOLID_HU, SOLID_TEXTURE_HU, SOLID_LIMITS_HU = (-75.0, 40.0), 20.0, (-100.0, 60.0)
TEXTURE_MM = 7.0
SEPTA_HU, SEPTA_MM, MESH_MM = 150.0, 3.0, (8.0, 15.0)
CORE_SHARE = (0.2, 0.5)  # of the lesions of a mixed pneumonia
BORDER_MM = {"ground_glass": 7.0, "crazy_paving": 6.0, "consolidation": 4.0, "mixed": 7.0}
BRONCHOGRAM = 1.5  # an open bronchus in solid lung is wider than in the tree, which ends thin
SMALLEST_ML = 0.3


@dataclass(frozen=True)
class Pneumonia:
    """One member's pneumonia, drawn: kind (of KINDS), the lobes' lesion shares 0-1, sizes in mm, densities in HU.

    peripheral, dorsal, basal : how much the pleura, the back and the base are preferred, in SD of the random pattern.
    """

    kind: str
    lobe_shares: tuple[float, ...]
    grain_mm: float
    peripheral: float
    dorsal: float
    basal: float
    haze_hu: float
    solid_hu: float
    mesh_mm: float
    core_share: float


def draw_pneumonia(kind: str, lobe_shares: tuple[float, ...], rng: np.random.Generator) -> Pneumonia:
    """Draw all but kind and extent, which come from the plan."""
    return Pneumonia(
        kind,
        lobe_shares,
        grain_mm=float(rng.uniform(*GRAIN_MM)),
        peripheral=float(rng.uniform(1.2, 3.2)),
        dorsal=float(rng.uniform(0.2, 1.0)),
        basal=float(rng.uniform(0.0, 0.6)),
        haze_hu=float(rng.uniform(*HAZE_HU)),
        solid_hu=float(rng.uniform(*SOLID_HU)),
        mesh_mm=float(rng.uniform(*MESH_MM)),
        core_share=float(rng.uniform(*CORE_SHARE)),
    )


def paint_pneumonia(
    scan: CleanScan, pneumonia: Pneumonia, *, spacing_mm: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Paint the lesions.

    Returns hu (Z, Y, X) float32, a copy of the scan's with lesions, and where they are: bool, lung voxels with a weight
    of at least one half. Vessels within a patch belong to it.
    """
    hu, shape, spacing = scan.hu.copy(), scan.hu.shape, (spacing_mm,) * 3
    if pneumonia.kind == "none":
        return hu, np.zeros(shape, bool)
    pattern = _pattern(scan, pneumonia, spacing_mm, rng)
    sharpness = pneumonia.grain_mm / BORDER_MM[pneumonia.kind]
    weight = _weights(pattern, scan.lobes, pneumonia.lobe_shares, sharpness, spacing_mm)
    lesions = weight >= 0.5
    weight = _over_the_edge(weight, scan)

    texture = smooth_field(rng, shape, spacing, TEXTURE_MM)
    if pneumonia.kind != "consolidation":
        haze = np.clip(pneumonia.haze_hu + HAZE_TEXTURE_HU * texture, *HAZE_LIMITS_HU)
        if pneumonia.kind == "crazy_paving":
            haze += SEPTA_HU * _septa(scan, weight > 0, pneumonia.mesh_mm, spacing_mm, rng)
        hu += weight * haze * air_share(hu)
    if pneumonia.kind in ("consolidation", "mixed"):
        if pneumonia.kind == "mixed":
            weight *= _cores(pattern, lesions, pneumonia.core_share, spacing_mm, rng)
        solid = np.clip(pneumonia.solid_hu + SOLID_TEXTURE_HU * texture, *SOLID_LIMITS_HU)
        # at the surface only the lung's part of the voxel fills, not the wall's
        filled = np.where(scan.inside < 1, air_share(hu) * (solid - AERATED_HU), solid - hu)
        hu += weight * filled
        hu += weight * np.minimum(BRONCHOGRAM * scan.lumen, 1) * (-900 - hu)
    return hu, lesions


def _pattern(scan: CleanScan, pneumonia: Pneumonia, spacing_mm: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """The larger, the sooner a place falls ill; the random part has SD 1."""
    shape, spacing = scan.hu.shape, (spacing_mm,) * 3
    fine = smooth_field(rng, shape, spacing, pneumonia.grain_mm)
    coarse = smooth_field(rng, shape, spacing, COARSE * pneumonia.grain_mm)
    z, y, _ = scan.points
    pattern = (fine + coarse) / np.sqrt(2) + pneumonia.peripheral * np.exp(-np.maximum(scan.depth_mm, 0) / 18)
    return (pattern + pneumonia.dorsal * y / 60 - pneumonia.basal * z / 80).astype(np.float32)


def _weights(
    pattern: NDArray, lobes: NDArray, shares: tuple[float, ...], sharpness: float, spacing_mm: float
) -> NDArray[np.float32]:
    """Weight 0-1 of the lesions; at least one half in the planned share of each lobe, specks left out."""
    weight = np.zeros(pattern.shape, np.float32)
    for lobe, share in enumerate(shares, start=1):
        own = lobes == lobe
        if share > 0 and own.any():
            values = pattern[own]
            weight[own] = np.clip(0.5 + sharpness * (values - np.quantile(values, 1 - share)), 0, 1)
    labels, count = ndimage.label(weight > 0)
    ill = np.bincount(labels[weight >= 0.5], minlength=count + 1)
    return np.where((ill >= SMALLEST_ML * 1000 / spacing_mm**3)[labels], weight, 0).astype(np.float32)


def _over_the_edge(weight: NDArray[np.float32], scan: CleanScan) -> NDArray[np.float32]:
    """The weights also in voxels that are lung for less than a half: else a dark rim of healthy lung would stay."""
    edge = (scan.lobes == 0) & (scan.inside > 0)
    return np.where(edge, ndimage.maximum_filter(weight, 3), weight)


def _septa(
    scan: CleanScan, where: NDArray[np.bool_], mesh_mm: float, spacing_mm: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """1 in the walls between cells about ``mesh_mm`` wide, thinner than a voxel, 0 within the cells."""
    spots = np.stack([p[where] for p in scan.points], axis=1)
    septa = np.zeros(where.shape, np.float32)
    if not len(spots):
        return septa
    low, high = spots.min(axis=0) - 2 * mesh_mm, spots.max(axis=0) + 2 * mesh_mm
    axes = [np.arange(a, b, mesh_mm) for a, b in zip(low, high, strict=True)]
    cells = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    cells += rng.uniform(-0.4, 0.4, cells.shape) * mesh_mm
    distance, _ = cKDTree(cells).query(spots, k=2)
    to_wall = (distance[:, 1] - distance[:, 0]) / 2  # about
    septa[where] = np.clip(0.5 - (to_wall - SEPTA_MM / 2) / spacing_mm, 0, 1)
    return septa


def _cores(
    pattern: NDArray, lesions: NDArray[np.bool_], share: float, spacing_mm: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Weight 0-1 of the consolidated part, at least one half in ``share`` of the lesions."""
    own = pattern + 0.7 * smooth_field(rng, pattern.shape, (spacing_mm,) * 3, 8.0)
    if not lesions.any():
        return np.zeros_like(own)
    sharpness = 8.0 / BORDER_MM["consolidation"]
    return np.clip(0.5 + sharpness * (own - np.quantile(own[lesions], 1 - share)), 0, 1).astype(np.float32)
