"""The folder of a generated cohort: replaced when it is one, left alone when it is anything else."""

from __future__ import annotations

from pathlib import Path

from lungtypes.errors import InputError


def require_replaceable(folder: Path) -> None:
    """Raise InputError unless ``folder`` is absent, empty, or holds a generated cohort (plan.json)."""
    if folder.exists() and any(folder.iterdir()) and not (folder / "plan.json").exists():
        raise InputError(
            f"{folder}: found files that are no generated cohort, expected a folder of its own, as it is replaced. "
            "Name another folder in the config's key subjects."
        )
