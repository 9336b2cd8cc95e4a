"""Reads a chosen series into one volume in HU: slices by position, each with its own rescale, padding to air."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from lungtypes.errors import ScanFault
from lungtypes.imaging.dicom_index import UNREADABLE, read_header
from lungtypes.imaging.geometry import Volume
from lungtypes.imaging.hounsfield import AIR_HU, MAX_HU
from lungtypes.imaging.series_rules import Series


def read_series(series: Series) -> Volume:
    """Read the slices in the order of their positions into one int16 volume in HU.

    A tilted stack is resampled within its slices to an upright one (:func:`straightened`).

    Raises
    ------
    ScanFault : DCM-PIXELS, DCM-TRUNCATED when a slice cannot be decoded or is cut off.
    """
    hu = None
    count = len(series.files)
    for number, file in enumerate(series.files, start=1):
        plane = _read_slice(file, f"slice {number} of {count}")
        hu = np.empty((count, *plane.shape), np.int16) if hu is None else hu
        hu[number - 1] = plane
    first, last = (read_header(series.files[i]) for i in (0, -1))
    origin = np.array(first.ImagePositionPatient, float)
    step = (np.array(last.ImagePositionPatient, float) - origin) / max(count - 1, 1)
    row, column = np.array(first.ImageOrientationPatient, float).reshape(2, 3)
    in_plane = (float(first.PixelSpacing[0]), float(first.PixelSpacing[1]))
    if series.tilt_degrees > 0:
        return straightened(hu, origin=origin, step=step, row=row, column=column, in_plane_mm=in_plane)
    direction = np.stack([row, column, step / np.linalg.norm(step)], axis=1)
    return Volume(hu, (float(series.gap_mm), *in_plane), tuple(float(v) for v in origin), direction)


def straightened(
    hu: NDArray[np.int16],
    *,
    origin: NDArray,
    step: NDArray,
    row: NDArray,
    column: NDArray,
    in_plane_mm: tuple[float, float],
) -> Volume:
    """A tilted stack on an upright grid along the slice normal: every slice is shifted within its own plane.

    Nothing is interpolated between slices. The grid grows so that no tissue is cut off; what no slice holds is air.

    Parameters
    ----------
    hu : (Z, Y, X) int16; slice k lies at ``origin + k * step`` (mm, LPS); row, column : unit vectors of x and y.
    in_plane_mm : (y, x) pixel spacing.
    """
    normal = np.cross(row, column)
    gap = float(step @ normal)
    # pixels by which slice k lies further along y and x than slice 0
    drift = np.array([step @ column / in_plane_mm[0], step @ row / in_plane_mm[1]]) * np.sign(gap)
    ordered = hu if gap > 0 else hu[::-1]
    start = origin if gap > 0 else origin + (len(hu) - 1) * step
    shifts = np.outer(np.arange(len(hu)), drift)  # (Z, 2)
    low, high = np.floor(shifts.min(axis=0)).astype(int), np.ceil(shifts.max(axis=0)).astype(int)
    size = np.array(hu.shape[1:]) + high - low
    out = np.full((len(hu), *size), AIR_HU, np.int16)
    for k, plane in enumerate(ordered):
        canvas = np.full(size, AIR_HU, np.float32)
        canvas[-low[0] : -low[0] + plane.shape[0], -low[1] : -low[1] + plane.shape[1]] = plane
        out[k] = np.rint(ndimage.shift(canvas, shifts[k], order=1, mode="constant", cval=AIR_HU))
    corner = start + low[0] * in_plane_mm[0] * column + low[1] * in_plane_mm[1] * row
    direction = np.stack([row, column, normal], axis=1)
    return Volume(out, (abs(gap), *in_plane_mm), tuple(float(v) for v in corner), direction)


def _read_slice(file: Path, name: str) -> NDArray[np.int16]:
    """(Y, X) HU of one file, clipped to the range of CT; padding becomes air."""
    header = read_header(file, "PixelData")
    if header is None:
        raise ScanFault("DCM-PIXELS", f"{name} cannot be read. Copy it again.")
    syntax = getattr(header.file_meta, "TransferSyntaxUID", pydicom.uid.ImplicitVRLittleEndian)
    if not syntax.is_transfer_syntax:  # an old vendor's own, or a damaged header
        raise ScanFault("DCM-PIXELS", f"{name} has an unknown transfer syntax. Export the series uncompressed.")
    compressed = syntax.is_compressed
    shape = (int(header.Rows), int(header.Columns))
    if not compressed:
        expected, found = shape[0] * shape[1] * int(header.BitsAllocated) // 8, len(header.get("PixelData", b""))
        if found < expected:
            text = f"{name} holds {found} of {expected} bytes of pixels. Export or copy the series again."
            raise ScanFault("DCM-TRUNCATED", text)
    slope, intercept = float(header.RescaleSlope), float(header.RescaleIntercept)
    try:
        if compressed:  # GDCM inside SimpleITK decodes JPEG, JPEG-LS, JPEG 2000 and RLE, and applies the rescale
            hu = sitk.GetArrayFromImage(sitk.ReadImage(str(file), sitk.sitkFloat32))[0]
        else:
            hu = _stored_values(header, syntax).astype(np.float32) * np.float32(slope) + np.float32(intercept)
    except (RuntimeError, *UNREADABLE) as error:
        text = f"{name} cannot be decoded (transfer syntax {syntax.name}). Export the series uncompressed."
        raise ScanFault("DCM-PIXELS", text) from error
    if hu.shape != shape:
        raise ScanFault("DCM-PIXELS", f"{name} was decoded to {hu.shape} pixels, expected {shape}. Export it again.")
    for low, high in _padding(header):
        hu[(hu >= low * slope + intercept - 1e-3) & (hu <= high * slope + intercept + 1e-3)] = AIR_HU
    return np.rint(np.clip(hu, AIR_HU, MAX_HU)).astype(np.int16)


def _stored_values(header: pydicom.Dataset, syntax: pydicom.uid.UID) -> NDArray:
    kind = ("i" if int(header.get("PixelRepresentation", 0)) else "u") + str(int(header.BitsAllocated) // 8)
    order = "<" if syntax.is_little_endian else ">"
    shape = (int(header.Rows), int(header.Columns))
    values = np.frombuffer(header.PixelData, order + kind, count=shape[0] * shape[1]).reshape(shape)
    allocated = int(header.BitsAllocated)
    stored = int(header.get("BitsStored", allocated))
    above = allocated - 1 - int(header.get("HighBit", allocated - 1))
    if stored == allocated:
        return values
    return (values.astype(kind) << above) >> (allocated - stored)  # old writers keep overlays in the unused bits


def _padding(header: pydicom.Dataset) -> list[tuple[int, int]]:
    """The range of stored values that mean "no measurement"."""
    value = header.get("PixelPaddingValue")
    if value is None:
        return []
    limit = header.get("PixelPaddingRangeLimit")
    signed = int(header.get("PixelRepresentation", 0))
    values = [_as_stored(v, signed) for v in (value, value if limit is None else limit)]
    return [(min(values), max(values))]


def _as_stored(value: int | bytes, signed: int) -> int:
    """Writers put the padding of signed images as an unsigned number: 63536 is -2000."""
    number = int.from_bytes(value, "little") if isinstance(value, bytes) else int(value)
    return number - 65536 if signed and number > 32767 else number
