"""From a DICOM folder, a ZIP or an image file to one checked CT in HU, oriented along LPS."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from lungtypes.errors import GeometryError, ScanFault
from lungtypes.imaging.archive import unpack_scan
from lungtypes.imaging.dcm2niix import convert_with_dcm2niix
from lungtypes.imaging.dicom_read import read_series
from lungtypes.imaging.geometry import Volume, oriented_lps, read_volume
from lungtypes.imaging.hounsfield import AIR_HU, MAX_HU
from lungtypes.imaging.nifti import holds_finite_values, is_nifti, states_orientation
from lungtypes.imaging.series_rules import Series, choose_series, find_series

IMAGE_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha")
BODY_HU = -300.0  # between air and fat
SERIES_COLUMNS = (
    "series",
    "study",
    "slices",
    "manufacturer",
    "model",
    "kernel",
    "kernel_class",
    "kvp",
    "thickness_mm",
    "gap_mm",
    "coverage_mm",
    "tilt_degrees",
    "contrast",
    "original",
    "verdict",
    "code",
    "reason",
    "note",
)


@dataclass(frozen=True)
class IngestedScan:
    """volume: int16 HU along LPS; series: every series seen (SERIES_COLUMNS); scanner, kernel as text."""

    volume: Volume
    series: pd.DataFrame
    scanner: str
    kernel: str
    thickness_mm: float


def ingest_scan(
    path: Path,
    *,
    wanted_series: str | None,
    converter: str,
    prefer: Sequence[str],
    preferred_kernel: str,
    preferred_thickness_mm: float,
    kernels: Mapping[str, Sequence[str]],
    allow_tilt: bool,
    min_slices: int,
    max_thickness_mm: float,
    min_coverage_mm: float,
    body_width_mm: tuple[float, float],
    min_air_percent: float,
    min_soft_percent: float,
    on_series: Callable[[pd.DataFrame], None] = lambda table: None,
) -> IngestedScan:
    """Read one scan, whatever its form, and check that it is a chest in Hounsfield units.

    Parameters
    ----------
    path : a DICOM folder, a NIfTI, NRRD or MHA file, or a ZIP archive of either.
    wanted_series : series number of the sheet, or None to choose by the rules of :func:`choose_series`.
    converter : ``lungtypes``, or ``dcm2niix`` with its output verified against the headers.
    body_width_mm, min_air_percent, min_soft_percent : see :func:`check_size`, :func:`check_hounsfield`.
    on_series : hears of every series found before one is chosen, so that a failed scan has its table too.

    Raises
    ------
    ScanFault : why the scan cannot be used (codes DCM-*, IMG-*, ZIP-*, HU-*).
    """
    path = Path(path)
    limits = {"min_slices": min_slices, "max_thickness_mm": max_thickness_mm, "min_coverage_mm": min_coverage_mm}
    wishes = {
        "prefer": prefer,
        "preferred_kernel": preferred_kernel,
        "preferred_thickness_mm": preferred_thickness_mm,
    }
    if not path.exists():
        raise ScanFault("IN-MISSING", "found nothing at the path of the sheet. Mend the path column.")
    with tempfile.TemporaryDirectory() as unpacked:
        if path.is_file() and path.suffix.lower() == ".zip":
            path = unpack_scan(path, Path(unpacked))
        if path.is_file() and path.name.lower().endswith(IMAGE_SUFFIXES):
            scan = _from_image(path, **limits)
        else:
            series = find_series(path, **limits, allow_tilt=allow_tilt, kernels=kernels)
            on_series(series_table(series, None))
            scan = _from_series(series, choose_series(series, wanted=wanted_series, **wishes), converter)
    check_size(scan.volume, body_width_mm=body_width_mm)
    check_hounsfield(scan.volume, min_air_percent=min_air_percent, min_soft_percent=min_soft_percent)
    return scan


def check_hounsfield(volume: Volume, *, min_air_percent: float, min_soft_percent: float) -> None:
    """Raise ScanFault (HU-*) unless the values look like a chest CT in HU.

    Air is below -800 HU, soft tissue from -150 to 200 HU.
    """
    sample = volume.array[:: max(1, volume.array.shape[0] // 40)]
    air = float((sample < -800).mean())
    soft = float(((sample > -150) & (sample < 200)).mean())
    low, high = int(sample.min()), int(sample.max())
    if 100 * air < min_air_percent or 100 * soft < min_soft_percent:
        raise ScanFault(
            "HU-IMPLAUSIBLE",
            f"values {low} to {high}, {100 * air:.1f} % air and {100 * soft:.1f} % soft tissue, expected a chest CT "
            f"in Hounsfield units (at least {min_air_percent:g} % and {min_soft_percent:g} %). Is the rescale missing, "
            "or is it another body part?",
        )


def check_size(volume: Volume, *, body_width_mm: tuple[float, float]) -> None:
    """Raise ScanFault IMG-SIZE when the body is too narrow or too wide for a person: the spacing must be wrong.

    The width is that of the largest piece above -300 HU, without arms and table, the median over the slices.
    """
    widths = []
    for plane in volume.array[:: max(1, volume.array.shape[0] // 20)]:
        pieces, count = ndimage.label(ndimage.binary_opening(plane > BODY_HU, iterations=2))
        if count:
            columns = np.flatnonzero((pieces == np.argmax(np.bincount(pieces.flat)[1:]) + 1).any(axis=0))
            widths.append((columns[-1] - columns[0] + 1) * volume.spacing_mm[2])
    width = float(np.median(widths)) if widths else 0.0
    low, high = body_width_mm
    if widths and not low <= width <= high:
        raise ScanFault(
            "IMG-SIZE",
            f"the body is {width:.0f} mm wide, expected {low:g}-{high:g} mm. Is the spacing right? Convert it again.",
        )


def series_table(series: Sequence[Series], chosen: Series | None) -> pd.DataFrame:
    """Every series seen with its verdict (SERIES_COLUMNS)."""
    return pd.DataFrame([_row(s, s is chosen) for s in series], columns=list(SERIES_COLUMNS))


def _from_series(series: Sequence[Series], chosen: Series, converter: str) -> IngestedScan:
    volume = oriented_lps(read_series(chosen) if converter == "lungtypes" else convert_with_dcm2niix(chosen))
    return IngestedScan(
        volume=volume,
        series=series_table(series, chosen),
        scanner=f"{chosen.manufacturer} {chosen.model}".strip(),
        kernel=chosen.kernel,
        thickness_mm=float(chosen.thickness_mm or chosen.gap_mm or volume.spacing_mm[0]),
    )


def _from_image(path: Path, *, min_slices: int, max_thickness_mm: float, min_coverage_mm: float) -> IngestedScan:
    try:
        volume = read_volume(path)
        if is_nifti(path):
            _check_nifti(path)
        volume = oriented_lps(volume)
    except GeometryError as error:
        raise ScanFault("IMG-UNREADABLE", str(error)) from error
    slices, coverage = volume.array.shape[0], volume.array.shape[0] * volume.spacing_mm[0]
    if slices < min_slices:
        raise ScanFault("DCM-SLICES", f"{slices} slices, expected at least {min_slices}.")
    if coverage < min_coverage_mm:
        raise ScanFault("DCM-SHORT", f"covers {coverage:.0f} mm, expected at least {min_coverage_mm:g} mm of chest.")
    if not np.isfinite(volume.array).all():
        raise ScanFault("IMG-NAN", "found NaN or infinite values, expected HU. Convert the image again.")
    if max(volume.spacing_mm) > max_thickness_mm + 0.01:
        raise ScanFault("DCM-THICK", f"voxels of {max(volume.spacing_mm):.1f} mm, expected {max_thickness_mm:g} mm.")
    hu = np.clip(np.rint(volume.array.astype(np.float32)), AIR_HU, MAX_HU).astype(np.int16)
    volume = volume.with_array(hu)
    row = dict.fromkeys(SERIES_COLUMNS)
    row |= {"series": "image", "study": 1, "slices": slices, "gap_mm": volume.spacing_mm[0], "verdict": "chosen"}
    table = pd.DataFrame([row], columns=list(SERIES_COLUMNS))
    return IngestedScan(volume, table, "unknown", "unknown", float(volume.spacing_mm[0]))


def _check_nifti(path: Path) -> None:
    if not states_orientation(path):
        raise ScanFault(
            "IMG-ORIENTATION",
            "the NIfTI states no orientation (qform and sform codes are 0), so left and right are unknown. Convert it "
            "again from DICOM.",
        )
    if not holds_finite_values(path):
        raise ScanFault("IMG-NAN", "found NaN or infinite values, expected HU. Convert the image again.")


def _row(series: Series, chosen: bool) -> dict[str, object]:
    return {
        "series": series.number,
        "study": series.study,
        "slices": len(series.files),
        "manufacturer": series.manufacturer,
        "model": series.model,
        "kernel": series.kernel,
        "kernel_class": series.kernel_class,
        "kvp": series.kvp,
        "thickness_mm": series.thickness_mm,
        "gap_mm": series.gap_mm,
        "coverage_mm": series.coverage_mm,
        "tilt_degrees": round(series.tilt_degrees, 2),
        "contrast": int(series.contrast),
        "original": int(series.original),
        "verdict": "chosen" if chosen else "accepted" if series.usable else "rejected",
        "code": series.code,
        "reason": series.reason,
        "note": series.note,
    }
