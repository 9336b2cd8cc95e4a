"""What a change of the sheet will redo, said before anything runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from lungtypes.cohort.check import Inputs

LOCKS = Path(".snakemake/locks")


def plan_notes(config: Mapping[str, object], inputs: Inputs) -> list[str]:
    """One line a note: a lock that is left over, a template that will move, scans that a frozen one will take in."""
    results = Path(str(config["results"]))
    notes = [_lock_note()] if LOCKS.is_dir() and any(LOCKS.iterdir()) else []
    template = config["template"]
    record = results / "provenance" / "select_template_sample" / "cohort.json"
    if template["frozen"]:
        subjects = inputs.sheet.subject
        new = [s for s in subjects if not (results / "registered" / s / "status.json").exists()]
        if 0 < len(new) < len(subjects):
            notes.append(
                f"the template is frozen: {len(new)} new scans will be registered to it ({_some(new)}), the other "
                f"{len(subjects) - len(new)} registrations stay. The cohort array, the clusters and all after them "
                "are made again, since the cohort grew; to keep the clusters, give new scans split: test."
            )
    elif not template["image"] and record.exists() and (results / "template" / "template.nii.gz").exists():
        before = set(json.loads(record.read_text())["config"]["subjects"])
        now = {s for s, split in inputs.splits.items() if split == "train"}
        if before != now:
            notes.append(
                f"the scans to learn from changed ({len(now - before)} added, {len(before - now)} removed: "
                f"{_some(sorted(before ^ now))}). The template will be made again, and with it every registration and "
                "all results after it. To keep the template and the registrations: template: {frozen: true}."
            )
    return notes


def _lock_note() -> str:
    return (
        "this folder is locked: another run is working in it, or one was killed. If none is running, free it with "
        "`snakemake --unlock` (same --configfile) and run the same command again; finished work is kept."
    )


def _some(subjects: list[str]) -> str:
    return ", ".join(subjects[:5]) + (", ..." if len(subjects) > 5 else "")
