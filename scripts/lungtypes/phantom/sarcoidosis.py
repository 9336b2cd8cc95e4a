"""Virtual sarcoidosis in template space as arrays, in the setting of the CLAM paper (Ryan et al. 2020, section 5).

Two subtypes of unequal size: ``diffuse`` (disease through the lungs, most in the upper zones and around the hila) and
``hilar`` (large, dense hila only). The lungs' outline is the template's; all inside is each patient's own. Our own
construction. Needs numpy and scipy only, so that a machine without imaging libraries can make the same arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungtypes.imaging.hounsfield import AIR_HU, MAX_HU, OUTSIDE
from lungtypes.phantom.anatomy import MEAN_PARENCHYMA_HU, neutral_person
from lungtypes.phantom.sarcoidosis_disease import (
    Disease,
    disease_hu,
    draw_disease,
    node_field,
    paint_nodes,
)
from lungtypes.phantom.shapes import Points
from lungtypes.phantom.thorax import HILUM_LEFT, HILUM_RIGHT, Thorax, render_thorax, smooth_field
from lungtypes.phantom.vessels import paint_vessels
from lungtypes.randomness import stream

SIZE, SPACING_MM = 88, 3.0  # the paper's grid
SHIFT_MM = (-7.5, -1.5, 0.0)  # puts the lungs' bounding box into the middle of the cube
PARENCHYMA_SD_HU = 12.0
GRAVITY_HU_PER_MM, GRAVITY_SD = 0.22, 0.06
MISPLACED_SD_MM, MISPLACED_WIDTH_MM = 2.5, 25.0  # what a registration leaves, per component
WALL_HU = -350.0  # a bronchial wall within a voxel of 3 mm
GRAIN_VOXELS = 0.5

# Table 2: scanners of 301 patients; noise of a 3 mm voxel in HU is ours
SCANNERS = {
    "Discovery CT750": (4, 17.0),
    "iCT 128": (26, 16.0),
    "LightSpeed VCT": (101, 18.0),
    "Optima CT660": (3, 17.0),
    "Sensation 64": (8, 20.0),
    "Definition": (38, 15.0),
    "Definition AS+": (87, 16.0),
    "Definition Flash": (34, 14.0),
}


@dataclass(frozen=True)
class SarcoidosisPlan:
    """What to generate: the seed and how many patients of each subtype (the paper's clusters: 126 and 175)."""

    seed: int
    diffuse: int = 126
    hilar: int = 175


@dataclass(frozen=True)
class Member:
    """One patient of the plan; ``number`` counts within the subtype and names the random streams; severity is 0-1."""

    subject: str
    subtype: str
    number: int
    severity: float
    scanner_model: str


@dataclass(frozen=True)
class TemplateSpace:
    """The template on the cube of 88 voxels of 3 mm: its thorax, lungs (bool), points in mm and places in the lungs.

    hilum_mm : distance to the nearer hilum. back_mm : to the lung's hindmost voxel of the same column.
    bronchus : lung voxels beside the large airways.
    """

    thorax: Thorax
    lungs: NDArray[np.bool_]
    points: Points
    hilum_mm: NDArray[np.float32]
    back_mm: NDArray[np.float32]
    bronchus: NDArray[np.bool_]


@dataclass(frozen=True)
class Patient:
    """What differs between two patients' lungs, drawn; fields of :func:`render_patient` have streams of their own."""

    member: Member
    parenchyma_hu: float
    gravity_hu_per_mm: float
    apex_hu_per_mm: float
    dependent_hu: float
    noise_hu: float
    disease: Disease


def plan_members(plan: SarcoidosisPlan) -> list[Member]:
    """All patients in the order of their ids, which say nothing of the subtype."""
    kinds = [("diffuse", n) for n in range(plan.diffuse)] + [("hilar", n) for n in range(plan.hilar)]
    places = stream(plan.seed, "sarcoidosis", "order").permutation(len(kinds))
    counts = np.array([count for count, _ in SCANNERS.values()], float)
    members = []
    for place, (subtype, number) in zip(places, kinds, strict=True):
        rng = stream(plan.seed, "sarcoidosis", "member", subtype, number)
        severity = float(rng.beta(2.0, 2.0)) if subtype == "hilar" else float(0.15 + 0.85 * rng.beta(2.0, 2.0))
        model = str(rng.choice(list(SCANNERS), p=counts / counts.sum()))
        members.append(Member(f"V{place + 1:03d}", subtype, number, severity, model))
    return sorted(members, key=lambda member: member.subject)


@cache
def template_space(seed: int) -> TemplateSpace:
    """The template of the study with this seed: a neutral person's thorax, lungs in the middle of the cube."""
    neutral = replace(neutral_person(0, shift_zyx_mm=SHIFT_MM), fat_mm=15.0)
    thorax = render_thorax(neutral, shape=(SIZE,) * 3, spacing_mm=(SPACING_MM,) * 3, seed=seed)
    axes = [np.arange(SIZE, dtype=np.float32) * SPACING_MM + thorax.origin_mm[i] - SHIFT_MM[i] for i in range(3)]
    points = tuple(np.ascontiguousarray(p, dtype=np.float32) for p in np.meshgrid(*axes, indexing="ij"))
    lungs = thorax.lungs > 0
    hila = [sum((p - h) ** 2 for p, h in zip(points, hilum, strict=True)) for hilum in (HILUM_RIGHT, HILUM_LEFT)]
    from_back = SIZE - 1 - lungs[:, ::-1].argmax(axis=1)  # (Z, X), the hindmost lung voxel
    back_mm = (from_back[:, None, :] - np.arange(SIZE)[None, :, None]) * np.float32(SPACING_MM)
    bronchus = ndimage.binary_dilation(thorax.airway) & lungs
    return TemplateSpace(thorax, lungs, points, np.sqrt(np.minimum(*hila)), back_mm.astype(np.float32), bronchus)


def draw_patient(seed: int, member: Member) -> Patient:
    """Draw the lungs of a member; independent of all other members."""
    rng = stream(seed, "sarcoidosis", "lungs", member.subtype, member.number)
    space = template_space(seed)
    disease = draw_disease(
        member.subtype,
        member.severity,
        points=space.points,
        lungs=space.lungs,
        hilum_mm=space.hilum_mm,
        hila=(HILUM_RIGHT, HILUM_LEFT),
        rng=stream(seed, "sarcoidosis", "disease", member.subtype, member.number),
    )
    return Patient(
        member,
        parenchyma_hu=float(rng.normal(MEAN_PARENCHYMA_HU, PARENCHYMA_SD_HU)),
        gravity_hu_per_mm=float(rng.normal(GRAVITY_HU_PER_MM, GRAVITY_SD)),
        apex_hu_per_mm=float(rng.normal(0, 0.05)),
        dependent_hu=float(rng.uniform(0, 90)),
        noise_hu=float(SCANNERS[member.scanner_model][1] * rng.uniform(0.9, 1.1)),
        disease=disease,
    )


def render_patient(patient: Patient, *, seed: int) -> NDArray[np.int16]:
    """The patient's scan in template space: HU (88, 88, 88) int16, 3 mm; outside the lungs lies the template's body."""
    space, member = template_space(seed), patient.member
    names = (member.subtype, member.number)
    rng = stream(seed, "sarcoidosis", "texture", *names)
    shape, spacing = space.lungs.shape, (SPACING_MM,) * 3
    # inside the outline things lie a little elsewhere in every patient
    points = tuple(
        p + np.float32(MISPLACED_SD_MM) * node_field(rng, SIZE, SPACING_MM, MISPLACED_WIDTH_MM) for p in space.points
    )

    hu = patient.parenchyma_hu + patient.gravity_hu_per_mm * points[1] + patient.apex_hu_per_mm * points[0]
    hu += 14 * node_field(rng, SIZE, SPACING_MM, 9.0)
    hu += patient.dependent_hu * np.exp(-np.maximum(space.back_mm, 0) / 9.0)
    hu = hu.astype(np.float32)
    hu[space.bronchus] = np.maximum(hu[space.bronchus], WALL_HU)
    inside = space.lungs.astype(np.float32)
    vessels = stream(seed, "sarcoidosis", "vessels", *names)
    for box in ndimage.find_objects(space.thorax.lungs):  # each lung by itself: smaller arrays
        own = tuple(p[box] for p in points)
        paint_vessels(hu[box], own, space.thorax.lungs[box], inside[box], (HILUM_RIGHT, HILUM_LEFT), vessels)
    hu += disease_hu(patient.disease, hu, points=points, hilum_mm=space.hilum_mm, spacing_mm=SPACING_MM, rng=rng)
    paint_nodes(hu, patient.disease, points, width_mm=SPACING_MM)

    image = np.where(space.lungs, hu, space.thorax.hu)
    image = ndimage.gaussian_filter(image, 0.4)  # the scanner's own blur; mixes the wall into the lungs' edge
    noise = smooth_field(rng, shape, spacing, GRAIN_VOXELS * SPACING_MM)
    image += patient.noise_hu * inside * noise
    return np.clip(np.rint(image), AIR_HU, MAX_HU).astype(np.int16)


def virtual_sarcoidosis(plan: SarcoidosisPlan) -> Iterator[tuple[Member, NDArray[np.int16]]]:
    """All patients in the order of their ids, each with the scan of :func:`render_patient`."""
    for member in plan_members(plan):
        yield member, render_patient(draw_patient(plan.seed, member), seed=plan.seed)


def sarcoidosis_array(plan: SarcoidosisPlan, *, size: int = SIZE, workers: int = 1) -> NDArray[np.int16]:
    """The cohort array: HU (N, Z, Y, X) int16 in the order of :func:`plan_members`, OUTSIDE where no lung is.

    size : 88 voxels of 3 mm, or 44 of 6 mm (the mean of the lung voxels in each block of eight).
    """
    if size not in (SIZE, SIZE // 2):
        raise ValueError(f"size: found {size}, expected {SIZE} (3 mm) or {SIZE // 2} (6 mm).")
    members = plan_members(plan)
    array = np.empty((len(members), size, size, size), np.int16)
    draw = partial(_lung_hu, plan.seed, size)
    if workers == 1:
        for number, member in enumerate(members):
            array[number] = draw(member)
        return array
    with ProcessPoolExecutor(max_workers=workers) as pool:
        for number, hu in enumerate(pool.map(draw, members)):
            array[number] = hu
    return array


def halved(hu: NDArray[np.int16], lungs: NDArray[np.bool_]) -> NDArray[np.int16]:
    """A grid twice as coarse: mean HU of the lung voxels in each block of eight; OUTSIDE where most are no lung."""
    blocks = tuple(part for n in hu.shape for part in (n // 2, 2))
    count = lungs.reshape(blocks).sum(axis=(1, 3, 5))
    total = np.where(lungs, hu, 0).astype(np.float32).reshape(blocks).sum(axis=(1, 3, 5))
    return np.where(count >= 4, np.rint(total / np.maximum(count, 1)), OUTSIDE).astype(np.int16)


def _lung_hu(seed: int, size: int, member: Member) -> NDArray[np.int16]:
    hu, lungs = render_patient(draw_patient(seed, member), seed=seed), template_space(seed).lungs
    return np.where(lungs, hu, OUTSIDE).astype(np.int16) if size == SIZE else halved(hu, lungs)
