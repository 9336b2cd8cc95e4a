"""Lobes of a scan from a template whose lobes are labelled: warped back by the scan's own registration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungtypes.errors import GeometryError, InputError, ScanFault
from lungtypes.imaging.geometry import Volume, bounding_box, crop, read_volume, write_volume
from lungtypes.imaging.lobes import check_given_lobes, lungs_of_lobes
from lungtypes.imaging.lung_split import LEFT, RIGHT
from lungtypes.imaging.transforms import TransformFiles, warp_labels


def adopt_template_lobes(lobes: str | Path, mask: str | Path, target: str | Path, *, lobe_labels: list[int]) -> None:
    """Write the user's lobe labels of the template with our numbers 1-5; raises InputError when they do not fit it."""
    try:
        found = check_given_lobes(read_volume(Path(mask)), read_volume(Path(lobes)), lobe_labels=lobe_labels)
    except (GeometryError, ScanFault) as fault:
        raise InputError(f"template.lobes: {fault}") from fault
    write_volume(found, Path(target))


def warp_lobes(lungs: Volume, template_lobes: Volume, registered: Path) -> Volume:
    """Lobes 1-5 of one scan on its own grid.

    Every voxel of a lung gets the lobe of its side that is nearest after warping, so the lobes fill the lungs.

    Parameters
    ----------
    lungs : uint8, 1 right, 2 left, the scan's own grid. template_lobes : 1-5 on the template's grid.
    registered : folder with affine.mat and inverse_warp.nii.gz of the scan.
    """
    box = bounding_box(lungs.array > 0, lungs.spacing_mm, 10.0)
    cropped = crop(lungs, box)
    files = TransformFiles.of(registered)
    labels = warp_labels(template_lobes, files, to="scan", reference=cropped, min_share=1e-3).array
    out = np.zeros(lungs.array.shape, np.uint8)
    out[box] = _fill(labels.astype(np.uint8), cropped.array)
    return lungs.with_array(out)


def _fill(labels: NDArray[np.uint8], lungs: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Each lung voxel's nearest label of its own side; 0 outside the lungs and where a side has no label."""
    filled = np.zeros(lungs.shape, np.uint8)
    sides = lungs_of_lobes(labels)
    for side in (RIGHT, LEFT):
        own = sides == side
        if own.any():
            nearest = ndimage.distance_transform_edt(~own, return_distances=False, return_indices=True)
            filled = np.where(lungs == side, labels[tuple(nearest)], filled)
    return filled
