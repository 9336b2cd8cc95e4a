"""Resampling, registration and template on small synthetic lungs with known answers."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import yaml
from scipy import ndimage

from lungtypes.cohort.sampling import draw_sample, nearest_to_medians, sample_size, sample_table, volume_tertiles
from lungtypes.errors import InputError, ScanFault
from lungtypes.imaging.geometry import Volume, read_volume, to_sitk, write_volume
from lungtypes.imaging.registration import (
    dice,
    hausdorff95_mm,
    jacobian_determinant,
    register_to_template,
)
from lungtypes.imaging.registration_checks import judge_registration, registration_warnings
from lungtypes.imaging.registration_engine import ENGINES, RegistrationSettings
from lungtypes.imaging.registration_files import register_scan, write_registration
from lungtypes.imaging.resample import resample_scan
from lungtypes.imaging.template import WarpedSubject, start_template, update_template
from lungtypes.imaging.template_files import (
    read_iteration,
    start_iteration,
    update_iteration,
    write_iteration,
    write_regions,
)
from lungtypes.imaging.template_lobes import adopt_template_lobes, warp_lobes
from lungtypes.imaging.transforms import TransformFiles, displacement_field, point_map
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


ROOT = Path(__file__).resolve().parents[3]
LIMITS = yaml.safe_load((ROOT / "config/config.yaml").read_text())["register"]["checks"]
SETTINGS = RegistrationSettings("ants", "mask+hu", (30, 20, 20, 8), hu_weight=1.0, distance_mm=20.0)


def register(moving, fixed, folder, settings=SETTINGS):
    folder.mkdir(exist_ok=True)
    return register_to_template(*moving, *fixed, settings=settings, folder=folder)


@pytest.fixture(scope="module")
def larger(tmp_path_factory):
    return register(lungs(1.15, (2, -1, 1)), lungs(), tmp_path_factory.mktemp("reg"))


def test_lungs_of_another_size_and_place_are_brought_over(larger):
    figures = larger.figures
    assert min(figures["dice_right"], figures["dice_left"]) >= 0.97
    assert figures["folded_percent"] == 0 and figures["inverse_mm"] < 1.0
    assert max(figures["hd95_right_mm"], figures["hd95_left_mm"]) <= 5.0  # one voxel
    assert figures["volume_ratio"] == pytest.approx(1.15**3, rel=0.05)
    assert figures["jacobian_p01"] < 1 < figures["jacobian_p99"]
    inside = ndimage.binary_erosion(lungs()[1].array > 0, iterations=3)
    assert np.corrcoef(larger.ct.array[inside], lungs()[0].array[inside])[0, 1] > 0.9
    assert abs(int(np.median(larger.ct.array[larger.lungs.array > 0])) + 850) < 25  # HU stay HU


def test_jacobian_is_the_volume_ratio(larger):
    inside = lungs()[1].array > 0
    assert np.median(np.exp(larger.log_jacobian.array[inside])) == pytest.approx(1.15**3, rel=0.15)


def files_of(folder, *, matrix=(1, 0, 0, 0, 1, 0, 0, 0, 1), shift=(0, 0, 0)):
    """Transforms on disk: an affine about the world's origin and a warp of nothing on 8 x 8 x 8 voxels."""
    files = TransformFiles.of(folder)
    for path in (files.warp, files.inverse_warp):
        sitk.WriteImage(sitk.Image([8, 8, 8], sitk.sitkVectorFloat64), str(path))
    sitk.WriteTransform(sitk.AffineTransform([float(v) for v in matrix], [float(v) for v in shift]), str(files.affine))
    return files


def test_jacobian_of_a_known_affine(tmp_path):
    files = files_of(tmp_path, matrix=(2, 0, 0, 0, 1, 0, 0, 0, 1.5))
    assert jacobian_determinant(files, lungs()[1]).array == pytest.approx(3.0)


