"""One claim about the simulation study with its verdict, and how verdicts of several seeds or scenarios add up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lungtypes.association.table_html import format_p
from lungtypes.report.blocks import count_of

Holds = Literal["yes", "partly", "no", "not run"]
NEARLY = 0.99  # ours: at most one image in a hundred missed is "partly"
NOT_STUDIED = "not studied"


@dataclass(frozen=True)
class Claim:
    """What the paper says, what this run says, and whether that is the same.

    claim : S1 to S9 as in the paper, X1 and so on ours; a part of a claim has a letter, a cell also its scenario.
    """

    claim: str
    what: str
    paper: str
    ours: str
    holds: Holds
    note: str = ""

    @property
    def is_cell(self) -> bool:
        """Whether it is about one scenario of a claim."""
        return self.is_papers and " " in self.claim

    @property
    def is_papers(self) -> bool:
        """Whether the paper says it."""
        return self.claim.startswith("S")


def not_run(claim: str, what: str, paper: str, why: str, ours: str = "") -> Claim:
    """A claim that this run cannot judge, and why."""
    return Claim(claim, what, paper, ours, "not run", why)


def combine(verdicts: Iterable[Holds]) -> Holds:
    """The verdict that all share, else partly; not run if one of them was not run, or there is none."""
    found = set(verdicts)
    if not found or "not run" in found:
        return "not run"
    return found.pop() if len(found) == 1 else "partly"


def graded(*, yes: bool, partly: bool = False) -> Holds:
    """Yes, else partly, else no."""
    return "yes" if yes else "partly" if partly else "no"


def all_found(share: float) -> Holds:
    """Yes if every image is found, partly from 0.99."""
    return graded(yes=share > 1 - 1e-9, partly=share >= NEARLY)


def spread(values: Sequence[float], *, digits: int = 3, unit: str = "seed") -> str:
    """ "0.997 (0.990-1.000), 3 seeds"; what is not defined is left out."""
    found = np.asarray(values, float)
    found = found[np.isfinite(found)]
    if not found.size:
        return "not defined"
    text = f"{found.mean():.{digits}f}"
    if found.size > 1:
        text += f" ({found.min():.{digits}f}-{found.max():.{digits}f})"
    return f"{text}, {count_of(found.size, unit)}"


def p_values(values: Sequence[float]) -> str:
    """ "p <0.001", or "p 0.02, 0.40" over the seeds."""
    return "p " + ", ".join(dict.fromkeys(format_p(value) for value in values))


def joined(notes: Iterable[str]) -> str:
    """The notes that say something."""
    return "; ".join(note for note in notes if note)


def scenarios_not_run(cells: Iterable[Claim]) -> str:
    """Which scenarios of a claim could not be judged."""
    absent = [cell.claim.split(" ")[1] for cell in cells if cell.holds == "not run"]
    return f"not run: {', '.join(absent)}" if absent else ""
