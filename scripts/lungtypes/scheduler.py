"""What a run on a cluster must know about its scheduler before it submits anything."""

from __future__ import annotations

import subprocess

NO_ACCOUNTING = "accounting_storage/none"
SECONDS = 30  # a scheduler that answers later than that is left to Snakemake


def fate_of_jobs_stays_unknown(status_command: str | None) -> str:
    """Why a run would never learn how its jobs ended, and what to do; empty when it will.

    status_command : what the executor asks SLURM with, ``sacct`` or ``squeue``; None elsewhere.

    Without accounting ``sacct`` has no answer, and Snakemake waits for one for ever while its jobs are long done.
    """
    if status_command != "sacct" or _setting("AccountingStorageType") != NO_ACCOUNTING:
        return ""
    return (
        "profiles/slurm: found a SLURM without accounting (AccountingStorageType is accounting_storage/none), and "
        "sacct, which needs it, as the status command; the run would never end. Switch the line "
        "`slurm-status-command: squeue` on in the profile."
    )


def _setting(name: str) -> str:
    """A line of ``scontrol show config``; empty where it cannot be had."""
    try:
        done = subprocess.run(
            ["scontrol", "show", "config"], capture_output=True, text=True, timeout=SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    lines = (line.partition("=") for line in done.stdout.splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == name), "")
