"""The simulated lung slices: what a scenario says is what its images hold, and nothing else differs."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage, stats

from lungtypes.errors import InputError
from lungtypes.imaging.geometry import Volume, from_sitk, to_sitk, write_volume
from lungtypes.imaging.hounsfield import AIR_HU, MAX_HU, OUTSIDE
from lungtypes.phantom.lung_slices import (
    Lesions,
    LungSlice,
    Scenario,
    extra_scenarios,
    given_lung_slice,
    lesion_centres,
    paper_scenarios,
    simulate,
    synthetic_lung_slice,
)

LESIONS = Lesions((0, 100, 200, 300, 400), (2, 3, 4, 5, 6), 5, 7.0, 300.0, 4.0, 1)
N = 150
SCENARIOS = {s.name: s for s in paper_scenarios(N) + extra_scenarios(N)}


@pytest.fixture(scope="module")
def healthy():
    return synthetic_lung_slice(size=64, spacing_mm=3.0, people=3, seed=1)


@pytest.fixture(scope="module")
def silent(healthy):
    """The same slice without noise: every image is exactly what was planted."""
    return replace(healthy, residuals_hu=np.zeros(1, np.float32))


def in_mask(lung, image):
    return np.where(lung, image, OUTSIDE)


def moved(image, step, fill):
    """Independent of the code under test."""
    wide = np.pad(image, 64, constant_values=fill)
    return np.roll(wide, step, axis=(0, 1))[64:-64, 64:-64]


def test_slice_is_one_whole_lung_in_the_middle_of_the_image(healthy):
    box = ndimage.find_objects(healthy.lung.astype(int))[0]
    margins = [(s.start, 64 - s.stop) for s in box]
    assert healthy.lung.shape == (64, 64) and all(after - before in (0, 1) for before, after in margins)
    assert 1500 < healthy.lung.sum() < 1570  # in a box of 57 x 36; the paper's template has one of about 49 x 64
    assert (healthy.mean_hu[~healthy.lung] == OUTSIDE).all()
    assert -880 < healthy.mean_hu[healthy.lung].mean() < -780


def test_back_of_the_lung_is_denser_and_the_hilum_lies_on_the_right_of_the_image(healthy):
    rows, columns = np.indices(healthy.lung.shape)
    inner = ndimage.binary_erosion(healthy.lung, iterations=3)
    front, back = (np.median(healthy.mean_hu[inner & part]) for part in (rows < 24, rows > 40))
    assert back > front + 5
    airway = ndimage.binary_fill_holes(healthy.lung) & ~healthy.lung
    assert airway.any() and columns[airway].min() > columns[healthy.lung].mean()


def test_residuals_are_those_of_every_person_and_lung_voxel_about_their_mean(healthy):
    pool = healthy.residuals_hu
    assert pool.dtype == np.float32 and pool.shape == (3 * healthy.lung.sum(),)
    assert np.abs(pool.reshape(3, -1).mean(axis=0)).max() < 1e-3
    assert 15 < pool.std() < 150 and stats.skew(pool) > 1  # vessels make the long upper tail


def test_residuals_hold_noise_of_one_person_each_at_the_scanners_level(healthy):
    images = np.full((3, 64, 64), np.nan)
    images[:, healthy.lung] = healthy.residuals_hu.reshape(3, -1)
    steps = np.diff(images, axis=2)  # texture is smooth, vessels are few: what is left is the noise
    spread = 1.4826 * np.nanmedian(np.abs(steps))
    grain = np.exp(-1 / (4 * 0.55**2))  # of neighbours in scanner.acquire
    expected = 16 * np.sqrt(4 * 2.4 * 2.4 / 27) * np.sqrt(2 * (1 - grain)) * np.sqrt(2 / 3)  # two thirds: mean of three
    assert 0.9 * expected < spread < 1.6 * expected


def test_seed_decides_on_noise_and_vessels_but_not_on_the_shape():
    coarse = {"size": 32, "spacing_mm": 6.0, "people": 2}
    first, again, other = (synthetic_lung_slice(**coarse, seed=seed) for seed in (1, 1, 2))
    assert (first.residuals_hu == again.residuals_hu).all() and (first.mean_hu == again.mean_hu).all()
    assert (first.lung == other.lung).all() and not (first.mean_hu == other.mean_hu).all()


def test_a_lung_larger_than_the_image_and_a_single_person_are_refused():
    with pytest.raises(InputError, match="simulation.size: found a lung of .* expected at most 20 x 20"):
        synthetic_lung_slice(size=20, spacing_mm=6.0, people=2, seed=1)
    with pytest.raises(InputError, match="simulation.people"):
        synthetic_lung_slice(size=64, spacing_mm=6.0, people=1, seed=1)


def test_nine_scenarios_of_the_paper_share_out_all_images_evenly():
    assert [s.name for s in paper_scenarios(300)][:4] == ["intensity-3", "intensity-4", "intensity-5", "location-3"]
    assert [s.sizes for s in paper_scenarios(300)][:3] == [(100,) * 3, (75,) * 4, (60,) * 5]
    for scenario in paper_scenarios(301) + extra_scenarios(301):
        assert sum(scenario.sizes) == 301
        assert max(scenario.sizes) - min(scenario.sizes) <= 1 or scenario.name == "unbalanced"
    unbalanced = [next(s for s in extra_scenarios(n) if s.name == "unbalanced").sizes for n in (300, 299)]
    assert unbalanced == [(201, 69, 30), (200, 69, 30)]


def test_images_come_in_the_order_of_the_labels_with_null_background(healthy):
    found = simulate(healthy, SCENARIOS["unbalanced"], LESIONS, seed=1)
    assert found.labels.tolist() == sorted(found.labels) and np.bincount(found.labels).tolist() == [101, 34, 15]
    assert found.hu.dtype == np.int16 and found.hu.shape == (N, 64, 64)
    assert ((found.hu == OUTSIDE) == ~healthy.lung).all()


def test_discs_of_radius_2_to_6_have_13_to_113_pixels_in_one_place(silent):
    found = simulate(silent, SCENARIOS["size-5"], LESIONS, seed=1)
    discs = found.discs[np.searchsorted(found.labels, range(5))]
    assert discs.sum(axis=(1, 2)).tolist() == [13, 29, 49, 81, 113]
    assert len(np.unique(found.centres, axis=0)) == 1
    assert [ndimage.center_of_mass(d) for d in discs] == [tuple(found.centres[0])] * 5


def test_the_largest_disc_lies_in_the_lung_at_every_location(silent):
    found = simulate(silent, SCENARIOS["location-5"], replace(LESIONS, fixed_radius_px=6.0), seed=1)
    assert (found.discs.sum(axis=(1, 2)) == 113).all() and not found.discs[:, ~silent.lung].any()


def test_five_locations_are_apart_and_the_first_is_nearest_the_centroid(silent):
    found = simulate(silent, SCENARIOS["location-5"], LESIONS, seed=1)
    discs = found.discs[np.searchsorted(found.labels, range(5))]
    assert (discs.sum(axis=(1, 2)) == 49).all() and discs.sum(axis=0).max() == 1
    away = np.linalg.norm(found.centres - np.argwhere(silent.lung).mean(axis=0), axis=1)
    assert (away[found.labels == 0] < 2).all() and (away[found.labels > 0] > 2).all()


def test_planted_intensity_is_the_difference_from_the_healthy_cluster_in_the_disc_and_nowhere_else(healthy):
    found = simulate(healthy, SCENARIOS["intensity-5"], LESIONS, seed=1)
    disc = found.discs[0]
    assert disc.sum() == 49 and (found.discs == disc).all()  # also where +0 HU was planted
    rest = healthy.lung & ~disc
    means = np.array([[found.hu[found.labels == k][:, part].mean() for part in (disc, rest)] for k in range(5)])
    error = healthy.residuals_hu.std() * np.sqrt(2 / (N / 5 * np.array([disc.sum(), rest.sum()])))
    planted = np.stack([LESIONS.intensities_hu, np.zeros(5)], axis=1)
    assert (np.abs(means - means[0] - planted) < 4 * error).all()


def test_noise_of_every_voxel_is_drawn_from_the_pool():
    lung = np.ones((20, 20), bool)
    pool = np.array([-30, 10, 20], np.float32)
    healthy = LungSlice(np.full((20, 20), -850, np.float32), lung, pool, 3.0)
    one_place = replace(LESIONS, locations=1)
    found = simulate(healthy, Scenario("no-clusters", "intensity", (50,), lesion=False), one_place, seed=1)
    values, counts = np.unique(found.hu, return_counts=True)
    assert values.tolist() == [-880, -840, -830]
    assert counts / found.hu.size == pytest.approx([1 / 3] * 3, abs=0.015)  # 20,000 draws


def test_values_stay_within_what_a_scanner_can_store(healthy):
    wild = replace(healthy, residuals_hu=np.array([-5000, 9000], np.float32))
    found = simulate(wild, SCENARIOS["no-clusters"], LESIONS, seed=1)
    assert set(np.unique(found.hu)) == {OUTSIDE, AIR_HU, MAX_HU}


def test_same_seed_gives_the_same_images_and_every_scenario_has_noise_of_its_own(healthy):
    scenario = SCENARIOS["intensity-5"]
    first, again, other = (simulate(healthy, scenario, LESIONS, seed=seed).hu for seed in (1, 1, 2))
    renamed = simulate(healthy, replace(scenario, name="intensity-9"), LESIONS, seed=1).hu
    assert (first == again).all()
    for different in (other, renamed):
        pair = [(images[0] - healthy.mean_hu)[healthy.lung] for images in (first, different)]
        assert abs(np.corrcoef(pair)[0, 1]) < 0.15  # SE 0.026


def test_correlated_noise_has_a_grain_and_the_spread_of_the_white_one(healthy):
    # no clipping, so that the spread is that of the draw
    healthy = replace(healthy, residuals_hu=np.clip(healthy.residuals_hu, -100, 100))
    neighbours, spread = {}, {}
    for name in ("correlated", "location-5"):
        found = simulate(healthy, SCENARIOS[name], replace(LESIONS, fixed_intensity_hu=0.0), seed=1)
        noise = np.where(healthy.lung, found.hu - healthy.mean_hu, np.nan)
        pairs = np.stack([noise[:, :, 1:], noise[:, :, :-1]])
        neighbours[name] = np.corrcoef(pairs[:, np.isfinite(pairs).all(axis=0)])[0, 1]
        spread[name] = np.nanstd(noise)
    assert abs(neighbours["location-5"]) < 0.02
    assert neighbours["correlated"] == pytest.approx(np.exp(-1 / (4 * (2 / 2.355) ** 2)), abs=0.02)  # 0.71
    assert spread["correlated"] == pytest.approx(healthy.residuals_hu.std(), rel=0.02)
    assert spread["location-5"] == pytest.approx(healthy.residuals_hu.std(), rel=0.02)


@pytest.mark.parametrize("sd_px", [1.5, 6.0])  # the larger one moves discs out of the lung
def test_misregistration_moves_lung_and_lesion_under_a_mask_that_stays(silent, sd_px):
    scenario = replace(SCENARIOS["misregistered"], shift_sd_px=sd_px)
    still, found = (simulate(silent, s, LESIONS, seed=1) for s in (SCENARIOS["location-5"], scenario))
    steps = found.centres - still.centres
    assert steps.std(axis=0) == pytest.approx([sd_px, sd_px], rel=0.23)  # 4 SE of an SD of 150
    assert np.abs(steps.mean(axis=0)).max() < 4 * sd_px / np.sqrt(N)
    fill = int(np.rint(silent.mean_hu[silent.lung].mean()))
    for n in range(0, N, 7):
        source = np.where(silent.lung, still.hu[n], fill)
        assert (found.hu[n] == in_mask(silent.lung, moved(source, steps[n], fill))).all()
        assert (found.discs[n] == moved(still.discs[n], steps[n], False) & silent.lung).all()


def test_shifts_of_another_scenario_are_others(silent):
    first = SCENARIOS["misregistered"]
    centres = [simulate(silent, s, LESIONS, seed=1).centres for s in (first, replace(first, name="other"))]
    assert (centres[0] != centres[1]).mean() > 0.5


def test_scenario_without_a_lesion_has_the_healthy_slice_in_every_image(silent):
    found = simulate(silent, SCENARIOS["no-clusters"], LESIONS, seed=1)
    assert (found.hu == in_mask(silent.lung, np.rint(silent.mean_hu))).all()
    assert not found.discs.any() and not found.labels.any()


def test_places_keep_their_distance_from_the_border_of_lung_and_image():
    lung = np.zeros((9, 21), bool)
    lung[:, :20] = True  # three sides of it are the image's own
    assert set(lesion_centres(lung, count=3, border_px=5)) == {(4, 4), (4, 9), (4, 15)}
    with pytest.raises(InputError, match="found 12 pixels at least 5 from the lung's border, expected 13"):
        lesion_centres(lung, count=13, border_px=5)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("intensity-4", {"intensities_hu": (0, 100, 200)}, "found 3 values of intensity, expected 4"),
        ("size-3", {"radii_px": (2, 3)}, "found 2 values of size, expected 3"),
        ("location-5", {"locations": 4}, "found 4 values of location, expected 5"),
        ("size-3", {"fixed_location": 6}, "fixed_location: found 6, expected 1 to 5"),
        ("size-3", {"fixed_location": 0}, "fixed_location: found 0, expected 1 to 5"),
        ("location-5", {"fixed_radius_px": 9.0}, "scenario location-5 that leaves the lung"),
    ],
)
def test_lesions_that_do_not_fit_the_scenario_are_refused(silent, name, changes, message):
    with pytest.raises(InputError, match=message):
        simulate(silent, SCENARIOS[name], replace(LESIONS, **changes), seed=1)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Two boxes of lung, the right one (small x) at -850 HU, the left one at -700, denser to the back, noise of 20."""
    folder = tmp_path_factory.mktemp("template")
    rng = np.random.default_rng(0)
    hu = np.full((40, 50, 70), 40.0)
    labels = np.zeros(hu.shape, np.uint8)
    labels[4:36, 5:45, 4:30], labels[8:36, 5:45, 36:66] = 1, 2
    gravity = (np.arange(50) - 24.5)[None, :, None] * 2.0
    healthy = np.select([labels == 1, labels == 2], [-850, -700], 40) + gravity + rng.normal(0, 20, hu.shape)
    hu[labels > 0] = healthy[labels > 0]
    ct = Volume(np.rint(hu).astype(np.int16), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0), np.eye(3))
    paths = {}
    for name, volume in (("image", ct), ("lungs", ct.with_array(labels))):
        paths[name] = folder / f"{name}.nii.gz"
        write_volume(from_sitk(sitk.DICOMOrient(to_sitk(volume), "RAS")), paths[name])  # as most programs write it
    return paths, ct.array, labels


