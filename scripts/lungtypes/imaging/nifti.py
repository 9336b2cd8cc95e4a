"""What SimpleITK passes over in a NIfTI: it takes one without orientation as it stands, and reads NaN as 0."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np


def is_nifti(path: Path) -> bool:
    """By the file's name."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def states_orientation(path: Path) -> bool:
    """Whether the header says where left and right are (a qform or sform code that is not 0)."""
    header = nibabel.load(path).header
    return int(header["qform_code"]) != 0 or int(header["sform_code"]) != 0


def holds_finite_values(path: Path) -> bool:
    """Whether no voxel is NaN or infinite; integers are not read."""
    image = nibabel.load(path)
    return image.get_data_dtype().kind != "f" or bool(np.isfinite(np.asarray(image.dataobj)).all())
