"""Resampling, registration and template on small synthetic lungs with known answers."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from lungtypes.cohort.sampling import draw_sample, nearest_to_medians, sample_size
from lungtypes.errors import InputError, ScanFault
from lungtypes.imaging.geometry import Volume, read_volume, to_sitk, write_volume
from lungtypes.imaging.registration import dice, jacobian_determinant, register_to_template
from lungtypes.imaging.registration_files import check_registration, write_registration
from lungtypes.imaging.resample import resample_scan
from lungtypes.imaging.template import WarpedSubject, composite_displacement, start_template, update_template
from lungtypes.imaging.template_files import update_iteration
from lungtypes.imaging.template_lobes import adopt_template_lobes, warp_lobes
from lungtypes.imaging.volumes import OUTSIDE, grid_around, lung_hu_on_grid, share_inside


def lungs(scale=1.0, shift=(0, 0, 0), spacing=5.0, shape=(44, 36, 48)):
    z, y, x = (np.arange(n) - (n - 1) / 2 - s for n, s in zip(shape, shift, strict=True))
    grid = np.meshgrid(z, y, x, indexing="ij")
    labels = np.zeros(shape, np.uint8)
    for side, centre in ((1, -10), (2, 10)):
        radius = (grid[0] / 15) ** 2 + (grid[1] / 11) ** 2 + ((grid[2] - centre) / 8) ** 2
        labels[radius < scale**2] = side
    hu = np.where(labels > 0, -850 + 4 * grid[1], 40).astype(np.int16)
    geometry = {"spacing_mm": (spacing,) * 3, "origin_mm": (0.0, 0.0, 0.0), "direction": np.eye(3)}
    return Volume(hu, **geometry), Volume(labels, **geometry)


def register(moving, fixed, folder):
    folder.mkdir(exist_ok=True)
    return register_to_template(
        *moving, *fixed, representation="mask+hu", iterations=(30, 20, 10, 0), mask_sigma_mm=5.0, work_dir=folder
    )


@pytest.fixture(scope="module")
def larger(tmp_path_factory):
    return register(lungs(1.15, (2, -1, 1)), lungs(), tmp_path_factory.mktemp("reg"))


def test_lungs_of_another_size_and_place_are_brought_over(larger):
    assert min(larger.dice_right, larger.dice_left) >= 0.95
    assert larger.folded_fraction == 0
    inside = ndimage.binary_erosion(lungs()[1].array > 0, iterations=3)
    assert np.corrcoef(larger.ct.array[inside], lungs()[0].array[inside])[0, 1] > 0.9
    assert abs(int(np.median(larger.ct.array[larger.lungs.array > 0])) + 850) < 25  # HU stay HU


def test_jacobian_is_the_volume_ratio(larger):
    inside = lungs()[1].array > 0
    assert np.median(np.exp(larger.log_jacobian.array[inside])) == pytest.approx(1.15**3, rel=0.15)


def test_jacobian_of_a_known_affine(tmp_path):
    field = sitk.Image([8, 8, 8], sitk.sitkVectorFloat64)
    sitk.WriteImage(field, str(tmp_path / "warp.nii.gz"))
    sitk.WriteTransform(sitk.AffineTransform([2, 0, 0, 0, 1, 0, 0, 0, 1.5], [0, 0, 0]), str(tmp_path / "a.mat"))
    assert jacobian_determinant(tmp_path / "warp.nii.gz", tmp_path / "a.mat").array == pytest.approx(3.0)


def test_same_seed_and_threads_give_the_same_bytes(larger, tmp_path):
    again = register(lungs(1.15, (2, -1, 1)), lungs(), tmp_path / "again")
    assert (again.ct.array == larger.ct.array).all()


def test_bad_registrations_do_not_pass(larger):
    check_registration(larger, min_dice=0.9, max_folded_fraction=0.001)
    with pytest.raises(ScanFault, match="REG-DICE"):
        check_registration(larger, min_dice=0.9999, max_folded_fraction=0.001)


def test_composite_displacement_points_to_the_subject(larger):
    fixed = lungs()[1]
    field = sitk.GetArrayFromImage(composite_displacement(larger.affine_file, larger.warp_file, fixed))
    mean = field[fixed.array > 0].mean(axis=0)  # world x, y, z; the subject lies at (+1, -1, +2) voxels of 5 mm
    assert mean == pytest.approx([5, -5, 10], abs=2.0)


def displacement_of(scale, shift_mm, grid):
    centre = to_sitk(grid).TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in grid.array.shape[::-1]])
    transform = sitk.AffineTransform(3)
    transform.SetCenter(centre)
    transform.Scale([scale] * 3)
    transform.Translate(shift_mm)
    reference = to_sitk(grid)
    return sitk.TransformToDisplacementField(
        transform,
        sitk.sitkVectorFloat32,
        reference.GetSize(),
        reference.GetOrigin(),
        reference.GetSpacing(),
        reference.GetDirection(),
    )


def test_template_grows_to_the_mean_size_and_ignores_where_subjects_lay():
    ct, labels = lungs()
    template = start_template(ct, labels, padding_mm=10.0)
    subjects = [
        WarpedSubject(template.hu, template.lungs, displacement_of(s, (8.0, 0.0, -6.0), template.lungs))
        for s in (1.05, 1.15)
    ]
    updated, convergence = update_template(template, subjects, step=0.25, applications=4)
    before, after = (int((t.lungs.array > 0).sum()) for t in (template, updated))
    assert after / before == pytest.approx(1.1**3, rel=0.06)
    centres = [ndimage.center_of_mass(t.lungs.array > 0) for t in (template, updated)]
    assert np.abs(np.subtract(*centres)).max() < 0.3
    assert not convergence.within(min_dice=0.98, max_update_mm=1.0, max_volume_percent=1.0)


def test_template_of_identical_subjects_does_not_move():
    ct, labels = lungs()
    template = start_template(ct, labels, padding_mm=10.0)
    still = WarpedSubject(template.hu, template.lungs, displacement_of(1.0, (0, 0, 0), template.lungs))
    updated, convergence = update_template(template, [still] * 3, step=0.25, applications=4)
    assert convergence.dice == 1.0 and convergence.mean_update_mm < 1e-3
    assert (updated.lungs.array == template.lungs.array).all()


def test_resampling_keeps_volume_place_and_hu():
    ct, labels = lungs(spacing=3.0)
    result = resample_scan(ct, labels, spacing_mm=5.0, margin_mm=10.0, max_volume_change_percent=3.0)
    volumes = [(v.array > 0).sum() * v.voxel_ml for v in (labels, result.lungs)]
    assert volumes[1] == pytest.approx(volumes[0], rel=0.03)
    assert result.ct.array.shape == result.lungs.array.shape and set(result.lungs.spacing_mm) == {5.0}

    def centre(volume):
        index = ndimage.center_of_mass(volume.array == 1)[::-1]
        return to_sitk(volume).TransformContinuousIndexToPhysicalPoint(index)

    assert centre(result.lungs) == pytest.approx(centre(labels), abs=0.7)


def test_grid_averages_lung_only_and_marks_the_outside():
    ct, labels = lungs()
    array = lung_hu_on_grid(ct, labels, grid_around(labels, size=24, spacing_mm=10.0))
    assert array.shape == (24, 24, 24) and (array == OUTSIDE).any()
    assert array[array != OUTSIDE].max() < -750  # no chest wall (40 HU) bleeds in


def test_lungs_wider_than_the_cube_are_measured():
    _, labels = lungs()  # 180 mm wide
    assert share_inside(labels, grid_around(labels, size=40, spacing_mm=5.0)) == pytest.approx(1.0, abs=0.01)
    assert share_inside(labels, grid_around(labels, size=24, spacing_mm=5.0)) < 0.9


def test_sample_is_seeded_stratified_and_order_free():
    subjects = [f"S{i}" for i in range(40)]
    strata = ["F" if i < 20 else "M" for i in range(40)]
    drawn = draw_sample(subjects, strata, size=10, seed=1)
    assert drawn == draw_sample(subjects[::-1], strata[::-1], size=10, seed=1)
    assert drawn != draw_sample(subjects, strata, size=10, seed=2)
    assert sum(int(s[1:]) < 20 for s in drawn) == 5
    with pytest.raises(InputError):
        draw_sample(["S1", "S2"], ["F", "M"], size=2, seed=1)


def test_sample_size_stays_within_limits():
    assert [sample_size(n, fraction=0.1, minimum=10, maximum=60) for n in (6, 50, 300, 2000)] == [6, 10, 30, 60]


def test_start_is_nearest_to_the_medians():
    import pandas as pd

    table = pd.DataFrame({"subject": ["a", "b", "c"], "right_ml": [2000, 2600, 4000], "left_ml": [1800, 2500, 3900]})
    assert nearest_to_medians(table) == "b"


def test_dice_by_hand():
    assert dice(np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 0], bool)) == 0.5


def test_failed_registrations_of_the_template_are_named(tmp_path):
    states = {"mean": {"used": True, "converged": False}, "slot0": {"used": True, "ok": True}}
    states |= {f"slot{n}": {"used": True, "ok": False, "message": f"S{n}, REG-DICE: bad."} for n in (1, 2)}
    for name, state in states.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "status.json").write_text(json.dumps(state))
    limits = {"step": 0.25, "applications": 4, "min_dice": 0.99, "max_update_mm": 0.3, "max_volume_percent": 0.5}
    slots = [tmp_path / f"slot{n}" for n in range(3)]
    with pytest.raises(InputError, match="2 of 3 registrations failed.* S1, REG-DICE: bad. S2, REG-DICE: bad."):
        update_iteration(tmp_path / "next", previous=tmp_path / "mean", slots=slots, iteration=1, **limits)


def in_thirds(labels):
    """Lobes 1-3 of the right and 4-5 of the left lung, cut along z from the top."""
    lobes = np.zeros(labels.array.shape, np.uint8)
    for side, names in ((1, (3, 2, 1)), (2, (5, 4))):  # from the lowest slice up
        where = np.flatnonzero((labels.array == side).any(axis=(1, 2)))
        for part, name in zip(np.array_split(where, len(names)), names, strict=True):
            lobes[part] = np.where(labels.array[part] == side, name, lobes[part])
    return labels.with_array(lobes)


def test_lobes_of_the_template_are_warped_back_and_fill_the_lungs(larger, tmp_path):
    write_registration(tmp_path, larger)
    _, own = lungs(1.15, (2, -1, 1))
    lobes = warp_lobes(own, in_thirds(lungs()[1]), tmp_path).array
    assert ((lobes > 0) == (own.array > 0)).all() and ((lobes > 3) == (own.array == 2)).all()
    truth = in_thirds(own).array
    assert min(dice(lobes == name, truth == name) for name in range(1, 6)) > 0.85


def test_lobes_that_do_not_fit_the_template_are_refused_once(tmp_path):
    _, mask = lungs()
    write_volume(mask, tmp_path / "mask.nii.gz")
    write_volume(in_thirds(mask), tmp_path / "lobes.nii.gz")
    paths = [tmp_path / name for name in ("lobes.nii.gz", "mask.nii.gz", "out.nii.gz")]
    adopt_template_lobes(*paths, lobe_labels=[1, 2, 3, 4, 5])
    assert (read_volume(paths[2]).array == in_thirds(mask).array).all()
    with pytest.raises(InputError, match="template.lobes: SEG-LABELS"):
        adopt_template_lobes(*paths, lobe_labels=[4, 5, 6, 1, 2])
