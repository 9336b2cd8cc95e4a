"""Unpacks a ZIP archive of a scan; names inside it are not trusted."""

from __future__ import annotations

import zipfile
from pathlib import Path

from lungtypes.errors import ScanFault

MAX_UNPACKED_BYTES = 20 * 2**30


def unpack_scan(archive: Path, folder: Path) -> Path:
    """Unpack ``archive`` into ``folder`` and return what to read: the one image file in it, or the folder.

    Members get numbers for names (their image suffix is kept), so that no name can lead out of the folder.

    Raises ScanFault ZIP-UNREADABLE, ZIP-SIZE.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            members = [m for m in content.infolist() if not m.is_dir() and not _is_litter(m.filename)]
            if sum(m.file_size for m in members) > MAX_UNPACKED_BYTES:
                raise ScanFault("ZIP-SIZE", "the archive unpacks to more than 20 GB. Unpack it and name the folder.")
            files = [_unpack(content, m, folder / f"{n:06d}{_suffix(m.filename)}") for n, m in enumerate(members)]
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError) as error:
        kind = type(error).__name__
        text = f"the archive cannot be unpacked ({kind}; encrypted or cut off?). Make it again, or unpack it."
        raise ScanFault("ZIP-UNREADABLE", text) from error
    return files[0] if len(files) == 1 and _suffix(files[0].name) else folder


def _unpack(content: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> Path:
    written = 0
    with content.open(member) as source, open(target, "wb") as out:
        while block := source.read(1 << 20):
            written += len(block)
            if written > MAX_UNPACKED_BYTES:  # the size that the archive states may be a lie
                raise ScanFault("ZIP-SIZE", "the archive unpacks to more than 20 GB. Unpack it and name the folder.")
            out.write(block)
    return target


def _suffix(name: str) -> str:
    low = name.lower()
    return next((suffix for suffix in (".nii.gz", ".nii", ".nrrd", ".mha") if low.endswith(suffix)), "")


def _is_litter(name: str) -> bool:
    """What macOS puts beside every file."""
    return name.startswith("__MACOSX/") or Path(name).name.startswith("._") or Path(name).name == ".DS_Store"