@pytest.mark.parametrize("turn", ["mirrored", "oblique"])
def test_jacobian_does_not_depend_on_the_directions_of_the_axes(tmp_path, turn):
    """x -> 1.1 x, y -> 0.9 y, z -> 1.2 z of the world, on grids whose axes do not run along it."""
    angle = np.deg2rad(20)
    oblique = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    axes = np.diag([-1.0, -1.0, 1.0]) if turn == "mirrored" else oblique
    grid = Volume(np.zeros((9, 10, 11), np.uint8), (2.0, 2.0, 2.0), (5.0, -3.0, 7.0), axes)
    stretch = sitk.AffineTransform([1.1, 0, 0, 0, 0.9, 0, 0, 0, 1.2], [0, 0, 0])
    files = files_of(tmp_path)
    sitk.WriteImage(displacement_field(stretch, grid), str(files.warp))
    inside = jacobian_determinant(files, grid).array[2:-2, 2:-2, 2:-2]
    assert inside == pytest.approx(1.1 * 0.9 * 1.2, rel=1e-4)


def test_folding_is_seen(tmp_path):
    files = files_of(tmp_path)
    field = np.zeros((8, 8, 8, 3))
    field[..., 4:, 0] = -3.0  # x runs back by two voxels between index 3 and 4
    sitk.WriteImage(sitk.GetImageFromArray(field, isVector=True), str(files.warp))
    grid = Volume(np.zeros((8, 8, 8), np.uint8), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3))
    assert jacobian_determinant(files, grid).array.min() < 0


@pytest.mark.parametrize("name", ["ct", "log_jacobian"])
def test_same_seed_and_threads_give_the_same_bytes(larger, tmp_path, name):
    again = register(lungs(1.15, (2, -1, 1)), lungs(), tmp_path / "again")
    assert (getattr(again, name).array == getattr(larger, name).array).all()
    for file in ("affine", "warp", "inverse_warp"):
        first, second = (getattr(result.transforms, file).read_bytes() for result in (larger, again))
        assert first == second, file


@pytest.mark.parametrize("representation", ["mask", "hu"])
def test_every_representation_registers(tmp_path, representation):
    settings = replace(SETTINGS, representation=representation)
    figures = register(lungs(1.15, (2, -1, 1)), lungs(), tmp_path / "a", settings).figures
    assert min(figures["dice_right"], figures["dice_left"]) >= 0.95


def test_lungs_turned_and_far_away_are_found(tmp_path):
    ct, labels = lungs()
    turned = ndimage.rotate(labels.array, 20, axes=(1, 2), reshape=False, order=0)
    moving = [
        replace(volume, array=array, origin_mm=(900.0, -400.0, 300.0))
        for volume, array in ((ct, np.where(turned > 0, -850, 40).astype(np.int16)), (labels, turned))
    ]
    figures = register(moving, (ct, labels), tmp_path / "a").figures
    assert min(figures["dice_right"], figures["dice_left"]) >= 0.97


def test_hd95_by_hand():
    first, second = np.zeros((3, 20, 20), bool), np.zeros((3, 20, 20), bool)
    first[1, 5:15, 5:15] = True
    second[1, 5:15, 5:18] = True  # 3 columns of 2 mm further on one side
    assert hausdorff95_mm(first, second, spacing_mm=(5.0, 1.0, 2.0)) == pytest.approx(6.0)
    assert hausdorff95_mm(first, first, spacing_mm=(5.0, 1.0, 2.0)) == 0.0
    assert np.isnan(hausdorff95_mm(first, np.zeros_like(first), spacing_mm=(1.0, 1.0, 1.0)))


@pytest.fixture
def on_disk(tmp_path):
    """A scan and a template as stages leave them: folder of the scan, options of register_scan."""
    ct, labels = lungs(1.15, (2, -1, 1))
    write_volume(ct, tmp_path / "scan/ct.nii.gz")
    write_volume(labels, tmp_path / "scan/lungs.nii.gz")
    fixed, mask = lungs()
    write_volume(fixed, tmp_path / "template.nii.gz")
    write_volume(mask, tmp_path / "mask.nii.gz")
    (tmp_path / "out").mkdir()
    places = {"template": tmp_path / "template.nii.gz", "mask": tmp_path / "mask.nii.gz"}
    return tmp_path / "scan", {**places, "settings": SETTINGS, "checks": LIMITS}


