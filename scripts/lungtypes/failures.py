"""What the last lines of a failed run say: which stage and subject, why, where the log is, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lungtypes.provenance import STOPPED

SHOWN = 10
ON_PURPOSE = ("InputError", "GeometryError", "ScanFault")  # their text says what to do


@dataclass(frozen=True)
class FailedJob:
    """A job that did not end well: its rule, its subject (empty for a job of the cohort) and its log."""

    rule: str
    subject: str
    log: str


def describe_failures(jobs: Sequence[FailedJob]) -> str:
    """The closing words of a failed run, one paragraph a job (at most SHOWN)."""
    lines = [f"lungtypes: {len(jobs)} job{'s' if len(jobs) != 1 else ''} failed."]
    for job in sorted(jobs, key=lambda job: (job.rule, job.subject))[:SHOWN]:
        why, remedy = _why(job)
        lines += [
            f"  stage  {job.rule}, " + (f"subject {job.subject}" if job.subject else "whole cohort"),
            f"  why    {why}",
            f"  log    {job.log or 'none'}",
            f"  to do  {remedy}",
            "",
        ]
    if len(jobs) > SHOWN:
        lines.append(f"  ... and {len(jobs) - SHOWN} more.")
    lines.append("Mend the cause and run the same command again: finished work is kept.")
    return "\n".join(lines)


def _why(job: FailedJob) -> tuple[str, str]:
    kind, message = _last_error(job.log)
    if kind == "ScanFault":
        remedy = "mend the scan, exclude it in config/decisions.tsv, or set strict: false to go on without it."
        return message, remedy
    if kind in ON_PURPOSE:
        return message, "what the line above says."
    if kind == "MemoryError" or "out of memory" in message.lower():
        return f"{kind}: {message}", f"give it more memory: lower --cores, or --set-resources {job.rule}:mem_mb=..."
    if kind:
        return f"{kind}: {message}", "read the log; if it does not help, report it with the log as a bug."
    why = "its log holds no error: it was stopped from outside, most often for lack of memory or time."
    remedy = f"lower --cores, or raise --set-resources {job.rule}:mem_mb=... (cluster: also runtime=...)."
    return why, remedy


def _last_error(log: str) -> tuple[str, str]:
    """Kind and text of the error that ended a job; empty when its log names none."""
    path = Path(log) if log else None
    if path is None or not path.is_file():
        return "", ""
    for line in reversed(path.read_text(errors="replace").splitlines()):
        _, found, text = line.partition(f": {STOPPED}")
        if found:
            kind, _, message = text.partition(": ")
            return kind, message
    return "", ""
