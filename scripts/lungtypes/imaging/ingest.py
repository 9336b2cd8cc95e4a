"""From a DICOM folder or an image file to one checked CT in HU, oriented along LPS."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lungtypes.errors import GeometryError, ScanFault
from lungtypes.imaging.archive import unpack_scan
from lungtypes.imaging.dicom import Series, choose_series, find_series, kernel_class, read_series
from lungtypes.imaging.geometry import Volume, oriented_lps, read_volume
from lungtypes.imaging.hounsfield import AIR_HU, MAX_HU

IMAGE_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha")
SERIES_COLUMNS = (
    "series",
    "slices",
    "manufacturer",
    "model",
    "kernel",
    "kernel_class",
    "kvp",
    "thickness_mm",
    "gap_mm",
    "coverage_mm",
    "contrast",
    "verdict",
    "code",
    "reason",
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
    preferred_kernel: str,
    min_slices: int,
    max_thickness_mm: float,
    min_coverage_mm: float,
    min_air_percent: float,
    min_soft_percent: float,
    on_series: Callable[[pd.DataFrame], None] = lambda table: None,
) -> IngestedScan:
    """Read one scan, whatever its form, and check that its values are Hounsfield units.

    path : a DICOM folder, a NIfTI, NRRD or MHA file, or a ZIP archive of either.
    min_air_percent, min_soft_percent : see :func:`check_hounsfield`.
    on_series : hears of every series found before one is chosen, so that a failed scan has its table too.

    Raises
    ------
    ScanFault : why the scan cannot be used (codes DCM-*, IMG-*, ZIP-*, HU-*).
    """
    if not Path(path).exists():
        raise ScanFault("IN-MISSING", "found nothing at the path of the sheet. Mend the path column.")
    limits = {"min_slices": min_slices, "max_thickness_mm": max_thickness_mm, "min_coverage_mm": min_coverage_mm}
    tissue = {"min_air_percent": min_air_percent, "min_soft_percent": min_soft_percent}
    options = {"wanted_series": wanted_series, "preferred_kernel": preferred_kernel, "on_series": on_series}
    if Path(path).is_file() and str(path).lower().endswith(".zip"):
        with tempfile.TemporaryDirectory() as folder:
            return ingest_scan(unpack_scan(Path(path), Path(folder)), **options, **limits, **tissue)
    if Path(path).is_file() and str(path).lower().endswith(IMAGE_SUFFIXES):
        scan = _from_image(Path(path), **limits)
        check_hounsfield(scan.volume, **tissue)
        return scan
    series = find_series(Path(path), **limits)
    on_series(series_table(series, None))
    chosen = choose_series(series, wanted=wanted_series, preferred_kernel=preferred_kernel)
    volume = oriented_lps(read_series(chosen))
    check_hounsfield(volume, **tissue)
    return IngestedScan(
        volume=volume,
        series=series_table(series, chosen),
        scanner=f"{chosen.manufacturer} {chosen.model}".strip(),
        kernel=chosen.kernel,
        thickness_mm=float(chosen.thickness_mm or chosen.gap_mm or volume.spacing_mm[0]),
    )


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


def series_table(series: Sequence[Series], chosen: Series | None) -> pd.DataFrame:
    """Every series seen with its verdict (SERIES_COLUMNS)."""
    return pd.DataFrame([_row(s, s is chosen) for s in series], columns=list(SERIES_COLUMNS))


def _from_image(path: Path, *, min_slices: int, max_thickness_mm: float, min_coverage_mm: float) -> IngestedScan:
    try:
        volume = oriented_lps(read_volume(path))
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
    row |= {"series": "image", "slices": hu.shape[0], "gap_mm": volume.spacing_mm[0], "verdict": "chosen"}
    table = pd.DataFrame([row], columns=list(SERIES_COLUMNS))
    return IngestedScan(volume, table, "unknown", "unknown", float(volume.spacing_mm[0]))


def _row(series: Series, chosen: bool) -> dict[str, object]:
    return {
        "series": series.number,
        "slices": len(series.files),
        "manufacturer": series.manufacturer,
        "model": series.model,
        "kernel": series.kernel,
        "kernel_class": kernel_class(series.kernel),
        "kvp": series.kvp,
        "thickness_mm": series.thickness_mm,
        "gap_mm": series.gap_mm,
        "coverage_mm": series.coverage_mm,
        "contrast": int(series.contrast),
        "verdict": "chosen" if chosen else "accepted" if series.usable else "rejected",
        "code": series.code,
        "reason": series.reason,
    }