def test_a_failed_attempt_is_followed_by_others(on_disk, tmp_path, monkeypatch):
    scan, options = on_disk
    tried = []

    def engine(fixed, moving, settings, folder):
        tried.append(settings)
        if len(tried) == 1:
            raise RuntimeError("no luck")
        if len(tried) == 2:  # nothing is moved: the lungs do not overlap well enough
            return files_of(folder, shift=(40, 0, 0))
        return ENGINES["ants"](fixed, moving, settings, folder)

    monkeypatch.setitem(ENGINES, "lucky", engine)
    register_scan(tmp_path / "out", scan, **{**options, "settings": replace(SETTINGS, engine="lucky")})
    record = json.loads((tmp_path / "out/registration.json").read_text())
    assert record["attempt"] == "stiff" and record["failed_attempts"] == ["configured", "shape"]
    assert [s.representation for s in tried] == ["mask+hu", "mask", "mask"]
    assert tried[2].stiffness > tried[1].stiffness == 1.0
    assert record["dice_right"] > 0.95 and record["checks"]["dice"]["verdict"] in ("pass", "warn")


def test_when_all_attempts_fail_the_first_fault_is_told_and_nothing_is_left(on_disk, tmp_path, monkeypatch):
    scan, options = on_disk
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    strict = {**LIMITS, "dice": {"warn": None, "fail": [0.9999, 1]}}
    with pytest.raises(ScanFault, match="REG-DICE: lung overlap .* Neither did shape or stiff settings help"):
        register_scan(tmp_path / "out", scan, **{**options, "checks": strict})
    assert list((tmp_path / "out").iterdir()) == [] and list(scratch.iterdir()) == []


def test_nothing_is_left_in_the_temporary_folder(on_disk, tmp_path):
    """ANTs leaves files behind unless it is told where to write; a process of its own sees all of them."""
    scan, options = on_disk
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    code = f"""
from pathlib import Path
from lungtypes.device import set_itk
set_itk(threads=1, seed=1)
from lungtypes.imaging.registration_engine import RegistrationSettings
from lungtypes.imaging.registration_files import register_scan
register_scan(
    Path({str(tmp_path / "out")!r}),
    {str(scan)!r},
    template={str(options["template"])!r},
    mask={str(options["mask"])!r},
    settings={SETTINGS!r},
    checks={LIMITS!r},
)
"""
    environment = {**os.environ, "TMPDIR": str(scratch), "PYTHONPATH": str(ROOT / "scripts")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert list(scratch.iterdir()) == []
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "ct.nii.gz",
        "lungs.nii.gz",
        "log_jacobian.nii.gz",
        "affine.mat",
        "warp.nii.gz",
        "inverse_warp.nii.gz",
        "registration.json",
    }


def test_an_affine_alone_and_a_scan_registered_to_itself_pass_the_limits(tmp_path):
    affine_only = register(lungs(1.15, (2, -1, 1)), lungs(), tmp_path / "a", replace(SETTINGS, iterations=(0, 0)))
    itself = register(lungs(), lungs(), tmp_path / "b")
    for result in (affine_only, itself):
        judged = {check.name: check.verdict for check in judge_registration(result.figures, LIMITS)}
        assert {judged[name] for name in ("jacobian_p01", "jacobian_p99", "folded_percent", "inverse_mm")} == {"pass"}
    assert itself.figures["dice_right"] == 1.0


def test_warnings_are_told_in_words_with_the_limits_of_the_day():
    figures = {"dice_right": 0.99, "dice_left": 0.93, "hd95_right_mm": 2.0, "hd95_left_mm": None, "inverse_mm": None}
    assert registration_warnings(figures, LIMITS) == [
        "lung overlap with the template (Dice) of 0.930, expected 0.96 to 1"
    ]
    wide = {**LIMITS, "dice": {"warn": [0.9, 1], "fail": None}}
    assert registration_warnings(figures, wide) == []


def test_limits_judge_the_worse_lung_and_pass_over_what_was_not_measured():
    figures = {"dice_right": 0.99, "dice_left": 0.93, "hd95_right_mm": 20.0, "hd95_left_mm": 1.0}
    verdicts = {check.name: check.verdict for check in judge_registration({**figures, "inverse_mm": None}, LIMITS)}
    assert verdicts["dice"] == "warn" and verdicts["hd95_mm"] == "fail"
    assert verdicts["inverse_mm"] == verdicts["folded_percent"] == "not measured"


