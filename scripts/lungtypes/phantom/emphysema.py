"""Virtual emphysema as arrays in each person's own space, in the setting of dCAM (Xie et al. 2021).

Six grades of the Fleischner Society (Lynch et al. 2015) and, planted across them, two distributions: upper-lobe
dominant centrilobular and paraseptal. Neighbouring grades overlap. Our own construction. Needs numpy and scipy only
but for the table, so that a machine without imaging libraries can make the same arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lungtypes.errors import InputError
from lungtypes.imaging.hounsfield import AIR_HU, MAX_HU, OUTSIDE
from lungtypes.phantom.emphysema_holes import Holes, draw_holes, no_holes, share_destroyed
from lungtypes.phantom.emphysema_person import FIELD_MM, draw_chest
from lungtypes.phantom.shapes import fraction_inside
from lungtypes.phantom.thorax import body_distances, canonical_points, render_thorax, smooth_field
from lungtypes.randomness import derive_seed, stream

if TYPE_CHECKING:
    import pandas as pd

GRADES = ("absent", "trace", "mild", "moderate", "confluent", "advanced destructive")
GRADE_SHARES = (0.25, 0.18, 0.20, 0.18, 0.12, 0.07)  # fewer the worse, yet enough of each to find; ours
DISTRIBUTIONS = ("upper", "paraseptal")
UPPER_SHARE = 0.55  # within every grade from trace on
# destroyed share of the lungs by grade from trace on: median and SD of its logarithm. Trace ends and moderate begins
# about where Lynch et al. put them, at 0.5 % and 5 % of a zone; the overlap is ours
SEVERITY = ((0.0025, 0.90), (0.010, 0.85), (0.036, 0.72), (0.105, 0.58), (0.250, 0.40))
SEVERITY_LIMITS = (0.0005, 0.45)
SIZES = {96: (1, 1.0), 48: (2, 0.5)}  # voxels: points per edge to sample holes, noise of the larger voxel
DESTROYED_HU = -985.0
GRAIN_VOXELS = 0.5
LAA_HU = -950
# share of members, noise of a 3.25 mm voxel in HU, offset in HU; models as COPDGene's sites had them, figures ours
SCANNERS = {
    "LightSpeed 16": (0.20, 18.0, 2.0),
    "LightSpeed VCT": (0.25, 17.0, 0.0),
    "Sensation 64": (0.20, 19.0, -5.0),
    "Definition AS+": (0.20, 15.0, -2.0),
    "Brilliance 64": (0.15, 16.0, 5.0),
}


@dataclass(frozen=True)
class EmphysemaPlan:
    """What to generate: the seed and how many members of each split."""

    seed: int
    train: int = 120
    test: int = 240


@dataclass(frozen=True)
class Member:
    """One member of the plan; ``number`` counts within split, grade and distribution and names the random streams.

    grade : index of GRADES. distribution : of DISTRIBUTIONS, empty for grade 0. severity : destroyed share, 0-1.
    """

    subject: str
    split: str
    grade: int
    distribution: str
    number: int
    severity: float
    scanner: str

    @property
    def names(self) -> tuple[str | int, ...]:
        """What the member's random streams are called."""
        return "emphysema", self.split, self.grade, self.distribution, self.number


def plan_members(plan: EmphysemaPlan) -> list[Member]:
    """All members in the order of their ids, which say nothing of grade, distribution or split."""
    kinds = [
        (split, grade, distribution, number)
        for split, count in (("train", plan.train), ("test", plan.test))
        for grade, in_grade in enumerate(_counts(count))
        for distribution, of_kind in _of_distribution(grade, in_grade)
        for number in range(of_kind)
    ]
    places = stream(plan.seed, "emphysema", "order").permutation(len(kinds))
    members = [_draw_member(plan.seed, int(place), *kind) for place, kind in zip(places, kinds, strict=True)]
    return sorted(members, key=lambda member: int(member.subject[1:]))  # past E999 the text would not sort


def render_member(seed: int, member: Member, size: int) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """The member's lungs on a cube of ``size`` voxels (48 or 96) over 312 mm, in the middle of it.

    Returns HU (size, size, size) int16, OUTSIDE where no lung is, and lesions bool: voxels of which half is destroyed.
    """
    parts, noise_share = _sampling(size)
    spacing, own = FIELD_MM / size, derive_seed(seed, *member.names, "person")
    rng = stream(seed, *member.names, "chest")
    chest = draw_chest(own, member.severity, rng)
    _, noise_hu, offset_hu = SCANNERS[member.scanner]
    noise_hu *= noise_share * rng.uniform(0.9, 1.1)

    thorax = render_thorax(chest.person, shape=(size,) * 3, spacing_mm=(spacing,) * 3, seed=own)
    lungs = thorax.lungs > 0
    grid = canonical_points(chest.person, lungs.shape, thorax.spacing_mm, thorax.origin_mm)
    points = np.stack([p[lungs] for p in grid], axis=1)  # (n, 3)
    bodies = body_distances(tuple(points.T))
    inside = fraction_inside(np.minimum(bodies["right"], bodies["left"]), spacing)

    # few voxels of 6.5 mm lie wholly in or out of a hole, so their parts are looked at
    offsets = _offsets(parts, spacing) / np.asarray(chest.person.scale_zyx, np.float32)
    destroyed = share_destroyed(_holes(seed, member), points, offsets, spacing / parts)

    hu = thorax.hu[lungs] + inside * (
        chest.gravity_hu_per_mm * points[:, 1] + chest.apex_hu_per_mm * points[:, 0] + offset_hu
    )
    # at the surface only the lung's part of the voxel can be destroyed, not the wall's
    lung_hu = np.where(inside < 1, np.minimum(hu, chest.person.parenchyma_hu), hu)
    hu += destroyed * inside * (DESTROYED_HU - lung_hu)
    noise = smooth_field(stream(seed, *member.names, "noise"), lungs.shape, thorax.spacing_mm, GRAIN_VOXELS * spacing)
    hu += noise_hu * noise[lungs]

    image, lesions = np.full(lungs.shape, OUTSIDE, np.int16), np.zeros(lungs.shape, bool)
    image[lungs] = np.clip(np.rint(hu), AIR_HU, MAX_HU)
    lesions[lungs] = destroyed >= 0.5
    return image, lesions


