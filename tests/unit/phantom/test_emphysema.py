"""Virtual emphysema: shares and overlap of the grades, holes where the distribution says, independence of members."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage, stats
from sklearn.metrics import roc_auc_score

from lungtypes.errors import InputError
from lungtypes.imaging.hounsfield import OUTSIDE
from lungtypes.phantom.anatomy import neutral_person
from lungtypes.phantom.emphysema import (
    GRADE_SHARES,
    GRADES,
    SEVERITY,
    EmphysemaPlan,
    emphysema_arrays,
    plan_members,
    render_member,
)
from lungtypes.phantom.emphysema_holes import Holes, draw_holes, no_holes, share_destroyed
from lungtypes.phantom.emphysema_person import draw_chest
from lungtypes.phantom.thorax import body_distances, canonical_points

SCRIPTS = Path(__file__).parents[3] / "scripts"
PLAN = EmphysemaPlan(seed=5)
SMALL = EmphysemaPlan(seed=3, train=12, test=24)
TINY = EmphysemaPlan(seed=3, train=3, test=0)
SIZE, SPACING_MM = 48, 6.5


@pytest.fixture(scope="module")
def cohort():
    return emphysema_arrays(SMALL, size=SIZE)


def where_the_lesions_are(hu, lesions):
    """Share of lesions in the lungs' upper third by height, and median distance of lesions to the surface in mm."""
    lungs = hu != OUTSIDE
    rows = np.flatnonzero(lungs.any(axis=(1, 2)))
    upper = lesions[np.arange(SIZE) > rows[0] + len(rows) * 2 / 3].sum() / lesions.sum()
    depth = ndimage.distance_transform_edt(lungs) * SPACING_MM
    return upper, np.median(depth[lesions])


def test_plan_has_the_shares_of_the_grades_in_both_splits_and_each_distribution_in_every_grade():
    members = plan_members(PLAN)
    for split, total in (("train", 120), ("test", 240)):
        counts = np.bincount([m.grade for m in members if m.split == split], minlength=6)
        assert counts.sum() == total and np.abs(counts - np.array(GRADE_SHARES) * total).max() < 1
    assert sum(GRADE_SHARES) == pytest.approx(1) and len(GRADES) == len(SEVERITY) + 1 == 6
    assert {m.distribution for m in members if m.grade == 0} == {""}
    upper = [np.mean([m.distribution == "upper" for m in members if m.grade == grade]) for grade in range(1, 6)]
    assert min(upper) > 0.5 and max(upper) < 0.6  # the distribution does not follow the grade


def test_ids_say_nothing_of_split_grade_or_distribution():
    members = plan_members(PLAN)
    assert [m.subject for m in members] == [f"E{n:03d}" for n in range(1, 361)]
    place = np.arange(360)
    test = np.array([m.split == "test" for m in members])
    upper = np.array([m.distribution == "upper" for m in members])
    assert stats.mannwhitneyu(place[test], place[~test]).pvalue > 0.01
    assert stats.mannwhitneyu(place[upper], place[~upper]).pvalue > 0.01
    assert stats.spearmanr(place, [m.grade for m in members]).pvalue > 0.01


def test_neighbouring_grades_overlap_in_severity_and_are_in_order_on_average():
    plan = EmphysemaPlan(seed=11, train=0, test=3000)
    severity = [np.array([m.severity for m in plan_members(plan) if m.grade == grade]) for grade in range(6)]
    assert (severity[0] == 0).all() and min(s.min() for s in severity[1:]) > 0
    for milder, worse in zip(severity[1:], severity[2:], strict=False):
        wrong = (milder[:, None] > worse[None, :]).mean()
        assert 0.05 < wrong < 0.25
    assert (np.diff([np.median(s) for s in severity]) > 0).all()


