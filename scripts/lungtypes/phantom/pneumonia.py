"""Virtual COVID-19 pneumonia as arrays, with the lesion percentage of each lobe: the setting of dRAM (Xie et al. 2021).

Four kinds of lesions, own anatomy in each member, every lesion voxel known. What is as dense as a lesion without being
one lies in every scan. Our own construction. Needs numpy and scipy only but for the tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lungtypes.errors import InputError
from lungtypes.imaging.hounsfield import AIR_HU, MAX_HU
from lungtypes.imaging.zones import LOBES
from lungtypes.phantom.emphysema_person import FIELD_MM
from lungtypes.phantom.pneumonia_lesions import KINDS, draw_pneumonia, paint_pneumonia
from lungtypes.phantom.pneumonia_person import draw_patient, render_patient
from lungtypes.phantom.thorax import smooth_field
from lungtypes.randomness import derive_seed, stream

if TYPE_CHECKING:
    import pandas as pd

KIND_SHARES = (0.08, 0.32, 0.19, 0.13, 0.28)  # in the order of KINDS: 8 % without lesions, the rest as 35:20:15:30
GRADE_BOUNDS = (1.0, 5.0, 25.0, 50.0, 75.0)  # percent of a lobe; a bound belongs to the grade above it
# logit of a lobe's lesion share: mean and SD over members, lobes' own means (in the order of LOBES) and SD
EXTENT_LOGIT, EXTENT_SD = -2.25, 1.55
LOBE_LOGIT, LOBE_SD = (-0.7, -0.9, 0.8, -0.6, 0.7), 1.1
SPARED, LEAST_SHARE, MOST_SHARE = 0.22, 0.004, 0.97  # chance of a lobe without lesions; smaller shares count as none
SMALLEST, NOISE_SIZE = 48, 96  # voxels along an edge; noise is that of the size given second
GRAIN_VOXELS = 0.5


@dataclass(frozen=True)
class PneumoniaPlan:
    """What to generate: the seed and how many members of each split."""

    seed: int
    train: int = 120
    test: int = 90


@dataclass(frozen=True)
class Member:
    """One member of the plan; ``number`` counts within split and kind and names the random streams.

    kind : of KINDS. severity : the share of a middling lobe, 0-1. lobe_shares : planned shares in the order of LOBES.
    """

    subject: str
    split: str
    kind: str
    number: int
    severity: float
    lobe_shares: tuple[float, ...]

    @property
    def names(self) -> tuple[str | int, ...]:
        """What the member's random streams are called."""
        return "pneumonia", self.split, self.kind, self.number


def plan_members(plan: PneumoniaPlan) -> list[Member]:
    """All members in the order of their ids, which say nothing of kind, extent or split."""
    kinds = [
        (split, kind, number)
        for split, count in (("train", plan.train), ("test", plan.test))
        for kind, of_kind in zip(KINDS, _counts(count), strict=True)
        for number in range(of_kind)
    ]
    places = stream(plan.seed, "pneumonia", "order").permutation(len(kinds))
    members = [_draw_member(plan.seed, int(place), *kind) for place, kind in zip(places, kinds, strict=True)]
    return sorted(members, key=lambda member: int(member.subject[1:]))  # past P999 the text would not sort


def render_member(
    seed: int, member: Member, size: int = 96
) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.uint8]]:
    """The member's chest on a cube of ``size`` voxels over 312 mm, the lungs in the middle of it.

    Returns HU int16 of lungs and body, lobes uint8 (LOBES, 0 outside) and lesions uint8 (0, or the index in KINDS).
    Another size shows the same person with other lesions.
    """
    if size < SMALLEST:
        raise InputError(
            f"size of the virtual pneumonia cohort: found {size}, expected at least {SMALLEST} voxels. Choose 96."
        )
    spacing, own = FIELD_MM / size, derive_seed(seed, *member.names, "person")
    patient = draw_patient(own, stream(seed, *member.names, "patient"))
    scan = render_patient(patient, size=size, seed=own)
    pneumonia = draw_pneumonia(member.kind, member.lobe_shares, stream(seed, *member.names, "pneumonia"))
    hu, lesions = paint_pneumonia(scan, pneumonia, spacing_mm=spacing, rng=stream(seed, *member.names, "lesions"))
    grain = smooth_field(stream(seed, *member.names, "noise"), hu.shape, (spacing,) * 3, GRAIN_VOXELS * spacing)
    hu += patient.noise_hu * (size / NOISE_SIZE) * grain + patient.offset_hu
    image = np.clip(np.rint(hu), AIR_HU, MAX_HU).astype(np.int16)
    return image, scan.lobes, (lesions * KINDS.index(member.kind)).astype(np.uint8)


