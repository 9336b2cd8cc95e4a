"""A scan's transform, applied to images, labels and points in either direction.

A registration leaves three ITK files: ``affine.mat``, ``warp.nii.gz`` and ``inverse_warp.nii.gz``. Warp, then affine,
take a point of the template to its place in the scan; the inverse affine, then the inverse warp, take it back. Images
are pulled, points are pushed: an image comes *to the template* by the point map *to the scan*. The functions here
take care of that. All points are world (x, y, z) in mm, LPS, as in DICOM and ITK.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike, NDArray

from lungtypes.imaging.geometry import Volume, from_sitk, to_sitk
from lungtypes.imaging.resample import resample_labels

if TYPE_CHECKING:
    from lungtypes.imaging.volumes import CohortGrid

Space = Literal["template", "scan"]


@dataclass(frozen=True)
class TransformFiles:
    """affine (.mat), warp and inverse warp (vector NIfTI, displacements in mm, LPS)."""

    affine: Path
    warp: Path
    inverse_warp: Path

    @classmethod
    def of(cls, registered: str | Path) -> TransformFiles:
        """Those of a folder, as ``registered/{subject}`` has them."""
        folder = Path(registered)
        return cls(folder / "affine.mat", folder / "warp.nii.gz", folder / "inverse_warp.nii.gz")


def point_map(files: TransformFiles, *, to: Space) -> sitk.Transform:
    """The map of points from the template to the scan (``to="scan"``), or from the scan to the template."""
    affine = sitk.ReadTransform(str(files.affine))
    if to == "scan":
        return sitk.CompositeTransform([affine, read_warp(files.warp)])
    return sitk.CompositeTransform([read_warp(files.inverse_warp), affine.GetInverse()])


def read_warp(path: Path) -> sitk.DisplacementFieldTransform:
    """A displacement field in mm; points outside of its grid stay where they are."""
    return sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))


def warp_points(points_mm: ArrayLike, files: TransformFiles, *, to: Space) -> NDArray[np.float64]:
    """Bring points (n, 3), world LPS in mm, to the template or to the scan; shape (n, 3).

    Raises ValueError for another shape.
    """
    points = np.asarray(points_mm, float)
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"points: found shape {points.shape}, expected (n, 3).")
    mapping = point_map(files, to=to)
    return np.array([mapping.TransformPoint(point) for point in points.tolist()], float).reshape(-1, 3)


def warp_image(volume: Volume, files: TransformFiles, *, to: Space, reference: Volume, outside: float) -> Volume:
    """Bring an image to the template or to the scan: float32 on the grid of ``reference``, linearly interpolated.

    reference : any image in the space that is asked for. outside : the value where ``volume`` has none, e.g. -1024 HU.
    """
    image = to_sitk(volume.with_array(volume.array.astype(np.float32)))
    mapping = point_map(files, to=_other(to))
    return from_sitk(sitk.Resample(image, to_sitk(reference), mapping, sitk.sitkLinear, float(outside)))


def maps_to_template(
    registered: Mapping[str, str | Path], grid: CohortGrid
) -> Callable[[str, NDArray[np.float32], CohortGrid], NDArray[np.float32]]:
    """A function of a subject, a map and the grid that it lies on: the map on ``grid`` of the template, 0 around it.

    registered : folder of each subject's registration.
    """
    blank = grid.volume(np.zeros(grid.shape, np.float32))

    def to_template(subject: str, importance: NDArray[np.float32], own: CohortGrid) -> NDArray[np.float32]:
        files = TransformFiles.of(registered[subject])
        return warp_image(own.volume(importance), files, to="template", reference=blank, outside=0.0).array

    return to_template


def warp_labels(
    volume: Volume, files: TransformFiles, *, to: Space, reference: Volume, min_share: float = 0.5
) -> Volume:
    """Bring a label map to the template or to the scan: labels keep their numbers, on the grid of ``reference``.

    Each label is interpolated linearly, and the largest share of at least ``min_share`` wins, so borders stay smooth.
    """
    mapping = point_map(files, to=_other(to))
    grid = to_sitk(reference)
    return reference.with_array(resample_labels(volume, grid, mapping, min_share=min_share))


def displacement_field(mapping: sitk.Transform, grid: Volume) -> sitk.Image:
    """What ``mapping`` adds to each voxel's place: (x, y, z) in mm of the world, float32, on ``grid``."""
    reference = to_sitk(grid)
    return sitk.TransformToDisplacementField(
        mapping,
        sitk.sitkVectorFloat32,
        reference.GetSize(),
        reference.GetOrigin(),
        reference.GetSpacing(),
        reference.GetDirection(),
    )


def vector_image(vectors_mm: NDArray, grid: Volume) -> sitk.Image:
    """Vectors (Z, Y, X, 3) along x, y, z of the world as an image on ``grid``."""
    image = sitk.GetImageFromArray(vectors_mm, isVector=True)
    image.CopyInformation(to_sitk(grid))
    return image


def _other(space: Space) -> Space:
    return "scan" if space == "template" else "template"
