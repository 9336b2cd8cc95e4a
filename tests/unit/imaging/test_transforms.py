"""A scan's transform applied to images, labels and points: against ANTs itself, and there and back again."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from lungtypes.imaging.geometry import Volume, to_ants, to_sitk, write_sitk
from lungtypes.imaging.transforms import TransformFiles, displacement_field, warp_image, warp_labels, warp_points

SHAPE = (30, 28, 32)


def volume(array, *, spacing_mm=2.0, origin_mm=(-30.0, -25.0, 100.0), direction=None):
    return Volume(array, (spacing_mm,) * 3, origin_mm, np.eye(3) if direction is None else direction)


def smooth(seed, sigma):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(SHAPE), sigma)
    return field / field.std()


@pytest.fixture(params=["straight", "flipped"])
def made(request, tmp_path):
    """Template and scan grids, and a transform between them whose inverse warp was solved for."""
    direction = None if request.param == "straight" else np.diag([-1.0, -1.0, 1.0])
    origin = (-30.0, -25.0, 100.0) if request.param == "straight" else (32.0, 29.0, 100.0)
    template = volume(np.zeros(SHAPE, np.float32), direction=direction, origin_mm=origin)
    scan = volume(np.zeros((34, 40, 38), np.float32), spacing_mm=1.9, origin_mm=(-27.0, -30.0, 95.0))
    warp = sitk.GetImageFromArray(np.stack([2.0 * smooth(s, 5) for s in range(3)], axis=-1), isVector=True)
    warp.CopyInformation(to_sitk(template))
    files = TransformFiles.of(tmp_path)
    write_sitk(warp, files.warp)
    write_sitk(sitk.InvertDisplacementField(warp, 200, 1e-4, 1e-4), files.inverse_warp)
    affine = sitk.AffineTransform(3)
    affine.SetMatrix([1.05, 0.05, 0, -0.04, 0.97, 0, 0, 0.02, 1.02])
    affine.SetTranslation([1.0, -2.0, 1.5])
    sitk.WriteTransform(affine, str(files.affine))
    return files, template, scan


def test_points_go_there_and_back(made):
    files, template, _ = made
    index = np.random.default_rng(1).uniform(8, 20, (50, 3))
    points = np.array([to_sitk(template).TransformContinuousIndexToPhysicalPoint(p) for p in index.tolist()])
    there = warp_points(points, files, to="scan")
    assert np.linalg.norm(there - points, axis=1).min() > 0.5
    assert warp_points(there, files, to="template") == pytest.approx(points, abs=0.1)
    assert warp_points(np.empty((0, 3)), files, to="scan").shape == (0, 3)
    with pytest.raises(ValueError, match="expected \\(n, 3\\)"):
        warp_points([1.0, 2.0, 3.0], files, to="scan")


def test_images_and_points_agree(made):
    """A ball in the scan lands in the template where its centre goes."""
    files, template, scan = made
    centre = warp_points([to_sitk(template).TransformContinuousIndexToPhysicalPoint([16, 14, 15])], files, to="scan")
    index = to_sitk(scan).TransformPhysicalPointToContinuousIndex(centre[0])[::-1]
    grid = np.stack(np.meshgrid(*map(np.arange, scan.array.shape), indexing="ij"), axis=-1)
    ball = scan.with_array((np.linalg.norm(grid - np.array(index), axis=-1) < 4).astype(np.uint8))
    brought = warp_labels(ball, files, to="template", reference=template)
    assert ndimage.center_of_mass(brought.array)[::-1] == pytest.approx((16, 14, 15), abs=0.4)
    back = warp_labels(brought, files, to="scan", reference=ball)
    overlap = 2 * (back.array & ball.array).sum() / (back.array.sum() + ball.array.sum())
    assert overlap > 0.9


@pytest.mark.parametrize("to", ["template", "scan"])
def test_ants_gives_the_same_image(made, to):
    import ants

    files, template, scan = made
    source, reference = (scan, template) if to == "template" else (template, scan)
    rng = np.random.default_rng(3)
    image = source.with_array(ndimage.gaussian_filter(rng.standard_normal(source.array.shape), 2).astype(np.float32))
    ours = warp_image(image, files, to=to, reference=reference, outside=0.0)
    names = [files.warp, files.affine] if to == "template" else [files.affine, files.inverse_warp]
    theirs = ants.apply_transforms(
        to_ants(reference), to_ants(image), [str(n) for n in names], whichtoinvert=[to == "scan", False]
    )
    theirs = theirs.numpy().transpose(2, 1, 0)  # antspy has x first
    inside = (ours.array != 0) & (theirs != 0)  # at the very border one of them may call a point outside
    assert inside.mean() > 0.4
    assert ours.array[inside] == pytest.approx(theirs[inside], abs=2e-4)


def test_labels_keep_their_numbers_and_dtype(made):
    files, template, scan = made
    labels = np.zeros(scan.array.shape, np.int16)
    labels[10:20, 10:20, 10:18], labels[10:20, 10:20, 18:26] = 7, 1200
    brought = warp_labels(scan.with_array(labels), files, to="template", reference=template).array
    assert brought.dtype == np.int16 and set(np.unique(brought)) == {0, 7, 1200}


def test_field_of_a_shift_is_the_shift(made):
    _, template, _ = made
    field = sitk.GetArrayFromImage(displacement_field(sitk.TranslationTransform(3, (1.0, -2.0, 3.0)), template))
    assert field.reshape(-1, 3) == pytest.approx(np.tile([1.0, -2.0, 3.0], (template.array.size, 1)))
