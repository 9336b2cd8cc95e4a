"""Virtual pneumonia: planned shares, lesions where and as dense as their kind says, things that only look like them."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage, stats

from lungtypes.errors import InputError
from lungtypes.phantom.pneumonia import (
    KIND_SHARES,
    KINDS,
    PneumoniaPlan,
    plan_members,
    pneumonia_arrays,
    render_member,
    severity_grade,
)
from lungtypes.phantom.pneumonia_lesions import draw_pneumonia, paint_pneumonia
from lungtypes.phantom.pneumonia_person import air_share, draw_patient, render_patient

SCRIPTS = Path(__file__).parents[3] / "scripts"
PLAN = PneumoniaPlan(seed=5)
SMALL = PneumoniaPlan(seed=3, train=9, test=9)
TINY = PneumoniaPlan(seed=3, train=3, test=0)
SIZE, SPACING_MM = 64, 312 / 64
FINE, FINE_MM = 96, 3.25
REGIONS = ["right_upper", "right_middle", "right_lower", "left_upper", "left_lower"]
SHARES = (0.2, 0.1, 0.5, 0.2, 0.4)


@pytest.fixture(scope="module")
def cohort():
    return pneumonia_arrays(SMALL, size=SIZE)


@pytest.fixture(scope="module")
def clean():
    return render_patient(replace(draw_patient(8, np.random.default_rng(2)), motion_mm=0.0), size=FINE, seed=8)


def painted(clean, kind, shares=SHARES):
    """HU with lesions, the lesions, and lesion voxels at least two voxels from their border and from the lung's."""
    pneumonia = draw_pneumonia(kind, shares, np.random.default_rng(4))
    hu, lesions = paint_pneumonia(clean, pneumonia, spacing_mm=FINE_MM, rng=np.random.default_rng(6))
    deep = ndimage.binary_erosion(lesions, iterations=2) & (clean.inside == 1)
    assert deep.sum() > 1000
    return hu, lesions, deep, pneumonia


def dice(first, second):
    return 2 * (first & second).sum() / max(first.sum() + second.sum(), 1)


def test_plan_has_the_shares_of_the_kinds_in_both_splits():
    members = plan_members(PLAN)
    for split, total in (("train", 120), ("test", 90)):
        counts = [sum(m.split == split and m.kind == kind for m in members) for kind in KINDS]
        assert sum(counts) == total and np.abs(counts - np.array(KIND_SHARES) * total).max() < 1
    ill = np.array(KIND_SHARES[1:]) / sum(KIND_SHARES[1:])
    assert sum(KIND_SHARES) == pytest.approx(1) and np.allclose(ill, [0.35, 0.20, 0.15, 0.30], atol=0.01)


def test_ids_say_nothing_of_split_kind_or_extent():
    members = plan_members(PLAN)
    assert [m.subject for m in members] == [f"P{n:03d}" for n in range(1, 211)]
    place, test = np.arange(210), np.array([m.split == "test" for m in members])
    assert stats.mannwhitneyu(place[test], place[~test]).pvalue > 0.01
    assert stats.kruskal(*(place[[m.kind == kind for m in members]] for kind in KINDS)).pvalue > 0.01
    assert stats.spearmanr(place, [sum(m.lobe_shares) for m in members]).pvalue > 0.01


def test_ill_members_have_lesions_mostly_on_both_sides_and_most_in_the_lower_lobes():
    members = plan_members(PLAN)
    shares = np.array([m.lobe_shares for m in members])
    ill = np.array([m.kind != "none" for m in members])
    assert (shares[~ill] == 0).all() and (shares[ill].max(axis=1) > 0).all() and shares.max() < 1
    both = (shares[ill, :3].max(axis=1) > 0) & (shares[ill, 3:].max(axis=1) > 0)
    assert 0.75 < both.mean() < 1
    assert 0.1 < (shares[ill] == 0).mean() < 0.35  # lobes that are spared
    lower = shares[ill][:, [2, 4]].mean()
    assert lower > 1.5 * shares[ill][:, [0, 1, 3]].mean()


def test_all_grades_are_found_and_none_fills_the_cohort():
    members = plan_members(PneumoniaPlan(seed=9, train=400, test=400))
    grades = [severity_grade(100 * share) for m in members for share in m.lobe_shares]
    share = np.bincount(grades, minlength=6) / len(grades)
    assert 0.28 < share[0] < 0.42 and share[1:5].min() > 0.05 and share[5] > 0.01


@pytest.mark.parametrize(
    ("percent", "grade"),
    [
        (0, 0),
        (0.99, 0),
        (1, 1),
        (4.99, 1),
        (5, 2),
        (24.9, 2),
        (25, 3),
        (49.9, 3),
        (50, 4),
        (74.9, 4),
        (75, 5),
        (100, 5),
    ],
)
def test_grade_follows_the_bounds(percent, grade):
    assert severity_grade(percent) == grade


