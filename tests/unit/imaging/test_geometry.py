"""Arrays and their place in the world survive reading, writing, cropping and reorientation."""

import numpy as np
import pytest
import SimpleITK as sitk

from lungtypes.errors import GeometryError
from lungtypes.imaging.geometry import (
    Volume,
    bounding_box,
    crop,
    from_sitk,
    oriented_lps,
    read_volume,
    require_same_grid,
    to_sitk,
    write_volume,
)


def volume():
    array = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    return Volume(array, (4.0, 2.0, 1.0), (10.0, 20.0, 30.0), np.eye(3))


def test_spacing_follows_the_array_order(tmp_path):
    write_volume(volume(), tmp_path / "v.nii.gz")
    back = read_volume(tmp_path / "v.nii.gz")
    assert (back.array == volume().array).all() and back.spacing_mm == (4.0, 2.0, 1.0)
    assert to_sitk(back).GetSpacing() == (1.0, 2.0, 4.0)


def test_crop_keeps_each_voxel_at_its_world_place():
    piece = crop(volume(), (slice(1, 3), slice(2, 5), slice(3, 6)))
    point = to_sitk(volume()).TransformIndexToPhysicalPoint((3, 2, 1))
    assert to_sitk(piece).TransformIndexToPhysicalPoint((0, 0, 0)) == pytest.approx(point)


def test_flipped_images_come_back_along_lps():
    flipped = sitk.Flip(to_sitk(volume()), [True, False, True])
    assert (oriented_lps(from_sitk(flipped)).array == volume().array).all()


def test_header_text_is_blank_after_writing(tmp_path):
    image = to_sitk(volume())
    image.SetMetaData("aux_file", "Jane Doe")
    image.SetMetaData("descrip", "Jane Doe")
    from lungtypes.imaging.geometry import write_sitk

    write_sitk(image, tmp_path / "v.nii.gz")
    read = sitk.ReadImage(str(tmp_path / "v.nii.gz"))
    assert not [k for k in read.GetMetaDataKeys() if "Doe" in read.GetMetaData(k)]


def test_different_grids_are_named_in_the_error():
    with pytest.raises(GeometryError, match="expected one grid"):
        require_same_grid(volume(), crop(volume(), (slice(1, 4), slice(0, 5), slice(0, 6))), "ct and lungs")


def test_nothing_is_left_behind_when_writing_fails(tmp_path):
    with pytest.raises(RuntimeError):
        write_volume(volume(), tmp_path / "v.unknown")
    assert list(tmp_path.iterdir()) == []


def test_bounding_box_is_widened_and_clipped():
    mask = np.zeros((10, 10, 10), bool)
    mask[4, 5, 9] = True
    assert bounding_box(mask, (1, 1, 1), 2.0) == (slice(2, 7), slice(3, 8), slice(7, 10))
    with pytest.raises(GeometryError):
        bounding_box(np.zeros((3, 3, 3), bool), (1, 1, 1), 0)
