"""Renders a virtual thorax: HU, lung, lobe, airway and lesion masks on any grid. Our own construction.

A voxel's world position is taken back to canonical coordinates (affine, inspiration, smooth warp),
where all bodies are described; partial volume comes from their signed distances.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungtypes.phantom.anatomy import WARP_SPAN_MM, Person
from lungtypes.phantom.lesions import paint_lesions
from lungtypes.phantom.shapes import Points, capsule, ellipsoid, fraction_inside, smooth_union
from lungtypes.phantom.vessels import paint_vessels
from lungtypes.randomness import stream

CARINA = (40.0, 14.0, 0.0)
HILUM_RIGHT, HILUM_LEFT = (14.0, 14.0, -40.0), (18.0, 16.0, 42.0)
LOBES = {1: "right upper", 2: "right middle", 3: "right lower", 4: "left upper", 5: "left lower"}
AIR_HU, FAT_HU, SOFT_HU, BLOOD_HU, BONE_HU = -1000.0, -95.0, 45.0, 42.0, 420.0


@dataclass(frozen=True)
class Thorax:
    """A rendered thorax; all arrays (Z, Y, X) on one grid, index order along +z, +y, +x of LPS.

    hu float32 without noise; lungs uint8 (1 right, 2 left); lobes uint8 (see LOBES);
    airway bool (trachea and main bronchi); lesions uint8 (0 none, 1 emphysema, 2 ground glass,
    3 reticulation, 4 honeycombing, 5 nodule).
    """

    hu: NDArray[np.float32]
    lungs: NDArray[np.uint8]
    lobes: NDArray[np.uint8]
    airway: NDArray[np.bool_]
    lesions: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]


def render_thorax(
    person: Person, *, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], seed: int
) -> Thorax:
    """Render ``person`` on a grid centred on the chest.

    Parameters
    ----------
    person : from :func:`lungtypes.phantom.anatomy.draw_person`.
    shape : (Z, Y, X) voxels; spacing_mm : the same order.
    seed : the cohort's seed; vessels, texture and lesions have streams of their own per person.
    """
    origin = tuple(-(n - 1) * s / 2 for n, s in zip(shape, spacing_mm, strict=True))
    points = canonical_points(person, shape, spacing_mm, origin)
    width = float(np.mean(spacing_mm))
    soft = body_distances(points)
    lung = np.minimum(soft["right"], soft["left"])

    hu = np.full(shape, AIR_HU, np.float32)
    _paint(hu, _table(shape, spacing_mm, origin), width, -150.0)
    _paint(hu, soft["body"] - np.float32(2.5), width, -700.0)  # clothing lies on the skin
    _paint(hu, soft["body"], width, FAT_HU)
    if person.sex == "F":
        for side in (-1, 1):
            _paint(hu, ellipsoid(points, (0, -106, side * 66), (50, 32, 52)), width, FAT_HU)
    _paint(hu, soft["body"] + np.float32(person.fat_mm), width, SOFT_HU)
    _paint(hu, soft["heart"], width, BLOOD_HU)
    _paint(hu, soft["ribs"], width, BONE_HU)
    _paint(hu, soft["spine"], width, 260.0)
    _paint(hu, soft["canal"], width, 25.0)
    _paint(hu, soft["aorta"], width, BLOOD_HU + 5)

    texture = stream(seed, "phantom", "texture", person.index)
    parenchyma = person.parenchyma_hu + 0.22 * points[1]  # denser at the back (supine)
    parenchyma = parenchyma + 14 * smooth_field(texture, shape, spacing_mm, 9.0)
    inside = fraction_inside(lung, width)
    hu += inside * (parenchyma - hu)
    airway_fraction = fraction_inside(soft["airway"], width)

    lungs = np.zeros(shape, np.uint8)
    lungs[(soft["right"] < 0)] = 1
    lungs[(soft["left"] < 0)] = 2
    airway = soft["airway"] < 0
    lungs[airway] = 0
    lobes = _lobes(points, lungs)
    paint_vessels(
        hu, points, lungs, inside, (HILUM_RIGHT, HILUM_LEFT), stream(seed, "phantom", "vessels", person.index)
    )
    lesions = paint_lesions(
        hu,
        points=points,
        lungs=lungs,
        lobes=lobes,
        pleura_mm=-lung,
        hila=(HILUM_RIGHT, HILUM_LEFT),
        group=person.group,
        severity=person.severity,
        spacing_mm=spacing_mm,
        rng=stream(seed, "phantom", "lesions", person.index),
    )
    _paint(hu, np.maximum(soft["airway"] - np.float32(1.8), -soft["airway"]), width, 10.0)
    hu += airway_fraction * (AIR_HU + 5 - hu)
    return Thorax(hu, lungs, lobes, airway, lesions, tuple(spacing_mm), origin)


def smooth_field(
    rng: np.random.Generator, shape: tuple[int, ...], spacing_mm: tuple[float, ...], sigma_mm: float
) -> NDArray[np.float32]:
    """A smooth random field of mean 0 and SD 1 with the given correlation length."""
    field = rng.standard_normal(shape, dtype=np.float32)
    field = ndimage.gaussian_filter(field, [sigma_mm / s for s in spacing_mm], mode="wrap")
    return (field - field.mean()) / max(float(field.std()), 1e-6)


def canonical_points(person: Person, shape: tuple, spacing_mm: tuple, origin: tuple) -> Points:
    """Canonical (z, y, x) in mm, each (Z, Y, X) float32, of a grid's voxels; ``origin`` is the first one's place."""
    axes = [np.arange(n, dtype=np.float32) * s + o for n, s, o in zip(shape, spacing_mm, origin, strict=True)]
    world = np.meshgrid(*axes, indexing="ij", copy=True)
    angle = np.deg2rad(person.tilt_degrees)
    z, y, x = (c - t for c, t in zip(world, person.shift_zyx_mm, strict=True))
    y, x = np.cos(angle) * y - np.sin(angle) * x, np.sin(angle) * y + np.cos(angle) * x
    points = [c / np.float32(s) for c, s in zip((z, y, x), person.scale_zyx, strict=True)]
    nodes = [
        (c / np.float32(span) + np.float32(0.5)) * (n - 1)
        for c, span, n in zip(points, WARP_SPAN_MM, person.warp_mm.shape[1:], strict=True)
    ]
    for axis in range(3):
        points[axis] = points[axis] + ndimage.map_coordinates(person.warp_mm[axis], nodes, order=2, mode="nearest")
    below = np.clip((60 - points[0]) / 160, 0, 1)  # the diaphragm moves, the apex does not
    points[0] = points[0] + below * np.float32((person.inspiration - 1) * 170)
    return tuple(np.ascontiguousarray(p, dtype=np.float32) for p in points)


def body_distances(points: Points) -> dict[str, NDArray[np.float32]]:
    """Signed distances of canonical ``points`` (any one shape) to each body by name, in mm, negative inside."""
    z, y, x = points
    body = np.maximum(ellipsoid((0 * z, y, x), (0, 0, 0), (1e6, 122, 162)), -1e6).astype(np.float32)
    taper = np.clip((z - 105) / 60, 0, 1)  # shoulders to neck
    body = body + taper * 18
    heart = ellipsoid(points, (-52, -32, 20), (60, 46, 52))
    great = capsule(points, (15, -12, 4), (95, -2, 6), 22)
    mediastinum = smooth_union(heart, great, 18)
    spine = capsule(points, (-300, 78, 0), (300, 70, 0), 21)
    canal = capsule(points, (-300, 102, 0), (300, 94, 0), 8)
    aorta = capsule(points, (-300, 52, 22), (55, 46, 22), 12)

    lungs = {}
    for side, sign, dome in (("right", -1, -76.0), ("left", 1, -92.0)):
        outer = ellipsoid(points, (-12, -2, sign * 63), (142, 86, 54))
        lower_bulk = ellipsoid(points, (-70, 6, sign * 65), (80, 84, 55))
        shape = smooth_union(outer, lower_bulk, 25)
        diaphragm = ellipsoid(points, (dome - 90, -4, sign * 66), (90, 118, 82))
        shape = np.maximum(shape, -diaphragm)
        shape = np.maximum(shape, -(mediastinum - 4))
        shape = np.maximum(shape, -(np.minimum(spine, aorta) - 4))
        shape = np.maximum(shape, 9 - sign * x)
        lungs[side] = shape.astype(np.float32)

    airway = smooth_union(capsule(points, (260, 4, 0), CARINA, 8.5), capsule(points, CARINA, HILUM_RIGHT, 6.5), 4)
    airway = smooth_union(airway, capsule(points, CARINA, HILUM_LEFT, 5.8), 4).astype(np.float32)

    cage = ellipsoid(points, (-15, 0, 0), (190, 101, 134))
    slope = z + 0.45 * y
    band = np.abs(((slope / 26.0) % 1.0) - 0.5) * 26.0 - 5.0
    ribs = np.maximum(np.abs(cage) - 3.5, band)
    ribs = np.maximum(ribs, 22 - np.abs(x))  # sternum and spine have bodies of their own
    ribs = np.maximum(ribs, np.abs(z + 10) - 150)
    sternum = ellipsoid(points, (20, -99, 0), (80, 6, 18))
    ribs = np.minimum(ribs, sternum).astype(np.float32)
    disc = np.abs(((z / 24.0) % 1.0) - 0.5) * 24.0  # bodies and discs alternate
    return {
        "body": body,
        "heart": mediastinum,
        "spine": np.maximum(spine, disc - 10).astype(np.float32),
        "canal": canal,
        "aorta": aorta,
        "airway": airway,
        "ribs": ribs,
        **lungs,
    }


def fissure_levels(points: Points) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How far above the oblique and the horizontal fissure ``points`` lie, straight up along canonical z, in mm."""
    z, y, _ = points
    return z - 0.95 * y + 18, z - 2