def test_displacement_points_to_the_subject(larger):
    fixed = lungs()[1]
    field = sitk.GetArrayFromImage(displacement_field(point_map(larger.transforms, to="scan"), fixed))
    mean = field[fixed.array > 0].mean(axis=0)  # world x, y, z; the subject lies at (+1, -1, +2) voxels of 5 mm
    assert mean == pytest.approx([5, -5, 10], abs=2.0)


def displacement_of(scale, shift_mm, grid):
    centre = to_sitk(grid).TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in grid.array.shape[::-1]])
    transform = sitk.AffineTransform(3)
    transform.SetCenter(centre)
    transform.Scale([scale] * 3)
    transform.Translate(shift_mm)
    return displacement_field(transform, grid)


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
    assert convergence.dice == 1.0 and convergence.mean_update_mm < 1e-3 and convergence.net_update_mm < 1e-3
    assert (updated.lungs.array == template.lungs.array).all()


def test_an_update_that_comes_again_is_no_net_update(tmp_path):
    ct, labels = lungs()
    template = start_template(ct, labels, padding_mm=10.0)
    subject = WarpedSubject(template.hu, template.lungs, displacement_of(1.1, (0, 0, 0), template.lungs))
    first, moved = update_template(template, [subject] * 2, step=0.25, applications=4)
    assert moved.net_update_mm == moved.mean_update_mm > 3
    write_iteration(tmp_path, first, iteration=1, convergence=moved, converged=False)
    _, again = update_template(read_iteration(tmp_path), [subject] * 2, step=0.25, applications=4)
    assert again.mean_update_mm > 3 and again.net_update_mm < 0.3  # the same field on a larger lung


@pytest.mark.parametrize("direction", [np.diag([-1.0, -1.0, 1.0]), "turned"])
def test_template_is_the_same_whatever_the_directions_of_the_axes(direction):
    """The shape update moves points of the world: a grid with other axes must not turn or mirror its vectors."""
    if isinstance(direction, str):
        angle = np.deg2rad(20)
        direction = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    ct, labels = lungs()
    template = start_template(ct, labels, padding_mm=10.0)
    turned = start_template(*(replace(v, direction=direction) for v in (ct, labels)), padding_mm=10.0)
    volumes = []
    for start, axes in ((template, np.eye(3)), (turned, direction)):
        rng, subjects = np.random.default_rng(0), []
        for _ in range(2):  # the same smooth field in terms of the body, its vectors turned along with the axes
            noise = rng.standard_normal((*start.lungs.array.shape, 3))
            field = np.stack([ndimage.gaussian_filter(noise[..., i], 6) for i in range(3)], axis=-1)
            field *= 8.0 / field.std()
            image = sitk.GetImageFromArray(field @ axes.T, isVector=True)
            image.CopyInformation(to_sitk(start.lungs))
            subjects.append(WarpedSubject(start.hu, start.lungs, image))
        volumes.append(update_template(start, subjects, step=0.25, applications=4)[0].probability.array)
    assert np.abs(volumes[0] - template.probability.array).max() > 0.5  # it did move
    assert volumes[1] == pytest.approx(volumes[0], abs=1e-3)


def test_template_has_mean_and_sd_of_hu_and_its_share_of_lungs():
    ct, labels = lungs()
    template = start_template(ct, labels, padding_mm=10.0)
    still = displacement_of(1.0, (0, 0, 0), template.lungs)
    none = template.lungs.with_array(np.zeros_like(template.lungs.array))
    hu = [template.hu.with_array(np.full_like(template.hu.array, value)) for value in (-900, -800, -600)]
    covers = (template.lungs, template.lungs, none)
    subjects = [WarpedSubject(h, cover, still) for h, cover in zip(hu, covers, strict=True)]
    updated, _ = update_template(template, subjects, step=0.25, applications=4)
    inside = template.lungs.array > 0
    assert updated.hu.array[inside] == pytest.approx(np.mean([-900, -800, -600]), abs=1)
    assert updated.sd.array[inside] == pytest.approx(np.std([-900, -800, -600], ddof=1), rel=1e-3)
    assert updated.probability.array[inside] == pytest.approx(2 / 3, abs=1e-3)