@pytest.mark.parametrize(("side", "label", "middle"), [("right", 1, 19), ("left", 2, 21)])
def test_given_template_gives_its_middle_slice_of_the_lung_asked_for(template, side, label, middle):
    paths, hu, labels = template
    found = given_lung_slice(**paths, size=64, spacing_mm=3.0, side=side)
    mask = labels[middle] == label
    assert found.lung.sum() == mask.sum() and (found.mean_hu[found.lung] == hu[middle][mask]).all()
    assert (found.mean_hu[~found.lung] == OUTSIDE).all()


def test_residuals_of_a_given_template_are_its_noise_without_gravity_or_chest_wall(template):
    paths, _, _ = template
    pool = given_lung_slice(**paths, size=64, spacing_mm=3.0).residuals_hu
    assert len(pool) == 30 * 38 * 24 and pool.mean() == pytest.approx(0, abs=1e-3)
    assert pool.std() == pytest.approx(20, rel=0.06)  # planted; gravity alone has 23, chest wall hundreds


def test_given_template_is_brought_to_the_spacing_asked_for(template):
    paths, _, _ = template
    found = given_lung_slice(**paths, size=32, spacing_mm=6.0)
    height, width = (s.stop - s.start for s in ndimage.find_objects(found.lung.astype(int))[0])
    assert abs(height - 20) <= 1 and abs(width - 13) <= 1 and found.spacing_mm == 6.0


def test_given_lung_that_does_not_fit_into_the_image_is_refused(template):
    paths, _, _ = template
    with pytest.raises(InputError, match="simulation.image: found a lung of 40 x 26 pixels at 3 mm, .* 32 x 32"):
        given_lung_slice(**paths, size=32, spacing_mm=3.0)
    with pytest.raises(InputError, match="simulation.lungs: found a right lung thinner than three voxels"):
        given_lung_slice(**paths, size=64, spacing_mm=40.0)


def test_faulty_template_is_reported_under_its_keys(template):
    paths, _, _ = template
    with pytest.raises(InputError, match="simulation.lungs: found labels"):
        given_lung_slice(paths["image"], paths["image"], size=64, spacing_mm=3.0)


def test_slices_are_made_without_simpleitk():
    code = "import sys, lungtypes.phantom.lung_slices; sys.exit('SimpleITK' in sys.modules)"
    path = [p for p in sys.path if p.endswith("scripts")]
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path[0]}).returncode == 0
