"""A subject's own files, brought to the template and to the scan: images, labels and points land in one place."""

import logging

import nibabel
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from scipy import ndimage

from lungtypes.errors import ScanFault
from lungtypes.imaging.apply_files import apply_file
from lungtypes.imaging.geometry import Volume, read_volume, to_sitk, write_sitk, write_volume
from lungtypes.imaging.transforms import TransformFiles, warp_points

SHAPE = {"template": (30, 28, 32), "scan": (34, 40, 38)}
LPS, RAS = ([f"{axis}_{frame}_mm" for axis in "xyz"] for frame in ("lps", "ras"))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Empty images of template and scan, and a transform between them: a smooth warp, then scaling and a shift."""
    folder = tmp_path_factory.mktemp("study")
    grids = {
        "template": Volume(np.zeros(SHAPE["template"], np.int16), (2.0,) * 3, (-30.0, -25.0, 100.0), np.eye(3)),
        "scan": Volume(np.zeros(SHAPE["scan"], np.uint8), (1.9,) * 3, (45.0, 45.0, 95.0), np.diag([-1.0, -1.0, 1.0])),
    }
    for name, volume in grids.items():
        write_volume(volume, folder / f"{name}.nii.gz")
    fields = [ndimage.gaussian_filter(np.random.default_rng(s).standard_normal(SHAPE["template"]), 5) for s in range(3)]
    warp = sitk.GetImageFromArray(np.stack([1.5 * f / f.std() for f in fields], axis=-1), isVector=True)
    warp.CopyInformation(to_sitk(grids["template"]))
    transforms = TransformFiles.of(folder)
    write_sitk(warp, transforms.warp)
    write_sitk(sitk.InvertDisplacementField(warp, 200, 1e-4, 1e-4), transforms.inverse_warp)
    affine = sitk.AffineTransform(3)
    affine.SetMatrix([1.05, 0.05, 0, -0.04, 0.97, 0, 0, 0.02, 1.02])
    affine.SetTranslation([6.0, -5.0, 4.0])
    sitk.WriteTransform(affine, str(transforms.affine))
    return folder, grids, transforms


@pytest.fixture
def bring(study, tmp_path):
    """Bring a file to another space, and read what came out."""
    folder, _, transforms = study

    def bring(file, kind, to, name="mine"):
        paths = {space: folder / f"{space}.nii.gz" for space in SHAPE}
        apply_file(tmp_path / "out", name=name, file=str(file), kind=kind, to=to, transforms=transforms, grids=paths)
        (written,) = (tmp_path / "out").rglob(f"{name}.*")
        assert written.parent.name == f"to_{to}"
        if kind != "points":
            return read_volume(written)
        return pd.read_csv(written, sep="\t", dtype=dict.fromkeys(["label", "note"], str), keep_default_na=False)

    return bring


def ball(grid, index, radius=3):
    """A mask on ``grid``, and the world place (LPS) of its centre at voxel (x, y, z)."""
    places = np.stack(np.meshgrid(*map(np.arange, grid.array.shape), indexing="ij"), axis=-1)
    mask = np.linalg.norm(places - np.array(index[::-1]), axis=-1) < radius
    return mask, np.array(to_sitk(grid).TransformContinuousIndexToPhysicalPoint([float(i) for i in index]))


def centre(volume, mask):
    index = ndimage.center_of_mass(mask)[::-1]
    return np.array(to_sitk(volume).TransformContinuousIndexToPhysicalPoint(index))


@pytest.mark.parametrize("to", ["template", "scan"])
def test_image_labels_and_points_of_one_place_land_in_one_place(study, bring, tmp_path, to):
    _, grids, transforms = study
    source, target = (grids["scan"], grids["template"]) if to == "template" else (grids["template"], grids["scan"])
    mask, place = ball(source, (17, 19, 16) if to == "template" else (16, 14, 15))
    write_volume(source.with_array(np.where(mask, 7, 0).astype(np.uint16)), tmp_path / "labels.nrrd")
    write_volume(source.with_array(np.where(mask, 60, -1000).astype(np.int16)), tmp_path / "ct.nii.gz")
    (tmp_path / "lps.tsv").write_text("\t".join(LPS) + "\n" + "\t".join(map(str, place)) + "\n")
    (tmp_path / "ras.csv").write_text(",".join(RAS) + "\n" + ",".join(map(str, place * [-1, -1, 1])) + "\n")

    expected = warp_points([place], transforms, to=to)[0]
    assert np.linalg.norm(expected - place) > 3  # the transform does something
    labels = bring(tmp_path / "labels.nrrd", "labels", to, "a")
    assert labels.array.dtype == np.uint16 and set(np.unique(labels.array)) == {0, 7}
    image = bring(tmp_path / "ct.nii.gz", "image", to, "b")
    assert image.array.dtype == np.int16 and image.array.max() == 60 and image.array.min() == -1024
    for volume in (labels, image):
        assert volume.array.shape == target.array.shape and volume.origin_mm == pytest.approx(target.origin_mm)
    assert centre(labels, labels.array == 7) == pytest.approx(expected, abs=0.6)
    assert centre(image, image.array > -400) == pytest.approx(expected, abs=0.6)
    in_lps, in_ras = bring(tmp_path / "lps.tsv", "points", to, "c"), bring(tmp_path / "ras.csv", "points", to, "d")
    assert in_lps[LPS].to_numpy()[0] == pytest.approx(expected, abs=1e-4)
    assert in_ras[RAS].to_numpy()[0] == pytest.approx(expected * [-1, -1, 1], abs=1e-4)


def test_points_keep_order_columns_and_text(bring, tmp_path):
    header = ["label", RAS[2], "note", RAS[0], RAS[1]]
    rows = [["007", "130", "a, b", "1", "2"], ["NA", "131.5", "", "-3", "4e0"]]
    (tmp_path / "p.tsv").write_text("\n".join("\t".join(row) for row in [header, *rows]) + "\n")
    found = bring(tmp_path / "p.tsv", "points", "template")
    assert list(found) == header
    assert found["label"].tolist() == ["007", "NA"] and found["note"].tolist() == ["a, b", ""]
    assert (found[RAS].round(4) == found[RAS]).all(axis=None)


def test_table_without_points_stays_empty(bring, tmp_path):
    (tmp_path / "p.csv").write_text(",".join(LPS) + "\n")
    assert bring(tmp_path / "p.csv", "points", "scan").empty


@pytest.mark.parametrize(
    ("dtype", "values", "outside", "kept"),
    [
        (np.int16, (-1000, 40), -1024, np.int16),
        (np.int16, (-500, 40), 0, np.int16),
        (np.uint8, (3, 200), 0, np.uint8),
        (np.float64, (0.5, 2.0), 0, np.float32),
        (np.float32, (-800.5, 2.0), -1024, np.float32),
    ],
)
def test_image_keeps_its_type_and_has_air_around_a_ct(study, bring, tmp_path, dtype, values, outside, kept):
    _, grids, _ = study
    array = np.full(SHAPE["scan"], values[0], dtype)
    array[::2] = values[1]  # so that most results lie between
    write_volume(grids["scan"].with_array(array), tmp_path / "i.mha")
    brought = bring(tmp_path / "i.mha", "image", "template").array
    assert brought.dtype == kept and brought[0, 0, 0] == outside
    inside = brought[10:20, 10:18, 10:22]
    assert inside.min() >= values[0] and inside.max() <= values[1] and np.unique(inside).size > 10


def test_integers_are_rounded_not_cut(study, bring, tmp_path):
    """Of a ramp, rounded values miss the true ones by 0 on average; cut ones would by half a step."""
    _, grids, _ = study
    ramp = np.broadcast_to(np.arange(SHAPE["scan"][2]), SHAPE["scan"])
    for name, dtype in (("whole", np.int16), ("exact", np.float32)):
        write_volume(grids["scan"].with_array(ramp.astype(dtype)), tmp_path / f"{name}.nii.gz")
    whole, exact = (bring(tmp_path / f"{n}.nii.gz", "image", "template", n).array for n in ("whole", "exact"))
    difference = (whole - exact)[8:22, 8:20, 8:24]
    assert abs(difference).max() <= 0.5 and abs(difference.mean()) < 0.05


def test_labels_may_come_as_whole_floats_and_the_log_says_which_vanish(study, bring, tmp_path, caplog):
    _, grids, _ = study
    mask, _ = ball(grids["scan"], (17, 19, 16))
    array = np.where(mask, 1200.0, 0.0).astype(np.float32)
    array[33, 0, 0] = 5  # one voxel at the edge
    write_volume(grids["scan"].with_array(array), tmp_path / "l.nii.gz")
    with caplog.at_level(logging.WARNING):
        brought = bring(tmp_path / "l.nii.gz", "labels", "template").array
    assert brought.dtype == np.float32 and set(np.unique(brought)) == {0.0, 1200.0}
    assert "no voxel is left of label 5.0" in caplog.text and "1200" not in caplog.text


def refused(bring, file, kind):
    with pytest.raises(ScanFault) as fault:
        bring(file, kind, "template")
    assert fault.value.code == "APPLY-FILE"
    assert fault.value.message.startswith("name mine: ") and "\n" not in fault.value.message
    assert str(file.parent) not in fault.value.message and file.stem not in fault.value.message
    return fault.value.message


def test_images_that_cannot_be_used(study, bring, tmp_path):
    _, grids, _ = study
    broken = tmp_path / "doe.nii.gz"
    broken.write_bytes(b"no image")
    assert "found a file that cannot be read, expected a 3D NIfTI" in refused(bring, broken, "image")
    values = np.zeros((5, 5, 5), np.float32)
    lost = nibabel.Nifti1Image(values, None)
    lost.header["qform_code"] = lost.header["sform_code"] = 0
    nibabel.save(lost, tmp_path / "lost.nii.gz")
    assert "states no orientation" in refused(bring, tmp_path / "lost.nii.gz", "labels")
    values[2, 2, 2] = np.nan
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "hole.nii.gz")
    assert "found NaN or infinite values" in refused(bring, tmp_path / "hole.nii.gz", "image")
    write_volume(grids["scan"].with_array(np.full(SHAPE["scan"], np.inf)), tmp_path / "far.nrrd")
    assert "found NaN or infinite values" in refused(bring, tmp_path / "far.nrrd", "labels")


@pytest.mark.parametrize(("low", "high", "dtype"), [(-1000, 40, np.int16), (0.0, 0.7, np.float32)])
def test_images_are_no_labels(study, bring, tmp_path, low, high, dtype):
    _, grids, _ = study
    array = np.full(SHAPE["scan"], low, dtype)
    array[3] = high
    write_volume(grids["scan"].with_array(array), tmp_path / "ct.nii.gz")
    found = refused(bring, tmp_path / "ct.nii.gz", "labels")
    assert f"found values from {low:g} to {high:g}, expected whole numbers from 0 up" in found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "x,y,z\n1,2,3\n",
            "found columns x, y, z, expected x_lps_mm, y_lps_mm, z_lps_mm or x_ras_mm, y_ras_mm, z_ras_mm",
        ),
        ("x_lps_mm,y_lps_mm\n1,2\n", "found columns x_lps_mm, y_lps_mm, expected"),
        ("x_lps_mm,y_lps_mm,z_lps_mm,x_ras_mm\n1,2,3,4\n", "expected x_lps_mm, y_lps_mm, z_lps_mm or x_ras_mm"),
        (
            "x_ras_mm,y_ras_mm,z_ras_mm\n1,2,3\n1,,inf\n",
            "found no number in line 3, column y_ras_mm (''), line 3, column z_ras_mm ('inf'), expected one",
        ),
        ("x_lps_mm,y_lps_mm,z_lps_mm\n1,2,3,4\n1,2,3,4,5\n", "the file, line 2: found 4 fields, expected 3"),
    ],
)
def test_tables_of_points_that_cannot_be_used(bring, tmp_path, text, expected):
    (tmp_path / "doe.csv").write_text(text)
    assert expected in refused(bring, tmp_path / "doe.csv", "points")
