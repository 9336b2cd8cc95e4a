"""What a registration is judged by: numbers with limits that warn and limits that exclude the scan.

Limits stand in the config and are our own; benchmarks/registration.py says what good registrations reach.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lungtypes.imaging.checks import Check, CheckTable, Limits, judge, warnings_of

CHECKS: CheckTable = {
    "dice": ("REG-DICE", "lung overlap with the template (Dice) of {:.3f}"),
    "hd95_mm": ("REG-SURFACE", "5 % of a lung's surface lie more than {:.1f} mm from the template's"),
    "folded_percent": ("REG-FOLDED", "{:.3f} % of the lungs is folded"),
    "jacobian_p01": ("REG-JACOBIAN", "1 % of the lungs is squeezed to less than {:.3g} of the lungs' own change"),
    "jacobian_p99": ("REG-JACOBIAN", "1 % of the lungs is stretched to more than {:.3g} of the lungs' own change"),
    "inverse_mm": ("REG-INVERSE", "the way to the scan and back misses by {:.2f} mm"),
    "hu_correlation": ("REG-HU", "correlation of lung HU with the template of {:.2f}"),
}
REMEDY = "Look at the lung mask; a wrong mask is the usual cause."
NOT_MEASURED = float("nan")


def judge_registration(figures: Mapping[str, object], limits: Limits) -> tuple[Check, ...]:
    """The checks of one registration; overlap and surface are those of the worse lung.

    figures : see :func:`lungtypes.imaging.registration.register_to_template`; what is absent or None was not
        measured, and what is no check is passed over.
    """
    known = {name: NOT_MEASURED if value is None else value for name, value in figures.items()}
    values = {name: known.get(name, NOT_MEASURED) for name in CHECKS}
    values["dice"] = np.min([known["dice_right"], known["dice_left"]])
    values["hd95_mm"] = np.max([known["hd95_right_mm"], known["hd95_left_mm"]])
    return judge(values, limits, CHECKS)


def registration_warnings(figures: Mapping[str, object], limits: Limits) -> list[str]:
    """What of a registration lies outside the limits that warn, in words; figures as in registration.json."""
    return warnings_of(judge_registration(figures, limits))
