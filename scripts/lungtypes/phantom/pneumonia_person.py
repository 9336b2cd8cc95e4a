"""The person behind one member of the virtual pneumonia cohort: chest, bronchi, and all that looks like a lesion.

What a lesion can be mistaken for: vessels, bronchial walls, fissures, dependent atelectasis, breathing during the scan,
noise. Our own construction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lungtypes.phantom.anatomy import Person, draw_person
from lungtypes.phantom.emphysema_person import FIELD_MM, centred
from lungtypes.phantom.shapes import Points, fraction_inside
from lungtypes.phantom.thorax import (
    HILUM_LEFT,
    HILUM_RIGHT,
    body_distances,
    canonical_points,
    fissure_levels,
    render_thorax,
    smooth_field,
)
from lungtypes.phantom.vessels import branching_tree, paint_tubes, paint_vessels
from lungtypes.randomness import stream

PARENCHYMA_HU, PARENCHYMA_SD = -852.0, 25.0  # the breathless do not breathe in fully
GRAVITY_SD, APEX_SD = 0.06, 0.06  # HU/mm
MOSAIC_HU, MOSAIC_MM = (8.0, 32.0), 16.0  # lobules that breathe unequally
DEPENDENT_HU, DEPENDENT_MM = (50.0, 120.0), (12.0, 26.0)  # at the back, and the depth at which 37 % of it is left
FISSURE_HU, FISSURE_SHARE = 0.0, (0.06, 0.20)  # a fissure of about 0.5 mm within a voxel of 3.25 mm
MOVING_SHARE, MOTION_MM, GHOST = 0.3, (5.0, 11.0), (0.2, 0.45)
NOISE_HU = (12.0, 24.0)  # of a voxel of 3.25 mm
OFFSET_SD_HU = 3.0
TIPS_PER_LUNG, TIP_DEPTH_MM, BRONCHUS_SCALE = 45, 12.0, 1.15  # bronchi are seen to about 1 cm from the pleura
WALL_MM, WALL_HU, LUMEN_HU = 0.9, 0.0, -960.0
MEDIAL_MM = 40.0  # added to the depth there
FULL_HU, AERATED_HU = 30.0, -860.0


@dataclass(frozen=True)
class Patient:
    """A person with centred lungs and what differs between scans; HU/mm along y and z, mm, shares in 0-1.

    motion_mm : how far the lung's base moved during the scan, 0 for most. ghost : weight of the second image.
    """

    person: Person
    gravity_hu_per_mm: float
    apex_hu_per_mm: float
    mosaic_hu: float
    dependent_hu: float
    dependent_mm: float
    fissure_share: float
    motion_mm: float
    ghost: float
    noise_hu: float
    offset_hu: float


@dataclass(frozen=True)
class CleanScan:
    """A patient's scan before lesions and noise; arrays (Z, Y, X).

    hu float32. lobes uint8 (LOBES of thorax). points : canonical z, y, x in mm. inside : the lungs' part of a voxel,
    0-1. lumen : the bronchi's part of it. depth_mm : below the pleura, larger than true beside the mediastinum.
    """

    hu: NDArray[np.float32]
    lobes: NDArray[np.uint8]
    points: Points
    inside: NDArray[np.float32]
    lumen: NDArray[np.float32]
    depth_mm: NDArray[np.float32]


def draw_patient(seed: int, rng: np.random.Generator) -> Patient:
    """Draw a member's patient; ``seed`` is the member's own, for anatomy, ``rng`` for all that is not anatomy."""
    person = replace(draw_person(seed, 0, "control"), parenchyma_hu=float(rng.normal(PARENCHYMA_HU, PARENCHYMA_SD)))
    moves = rng.random() < MOVING_SHARE
    return Patient(
        person=centred(person),
        gravity_hu_per_mm=float(rng.normal(0, GRAVITY_SD)),
        apex_hu_per_mm=float(rng.normal(0, APEX_SD)),
        mosaic_hu=float(rng.uniform(*MOSAIC_HU)),
        dependent_hu=float(rng.uniform(*DEPENDENT_HU)),
        dependent_mm=float(rng.uniform(*DEPENDENT_MM)),
        fissure_share=float(rng.uniform(*FISSURE_SHARE)),
        motion_mm=float(rng.uniform(*MOTION_MM)) if moves else 0.0,
        ghost=float(rng.uniform(*GHOST)),
        noise_hu=float(rng.uniform(*NOISE_HU)),
        offset_hu=float(rng.normal(0, OFFSET_SD_HU)),
    )


def render_patient(patient: Patient, *, size: int, seed: int) -> CleanScan:
    """The patient on a cube of ``size`` voxels over 312 mm, the lungs in the middle; ``seed`` is the member's own."""
    spacing = FIELD_MM / size
    thorax = render_thorax(patient.person, shape=(size,) * 3, spacing_mm=(spacing,) * 3, seed=seed)
    points = canonical_points(patient.person, thorax.hu.shape, thorax.spacing_mm, thorax.origin_mm)
    bodies = body_distances(points)
    lung = np.minimum(bodies["right"], bodies["left"])
    airway = fraction_inside(bodies["airway"] - np.float32(spacing), spacing)  # with its wall
    inside = fraction_inside(lung, spacing) * (1 - airway)

    hu, hila = thorax.hu.copy(), (HILUM_RIGHT, HILUM_LEFT)
    paint_vessels(hu, points, thorax.lungs, inside, hila, stream(seed, "veins"))  # the thorax has arteries only
    dependent = np.float32(patient.dependent_hu) * np.exp(
        -_from_back(thorax.lungs > 0) / (patient.dependent_mm / spacing)
    )
    mosaic = patient.mosaic_hu * smooth_field(stream(seed, "mosaic"), hu.shape, thorax.spacing_mm, MOSAIC_MM)
    raised = dependent + mosaic + patient.gravity_hu_per_mm * points[1] + patient.apex_hu_per_mm * points[0]
    hu += inside * air_share(hu) * raised.astype(np.float32)
    hu += inside * patient.fissure_share * _fissures(points, thorax.lobes, spacing) * (FISSURE_HU - hu)
    lumen = _paint_bronchi(hu, points, thorax.lungs, inside, -lung, stream(seed, "bronchi"))
    _breathe(hu, thorax.lungs > 0, patient, spacing)
    # lesions are not drawn to the mediastinal surface
    return CleanScan(hu, thorax.lobes, points, inside, lumen, MEDIAL_MM * _medial(bodies) - lung)