def _lobes(points: Points, lungs: NDArray[np.uint8]) -> NDArray[np.uint8]:
    oblique, horizontal = fissure_levels(points)  # above and in front: upper or middle lobe
    lobes = np.zeros(lungs.shape, np.uint8)
    right, left = lungs == 1, lungs == 2
    lobes[right & (oblique <= 0)] = 3
    lobes[right & (oblique > 0)] = 2
    lobes[right & (oblique > 0) & (horizontal > 0)] = 1
    lobes[left & (oblique <= 0)] = 5
    lobes[left & (oblique > 0)] = 4
    # the lower lobes lie behind and below: what is above the oblique plane at the back is upper lobe
    return lobes


def _table(shape: tuple, spacing_mm: tuple, origin: tuple) -> NDArray[np.float32]:
    y = (np.arange(shape[1], dtype=np.float32) * spacing_mm[1] + origin[1])[None, :, None]
    x = (np.arange(shape[2], dtype=np.float32) * spacing_mm[2] + origin[2])[None, None, :]
    plate = np.abs(y - (158 - 0.0012 * x**2)) - 4
    plate = np.maximum(plate, np.abs(x) - 175)
    return np.broadcast_to(plate, shape)


def _paint(hu: NDArray[np.float32], distance_mm: NDArray, width_mm: float, value_hu: float) -> None:
    hu += fraction_inside(distance_mm, width_mm) * (np.float32(value_hu) - hu)
