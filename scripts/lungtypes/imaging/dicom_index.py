"""Indexes every file under a path and groups the CT images into stacks that can be judged one by one.

One SeriesInstanceUID may hold several stacks (two kernels, two orientations, a scout); each is a stack of its own here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError

from lungtypes.errors import ScanFault

# technical tags only: nothing that identifies a person is ever read; UIDs are compared and never written
TAGS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "AcquisitionNumber",
    "NumberOfFrames",
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
    "RescaleType",
    "ContrastBolusAgent",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
)
REJECTED_TYPES = {"LOCALIZER", "SCOUT", "TOPOGRAM", "MPR", "MIP", "MINIP", "PROJECTION", "REFORMATTED", "SCREEN SAVE"}
DICOM_SUFFIXES = {"", ".dcm", ".ima", ".dicom"}
UNREADABLE = (
    InvalidDicomError,
    OSError,
    EOFError,
    ValueError,
    AttributeError,
    KeyError,
    TypeError,
    NotImplementedError,
)


@dataclass(frozen=True)
class Slice:
    """One instance: its file and its technical tags."""

    file: Path
    header: pydicom.Dataset


@dataclass(frozen=True)
class Stack:
    """Slices that belong together, in no order.

    number : SeriesNumber, with ``.1``, ``.2`` ... where one series holds several stacks; study : 1, 2 ... within the
    path; note : what was dropped.
    """

    number: str
    study: int
    slices: tuple[Slice, ...]
    note: str = ""


def index_stacks(path: Path) -> list[Stack]:
    """Every stack of DICOM images under ``path``, ordered by study and number.

    Raises
    ------
    ScanFault : DCM-NONE when no DICOM image is found, DCM-UNREADABLE when a DICOM file is broken or empty.
    """
    files = sorted(p for p in Path(path).rglob("*") if p.is_file()) if Path(path).is_dir() else [Path(path)]
    groups: dict[tuple[str, str], list[Slice]] = defaultdict(list)
    broken = 0
    for file in files:
        header = read_header(file)
        if header is not None and "SeriesInstanceUID" in header:
            groups[str(header.get("StudyInstanceUID", "")), str(header.SeriesInstanceUID)].append(Slice(file, header))
        elif file.name.upper() != "DICOMDIR":
            broken += _looks_like_dicom(file)
    if not groups:
        raise ScanFault(
            "DCM-NONE",
            f"found no DICOM image among {len(files)} files ({broken} of them broken DICOM). "
            "Check the path column of the sheet.",
        )
    if broken:  # they may be slices of the lung's ends, which no gap would show
        text = f"{broken} of {len(files)} files are broken or empty DICOM. Copy the study again."
        raise ScanFault("DCM-UNREADABLE", text)
    studies = {uid: n for n, uid in enumerate(sorted({study for study, _ in groups}), start=1)}
    stacks = [stack for (study, _), slices in sorted(groups.items()) for stack in _stacks(slices, studies[study])]
    return sorted(stacks, key=lambda s: (s.study, number_key(s.number), len(s.slices)))


def read_header(file: Path, *more: str) -> pydicom.Dataset | None:
    """TAGS (and ``more``) of a DICOM file, with or without preamble; None for any other file."""
    try:
        return pydicom.dcmread(file, stop_before_pixels="PixelData" not in more, specific_tags=[*TAGS, *more])
    except InvalidDicomError:
        if not _starts_like_a_dataset(file):
            return None
    except UNREADABLE:
        return None
    try:
        return pydicom.dcmread(
            file, stop_before_pixels="PixelData" not in more, specific_tags=[*TAGS, *more], force=True
        )
    except UNREADABLE:
        return None


def number_key(number: str) -> tuple[float, str]:
    """Sorts series numbers as numbers."""
    return (float(number) if number.replace(".", "", 1).isdigit() else float("inf"), number)


def without_repeats(stack: Stack, positions: np.ndarray) -> list[Stack]:
    """The stack with one slice a position, or two stacks where two acquisitions share one series.

    positions : (n,) mm along the normal, in the order of ``stack.slices``. Slices that are sent twice (same
    SOPInstanceUID, or same pixels) are dropped; conflicting ones are left for the rules to refuse.
    """
    rounded = np.round(positions, 2)
    if len(np.unique(rounded)) == len(rounded):
        return [stack]
    seen: dict[tuple[str, float], Slice] = {}
    for item, where in zip(stack.slices, rounded, strict=True):
        seen.setdefault((str(item.header.get("SOPInstanceUID", item.file)), float(where)), item)
    by_place: dict[float, list[Slice]] = defaultdict(list)
    for (_, where), item in seen.items():
        by_place[where].append(item)
    if all(len(items) == 1 or _same_pixels(items) for items in by_place.values()):
        kept = tuple(items[0] for items in by_place.values())
        note = f"{len(stack.slices) - len(kept)} repeated slices dropped"
        return [Stack(stack.number, stack.study, kept, note)]
    acquisitions: dict[str, list[Slice]] = defaultdict(list)
    for item in seen.values():
        acquisitions[str(item.header.get("AcquisitionNumber", ""))].append(item)
    if len(acquisitions) == 1:
        return [stack]
    parts = sorted(acquisitions.items())
    return [Stack(f"{stack.number}.{n}", stack.study, tuple(items)) for n, (_, items) in enumerate(parts, start=1)]


def _stacks(slices: Sequence[Slice], study: int) -> list[Stack]:
    groups: dict[tuple, list[Slice]] = defaultdict(list)
    for item in slices:
        groups[_stack_key(item.header)].append(item)
    number = str(slices[0].header.get("SeriesNumber", ""))
    parts = sorted(groups.items(), key=lambda pair: repr(pair[0]))
    if len(parts) == 1:
        return [Stack(number, study, tuple(slices))]
    return [Stack(f"{number}.{n}", study, tuple(items)) for n, (_, items) in enumerate(parts, start=1)]


def image_types(header: pydicom.Dataset) -> set[str]:
    """The words of ImageType in capitals; a single one comes as text."""
    value = header.get("ImageType", None) or []
    return {str(word).upper() for word in ([value] if isinstance(value, str) else value)}


def _stack_key(header: pydicom.Dataset) -> tuple:
    """What all slices of one stack share; a value that cannot be understood is left for the rules to name."""
    types = image_types(header)
    try:
        numbers = tuple(
            tuple(np.round(np.atleast_1d(np.array(header.get(tag), float)), 3))
            for tag in ("ImageOrientationPatient", "PixelSpacing", "Rows", "Columns")
            if header.get(tag) not in (None, "")
        )
    except (ValueError, TypeError):
        numbers = ()
    return (str(header.get("ConvolutionKernel", "")), bool(types & REJECTED_TYPES), numbers)


def _same_pixels(items: Sequence[Slice]) -> bool:
    headers = [read_header(item.file, "PixelData") for item in items]
    contents = {bytes(h.get("PixelData", b"")) if h is not None else None for h in headers}
    scales = {(str(h.get("RescaleSlope")), str(h.get("RescaleIntercept"))) for h in headers if h is not None}
    return len(contents) == 1 and len(scales) == 1


def _looks_like_dicom(file: Path) -> bool:
    try:
        with open(file, "rb") as stream:
            head = stream.read(132)
    except OSError:
        return True
    empty = not head and file.suffix.lower() in DICOM_SUFFIXES and not file.name.startswith(".")
    return empty or head[128:] == b"DICM"


def _starts_like_a_dataset(file: Path) -> bool:
    """Old archives leave out the 128 bytes before the first group, 0002 or 0008 in little endian."""
    with open(file, "rb") as stream:
        head = stream.read(6)
    return head[:2] in (b"\x02\x00", b"\x08\x00") and head[2:4] in (b"\x00\x00", b"\x01\x00", b"\x05\x00", b"\x08\x00")
