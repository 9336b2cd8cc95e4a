"""Draws the anatomy of one virtual person: size, inspiration, deformation. Applied by thorax.py.

Our own construction. Canonical coordinates are millimetres from the centre of the chest,
ordered (z, y, x): z to the head, y to the back, x to the patient's left (LPS).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lungtypes.randomness import stream

GROUPS = ("control", "emphysema", "fibrosis", "sarcoid")
WARP_NODES = (5, 5, 5)
WARP_SPAN_MM = (340.0, 260.0, 360.0)
MEAN_PARENCHYMA_HU = -862.0


@dataclass(frozen=True)
class Person:
    """One virtual person; everything that the renderer needs, drawn from the seed.

    scale_zyx stretches the body, inspiration (about 0.9-1.1) the lungs downwards; warp_mm is a
    coarse (3, 5, 5, 5) grid of smooth displacements; severity is 0 in controls, 0.4-1 in the diseased.
    """

    index: int
    group: str
    severity: float
    sex: str
    height_cm: float
    scale_zyx: tuple[float, float, float]
    inspiration: float
    tilt_degrees: float
    shift_zyx_mm: tuple[float, float, float]
    warp_mm: NDArray[np.float32]
    parenchyma_hu: float
    fat_mm: float


def draw_person(seed: int, index: int, group: str) -> Person:
    """Draw person number ``index`` of the cohort; independent of all other numbers.

    Raises ValueError for an unknown group; see GROUPS.
    """
    if group not in GROUPS:
        raise ValueError(f"group: found {group!r}, expected one of {', '.join(GROUPS)}.")
    rng = stream(seed, "phantom", "anatomy", index)
    sex = "F" if rng.random() < 0.5 else "M"
    height_cm = float(np.clip(rng.normal(164 if sex == "F" else 177, 6.5), 148, 198))
    body = height_cm / 171.0
    scale = tuple(float(body * (1 + rng.normal(0, 0.025))) for _ in range(3))
    severity = 0.0 if group == "control" else float(rng.uniform(0.4, 1.0))
    inspiration = float(np.clip(rng.normal(1.0, 0.035), 0.92, 1.08))
    inspiration += {"emphysema": 0.02, "fibrosis": -0.02}.get(group, 0.0) * severity
    warp = rng.normal(0, 5.0, (3, *WARP_NODES)).astype(np.float32)
    return Person(
        index=index,
        group=group,
        severity=severity,
        sex=sex,
        height_cm=height_cm,
        scale_zyx=scale,
        inspiration=inspiration,
        tilt_degrees=float(rng.normal(0, 2.0)),
        shift_zyx_mm=tuple(float(v) for v in rng.normal(0, (4, 5, 5))),
        warp_mm=warp,
        parenchyma_hu=float(rng.normal(MEAN_PARENCHYMA_HU, 9)),
        fat_mm=float(rng.uniform(10, 24)),
    )


def neutral_person(index: int, *, shift_zyx_mm: tuple[float, float, float]) -> Person:
    """A healthy person without anything of their own but the number, from which vessels and noise are drawn.

    shift_zyx_mm : of the body within the grid.
    """
    return Person(
        index=index,
        group="control",
        severity=0.0,
        sex="M",
        height_cm=171.0,
        scale_zyx=(1.0, 1.0, 1.0),
        inspiration=1.0,
        tilt_degrees=0.0,
        shift_zyx_mm=shift_zyx_mm,
        warp_mm=np.zeros((3, *WARP_NODES), np.float32),
        parenchyma_hu=MEAN_PARENCHYMA_HU,
        fat_mm=17.0,
    )