def test_a_member_is_the_same_in_a_smaller_cohort_and_in_another_process(cohort):
    hu, lesions, table = cohort
    rows = {(m.names, m.severity, m.scanner): row for row, m in enumerate(plan_members(SMALL))}
    fewer_hu, fewer_lesions, fewer = emphysema_arrays(TINY, size=SIZE, workers=2)
    for number, member in enumerate(plan_members(TINY)):
        row = rows[member.names, member.severity, member.scanner]
        assert np.array_equal(fewer_hu[number], hu[row]) and np.array_equal(fewer_lesions[number], lesions[row])
        assert fewer.lung_ml[number] == table.lung_ml[row]
    assert len({fewer_hu[n].tobytes() for n in range(3)}) == 3


def test_another_seed_gives_another_person():
    member = plan_members(TINY)[0]
    assert not np.array_equal(render_member(3, member, SIZE)[0], render_member(4, member, SIZE)[0])


def test_lungs_lie_in_the_middle_and_lesions_in_the_lungs(cohort):
    hu, lesions, _ = cohort
    assert hu.shape == lesions.shape == (36, SIZE, SIZE, SIZE) and hu.dtype == np.int16 and lesions.dtype == bool
    for scan, own in zip(hu, lesions, strict=True):
        places = np.argwhere(scan != OUTSIDE)
        assert places.min() > 0 and places.max() < SIZE - 1
        assert np.abs(places.min(axis=0) + places.max(axis=0) + 1 - SIZE).max() <= 2  # a voxel off at most
        assert not (own & (scan == OUTSIDE)).any()


def test_hu_are_those_of_lung_and_of_destroyed_lung(cohort):
    hu, lesions, table = cohort
    lungs = hu != OUTSIDE
    assert hu[lungs].min() >= -1024 and hu[lungs].max() < 300
    inner = np.stack([ndimage.binary_erosion(own) for own in lungs])
    assert -985 < np.median(hu[lesions & inner]) < -950
    healthy = np.array([np.median(scan[own & ~ill]) for scan, own, ill in zip(hu, inner, lesions, strict=True)])
    assert healthy.min() > -930 and healthy.max() < -790 and healthy.std() > 8  # persons differ
    assert table.lung_ml.between(2500, 9000).all() and table.lung_ml.std() > 400


def test_table_counts_what_the_arrays_hold(cohort):
    hu, lesions, table = cohort
    lungs = hu != OUTSIDE
    voxels = lungs.sum(axis=(1, 2, 3))
    assert table.columns.tolist() == [
        *("subject", "split", "grade", "grade_name", "distribution"),
        *("severity", "scanner", "lesion_share", "laa950_percent", "lung_ml"),
    ]
    assert np.allclose(table.lesion_share, lesions.sum(axis=(1, 2, 3)) / voxels)
    assert np.allclose(table.laa950_percent, 100 * (lungs & (hu < -950)).sum(axis=(1, 2, 3)) / voxels)
    assert np.allclose(table.lung_ml, voxels * 0.65**3)  # cm^3
    assert (table.lesion_share[table.grade == 0] == 0).all() and (table.distribution[table.grade == 0] == "").all()
    assert [GRADES[grade] for grade in table.grade] == table.grade_name.tolist()


def test_distribution_is_read_from_the_place_and_not_from_the_mean(cohort):
    hu, lesions, table = cohort
    seen = table.index[(lesions.sum(axis=(1, 2, 3)) >= 10)]
    place = np.array([where_the_lesions_are(hu[row], lesions[row]) for row in seen])
    upper = (table.distribution[seen] == "upper").to_numpy()
    assert len(seen) >= 15 and 5 <= upper.sum() <= len(seen) - 5
    assert place[upper, 0].mean() > 0.6 and place[~upper, 0].mean() < 0.5
    assert place[upper, 1].mean() > 14 and place[~upper, 1].mean() < 11
    assert roc_auc_score(upper, place[:, 1]) > 0.9
    mean = np.array([hu[row][hu[row] != OUTSIDE].mean() for row in seen])
    assert 0.2 < roc_auc_score(upper, mean) < 0.8


