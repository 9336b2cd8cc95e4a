"""What a study brings along: lobe masks, a template, registered volumes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import yaml

from lungtypes.errors import GeometryError, InputError, ScanFault
from lungtypes.imaging.densitometry import measure_density
from lungtypes.imaging.geometry import Volume, from_sitk, to_sitk, write_volume
from lungtypes.imaging.given import check_given_registration, read_given_template
from lungtypes.imaging.lobes import check_given_lobes, find_lungs
from lungtypes.imaging.lung_checks import CHECKS
from lungtypes.imaging.registration_files import adopt_registered
from lungtypes.imaging.resample import resample_scan

OWN = [1, 2, 3, 4, 5]
LUNGMASK = [3, 4, 5, 1, 2]  # LTRCLobes of lungmask: left upper and lower first
FILES_OF_GIVEN = {"registered": "scan", "lungs": "small", "template": "scan", "mask": "mask"}
CONFIG = yaml.safe_load((Path(__file__).resolve().parents[3] / "config/config.yaml").read_text())
REGISTER_CHECKS = CONFIG["register"]["checks"]
NO_LIMITS = {name: {"warn": None, "fail": None} for name in CHECKS}
SETTINGS = {"engine": "classical", "lungmask_weights": "", "air_threshold_hu": -400.0, "closing_mm": 8.0}
SETTINGS["checks"] = NO_LIMITS


def scan_with_lobes(labels=OWN):
    """Two boxes of lung in soft tissue; the right one (small x) has three lobes from the top, the left one two."""
    hu = np.full((24, 20, 30), 40, np.int16)
    lobes = np.zeros(hu.shape, np.uint8)
    for label, z, x in (
        (labels[0], slice(16, 22), slice(3, 12)),
        (labels[1], slice(10, 16), slice(3, 12)),
        (labels[2], slice(2, 10), slice(3, 12)),
        (labels[3], slice(12, 22), slice(17, 27)),
        (labels[4], slice(2, 12), slice(17, 27)),
    ):
        lobes[z, 4:16, x] = label
    hu[lobes > 0] = -850
    scan = Volume(hu, (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), np.eye(3))
    return scan, scan.with_array(lobes)


def sides(lobes):
    return np.select([(lobes > 0) & (lobes <= 3), lobes > 3], [1, 2], 0).astype(np.uint8)


def test_lobes_of_another_program_get_our_labels():
    scan, theirs = scan_with_lobes(LUNGMASK)
    _, ours = scan_with_lobes()
    assert (check_given_lobes(scan, theirs, lobe_labels=LUNGMASK).array == ours.array).all()


def test_wrong_order_of_lobe_labels_is_found_by_where_the_lobes_lie():
    scan, theirs = scan_with_lobes(LUNGMASK)
    with pytest.raises(ScanFault, match="SEG-LABELS"):
        check_given_lobes(scan, theirs, lobe_labels=OWN)
    with pytest.raises(ScanFault, match="right_upper lies below right_lower"):
        check_given_lobes(scan, scan_with_lobes()[1], lobe_labels=[3, 2, 1, 4, 5])
    with pytest.raises(ScanFault, match="expected \\[7, 8, 9, 10, 11\\]"):
        check_given_lobes(scan, theirs, lobe_labels=[7, 8, 9, 10, 11])


def test_lobe_mask_of_another_grid_is_refused():
    scan, lobes = scan_with_lobes()
    with pytest.raises(GeometryError, match="lobe mask"):
        check_given_lobes(scan, replace(lobes, origin_mm=(5.0, 0.0, 0.0)), lobe_labels=OWN)


def test_lobe_mask_says_where_the_lungs_are():
    scan, lobes = scan_with_lobes()
    found = find_lungs(scan, given_lungs=None, given_lobes=lobes, lobe_labels=OWN, **SETTINGS)
    assert (found.lungs.labels.array == sides(lobes.array)).all() and found.lungs.split_by == "given"


def test_lobes_are_cut_to_the_lungs_that_were_given_with_them():
    scan, lobes = scan_with_lobes()
    lungs = sides(lobes.array)
    lungs[:4] = 0
    found = find_lungs(scan, given_lungs=scan.with_array(lungs), given_lobes=lobes, lobe_labels=OWN, **SETTINGS)
    assert (found.lobes.array[:4] == 0).all() and (found.lobes.array[4:] == lobes.array[4:]).all()


def test_densitometry_has_a_row_a_lobe_and_they_add_up():
    scan, lobes = scan_with_lobes()
    table = measure_density(scan.array, sides(lobes.array), lobes.array, spacing_mm=scan.spacing_mm).set_index("region")
    names = ["right_upper", "right_middle", "right_lower", "left_upper", "left_lower"]
    assert table.volume_ml[names].sum() == pytest.approx(table.volume_ml["lungs"])
    assert table.volume_ml["left_lower"] == pytest.approx(10 * 12 * 10 * 0.008)


def test_lobes_are_resampled_onto_the_grid_of_the_scan():
    scan, lobes = scan_with_lobes()
    result = resample_scan(
        scan, scan.with_array(sides(lobes.array)), lobes, spacing_mm=1.0, margin_mm=4.0, max_volume_change_percent=3.0
    )
    assert result.lobes.array.shape == result.lungs.array.shape
    assert (sides(result.lobes.array) == result.lungs.array).all()
    assert (result.lobes.array == 2).sum() == pytest.approx(8 * (lobes.array == 2).sum(), rel=0.1)


def saved(tmp_path, scan, lungs):
    write_volume(scan, tmp_path / "t.nii.gz")
    write_volume(lungs, tmp_path / "m.nii.gz")
    return tmp_path / "t.nii.gz", tmp_path / "m.nii.gz"


def test_given_template_is_turned_to_lps(tmp_path):
    scan, lobes = scan_with_lobes()
    lungs = scan.with_array(sides(lobes.array))
    flipped = [from_sitk(sitk.Flip(to_sitk(v), [True, True, False])) for v in (scan, lungs)]
    hu, mask = read_given_template(*saved(tmp_path, *flipped))
    assert (hu.array == scan.array).all() and (mask.array == lungs.array).all()
    assert np.allclose(mask.direction, np.eye(3))


def test_template_that_cannot_serve_is_refused_in_words(tmp_path):
    scan, lobes = scan_with_lobes()
    lungs = scan.with_array(sides(lobes.array))
    binary = scan.with_array((lobes.array > 0).astype(np.uint8))
    with pytest.raises(InputError, match="template.lungs: found labels \\[0, 1\\]"):
        read_given_template(*saved(tmp_path, scan, binary))
    with pytest.raises(InputError, match="expected -980 to -200 HU"):
        read_given_template(*saved(tmp_path, scan.with_array((scan.array + 1024).astype(np.int16)), lungs))
    with pytest.raises(InputError, match="template.image and template.lungs: found grids"):
        read_given_template(*saved(tmp_path, scan, replace(lungs, spacing_mm=(1.0, 2.0, 2.0))))
    (tmp_path / "t.nii.gz").write_bytes(b"no image")
    with pytest.raises(InputError, match="cannot be read"):
        read_given_template(tmp_path / "t.nii.gz", tmp_path / "m.nii.gz")


def test_registered_volume_takes_the_templates_lungs_unless_it_has_its_own():
    scan, lobes = scan_with_lobes()
    mask = scan.with_array(sides(lobes.array))
    result = check_given_registration(scan, None, template=scan, mask=mask)
    assert result.figures["dice_left"] == 1.0 and result.figures["folded_percent"] is None
    own = mask.array.copy()
    own[:5] = 0
    figures = check_given_registration(scan, scan.with_array(own), template=scan, mask=mask).figures
    assert figures["dice_right"] == pytest.approx(2 * 17 / (17 + 20))


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("REG-GRID", lambda scan: replace(scan, spacing_mm=(2.0, 2.0, 2.1))),
        ("HU-IMPLAUSIBLE", lambda scan: scan.with_array((scan.array + 1024).astype(np.int16))),
        ("IMG-NAN", lambda scan: scan.with_array(np.where(scan.array < 0, np.nan, scan.array).astype(np.float32))),
    ],
)
def test_registered_volume_that_cannot_be_used_is_a_fault(code, change):
    scan, lobes = scan_with_lobes()
    mask = scan.with_array(sides(lobes.array))
    with pytest.raises(ScanFault, match=code):
        check_given_registration(change(scan), None, template=scan, mask=mask)


def test_registered_volume_with_lungs_elsewhere_fails_the_gate(tmp_path):
    scan, lobes = scan_with_lobes()
    mask = scan.with_array(sides(lobes.array))
    small = scan.with_array(np.where(np.arange(24)[:, None, None] < 8, mask.array, 0).astype(np.uint8))
    for name, image in (("scan", scan), ("small", small), ("mask", mask)):
        write_volume(image, tmp_path / f"{name}.nii.gz")
    files = {name: str(tmp_path / f"{file}.nii.gz") for name, file in FILES_OF_GIVEN.items()}
    (tmp_path / "out").mkdir()
    with pytest.raises(ScanFault, match="REG-DICE"):
        adopt_registered(tmp_path / "out", **files, checks=REGISTER_CHECKS)
    assert list((tmp_path / "out").iterdir()) == []
    adopt_registered(tmp_path / "out", **{**files, "lungs": files["mask"]}, checks=REGISTER_CHECKS)
    assert json.loads((tmp_path / "out/registration.json").read_text())["attempt"] == "given"
