"""The user's lesion masks of single scans, on the grids that maps lie on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungtypes.imaging.geometry import read_volume
from lungtypes.imaging.resample import resample_labels
from lungtypes.imaging.transforms import TransformFiles, point_map
from lungtypes.imaging.volumes import CohortGrid

LESIONS_FILE = "lesions.nii.gz"
LesionsOn = Callable[[str, CohortGrid], NDArray[np.bool_] | None]  # a subject's mask on a grid; None without one


def lesions_on_grids(folders: Iterable[str | Path], registered: Mapping[str, str | Path] | None = None) -> LesionsOn:
    """A function of a subject and a grid: the mask (*grid.shape), True where half of a voxel or more is lesion.

    folders : named by subject, with lesions.nii.gz; one whose mask was refused has none. registered : folder of each
    subject's registration where the grid lies in the template; None where it lies over the scan.
    """
    files = {Path(folder).name: Path(folder) / LESIONS_FILE for folder in folders}

    def lesions_on(subject: str, grid: CohortGrid) -> NDArray[np.bool_] | None:
        if subject not in files or not files[subject].exists():
            return None
        mapping = point_map(TransformFiles.of(registered[subject]), to="scan") if registered else None
        mask = read_volume(files[subject])
        lesions = mask.with_array((mask.array > 0).astype(np.uint8))
        return resample_labels(lesions, grid.reference(), mapping) > 0

    return lesions_on