def test_worse_grades_have_more_lesions_and_larger_flatter_lungs(cohort):
    *_, table = cohort
    assert stats.spearmanr(table.grade, table.lesion_share).statistic > 0.9
    assert stats.spearmanr(table.severity, table.laa950_percent).statistic > 0.6
    ill, well = (draw_chest(9, severity, np.random.default_rng(1)) for severity in (0.4, 0.0))
    assert ill.overinflation > well.overinflation + 0.5
    assert ill.person.inspiration > well.person.inspiration
    assert ill.person.warp_mm[0, 1, 2, 1] > well.person.warp_mm[0, 1, 2, 1] + 10  # the dome, not the apex
    assert ill.person.warp_mm[0, 4, 2, 1] == well.person.warp_mm[0, 4, 2, 1]


def test_both_grids_show_the_same_person():
    member = next(m for m in plan_members(SMALL) if m.grade == 5)
    coarse, fine = render_member(3, member, 48), render_member(3, member, 96)
    assert (fine[0] != OUTSIDE).sum() / 8 == pytest.approx((coarse[0] != OUTSIDE).sum(), rel=0.02)
    blocks = fine[1].reshape(48, 2, 48, 2, 48, 2).mean(axis=(1, 3, 5))
    assert np.corrcoef(blocks.ravel(), coarse[1].ravel())[0, 1] > 0.85
    with pytest.raises(InputError, match="found 64"):
        render_member(3, member, 64)


@pytest.mark.parametrize(
    ("distribution", "grade", "share"), [("upper", 2, 0.01), ("upper", 5, 0.3), ("paraseptal", 4, 0.1)]
)
def test_holes_take_the_share_that_was_asked_for(distribution, grade, share):
    holes = draw_holes(distribution, grade, share, np.random.default_rng(2))
    # counted on a regular grid in the lungs of a neutral person
    points = canonical_points(neutral_person(0, shift_zyx_mm=(0, 0, 0)), (100,) * 3, (3.0,) * 3, (-148.5,) * 3)
    bodies = body_distances(points)
    lungs = (np.minimum(bodies["right"], bodies["left"]) < 0) & (bodies["airway"] > 0)
    spots = np.stack([p[lungs] for p in points], axis=1)
    taken = np.zeros(len(spots), bool)
    for centre, radii in zip(holes.centres_mm, holes.radii_mm, strict=True):
        taken |= (((spots - centre) / radii) ** 2).sum(axis=1) <= 1
    assert taken.mean() == pytest.approx(share, rel=0.1)


@pytest.mark.parametrize(("width_mm", "parts", "radius_mm"), [(3.25, 1, 5.0), (3.25, 2, 3.0), (3.25, 1, 12.0)])
def test_partial_volume_of_a_ball_sums_to_its_volume(width_mm, parts, radius_mm):
    spacing = width_mm * parts
    axis = (np.arange(-12, 13) * spacing).astype(np.float32)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    along = (np.arange(parts) - (parts - 1) / 2) * width_mm
    offsets = np.stack(np.meshgrid(along, along, along, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.float32)
    ball = Holes(np.array([[0.7, -0.4, 0.2]], np.float32), np.full((1, 3), radius_mm, np.float32))
    volume = share_destroyed(ball, points, offsets, width_mm).sum() * spacing**3
    assert volume == pytest.approx(4 / 3 * np.pi * radius_mm**3, rel=0.08)
    assert share_destroyed(no_holes(), points, offsets, width_mm).max() == 0


def test_rendering_needs_neither_imaging_libraries_nor_pandas():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\nimport lungtypes.phantom.emphysema\n"
        "bad = {'SimpleITK', 'nibabel', 'pandas', 'sklearn', 'torch'} & set(sys.modules)\n"
        "sys.exit(repr(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code, str(SCRIPTS)], check=True)
