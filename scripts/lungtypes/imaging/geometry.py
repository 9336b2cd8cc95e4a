"""Arrays that travel with their geometry; the only place where SimpleITK's x, y, z order is turned.

Everywhere else arrays are (Z, Y, X), spacing is in mm in array order, and the world is LPS.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from lungtypes.errors import GeometryError

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Volume:
    """A 3D image with its place in the world.

    array : (Z, Y, X); spacing_mm : (z, y, x); origin_mm : world (x, y, z) LPS of voxel [0, 0, 0];
    direction : (3, 3), columns are the world directions of the x, y and z index axes.
    """

    array: NDArray
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    direction: NDArray[np.float64]

    def with_array(self, array: NDArray) -> Volume:
        """The same grid with other values; raises GeometryError when the shape differs."""
        if array.shape != self.array.shape:
            raise GeometryError(f"array: found shape {array.shape}, expected {self.array.shape} of its grid.")
        return replace(self, array=array)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(np.prod(self.spacing_mm)) / 1000.0


def from_sitk(image: sitk.Image) -> Volume:
    """SimpleITK image to Volume; values are copied."""
    direction = np.array(image.GetDirection()).reshape(3, 3)
    return Volume(sitk.GetArrayFromImage(image), tuple(image.GetSpacing()[::-1]), tuple(image.GetOrigin()), direction)


def to_sitk(volume: Volume) -> sitk.Image:
    """Volume to SimpleITK image; booleans become uint8."""
    array = volume.array.astype(np.uint8) if volume.array.dtype == bool else volume.array
    image = sitk.GetImageFromArray(array)
    image.SetSpacing([float(s) for s in volume.spacing_mm[::-1]])
    image.SetOrigin([float(o) for o in volume.origin_mm])
    image.SetDirection(np.asarray(volume.direction, float).reshape(-1).tolist())
    return image


def read_volume(path: Path) -> Volume:
    """Read a 3D NIfTI, NRRD or MHA file.

    Raises GeometryError when the file is not a readable 3D image; its text holds no path, since it may
    end up under the results.
    """
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise GeometryError("image: found a file that cannot be read, expected a 3D NIfTI, NRRD or MHA.") from error
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[..., 0]
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        found = f"{image.GetDimension()} dimensions and {image.GetNumberOfComponentsPerPixel()} values a voxel"
        raise GeometryError(f"image: found {found}, expected one 3D volume of single values.")
    return from_sitk(image)


def write_volume(volume: Volume, path: Path) -> None:
    """Write NIfTI whole or not at all, with blank text fields in the header."""
    write_sitk(to_sitk(volume), path)


def write_sitk(image: sitk.Image, path: Path) -> None:
    """Like :func:`write_volume`, also for vector fields."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for key in image.GetMetaDataKeys():
        image.EraseMetaData(key)
    suffix = "".join(path.suffixes[-2:]) if path.name.endswith(".nii.gz") else path.suffix
    handle, temporary = tempfile.mkstemp(suffix=suffix, prefix=".part-", dir=path.parent)
    os.close(handle)
    try:
        sitk.WriteImage(image, temporary, useCompression=True, compressionLevel=3)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def oriented_lps(volume: Volume) -> Volume:
    """The same image with index axes along +x, +y, +z of LPS as closely as a permutation can."""
    return from_sitk(sitk.DICOMOrient(to_sitk(volume), "LPS"))


def same_grid(first: Volume, second: Volume) -> bool:
    """Whether shape, spacing, origin and direction agree to 1e-4."""
    return (
        first.array.shape == second.array.shape
        and np.allclose(first.spacing_mm, second.spacing_mm, atol=TOLERANCE)
        and np.allclose(first.origin_mm, second.origin_mm, atol=1e-3)
        and np.allclose(first.direction, second.direction, atol=TOLERANCE)
    )


def require_same_grid(first: Volume, second: Volume, names: str) -> None:
    """Raise GeometryError when two images that belong together have different grids."""
    if not same_grid(first, second):
        raise GeometryError(
            f"{names}: found grids {first.array.shape} at {first.spacing_mm} mm and {second.array.shape} at "
            f"{second.spacing_mm} mm, expected one grid. Make both from the same scan."
        )


def to_ants(volume: Volume) -> object:
    """Volume to antsImage (float32), same physical space."""
    import ants  # the thread count must be set before ants is imported, so not at the top

    return ants.from_numpy(
        np.ascontiguousarray(volume.array.astype(np.float32).transpose(2, 1, 0)),
        origin=[float(o) for o in volume.origin_mm],
        spacing=[float(s) for s in volume.spacing_mm[::-1]],
        direction=np.asarray(volume.direction, float),
    )


def crop(volume: Volume, box: tuple[slice, slice, slice]) -> Volume:
    """Cut out ``box`` (slices in array order) and move the origin along."""
    starts_xyz = np.array([s.start for s in box][::-1], float)
    step = np.asarray(volume.direction) @ (starts_xyz * np.array(volume.spacing_mm[::-1]))
    origin = tuple(float(v) for v in np.array(volume.origin_mm) + step)
    return replace(volume, array=np.ascontiguousarray(volume.array[box]), origin_mm=origin)


def bounding_box(mask: NDArray, spacing_mm: tuple[float, float, float], margin_mm: float) -> tuple[slice, slice, slice]:
    """Smallest box around the true voxels, widened by ``margin_mm`` and clipped to the image.

    Raises GeometryError for an empty mask.
    """
    if not mask.any():
        raise GeometryError("mask: found no voxel, expected some.")
    box = []
    for axis in range(3):
        line = np.flatnonzero(mask.any(axis=tuple(i for i in range(3) if i != axis)))
        margin = int(np.ceil(margin_mm / spacing_mm[axis]))
        box.append(slice(max(int(line[0]) - margin, 0), min(int(line[-1]) + margin + 1, mask.shape[axis])))
    return tuple(box)