def emphysema_arrays(
    plan: EmphysemaPlan, *, size: int, workers: int = 1
) -> tuple[NDArray[np.int16], NDArray[np.bool_], pd.DataFrame]:
    """The cohort in the order of :func:`plan_members`: HU (N, Z, Y, X) int16, lesions (N, Z, Y, X) bool, and the table.

    Parameters
    ----------
    size : voxels along an edge, 48 (6.5 mm) or 96 (3.25 mm). workers : processes; the bytes do not depend on it.

    The table has a row a member: subject, split, grade, grade_name, distribution (empty for grade 0), severity,
    scanner, lesion_share (of lung voxels), laa950_percent (of lung voxels below -950 HU), lung_ml.
    """
    import pandas as pd  # the arrays can do without it

    _sampling(size)
    members = plan_members(plan)
    hu, lesions = np.empty((len(members), *(size,) * 3), np.int16), np.empty((len(members), *(size,) * 3), bool)
    rows = []
    for number, (member, scan) in enumerate(zip(members, _scans(plan.seed, members, size, workers), strict=True)):
        hu[number], lesions[number] = scan
        rows.append(_row(member, *scan, voxel_ml=(FIELD_MM / size) ** 3 / 1000))
    return hu, lesions, pd.DataFrame(rows)


def _counts(total: int) -> list[int]:
    """Members of each grade, which sum to ``total``: shares rounded down, the largest remainders one more."""
    exact = np.array(GRADE_SHARES) * total
    counts = np.floor(exact + 1e-9).astype(int)
    most = np.argsort(-(exact - counts), kind="stable")[: total - counts.sum()]
    counts[most] += 1
    return counts.tolist()


def _of_distribution(grade: int, count: int) -> list[tuple[str, int]]:
    if grade == 0:
        return [("", count)]
    upper = round(UPPER_SHARE * count)
    return [("upper", upper), ("paraseptal", count - upper)]


def _draw_member(seed: int, place: int, split: str, grade: int, distribution: str, number: int) -> Member:
    rng = stream(seed, "emphysema", "member", split, grade, distribution, number)
    share = np.array([share for share, _, _ in SCANNERS.values()])
    scanner = str(rng.choice(list(SCANNERS), p=share / share.sum()))
    severity = 0.0
    if grade:
        median, spread = SEVERITY[grade - 1]
        severity = float(np.clip(median * np.exp(rng.normal(0, spread)), *SEVERITY_LIMITS))
    return Member(f"E{place + 1:03d}", split, grade, distribution, number, severity, scanner)


def _holes(seed: int, member: Member) -> Holes:
    if not member.grade:
        return no_holes()
    return draw_holes(member.distribution, member.grade, member.severity, stream(seed, *member.names, "holes"))


def _sampling(size: int) -> tuple[int, float]:
    if size not in SIZES:
        raise InputError(f"size of the virtual emphysema cohort: found {size}, expected 48 or 96. Choose one of them.")
    return SIZES[size]


def _offsets(parts: int, spacing_mm: float) -> NDArray[np.float32]:
    """Middles (parts^3, 3) of the parts of a voxel, in mm from its own middle."""
    along = ((np.arange(parts) + 0.5) / parts - 0.5) * spacing_mm
    return np.stack(np.meshgrid(along, along, along, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.float32)


def _scans(seed: int, members: list[Member], size: int, workers: int) -> Iterator[tuple[NDArray, NDArray]]:
    draw = partial(_scan, seed, size)
    if workers == 1:
        yield from map(draw, members)
        return
    with ProcessPoolExecutor(max_workers=workers) as pool:
        yield from pool.map(draw, members)


def _scan(seed: int, size: int, member: Member) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    return render_member(seed, member, size)


def _row(member: Member, hu: NDArray[np.int16], lesions: NDArray[np.bool_], *, voxel_ml: float) -> dict[str, object]:
    lungs = hu != OUTSIDE
    voxels = int(lungs.sum())
    return {
        "subject": member.subject,
        "split": member.split,
        "grade": member.grade,
        "grade_name": GRADES[member.grade],
        "distribution": member.distribution,
        "severity": member.severity,
        "scanner": member.scanner,
        "lesion_share": float(lesions.sum() / voxels),
        "laa950_percent": float(100 * (hu[lungs] < LAA_HU).sum() / voxels),
        "lung_ml": voxels * voxel_ml,
    }
