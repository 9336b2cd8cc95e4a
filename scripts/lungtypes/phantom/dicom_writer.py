"""Writes virtual scans as DICOM series: one CT instance per slice, valid UIDs, planted fake identities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

RESCALE_INTERCEPT = -1024


def series_uid(*names: str | int) -> UID:
    """A valid UID that depends on the names only."""
    return generate_uid(prefix="1.2.826.0.1.3680043.8.498.", entropy_srcs=["lungtypes", *[str(n) for n in names]])


def write_series(
    hu: NDArray[np.int16],
    folder: Path,
    *,
    spacing_mm: tuple[float, float, float],
    origin_mm: tuple[float, float, float],
    tags: dict[str, object],
    uid_names: tuple[str | int, ...],
    thickness_mm: float | None = None,
    file_stem: str = "IM",
) -> list[Path]:
    """Write an axial series, one file a slice, named and numbered from the head down.

    Parameters
    ----------
    hu : (Z, Y, X) int16 in HU, index order along +z, +y, +x of LPS.
    spacing_mm, origin_mm : (z, y, x), of the array; tags : DICOM keyword -> value for every instance.
    uid_names : study first, then series: what the UIDs are derived from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    count = hu.shape[0]
    for number in range(1, count + 1):
        z = count - number  # scanners number from the head
        data = _instance(tags, uid_names, number)
        data.ImageType = tags.get("ImageType", ["ORIGINAL", "PRIMARY", "AXIAL"])
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        position = (origin_mm[2], origin_mm[1], origin_mm[0] + z * spacing_mm[0])
        data.ImagePositionPatient = [round(float(v), 4) for v in position]
        data.SliceLocation = round(float(position[2]), 4)
        data.SliceThickness = float(thickness_mm or spacing_mm[0])
        data.PixelSpacing = [float(spacing_mm[1]), float(spacing_mm[2])]
        _set_pixels(data, hu[z])
        path = folder / f"{file_stem}{number:05d}.dcm"
        data.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def write_localizer(
    hu: NDArray[np.int16],
    folder: Path,
    *,
    spacing_mm: tuple[float, float, float],
    tags: dict[str, object],
    uid_names: tuple[str | int, ...],
) -> Path:
    """Write the scout view (mean along y) as one coronal LOCALIZER instance."""
    folder.mkdir(parents=True, exist_ok=True)
    projection = np.rint(hu[::-1].astype(np.float32).mean(axis=1)).astype(np.int16)
    data = _instance(tags, uid_names, 1)
    data.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    data.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    data.ImagePositionPatient = [-spacing_mm[2] * hu.shape[2] / 2, 0.0, spacing_mm[0] * hu.shape[0] / 2]
    data.SliceThickness = 1.0
    data.PixelSpacing = [float(spacing_mm[0]), float(spacing_mm[2])]
    _set_pixels(data, projection)
    path = folder / "SCOUT0001.dcm"
    data.save_as(path, enforce_file_format=True)
    return path


def truncate_file(path: Path, share: float) -> None:
    """Cut a file off after ``share`` of its bytes, as an interrupted transfer does."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def _instance(tags: dict[str, object], uid_names: tuple[str | int, ...], number: int) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = series_uid(*uid_names, "instance", number)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID = CTImageStorage
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID = series_uid(uid_names[0], "study")
    data.SeriesInstanceUID = series_uid(*uid_names, "series")
    data.FrameOfReferenceUID = series_uid(uid_names[0], "frame")
    data.Modality = "CT"
    data.InstanceNumber = number
    data.AcquisitionNumber = 1
    data.PatientPosition = "HFS"
    data.PositionReferenceIndicator = ""
    for keyword, value in tags.items():
        if keyword != "ImageType":
            setattr(data, keyword, value)
    return data


def _set_pixels(data: FileDataset, hu: NDArray[np.int16]) -> None:
    stored = np.clip(hu.astype(np.int32) - RESCALE_INTERCEPT, 0, 4095).astype("<u2")
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.Rows, data.Columns = stored.shape
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.RescaleIntercept, data.RescaleSlope, data.RescaleType = RESCALE_INTERCEPT, 1, "HU"
    data.WindowCenter, data.WindowWidth = -600, 1500
    data.PixelData = stored.tobytes()