def test_a_member_is_the_same_in_a_smaller_cohort_and_in_another_process(cohort):
    rows = {(m.names, m.severity, m.lobe_shares): row for row, m in enumerate(plan_members(SMALL))}
    *arrays, members, regions = pneumonia_arrays(TINY, size=SIZE, workers=2)
    for number, member in enumerate(plan_members(TINY)):
        row = rows[member.names, member.severity, member.lobe_shares]
        for fewer, all_of_them in zip(arrays, cohort[:3], strict=True):
            assert fewer[number].tobytes() == all_of_them[row].tobytes() and fewer.dtype == all_of_them.dtype
        assert members.lesion_percent[number] == cohort[3].lesion_percent[row]
        own = regions[regions.subject == member.subject].lobe_ml.tolist()
        assert own == cohort[4].lobe_ml[5 * row : 5 * row + 5].tolist()
    assert len({hu.tobytes() for hu in arrays[0]}) == 3


def test_another_seed_gives_another_person():
    member = plan_members(TINY)[0]
    assert not np.array_equal(render_member(3, member, 48)[1], render_member(4, member, 48)[1])


def test_a_grid_too_coarse_for_lesions_is_refused():
    with pytest.raises(InputError, match="found 40"):
        render_member(3, plan_members(TINY)[0], 40)


def test_arrays_hold_lungs_in_the_middle_five_lobes_and_lesions_within_them(cohort):
    hu, lobes, lesions, members, _ = cohort
    assert hu.shape == lobes.shape == lesions.shape == (18, SIZE, SIZE, SIZE)
    assert (hu.dtype, lobes.dtype, lesions.dtype) == (np.int16, np.uint8, np.uint8)
    for number, kind in enumerate(members.kind):
        places = np.argwhere(lobes[number] > 0)
        assert places.min() > 0 and np.abs(places.min(axis=0) + places.max(axis=0) + 1 - SIZE).max() <= 3
        assert np.unique(lobes[number]).tolist() == [0, 1, 2, 3, 4, 5]
        upper, lower, left = (ndimage.center_of_mass(lobes[number] == lobe) for lobe in (1, 3, 5))
        assert upper[0] > lower[0] and upper[2] < left[2]  # z to the head, x to the patient's left (LPS)
        assert set(np.unique(lesions[number])) == ({0} if kind == "none" else {0, KINDS.index(kind)})
    assert not lesions[lobes == 0].any()
    assert members.lung_ml.between(2000, 8500).all() and members.lung_ml.std() > 300
    assert hu.min() >= -1024 and hu[:, 32, 32].max() < 1500


