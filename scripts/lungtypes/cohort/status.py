"""A per-scan stage's outcome: a folder with status.json always, and its images when all is well."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lungtypes.errors import GeometryError, ScanFault
from lungtypes.provenance import write_json

logger = logging.getLogger(__name__)


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
    output = Path(output)
    building = output.with_name(f".part-{output.name}")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    status = next((s for s in map(read_status, upstream) if not s.ok), None)
    if status is None:
        try:
            work(building)
            status = Status(subject, stage, "ok")
        except (ScanFault, GeometryError) as fault:
            if strict:
                raise
            code = fault.code if isinstance(fault, ScanFault) else "GEOMETRY"
            message = fault.message if isinstance(fault, ScanFault) else str(fault)
            logger.warning("subject %s, stage %s: %s: %s", subject, stage, code, message)
            shutil.rmtree(building)
            building.mkdir()
            status = Status(subject, stage, "failed", code, message)
    write_json(building / "status.json", asdict(status))
    shutil.rmtree(output, ignore_errors=True)
    building.rename(output)
    return status
