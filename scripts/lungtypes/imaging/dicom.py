"""Finds the CT series under a path, judges each, chooses one, and converts it to HU.

Geometry comes from ImagePositionPatient and ImageOrientationPatient, never from file order
(common converters return success on series with missing or repeated slices).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.errors import InvalidDicomError

from lungtypes.errors import ScanFault
from lungtypes.imaging.geometry import Volume
from lungtypes.imaging.hounsfield import AIR_HU, MAX_HU

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
REJECTED_TYPES = {"LOCALIZER", "SCOUT", "TOPOGRAM", "MPR", "MIP", "MINIP", "PROJECTION", "REFORMATTED", "SCREEN SAVE"}
GAP_TOLERANCE = 0.05  # of the median gap, the width of what converters tolerate silently
MAX_TILT_DEGREES = 0.5
# technical tags only: nothing that identifies a person is ever read
TAGS = (
    "SOPClassUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "Modality",
    "ImageType",
    "Manufacturer",
    "ManufacturerModelName",
    "ConvolutionKernel",
    "KVP",
    "SliceThickness",
    "PixelSpacing",
    "Rows",
    "Columns",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "RescaleSlope",
    "RescaleIntercept",
    "ContrastBolusAgent",
    "BitsAllocated",
)


@dataclass(frozen=True)
class Series:
    """One DICOM series as found on disk; files sorted along the slice normal.

    reason is empty when the series is usable, otherwise why it is not; thickness and gap in mm.
    """

    number: str
    files: tuple[Path, ...]
    manufacturer: str
    model: str
    kernel: str
    kvp: float | None
    thickness_mm: float | None
    gap_mm: float | None
    coverage_mm: float
    contrast: bool
    original: bool
    code: str = ""
    reason: str = ""

    @property
    def usable(self) -> bool:
        """Whether no rule speaks against the series."""
        return not self.code


@dataclass
class _Found:
    headers: list[tuple[Path, pydicom.Dataset]] = field(default_factory=list)


def find_series(path: Path, *, min_slices: int, max_thickness_mm: float, min_coverage_mm: float) -> list[Series]:
    """Index every file under ``path`` and judge each series.

    Raises
    ------
    ScanFault : DCM-NONE when no DICOM image is found, DCM-UNREADABLE when a DICOM file is broken.
    """
    files = sorted(p for p in Path(path).rglob("*") if p.is_file()) if Path(path).is_dir() else [Path(path)]
    groups: dict[str, _Found] = defaultdict(_Found)
    broken = 0  # DICOM by their preamble, but cut off before the series is named
    for file in files:
        try:
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(TAGS))
        except (InvalidDicomError, OSError, EOFError, ValueError, AttributeError, KeyError, TypeError):
            broken += _has_preamble(file)
            continue
        if "SeriesInstanceUID" in header:
            groups[str(header.SeriesInstanceUID)].headers.append((file, header))
        elif file.name.upper() != "DICOMDIR":
            broken += _has_preamble(file)
    if not groups:
        raise ScanFault(
            "DCM-NONE",
            f"found no DICOM image among {len(files)} files ({broken} of them broken DICOM). "
            "Check the path column of the sheet.",
        )
    if broken:  # they may be slices of the lung's ends, which no gap would show
        raise ScanFault("DCM-UNREADABLE", f"{broken} of {len(files)} files are broken DICOM. Copy the study again.")
    limits = {"min_slices": min_slices, "max_thickness_mm": max_thickness_mm, "min_coverage_mm": min_coverage_mm}
    series = [_judged(found.headers, limits) for _, found in sorted(groups.items())]
    return sorted(series, key=lambda s: (s.number.zfill(6), len(s.files)))


def _has_preamble(file: Path) -> bool:
    try:
        with open(file, "rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return True


def _judged(headers: list[tuple[Path, pydicom.Dataset]], limits: dict[str, float]) -> Series:
    """Like :func:`_judge`; a header that cannot be understood makes the series unusable, not the run."""
    try:
        return _judge(headers, **limits)
    except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        number = str(headers[0][1].get("SeriesNumber", ""))
        reason = f"a header value cannot be understood ({type(error).__name__}: {error}). Export the series again."
        files = tuple(file for file, _ in headers)
        return Series(number, files, "", "", "", None, None, None, 0.0, False, False, "DCM-HEADER", reason)


def choose_series(series: list[Series], *, wanted: str | None, preferred_kernel: str) -> Series:
    """The series to use: the wanted number, else the best by kernel, thickness, originality, slices.

    Raises
    ------
    ScanFault : DCM-SERIES when none is usable, or the wanted one is missing or unusable.
    """
    if wanted:
        chosen = [s for s in series if s.number == wanted]
        if not chosen:
            numbers = ", ".join(s.number for s in series)
            raise ScanFault("DCM-SERIES", f"found no series {wanted}; there are {numbers}. Mend the series column.")
        if sum(s.usable for s in chosen) > 1:
            raise ScanFault("DCM-AMBIGUOUS", f"{len(chosen)} series have number {wanted}. Keep one study a folder.")
        chosen.sort(key=lambda s: not s.usable)
        if not chosen[0].usable:
            raise ScanFault(chosen[0].code, f"series {wanted} was asked for: {chosen[0].reason}")
        return chosen[0]
    usable = [s for s in series if s.usable]
    if not usable:
        reasons = "; ".join(f"series {s.number}: {s.reason}" for s in series)
        code = series[0].code if len(series) == 1 else "DCM-SERIES"
        raise ScanFault(code, f"found no usable chest series among {len(series)}. {reasons}")
    return min(
        usable,
        key=lambda s: (
            kernel_class(s.kernel) != preferred_kernel,
            abs((s.thickness_mm or 5.0) - 1.0),
            not s.original,
            s.contrast,
            -len(s.files),
            s.number.zfill(6),
        ),
    )


def kernel_class(kernel: str) -> str:
    """``soft``, ``sharp`` or ``unknown``: Siemens by number, GE and Philips by name (a starting point)."""
    name = kernel.upper().strip()
    if name in {"SOFT", "STANDARD", "CHEST", "A", "B", "C"} or name.startswith(("FC0", "FC1")):
        return "soft"
    if name in {"LUNG", "BONE", "BONEPLUS", "EDGE", "DETAIL", "D", "L", "YA", "YB", "YC"} or name.startswith("FC5"):
        return "sharp"
    digits = "".join(c for c in name if c.isdigit())[:2]
    if name[:1] in {"B", "I"} and len(digits) == 2:
        return "soft" if int(digits) <= 45 else "sharp"
    return "unknown"


def read_series(series: Series) -> Volume:
    """Read the slices in the order of their positions into one int16 volume in HU.

    Raises
    ------
    ScanFault : DCM-PIXELS when a slice cannot be decoded or is truncated.
    """
    first = pydicom.dcmread(series.files[0], stop_before_pixels=True, specific_tags=list(TAGS))
    last = pydicom.dcmread(series.files[-1], stop_before_pixels=True, specific_tags=list(TAGS))
    slices = []
    for number, file in enumerate(series.files, start=1):
        try:
            header = pydicom.dcmread(file, specific_tags=[*TAGS, "PixelData"])
            expected = int(header.Rows) * int(header.Columns) * int(header.BitsAllocated) // 8
            compressed = header.file_meta.TransferSyntaxUID.is_compressed
        except (InvalidDicomError, OSError, EOFError, ValueError, AttributeError, KeyError, TypeError) as error:
            text = f"slice {number} of {len(series.files)} cannot be read ({type(error).__name__}). Copy it again."
            raise ScanFault("DCM-PIXELS", text) from error
        if not compressed and len(header.get("PixelData", b"")) < expected:
            raise ScanFault(
                "DCM-TRUNCATED",
                f"slice {number} of {len(series.files)} holds {len(header.get('PixelData', b''))} of {expected} "
                "bytes of pixels. Export or copy the series again.",
            )
        try:  # GDCM inside SimpleITK decodes the compressed syntaxes and applies each slice's own rescale
            pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(file), sitk.sitkFloat32))[0]
        except RuntimeError as error:
            raise ScanFault(
                "DCM-PIXELS",
                f"slice {number} of {len(series.files)} cannot be decoded "
                f"(transfer syntax {header.file_meta.TransferSyntaxUID.name}). Export the series uncompressed.",
            ) from error
        slices.append(pixels)
    hu = np.clip(np.rint(np.stack(slices)), AIR_HU, MAX_HU).astype(np.int16)
    position = np.array(first.ImagePositionPatient, float)
    step = (np.array(last.ImagePositionPatient, float) - position) / max(len(slices) - 1, 1)
    row, column = np.array(first.ImageOrientationPatient, float).reshape(2, 3)
    gap = float(np.linalg.norm(step))
    direction = np.stack([row, column, step / gap], axis=1)
    spacing = (gap, float(first.PixelSpacing[0]), float(first.PixelSpacing[1]))
    return Volume(hu, spacing, tuple(float(v) for v in position), direction)


def _judge(
    headers: list[tuple[Path, pydicom.Dataset]], *, min_slices: int, max_thickness_mm: float, min_coverage_mm: float
) -> Series:
    first = headers[0][1]
    code, reason = _hard_faults(headers, min_slices)
    gap, coverage, files = None, 0.0, [f for f, _ in headers]
    if not code:
        order, positions = _along_normal(headers)
        files = [headers[i][0] for i in order]
        gaps = np.diff(positions)
        gap, coverage = float(np.median(gaps)), float(positions[-1] - positions[0])
        code, reason = _gap_faults(gaps, positions)
        if not code:
            code, reason = _tilt_fault([headers[i][1] for i in order])
    thickness = _number(first, "SliceThickness")
    if not code and max(gap, thickness or 0.0) > max_thickness_mm + 0.01:
        code = "DCM-THICK"
        reason = f"slices of {max(gap, thickness or 0):.1f} mm, expected at most {max_thickness_mm:g} mm."
    if not code and coverage < min_coverage_mm:
        code, reason = "DCM-SHORT", f"covers {coverage:.0f} mm, expected at least {min_coverage_mm:g} mm of chest."
    types = {str(t).upper() for t in first.get("ImageType", [])}
    kernel = first.get("ConvolutionKernel", "")
    return Series(
        number=str(first.get("SeriesNumber", "")),
        files=tuple(files),
        manufacturer=str(first.get("Manufacturer", "")),
        model=str(first.get("ManufacturerModelName", "")),
        kernel=str(kernel if isinstance(kernel, str) else kernel[0] if kernel else ""),
        kvp=_number(first, "KVP"),
        thickness_mm=thickness,
        gap_mm=gap,
        coverage_mm=coverage,
        contrast=bool(str(first.get("ContrastBolusAgent", "")).strip()),
        original="ORIGINAL" in types,
        code=code,
        reason=reason,
    )


def _hard_faults(headers: list[tuple[Path, pydicom.Dataset]], min_slices: int) -> tuple[str, str]:
    first = headers[0][1]
    types = {str(t).upper() for t in first.get("ImageType", [])}
    if str(first.get("Modality", "")) != "CT" or str(first.get("SOPClassUID", "")) != CT_IMAGE:
        return "DCM-NOTCT", f"modality {first.get('Modality', 'missing')}, expected single-frame CT images."
    if types & REJECTED_TYPES:
        return "DCM-TYPE", f"image type {'/'.join(sorted(types & REJECTED_TYPES))}, expected axial slices."
    if len(headers) < min_slices:
        return "DCM-SLICES", f"{len(headers)} slices, expected at least {min_slices}."
    needed = ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept")
    for tag in needed:
        missing = sum(1 for _, h in headers if h.get(tag) in (None, ""))
        if missing:
            return "DCM-TAG", f"tag {tag} is missing in {missing} of {len(headers)} slices."
    for tag, name in (
        ("ImageOrientationPatient", "orientations"),
        ("PixelSpacing", "pixel spacings"),
        ("Rows", "row counts"),
        ("Columns", "column counts"),
    ):
        values = {tuple(np.round(np.atleast_1d(np.array(h.get(tag), float)), 4)) for _, h in headers}
        if len(values) > 1:
            return "DCM-MIXED", f"{len(values)} {name} in one series, expected one."
    kernels = {str(h.get("ConvolutionKernel", "")) for _, h in headers}
    if len(kernels) > 1:
        return "DCM-MIXED", f"kernels {', '.join(sorted(kernels))} in one series, expected one."
    return "", ""


def _along_normal(headers: list[tuple[Path, pydicom.Dataset]]) -> tuple[np.ndarray, np.ndarray]:
    row, column = np.array(headers[0][1].ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(row, column)
    along = np.array([np.array(h.ImagePositionPatient, float) @ normal for _, h in headers])
    order = np.argsort(along, kind="stable")
    return order, along[order]


def _tilt_fault(headers: list[pydicom.Dataset]) -> tuple[str, str]:
    """Slices that are shifted against each other cannot be stacked: the stack would be sheared."""
    row, column = np.array(headers[0].ImageOrientationPatient, float).reshape(2, 3)
    first, last = (np.array(h.ImagePositionPatient, float) for h in (headers[0], headers[-1]))
    step = last - first
    degrees = float(np.degrees(np.arccos(np.clip(np.cross(row, column) @ step / np.linalg.norm(step), -1, 1))))
    if degrees > MAX_TILT_DEGREES:
        return "DCM-TILT", f"slices are tilted by {degrees:.1f} degrees (gantry tilt), expected none."
    return "", ""


def _gap_faults(gaps: np.ndarray, positions: np.ndarray) -> tuple[str, str]:
    median = float(np.median(gaps))
    if (gaps < 1e-3).any():
        return "DCM-DUPLICATE", f"{int((gaps < 1e-3).sum())} slice positions occur twice. Split the series."
    worst = int(np.argmax(np.abs(gaps - median)))
    if abs(gaps[worst] - median) > GAP_TOLERANCE * median:
        return (
            "DCM-GAP",
            f"slice gaps of {gaps.min():.2f}-{gaps.max():.2f} mm (at position {positions[worst]:.1f} mm), "
            "expected equal ones. Export the series again; slices seem to be missing.",
        )
    return "", ""


def _number(header: pydicom.Dataset, tag: str) -> float | None:
    value = header.get(tag)
    return None if value in (None, "") else float(value)