def test_percentages_are_those_of_the_masks_and_of_the_plan(cohort):
    _, lobes, lesions, members, regions = cohort
    assert regions.columns.tolist() == ["subject", "region", "lobe_ml", "lesion_percent", "grade", "kind"]
    assert regions.region.tolist() == REGIONS * 18 and (regions.subject == np.repeat(members.subject, 5).values).all()
    planned = np.array([m.lobe_shares for m in plan_members(SMALL)])
    for row, region in enumerate(regions.itertuples()):
        lobe = lobes[row // 5] == row % 5 + 1
        ill = lobe & (lesions[row // 5] > 0)
        assert region.lesion_percent == pytest.approx(100 * ill.sum() / lobe.sum())
        assert region.lobe_ml == pytest.approx(lobe.sum() * SPACING_MM**3 / 1000)
        assert region.lesion_percent == pytest.approx(100 * planned[row // 5, row % 5], abs=0.8)  # specks are left out
        assert region.kind == (members.kind[row // 5] if ill.any() else "none")
        assert region.grade == np.sum(region.lesion_percent >= np.array([1, 5, 25, 50, 75]))
    whole = 100 * (lesions > 0).sum(axis=(1, 2, 3)) / (lobes > 0).sum(axis=(1, 2, 3))
    assert np.allclose(members.lesion_percent, whole)


def test_lesions_lie_near_the_pleura_and_at_the_back(cohort):
    _, lobes, lesions, _, _ = cohort
    nearer, further_back = [], []
    for own, ill in zip(lobes > 0, lesions > 0, strict=True):
        if 0.02 < ill.sum() / own.sum() < 0.5:
            depth = ndimage.distance_transform_edt(own) * SPACING_MM
            y = np.broadcast_to(np.arange(SIZE)[None, :, None], own.shape)
            nearer.append(depth[own & ~ill].mean() - depth[ill].mean())
            further_back.append(y[ill].mean() - y[own & ~ill].mean())
    assert len(nearer) >= 6
    assert np.mean(np.array(nearer) > 0) > 0.8 and np.mean(further_back) * SPACING_MM > 5


def test_ground_glass_is_a_haze_of_150_to_350_hu_in_which_vessels_stay(clean):
    hu, lesions, deep, _ = painted(clean, "ground_glass")
    lung = deep & (clean.hu < -830) & (clean.hu > -880)
    assert np.percentile(hu[lung] - clean.hu[lung], 2) > 140 and (hu[lung] - clean.hu[lung]).max() < 352
    vessels = deep & (clean.hu > 0)
    assert vessels.sum() > 20 and np.abs(hu[vessels] - clean.hu[vessels]).max() < 15
    assert (np.median(hu[vessels]) - np.median(hu[lung])) > 400


def test_crazy_paving_is_ground_glass_with_a_net_of_lines_of_150_hu(clean):
    hu, _, deep, drawn = painted(clean, "crazy_paving")
    glass, *_ = painted(clean, "ground_glass")
    lung = deep & (clean.hu < -780)
    added = (hu - clean.hu)[lung] / air_share(clean.hu)[lung]
    assert added.min() > 150 * 0.5 and 350 < added.max() < 500
    # the cells hold glass alone: two populations, lines the smaller one
    plain = (glass - clean.hu)[lung] / air_share(clean.hu)[lung]
    lines = added - plain > 75
    assert 8 <= drawn.mesh_mm <= 15 and 0.15 < lines.mean() < 0.7 and np.abs(added - plain).min() < 1


def test_consolidation_is_solid_hides_vessels_and_shows_bronchi(clean):
    hu, _, deep, _ = painted(clean, "consolidation", (0.6, 0.6, 0.8, 0.6, 0.8))
    solid = deep & (clean.lumen == 0)
    assert np.percentile(hu[solid], 5) >= -100 and hu[solid].max() <= 61
    vessels, lung = solid & (clean.hu > 0), solid & (clean.hu < -800)
    assert vessels.sum() > 20 and abs(np.median(hu[vessels]) - np.median(hu[lung])) < 15
    bronchi = deep & (clean.lumen > 0.4)
    assert bronchi.sum() > 10 and np.median(hu[bronchi]) < -400


def test_mixed_pneumonia_has_solid_cores_in_ground_glass(clean):
    hu, lesions, deep, drawn = painted(clean, "mixed")
    lung = lesions & (clean.hu < -780) & (clean.lumen == 0) & (clean.inside == 1)
    solid = (hu[lung] > -200).mean()
    assert 0.1 < solid < drawn.core_share + 0.05
    assert ((hu[lung] > -760) & (hu[lung] < -450)).mean() > 0.3


@pytest.mark.parametrize("kind", KINDS[1:])
def test_lung_away_from_lesions_and_the_body_stay_as_they_were(clean, kind):
    hu, lesions, _, _ = painted(clean, kind)
    before = clean.hu.copy()
    far = ~ndimage.binary_dilation(lesions, iterations=8)
    assert np.array_equal(hu[far], before[far])
    chest = (clean.lobes == 0) & (clean.inside == 0)
    assert np.array_equal(hu[chest], before[chest])
    assert hu is not clean.hu


def test_what_looks_like_a_lesion_lies_in_healthy_lungs(clean):
    lungs = clean.lobes > 0
    inner = ndimage.binary_erosion(lungs, iterations=2)
    assert (clean.hu[inner] > -600).mean() > 0.02  # vessels and walls, denser than ground glass
    assert (clean.lumen[inner] > 0.3).sum() > 50
    depth = ndimage.distance_transform_edt(lungs) * FINE_MM
    y = np.broadcast_to(np.arange(FINE)[None, :, None], lungs.shape)
    ring = lungs & (depth > 5) & (depth < 15)
    back, front = ring & (y > np.quantile(y[ring], 0.8)), ring & (y < np.quantile(y[ring], 0.2))
    assert np.median(clean.hu[back]) - np.median(clean.hu[front]) > 30


def test_motion_doubles_the_base_of_the_lungs_only():
    still = replace(draw_patient(8, np.random.default_rng(2)), motion_mm=0.0)
    scans = [render_patient(replace(still, motion_mm=mm, ghost=0.4), size=48, seed=8) for mm in (0.0, 13.0)]
    change = np.abs(scans[1].hu - scans[0].hu)
    rows = np.flatnonzero((scans[0].lobes > 0).any(axis=(1, 2)))
    middle = (rows[0] + rows[-1]) // 2
    assert change[middle + 1 :].max() == 0 and change[rows[0] : rows[0] + 8].max() > 100
    assert change[scans[0].lobes == 0].max() == 0


def test_a_threshold_does_not_find_the_lesions(cohort):
    hu, lobes, lesions, members, _ = cohort
    ill = np.flatnonzero(members.kind != "none")
    best = max(
        np.mean([dice((hu[n] > threshold) & (lobes[n] > 0), lesions[n] > 0) for n in ill])
        for threshold in range(-850, -99, 50)
    )
    assert 0.3 < best < 0.68


def test_rendering_needs_neither_imaging_libraries_nor_pandas():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\nimport lungtypes.phantom.pneumonia\n"
        "bad = {'SimpleITK', 'nibabel', 'pandas', 'sklearn', 'torch'} & set(sys.modules)\n"
        "sys.exit(repr(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code, str(SCRIPTS)], check=True)
