"""Brings files of one subject to the template or to its scan, by the transform of its registration."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from lungtypes.cohort.clinical_values import NUMBER
from lungtypes.cohort.tables import listed, read_table
from lungtypes.errors import GeometryError, InputError, ScanFault
from lungtypes.imaging.geometry import Volume, read_volume, write_volume
from lungtypes.imaging.hounsfield import AIR_HU
from lungtypes.imaging.nifti import holds_finite_values, is_nifti, states_orientation
from lungtypes.imaging.transforms import Space, TransformFiles, warp_image, warp_labels, warp_points
from lungtypes.provenance import write_table

HU_BELOW = -500  # an image whose minimum is below this is a CT
FRAMES = {  # columns of points, and what turns their values to LPS and back
    frame: ([f"{axis}_{frame}_mm" for axis in "xyz"], np.array(signs))
    for frame, signs in {"lps": (1.0, 1.0, 1.0), "ras": (-1.0, -1.0, 1.0)}.items()
}
DECIMALS = 4  # of a coordinate in mm

logger = logging.getLogger(__name__)


def apply_file(
    folder: Path,
    *,
    name: str,
    file: str,
    kind: str,
    to: Space,
    transforms: TransformFiles,
    grids: Mapping[Space, Path],
) -> None:
    """Write ``to_{to}/{name}.nii.gz`` (or ``.tsv`` for points) into ``folder``.

    Parameters
    ----------
    file : an image, a label map, or a table of points, see :func:`bring_points`. kind : image, labels or points.
    grids : an image of each space, on whose grid results are made.

    Raises
    ------
    ScanFault : APPLY-FILE when the file cannot be used; the text names the result, never the path.
    """
    logger.info("%s to the %s", name, to)
    target = folder / f"to_{to}"
    grid = None if kind == "points" else read_volume(grids[to])
    try:
        if kind == "points":
            write_table(target / f"{name}.tsv", bring_points(read_table(file), transforms, to=to))
        else:
            bring = bring_image if kind == "image" else bring_labels
            write_volume(bring(read_image(Path(file)), transforms, to=to, grid=grid), target / f"{name}.nii.gz")
    except (GeometryError, InputError) as fault:
        text = " ".join(str(fault).replace(file, "the file").split())
        raise ScanFault("APPLY-FILE", f"name {name}: {text}") from fault


def read_image(path: Path) -> Volume:
    """Read a 3D NIfTI, NRRD or MHA file that lies somewhere in the world for certain and holds finite values.

    Raises GeometryError or InputError when it does not.
    """
    volume = read_volume(path)
    if is_nifti(path) and not states_orientation(path):
        raise InputError(
            "found a NIfTI that states no orientation (qform and sform codes are 0), so left and right are "
            "unknown, expected one that does. Save it again."
        )
    finite = holds_finite_values(path) if is_nifti(path) else np.isfinite(volume.array).all()
    if not finite:
        raise InputError("found NaN or infinite values, expected numbers. Fill them.")
    return volume


def bring_image(volume: Volume, transforms: TransformFiles, *, to: Space, grid: Volume) -> Volume:
    """An image on ``grid``, linearly interpolated; integers stay integers of their type, other values are float32.

    Where there is no value it is -1024 for a CT in HU (minimum below -500), and 0 for anything else.
    """
    own = volume.array.dtype
    outside = AIR_HU if volume.array.min() < HU_BELOW else 0
    brought = warp_image(volume, transforms, to=to, reference=grid, outside=outside)
    return brought.with_array(np.rint(brought.array).astype(own)) if own.kind in "iu" else brought


def bring_labels(volume: Volume, transforms: TransformFiles, *, to: Space, grid: Volume) -> Volume:
    """A label map on ``grid``, in its own type; labels that are smaller than a voxel there vanish, and the log says so.

    Raises InputError for values that are no labels: below 0, or no whole numbers.
    """
    labels = np.unique(volume.array)
    if labels[0] < 0 or (labels != np.rint(labels)).any():
        raise InputError(
            f"found values from {labels[0]:g} to {labels[-1]:g}, expected whole numbers from 0 up. If it is no label "
            "map, write kind image."
        )
    brought = warp_labels(volume, transforms, to=to, reference=grid)
    lost = np.setdiff1d(labels, np.unique(brought.array))
    if lost[lost > 0].size:
        logger.warning("no voxel is left of label %s: too small, or outside", listed(lost[lost > 0].tolist()))
    return brought


def bring_points(table: pd.DataFrame, transforms: TransformFiles, *, to: Space) -> pd.DataFrame:
    """A table of text with the coordinates replaced, to 0.0001 mm; other columns stay as they are.

    table : world coordinates in mm, either in columns x_lps_mm, y_lps_mm, z_lps_mm (ITK, DICOM) or in x_ras_mm,
        y_ras_mm, z_ras_mm (ITK-SNAP, 3D Slicer); its index is the line in the file. The result has the same ones.

    Raises
    ------
    InputError : other columns, or values that are no numbers, with line and column.
    """
    present = {column for columns, _ in FRAMES.values() for column in columns if column in table}
    frame = next((frame for frame, (columns, _) in FRAMES.items() if present == set(columns)), None)
    if frame is None:
        expected = " or ".join(", ".join(columns) for columns, _ in FRAMES.values())
        raise InputError(f"found columns {', '.join(table)}, expected {expected}, in mm. Rename the columns.")
    columns, signs = FRAMES[frame]
    faults = [
        f"line {line}, column {column} ({value!r})"
        for column in columns
        for line, value in table[column].items()
        if not NUMBER.fullmatch(value) or not math.isfinite(float(value))
    ]
    if faults:
        raise InputError(f"found no number in {listed(faults)}, expected one in every row. Mend the table.")
    points = table[columns].to_numpy(str).astype(float) * signs
    brought = np.round(warp_points(points, transforms, to=to) * signs, DECIMALS) + 0.0  # + 0.0: no -0.0
    return table.assign(**dict(zip(columns, brought.T, strict=True)))
