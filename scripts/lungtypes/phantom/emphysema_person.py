"""The person behind one member of the virtual emphysema cohort: anatomy, overinflation, density of the lungs.

Everyone has lungs of their own size and shape, in the middle of the field. Destroyed lung does not recoil: the more of
it, the larger the lungs and the flatter the diaphragm. Our own construction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lungtypes.phantom.anatomy import Person, draw_person
from lungtypes.phantom.thorax import body_distances, canonical_points

FIELD_MM = 312.0
FREE_MM = 10.0  # between the lungs and the edge of the field
PARENCHYMA_HU, PARENCHYMA_SD = -874.0, 17.0  # inspiration and smoking differ
GRAVITY_SD, APEX_SD = 0.06, 0.06  # HU/mm
LOWERED_MM, FLATTENED_MM = 26.0, 26.0  # the diaphragm at full overinflation
DEEPENED, WIDENED = 0.07, 0.03  # the chest, as shares, at full overinflation
LIGHTER_HU = 12.0  # of the lung that is not destroyed, at full overinflation
# weights of the warp's nodes (z, y, x): the domes lie at z -76 and -92, x -66 and 66; nodes are 85, 65 and 90 mm apart
FLAT_ZYX = ((1.0, 1.0, 0.3, 0.0, 0.0), (0.0, 0.5, 1.0, 0.5, 0.0), (0.0, 1.0, 0.0, 1.0, 0.0))
COARSE, COARSE_MM = 50, 8.0  # the grid on which the lungs' place is found


@dataclass(frozen=True)
class Chest:
    """A person with centred lungs; overinflation 0-1; what differs in density along y and z, in HU/mm."""

    person: Person
    overinflation: float
    gravity_hu_per_mm: float
    apex_hu_per_mm: float


def draw_chest(seed: int, severity: float, rng: np.random.Generator) -> Chest:
    """Draw a member's chest.

    Parameters
    ----------
    seed : the member's own, for anatomy. severity : destroyed share of the lungs, 0-1. rng : all that is not anatomy.
    """
    person = draw_person(seed, 0, "control")
    overinflation = float(np.clip(rng.normal(0.12, 0.12) + 2.0 * severity, 0, 1))
    flat = np.einsum("z,y,x->zyx", *(np.array(w, np.float32) for w in FLAT_ZYX))
    warp = person.warp_mm.copy()
    warp[0] += FLATTENED_MM * overinflation * flat
    z, y, x = person.scale_zyx
    person = replace(
        person,
        warp_mm=warp,
        inspiration=person.inspiration + LOWERED_MM * overinflation / 170,  # 170 mm: see canonical_points
        scale_zyx=(z, y * (1 + DEEPENED * overinflation), x * (1 + WIDENED * overinflation)),
        parenchyma_hu=float(rng.normal(PARENCHYMA_HU, PARENCHYMA_SD)) - LIGHTER_HU * overinflation,
    )
    return Chest(centred(person), overinflation, float(rng.normal(0, GRAVITY_SD)), float(rng.normal(0, APEX_SD)))


def centred(person: Person) -> Person:
    """The person with the lungs' bounding box in the middle of the field, made smaller where it would not fit."""
    low, high = _lung_box(replace(person, shift_zyx_mm=(0.0, 0.0, 0.0)))
    fit = np.minimum(1.0, (FIELD_MM - 2 * FREE_MM) / (high - low))
    scale = tuple(float(s * f) for s, f in zip(person.scale_zyx, fit, strict=True))
    return replace(person, scale_zyx=scale, shift_zyx_mm=tuple(float(v) for v in -fit * (low + high) / 2))


def _lung_box(person: Person) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest z, y, x of the lungs in mm."""
    origin = -(COARSE - 1) * COARSE_MM / 2
    bodies = body_distances(canonical_points(person, (COARSE,) * 3, (COARSE_MM,) * 3, (origin,) * 3))
    inside = np.argwhere(np.minimum(bodies["right"], bodies["left"]) < 0)
    return origin + (inside.min(axis=0) - 0.5) * COARSE_MM, origin + (inside.max(axis=0) + 0.5) * COARSE_MM
