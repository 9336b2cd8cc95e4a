"""A per-scan stage's outcome: a folder with status.json always, and its images when all is well."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lungtypes.errors import GeometryError, ScanFault
from lungtypes.provenance import whole_folder, write_json

logger = logging.getLogger(__name__)

EXCLUDED_BY_HUMAN = "HUMAN-EXCLUDED"


@dataclass(frozen=True)
class Status:
    """Where a scan stands: stage reached, status ``ok`` or ``failed``, reason code and message.

    decisions : what humans decided about this scan up to this stage, as rows of config/decisions.tsv.
    """

    subject: str
    stage: str
    status: str
    code: str = ""
    message: str = ""
    decisions: tuple[Mapping[str, str], ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the stage's images exist."""
        return self.status == "ok"


def read_status(folder: str | Path) -> Status:
    """Read ``status.json`` of a stage's folder."""
    content = json.loads((Path(folder) / "status.json").read_text())
    fields = {name: content[name] for name in Status.__dataclass_fields__}
    return Status(**{**fields, "decisions": tuple(content["decisions"])})


def run_scan_stage(
    output: str | Path,
    *,
    subject: str,
    stage: str,
    upstream: Sequence[str | Path],
    strict: bool,
    work: Callable[[Path], None],
    decision: Mapping[str, str] | None = None,
) -> Status:
    """Run ``work(folder)`` for one scan; a fault of the scan becomes its status, a bug stays a crash.

    The folder appears whole or not at all. A failed upstream folder passes its status on.
    With ``strict`` a fault is raised instead. ``decision`` is a human's (decision, by, reason): ``exclude``
    fails the scan without any work; ``accept`` is only recorded here, since it opens the limits in the config
    that ``work`` uses (see :mod:`lungtypes.cohort.overrule`).
    """
    before = [read_status(folder) for folder in upstream]
    decisions = tuple(dict.fromkeys(json.dumps(d, sort_keys=True) for s in before for d in s.decisions))
    decisions = tuple(json.loads(text) for text in decisions)
    status = next((s for s in before if not s.ok), None)
    with whole_folder(output) as folder:
        if status is None:
            if decision:
                decisions += ({"stage": stage, **decision},)
            if decision and decision["decision"] == "exclude":
                message = f"excluded by {decision['by']}: {decision['reason']}"
                status = Status(subject, stage, "failed", EXCLUDED_BY_HUMAN, message, decisions)
            else:
                status = _attempt(folder, Status(subject, stage, "ok", decisions=decisions), strict, work)
        write_json(folder / "status.json", asdict(status))
    return status


def _attempt(folder: Path, hoped: Status, strict: bool, work: Callable[[Path], None]) -> Status:
    try:
        work(folder)
    except (ScanFault, GeometryError) as fault:
        if strict:
            raise
        code = fault.code if isinstance(fault, ScanFault) else "GEOMETRY"
        message = fault.message if isinstance(fault, ScanFault) else str(fault)
        logger.warning("subject %s, stage %s: %s: %s", hoped.subject, hoped.stage, code, message)
        for path in folder.iterdir():
            path.unlink() if path.is_file() else shutil.rmtree(path)
        return Status(hoped.subject, hoped.stage, "failed", code, message, hoped.decisions)
    return hoped
