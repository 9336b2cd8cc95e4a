"""Judges each stack of slices, and chooses the one to use.

Geometry comes from ImagePositionPatient and ImageOrientationPatient, never from file order
(common converters return success on series with missing or repeated slices).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pydicom

from lungtypes.errors import ScanFault
from lungtypes.imaging.dicom_index import (
    REJECTED_TYPES,
    Slice,
    Stack,
    image_types,
    index_stacks,
    number_key,
    without_repeats,
)

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
GRID_TOLERANCE = 0.1  # of the slice distance: how far a slice may lie from its place on an even grid
LINE_TOLERANCE_MM = 1.0  # slice origins may stray this far from a straight line
MAX_TILT_DEGREES = 0.5  # less is rounding of the header
MIN_AXIAL = 0.7  # cosine of the normal with z: gantry tilt reaches 30 degrees, a reformat has 90
SIEMENS_KERNEL = re.compile(r"^[BIDHQTU][A-Z]?(\d\d)")  # B31f, Br40d, I70f: the number is the sharpness
SIEMENS_SOFT = 45
HU_UNITS = {"", "HU", "US"}


@dataclass(frozen=True)
class Series:
    """One stack as found on disk; files sorted along the slice normal.

    code and reason are empty when it is usable; thickness, gap and coverage in mm, tilt in degrees.
    """

    number: str
    study: int
    files: tuple[Path, ...]
    manufacturer: str
    model: str
    kernel: str
    kernel_class: str
    kvp: float | None
    thickness_mm: float | None
    gap_mm: float | None
    coverage_mm: float
    tilt_degrees: float
    contrast: bool
    original: bool
    code: str = ""
    reason: str = ""
    note: str = ""

    @property
    def usable(self) -> bool:
        """Whether no rule speaks against the series."""
        return not self.code


def find_series(
    path: Path,
    *,
    min_slices: int,
    max_thickness_mm: float,
    min_coverage_mm: float,
    allow_tilt: bool,
    kernels: Mapping[str, Sequence[str]],
) -> list[Series]:
    """Index every file under ``path`` and judge each stack of slices.

    kernels : class -> kernel names or patterns, see :func:`kernel_class`.

    Raises
    ------
    ScanFault : DCM-NONE when no DICOM image is found, DCM-UNREADABLE when a DICOM file is broken.
    """
    limits = {
        "min_slices": min_slices,
        "max_thickness_mm": max_thickness_mm,
        "min_coverage_mm": min_coverage_mm,
        "allow_tilt": allow_tilt,
    }
    return [_judged(part, limits, kernels) for stack in index_stacks(path) for part in _parts(stack)]


def choose_series(
    series: Sequence[Series],
    *,
    wanted: str | None,
    prefer: Sequence[str],
    preferred_kernel: str,
    preferred_thickness_mm: float,
) -> Series:
    """The series to use: the wanted number, else the best by the rules of ``prefer``, in that order.

    prefer : names of RULES; what they leave open is settled by the number of slices, then the series number.

    Raises
    ------
    ScanFault : DCM-SERIES when none is usable, or the wanted one is missing or unusable; DCM-STUDIES,
        DCM-AMBIGUOUS when several studies could be meant.
    """
    if wanted:
        return _wanted(series, wanted)
    usable = [s for s in series if s.usable]
    if not usable:
        reasons = "; ".join(f"series {s.number}: {s.reason}" for s in series)
        code = series[0].code if len({s.code for s in series}) == 1 else "DCM-SERIES"
        raise ScanFault(code, f"found no usable chest series among {len(series)}. {reasons}")
    studies = {s.study for s in usable}
    if len(studies) > 1:
        raise ScanFault(
            "DCM-STUDIES",
            f"usable series belong to {len(studies)} studies, of several dates or patients, expected one. "
            "Name the folder of one study in the path column.",
        )
    keys = [RULES[name] for name in prefer]
    options = {"kernel": preferred_kernel, "thickness_mm": preferred_thickness_mm}
    return min(usable, key=lambda s: (*[key(s, options) for key in keys], -len(s.files), number_key(s.number)))


# what speaks for a series: the smaller, the better
RULES: dict[str, Callable[[Series, Mapping], float]] = {
    "kernel": lambda s, wish: s.kernel_class != wish["kernel"],
    "thickness": lambda s, wish: round(abs((s.thickness_mm or s.gap_mm or 5.0) - wish["thickness_mm"]), 3),
    "original": lambda s, wish: not s.original,
    "contrast": lambda s, wish: s.contrast,
    "coverage": lambda s, wish: -round(s.coverage_mm, 0),
    "slices": lambda s, wish: -len(s.files),
}


def kernel_class(kernel: str, kernels: Mapping[str, Sequence[str]]) -> str:
    """``soft``, ``sharp`` or ``unknown``.

    kernels : class -> names or patterns with * and ?, compared without regard to case; what no pattern matches and
    is named the Siemens way (B31f, Br40) goes by its number.
    """
    name = kernel.upper().strip()
    for kind, patterns in kernels.items():
        if any(fnmatchcase(name, pattern.upper()) for pattern in patterns):
            return kind
    siemens = SIEMENS_KERNEL.match(name)
    if siemens:
        return "soft" if int(siemens[1]) <= SIEMENS_SOFT else "sharp"
    return "unknown"


def normal_of(header: pydicom.Dataset) -> np.ndarray:
    """Unit normal of the slice plane, world LPS."""
    row, column = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
    return np.cross(row, column)


def positions_of(slices: Sequence[Slice]) -> np.ndarray:
    """(n, 3) ImagePositionPatient in mm, world LPS."""
    return np.array([np.array(item.header.ImagePositionPatient, float) for item in slices])


def _parts(stack: Stack) -> list[Stack]:
    try:
        return without_repeats(stack, positions_of(stack.slices) @ normal_of(stack.slices[0].header))
    except (ValueError, TypeError, AttributeError, KeyError):
        return [stack]  # positions are missing: the rules say so


def _wanted(series: Sequence[Series], wanted: str) -> Series:
    wanted = re.sub(r"^0+(?=\d)", "", wanted)  # the sheet may say 003
    chosen = [s for s in series if s.number == wanted]
    if not chosen:
        numbers = ", ".join(s.number for s in series)
        raise ScanFault("DCM-SERIES", f"found no series {wanted}; there are {numbers}. Mend the series column.")
    if sum(s.usable for s in chosen) > 1:
        raise ScanFault("DCM-AMBIGUOUS", f"{len(chosen)} series have number {wanted}. Keep one study a folder.")
    best = min(chosen, key=lambda s: not s.usable)
    if not best.usable:
        raise ScanFault(best.code, f"series {wanted} was asked for: {best.reason}")
    return best


def _judged(stack: Stack, limits: Mapping[str, float], kernels: Mapping[str, Sequence[str]]) -> Series:
    """Like :func:`_judge`; a header that cannot be understood makes the series unusable, not the run."""
    try:
        return _judge(stack, kernels, **limits)
    except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        reason = f"a header value cannot be understood ({type(error).__name__}). Export the series again."
        files = tuple(item.file for item in stack.slices)
        unknown = (stack.number, stack.study, files, "", "", "", "unknown", None, None, None, 0.0, 0.0, False, False)
        return Series(*unknown, "DCM-HEADER", reason)


def _judge(
    stack: Stack,
    kernels: Mapping[str, Sequence[str]],
    *,
    min_slices: int,
    max_thickness_mm: float,
    min_coverage_mm: float,
    allow_tilt: bool,
) -> Series:
    slices, first = stack.slices, stack.slices[0].header
    code, reason = _kind_fault(slices, min_slices)
    gap, coverage, tilt = None, 0.0, 0.0
    if not code:
        along = positions_of(slices) @ normal_of(first)
        order = np.argsort(along, kind="stable")
        slices, along = [slices[i] for i in order], along[order]
        gap, coverage = round(float(np.polyfit(np.arange(len(along)), along, 1)[0]), 6), float(along[-1] - along[0])
        code, reason = _gap_fault(along)
    if not code:
        tilt, code, reason = _tilt_fault(slices, allow_tilt)
    thickness = _number(first, "SliceThickness")
    if not code and max(gap, thickness or 0.0) > max_thickness_mm + 0.01:
        code = "DCM-THICK"
        reason = f"slices of {max(gap, thickness or 0):.1f} mm, expected at most {max_thickness_mm:g} mm."
    if not code and coverage < min_coverage_mm:
        code, reason = "DCM-SHORT", f"covers {coverage:.0f} mm, expected at least {min_coverage_mm:g} mm of chest."
    kernel = _first_text(first, "ConvolutionKernel")
    return Series(
        number=stack.number,
        study=stack.study,
        files=tuple(item.file for item in slices),
        manufacturer=str(first.get("Manufacturer", "")),
        model=str(first.get("ManufacturerModelName", "")),
        kernel=kernel,
        kernel_class=kernel_class(kernel, kernels),
        kvp=_number(first, "KVP"),
        thickness_mm=thickness,
        gap_mm=gap,
        coverage_mm=coverage,
        tilt_degrees=tilt,
        contrast=bool(str(first.get("ContrastBolusAgent", "")).strip()),
        original="ORIGINAL" in image_types(first),
        code=code,
        reason=reason,
        note=stack.note,
    )


def _kind_fault(slices: Sequence[Slice], min_slices: int) -> tuple[str, str]:
    """Why these are not axial slices of a CT in HU."""
    first, n = slices[0].header, len(slices)
    sop, frames = str(first.get("SOPClassUID", "")), int(first.get("NumberOfFrames", None) or 1)
    if sop in ENHANCED_CT or (str(first.get("Modality", "")) == "CT" and frames > 1):
        return "DCM-MULTIFRAME", "an enhanced multiframe CT, expected one file a slice. Export it as classic CT images."
    if str(first.get("Modality", "")) != "CT" or sop != CT_IMAGE:
        return "DCM-NOTCT", f"modality {first.get('Modality', 'missing')}, expected CT images."
    rejected = sorted(image_types(first) & REJECTED_TYPES)
    if rejected:
        return "DCM-TYPE", f"image type {'/'.join(rejected)}, expected axial slices."
    if n < min_slices:
        return "DCM-SLICES", f"{n} slices, expected at least {min_slices}."
    needed = ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept")
    for tag in needed:
        missing = sum(1 for item in slices if item.header.get(tag) in (None, ""))
        if missing:
            return "DCM-TAG", f"tag {tag} is missing in {missing} of {n} slices."
    if abs(normal_of(first)[2]) < MIN_AXIAL:
        return "DCM-TYPE", "coronal or sagittal slices, expected axial ones."
    units = sorted({str(item.header.get("RescaleType", "")).upper().strip() for item in slices} - HU_UNITS)
    if units:
        return "DCM-UNITS", f"values in {'/'.join(units)}, expected HU. Export the conventional CT image."
    return "", ""


def _tilt_fault(slices: Sequence[Slice], allow_tilt: bool) -> tuple[float, str, str]:
    """Tilt in degrees. Slices that are shifted against each other cannot be stacked: the stack would be sheared."""
    origins = positions_of(slices)
    step = origins[-1] - origins[0]
    cosine = normal_of(slices[0].header) @ step / np.linalg.norm(step)
    tilt = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    line = origins[0] + np.outer((origins - origins[0]) @ step / (step @ step), step)
    stray = float(np.linalg.norm(origins - line, axis=1).max())
    if stray > LINE_TOLERANCE_MM:
        reason = f"slices are shifted sideways by up to {stray:.1f} mm, expected one straight stack. Export them again."
        return tilt, "DCM-GAP", reason
    if tilt > MAX_TILT_DEGREES and not allow_tilt:
        reason = f"slices are tilted by {tilt:.1f} degrees (gantry tilt), expected none, or ingest.allow_tilt: true."
        return tilt, "DCM-TILT", reason
    return (tilt if tilt > MAX_TILT_DEGREES else 0.0), "", ""


def _gap_fault(positions: np.ndarray) -> tuple[str, str]:
    """Whether the slices lie on an even grid; jitter of the header's positions is let through."""
    gaps, index = np.diff(positions), np.arange(len(positions))
    if (gaps < 0.01).any():
        text = f"{int((gaps < 0.01).sum())} slice positions occur twice with different pixels. Split the series."
        return "DCM-DUPLICATE", text
    median = float(np.median(gaps))
    even = np.polyval(np.polyfit(index, positions, 1), index)
    worst = int(np.argmax(np.abs(gaps - median)))
    if np.abs(positions - even).max() > GRID_TOLERANCE * median or abs(gaps[worst] - median) > 0.5 * median:
        return (
            "DCM-GAP",
            f"slice gaps of {gaps.min():.2f}-{gaps.max():.2f} mm (at position {positions[worst]:.1f} mm), "
            "expected equal ones. Export the series again; slices seem to be missing.",
        )
    return "", ""


def _first_text(header: pydicom.Dataset, tag: str) -> str:
    value = header.get(tag, "") or ""
    return str(value if isinstance(value, str) else value[0])


def _number(header: pydicom.Dataset, tag: str) -> float | None:
    value = header.get(tag)
    return None if value in (None, "") else float(value)
