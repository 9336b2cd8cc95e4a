"""A per-scan stage's outcome: a folder with status.json always, and its images when all is well."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lungtypes.errors import GeometryError, ScanFault
from lungtypes.provenance import whole_folder, write_json

logger = logging.getLogger(__name__)

KEPT_ON_FAILURE = ("series.tsv",)  # says why no series could be used


@dataclass(frozen=True)
class Status:
    """Where a scan stands: stage reached, status ``ok`` or ``failed``, reason code and message."""

    subject: str
    stage: str
    status: str
    code: str = ""
    message: str = ""

    @property
    def ok(self) -> bool:
        """Whether the stage's images exist."""
        return self.status == "ok"


def read_status(folder: str | Path) -> Status:
    """Read ``status.json`` of a stage's folder."""
    content = json.loads((Path(folder) / "status.json").read_text())
    return Status(**{name: content[name] for name in Status.__dataclass_fields__})


def run_scan_stage(
    output: str | Path,
    *,
    subject: str,
    stage: str,
    upstream: Sequence[str | Path],
    strict: bool,
    work: Callable[[Path], None],
) -> Status:
    """Run ``work(folder)`` for one scan; a fault of the scan becomes its status, a bug stays a crash.

    The folder appears whole or not at all. A failed upstream folder passes its status on.
    With ``strict`` a fault is raised instead.
    """
    status = next((s for s in map(read_status, upstream) if not s.ok), None)
    with whole_folder(output) as folder:
        if status is None:
            status = _attempt(folder, subject, stage, strict, work)
        write_json(folder / "status.json", asdict(status))
    return status


def _attempt(folder: Path, subject: str, stage: str, strict: bool, work: Callable[[Path], None]) -> Status:
    try:
        work(folder)
    except (ScanFault, GeometryError) as fault:
        if strict:
            raise
        code = fault.code if isinstance(fault, ScanFault) else "GEOMETRY"
        message = fault.message if isinstance(fault, ScanFault) else str(fault)
        logger.warning("subject %s, stage %s: %s: %s", subject, stage, code, message)
        for path in folder.iterdir():
            if path.name not in KEPT_ON_FAILURE:
                path.unlink() if path.is_file() else shutil.rmtree(path)
        return Status(subject, stage, "failed", code, message)
    return Status(subject, stage, "ok")