def pneumonia_arrays(
    plan: PneumoniaPlan, *, size: int = 96, workers: int = 1
) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.uint8], pd.DataFrame, pd.DataFrame]:
    """The cohort in the order of :func:`plan_members`: HU, lobes, lesions, each (N, Z, Y, X), and two tables.

    Parameters
    ----------
    size : voxels along an edge; 96 are 3.25 mm. workers : processes; the bytes do not depend on it.

    The first table has a row a member: subject, split, kind, severity, lung_ml, lesion_percent (of both lungs). The
    second a row a lobe: subject, region, lobe_ml, lesion_percent (0-100), grade (0-5, GRADE_BOUNDS) and kind, which is
    "none" where the lobe has no lesion.
    """
    import pandas as pd  # the arrays can do without it

    members = plan_members(plan)
    shape = (len(members), *(size,) * 3)
    hu, lobes, lesions = np.empty(shape, np.int16), np.empty(shape, np.uint8), np.empty(shape, np.uint8)
    own_rows, region_rows = [], []
    for number, (member, scan) in enumerate(zip(members, _scans(plan.seed, members, size, workers), strict=True)):
        hu[number], lobes[number], lesions[number] = scan
        regions = _region_rows(member, *scan[1:], voxel_ml=(FIELD_MM / size) ** 3 / 1000)
        own_rows.append(_member_row(member, regions))
        region_rows += regions
    return hu, lobes, lesions, pd.DataFrame(own_rows), pd.DataFrame(region_rows)


def severity_grade(percent: float) -> int:
    """Grade 0-5 of a lobe by its lesion percentage (0-100), as the scores of CT severity in dRAM (GRADE_BOUNDS)."""
    return int(np.searchsorted(GRADE_BOUNDS, percent, side="right"))


def _counts(total: int) -> list[int]:
    """Members of each kind, which sum to ``total``: shares rounded down, the largest remainders one more."""
    exact = np.array(KIND_SHARES) * total
    counts = np.floor(exact + 1e-9).astype(int)
    most = np.argsort(-(exact - counts), kind="stable")[: total - counts.sum()]
    counts[most] += 1
    return counts.tolist()


def _draw_member(seed: int, place: int, split: str, kind: str, number: int) -> Member:
    rng = stream(seed, "pneumonia", "member", split, kind, number)
    severity, shares = 0.0, np.zeros(len(LOBES))
    if kind != "none":
        extent = rng.normal(EXTENT_LOGIT, EXTENT_SD)
        severity = float(1 / (1 + np.exp(-extent)))
        shares = 1 / (1 + np.exp(-(extent + np.array(LOBE_LOGIT) + rng.normal(0, LOBE_SD, len(LOBES)))))
        most = int(shares.argmax())
        shares[(rng.random(len(LOBES)) < SPARED) & (np.arange(len(LOBES)) != most)] = 0
        shares[most] = max(shares[most], 2 * LEAST_SHARE)  # who is ill has at least one lesion
        shares = np.where(shares < LEAST_SHARE, 0, np.minimum(shares, MOST_SHARE))
    return Member(f"P{place + 1:03d}", split, kind, number, severity, tuple(float(s) for s in shares))


def _scans(seed: int, members: Sequence[Member], size: int, workers: int) -> Iterator[tuple[NDArray, ...]]:
    draw = partial(_scan, seed, size)
    if workers == 1:
        yield from map(draw, members)
        return
    with ProcessPoolExecutor(max_workers=workers) as pool:
        yield from pool.map(draw, members)


def _scan(seed: int, size: int, member: Member) -> tuple[NDArray, ...]:
    return render_member(seed, member, size)


def _region_rows(member: Member, lobes: NDArray, lesions: NDArray, *, voxel_ml: float) -> list[dict[str, object]]:
    voxels = np.bincount(lobes.ravel(), minlength=len(LOBES) + 1)
    ill = np.bincount(lobes[lesions > 0], minlength=len(LOBES) + 1)
    rows = []
    for label, name in LOBES.items():
        percent = 100 * float(ill[label]) / float(voxels[label])
        rows.append(
            {
                "subject": member.subject,
                "region": name,
                "lobe_ml": voxels[label] * voxel_ml,
                "lesion_percent": percent,
                "grade": severity_grade(percent),
                "kind": member.kind if ill[label] else "none",
            }
        )
    return rows


def _member_row(member: Member, regions: list[dict[str, object]]) -> dict[str, object]:
    lung_ml = sum(row["lobe_ml"] for row in regions)
    return {
        "subject": member.subject,
        "split": member.split,
        "kind": member.kind,
        "severity": member.severity,
        "lung_ml": lung_ml,
        "lesion_percent": sum(row["lesion_percent"] * row["lobe_ml"] for row in regions) / lung_ml,
    }
