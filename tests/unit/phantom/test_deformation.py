"""A known deformation: smooth, as large as asked for, and without folds."""

import numpy as np
import pytest
from scipy import ndimage

from lungtypes.phantom.deformation import deformed, known_displacement

SHAPE = (40, 36, 44)


def field(**changes):
    options = {"sd_mm": 4.0, "width_mm": 20.0, "scale": (1.0, 1.0, 1.0), "rng": np.random.default_rng(0)}
    return known_displacement(SHAPE, 2.0, **{**options, **changes})


def test_field_has_the_size_asked_for_and_does_not_fold():
    found = field()
    assert found.shape == (3, *SHAPE) and found.std() == pytest.approx(4.0)
    gradients = np.stack([np.stack(np.gradient(component, 2.0)) for component in found])
    jacobian = np.linalg.det(np.moveaxis(gradients, (0, 1), (-2, -1)) + np.eye(3))
    assert jacobian.min() > 0.1


def test_scale_is_about_the_centre():
    found = field(sd_mm=0.0, scale=(1.1, 1.0, 1.0))
    assert found[0, 0, 0, 0] == pytest.approx(-0.1 * 39)  # half of the 78 mm, a tenth further out
    assert found[:, 20, 18, 22][1:] == pytest.approx([0, 0])


def test_what_lay_at_x_plus_displacement_is_seen_at_x():
    labels = np.zeros(SHAPE, np.uint8)
    labels[15:25, 10:20, 10:16], labels[15:25, 10:20, 26:32] = 1, 2
    hu = np.where(labels > 0, -850, 40).astype(np.int16)
    shift = np.zeros((3, *SHAPE))
    shift[0], shift[2] = 4.0, -2.0  # mm along z and x, voxels of 2 mm
    moved_hu, moved = deformed(hu, labels, shift, 2.0)
    assert moved_hu.dtype == np.int16 and set(np.unique(moved)) == {0, 1, 2}
    shifts = np.subtract(ndimage.center_of_mass(moved == 1), ndimage.center_of_mass(labels == 1))
    assert shifts == pytest.approx([-2, 0, 1])
    assert (moved_hu[moved == 2] == -850).all()
    same_hu, same = deformed(hu, labels, np.zeros((3, *SHAPE)), 2.0)
    assert (same_hu == hu).all() and (same == labels).all()
