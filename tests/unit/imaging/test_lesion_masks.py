"""Lesion masks on the grids that maps lie on, over the scan and in the template."""

import numpy as np
import pytest
import SimpleITK as sitk

from lungtypes.imaging.geometry import write_volume
from lungtypes.imaging.lesion_masks import lesions_on_grids
from lungtypes.imaging.transforms import TransformFiles
from lungtypes.imaging.volumes import CohortGrid

AXES = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
SHIFT_MM = 8.0


@pytest.fixture
def folder(tmp_path):
    mask = np.zeros((20, 20, 20), np.uint8)
    mask[4:8, 6:10, 8:12] = 7
    own = tmp_path / "S1"
    own.mkdir()
    grid = CohortGrid((20, 20, 20), 2.0, (10.0, 20.0, -30.0), AXES)
    write_volume(grid.volume(mask), own / "lesions.nii.gz")
    (tmp_path / "refused").mkdir()
    return own


def test_mask_lies_in_the_same_place_of_a_coarser_grid(folder):
    found = lesions_on_grids([folder])("S1", CohortGrid((10, 10, 10), 4.0, (11.0, 21.0, -29.0), AXES))
    assert found.dtype == bool and np.argwhere(found).min(axis=0).tolist() == [2, 3, 4]
    assert np.argwhere(found).max(axis=0).tolist() == [3, 4, 5]


def test_scans_without_a_mask_and_refused_ones_have_none(folder):
    grid = CohortGrid((10, 10, 10), 4.0, (11.0, 21.0, -29.0), AXES)
    found = lesions_on_grids([folder, folder.parent / "refused"])
    assert found("S2", grid) is None and found("refused", grid) is None


def test_registration_brings_the_mask_to_the_template(folder, tmp_path):
    registered = tmp_path / "registered"
    registered.mkdir()
    files = TransformFiles.of(registered)
    shift = sitk.AffineTransform(3)
    shift.SetTranslation((SHIFT_MM, 0.0, 0.0))  # of a point of the template on the way to the scan
    sitk.WriteTransform(shift, str(files.affine))
    field = sitk.Image([4, 4, 4], sitk.sitkVectorFloat64, 3)
    field.SetSpacing((30.0, 30.0, 30.0))
    for path in (files.warp, files.inverse_warp):
        sitk.WriteImage(field, str(path))
    grid = CohortGrid((20, 20, 20), 2.0, (10.0, 20.0, -30.0), AXES)
    here = lesions_on_grids([folder])("S1", grid)
    there = lesions_on_grids([folder], {"S1": registered})("S1", grid)
    assert there.sum() == here.sum() > 0
    np.testing.assert_array_equal(there, np.roll(here, -int(SHIFT_MM / 2), axis=2))