def test_template_does_not_depend_on_the_order_of_subjects():
    ct, labels = lungs()
    template = start_template(ct, labels, padding_mm=10.0)
    fields = [displacement_of(scale, (0, 0, 0), template.lungs) for scale in (1.1, 0.95, 1.0)]
    subjects = [WarpedSubject(template.hu, template.lungs, field) for field in fields]
    options = {"step": 0.25, "applications": 4}
    first, second = (update_template(template, order, **options)[0] for order in (subjects, subjects[::-1]))
    assert (first.lungs.array == second.lungs.array).all()
    assert np.abs(first.hu.array - second.hu.array).max() <= 1


def test_regions_of_a_template_are_named(tmp_path):
    _, mask = lungs()
    write_volume(mask, tmp_path / "mask.nii.gz")
    write_regions(tmp_path / "mask.nii.gz", labels=tmp_path / "regions.nii.gz", names=tmp_path / "regions.tsv")
    regions = read_volume(tmp_path / "regions.nii.gz").array
    assert ((regions > 3) == (mask.array == 2)).all() and ((regions > 0) == (mask.array > 0)).all()
    table = pd.read_csv(tmp_path / "regions.tsv", sep="\t").set_index("region")
    assert table.label["right_upper_zone"] == 1 and table.label["left_lower_zone"] == 6
    assert ndimage.center_of_mass(regions == 1)[0] > ndimage.center_of_mass(regions == 3)[0]  # z runs to the head
    assert table.volume_ml.sum() == pytest.approx((mask.array > 0).sum() * mask.voxel_ml)


def test_an_image_that_the_user_brought_starts_the_template(tmp_path):
    ct, labels = lungs(spacing=4.0)
    write_volume(ct, tmp_path / "ct.nii.gz")
    write_volume(labels, tmp_path / "lungs.nii.gz")
    files = {"ct": tmp_path / "ct.nii.gz", "lungs": tmp_path / "lungs.nii.gz"}
    start_iteration(tmp_path / "mean", **files, brought=True, spacing_mm=6.0, margin_mm=12.0, padding_mm=12.0)
    started = read_iteration(tmp_path / "mean")
    assert set(started.hu.spacing_mm) == {6.0} and set(np.unique(started.lungs.array)) == {0, 1, 2}
    write_volume(ct.with_array(ct.array + 2000), tmp_path / "ct.nii.gz")
    with pytest.raises(InputError, match="template.start_image: median of the lungs"):
        start_iteration(tmp_path / "mean", **files, brought=True, spacing_mm=6.0, margin_mm=12.0, padding_mm=12.0)


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


def volumes_of(n):
    return pd.DataFrame(
        {"subject": [f"S{i:02}" for i in range(n)], "right_ml": 2000.0 + 50 * np.arange(n), "left_ml": 1800.0}
    )


def test_stratified_sample_spreads_over_lung_volume_and_a_simple_one_need_not():
    volumes = volumes_of(30)
    thirds = dict(zip(volumes.subject, volume_tertiles(volumes), strict=True))
    assert pd.Series(thirds).value_counts().to_dict() == {"small": 10, "middle": 10, "large": 10}
    options = {"strata": dict.fromkeys(thirds, "F/A"), "checksums": dict.fromkeys(thirds, "x"), "size": 6}

    def counts(sampling, seed):
        table = sample_table(volumes, **options, sampling=sampling, seed=seed)
        return sorted(
            table.subject[table.drawn == 1].map(thirds).value_counts().reindex(set(thirds.values()), fill_value=0)
        )

    assert all(counts("stratified", seed) == [2, 2, 2] for seed in range(10))
    assert any(counts("simple", seed) != [2, 2, 2] for seed in range(10))


def test_sample_of_few_subjects_is_not_cut_by_volume():
    assert volume_tertiles(volumes_of(8)) == ["any"] * 8


def test_sample_size_stays_within_limits():
    assert [sample_size(n, fraction=0.1, minimum=10, maximum=60) for n in (6, 50, 300, 2000)] == [6, 10, 30, 60]


def test_start_is_nearest_to_the_medians():
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
    write_registration(tmp_path, larger, judge_registration(larger.figures, LIMITS), attempt="configured", failed=[])
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