def air_share(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """The aerated part of each voxel: 1 in normal lung, 0 in soft tissue."""
    return np.clip((FULL_HU - hu) / np.float32(FULL_HU - AERATED_HU), 0, 1)


def _medial(bodies: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """1 beside the heart, the great vessels, the spine and the aorta, 0 from 25 mm on."""
    nearest = np.minimum(np.minimum(bodies["heart"], bodies["spine"]), bodies["aorta"])
    return np.clip(1 - (nearest - 10) / 15, 0, 1)


def _from_back(lungs: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Voxels to the lungs' hindmost one of the same column, 0 or more."""
    size = lungs.shape[1]
    hindmost = size - 1 - lungs[:, ::-1].argmax(axis=1)  # (Z, X)
    return np.maximum(hindmost[:, None, :] - np.arange(size)[None, :, None], 0).astype(np.float32)


def _fissures(points: Points, lobes: NDArray[np.uint8], spacing: float) -> NDArray[np.float32]:
    """1 in the middle of a fissure, 0 a voxel away and outside of the lungs."""
    oblique, horizontal = fissure_levels(points)
    near = np.clip(1 - np.abs(oblique) / np.hypot(1, 0.95) / spacing, 0, 1) * (lobes > 0)
    right = (lobes == 1) | (lobes == 2)
    return np.maximum(near, np.clip(1 - np.abs(horizontal) / spacing, 0, 1) * right).astype(np.float32)


def _paint_bronchi(
    hu: NDArray, points: Points, lungs: NDArray, inside: NDArray, depth_mm: NDArray, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Paint walls and lumina of the bronchi into ``hu`` in place; return the lumina's part of each voxel."""
    lumen = np.zeros_like(hu)
    for label, hilum in ((1, HILUM_RIGHT), (2, HILUM_LEFT)):
        deep = np.flatnonzero((lungs == label) & (depth_mm > TIP_DEPTH_MM))
        chosen = rng.choice(deep, size=min(TIPS_PER_LUNG, deep.size), replace=False)
        tips = np.stack([p.reshape(-1)[chosen] for p in points], axis=1)
        tubes = [(a, b, BRONCHUS_SCALE * radius) for a, b, radius in branching_tree(np.vstack([hilum, tips]))]
        paint_tubes(hu, points, inside, [(a, b, radius + WALL_MM) for a, b, radius in tubes], WALL_HU)
        paint_tubes(lumen, points, inside, tubes, 1.0)
    hu += lumen * (LUMEN_HU - hu)
    return lumen


def _breathe(hu: NDArray[np.float32], lungs: NDArray[np.bool_], patient: Patient, spacing: float) -> None:
    """Lay a second image, moved along z, over the lungs in place: most at the base, nothing in the upper half."""
    step = round(patient.motion_mm / spacing)
    if not step:
        return
    moved = np.concatenate([np.repeat(hu[:1], step, axis=0), hu[:-step]])  # the diaphragm in a higher place
    slices = np.flatnonzero(lungs.any(axis=(1, 2)))
    height = (np.arange(len(hu)) - slices[0]) / (slices[-1] - slices[0])
    weight = np.float32(patient.ghost) * np.clip(1 - 2 * height, 0, 1).astype(np.float32)[:, None, None]
    hu[lungs] += (weight * (moved - hu))[lungs]
