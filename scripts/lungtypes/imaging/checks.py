"""Numbers with limits: what warns, what excludes a scan, and the words for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lungtypes.errors import ScanFault

Limits = Mapping[str, Mapping[str, Sequence[float] | None]]
# check: (reason code, what is measured, with a place for the number)
CheckTable = Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class Check:
    """One number with its limits (low, high; None where there are none); verdict pass, warn, fail or not measured.

    code : the reason code of a scan that fails it. words : what is measured, with a place for the number.
    """

    name: str
    value: float
    warn: tuple[float, float] | None
    fail: tuple[float, float] | None
    verdict: str
    code: str
    words: str

    @property
    def text(self) -> str:
        """What was found and what was expected, in words."""
        low, high = self.fail if self.verdict == "fail" and self.fail else self.warn or (float("nan"),) * 2
        expected = f"{low:g} to {high:g}" if self.value < low or low > 0 else f"at most {high:g}"
        return f"{self.words.format(self.value)}, expected {expected}"


def judge(values: Mapping[str, float], limits: Limits, table: CheckTable) -> tuple[Check, ...]:
    """Compare every value of the table with its limits; the limits themselves still pass. NaN is not measured."""
    checks = []
    for name, (code, words) in table.items():
        value = float(values[name])
        warn, fail = (None if limits[name][k] is None else tuple(limits[name][k]) for k in ("warn", "fail"))
        if np.isnan(value):
            verdict = "not measured"
        elif fail and not fail[0] <= value <= fail[1]:
            verdict = "fail"
        else:
            verdict = "warn" if warn and not warn[0] <= value <= warn[1] else "pass"
        checks.append(Check(name, value, warn, fail, verdict, code, words))
    return tuple(checks)


def raise_failures(checks: Sequence[Check], *, remedy: str) -> None:
    """Raise ScanFault with the code of the first failed check and the words of all of them."""
    failed = [check for check in checks if check.verdict == "fail"]
    if failed:
        raise ScanFault(failed[0].code, f"{'; '.join(check.text for check in failed)}. {remedy}")


def warnings_of(checks: Sequence[Check]) -> list[str]:
    """What lies outside the limits that warn, in words."""
    return [check.text for check in checks if check.verdict == "warn"]


def checks_record(checks: Sequence[Check]) -> dict[str, dict[str, object]]:
    """Number, limits and verdict of each check, for a scan's JSON file."""
    rows = {}
    for check in checks:
        value = None if np.isnan(check.value) else check.value
        rows[check.name] = {"value": value, "warn": check.warn, "fail": check.fail, "verdict": check.verdict}
    return rows
