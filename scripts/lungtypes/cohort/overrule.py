"""What a human's ``accept`` means: the limits of one stage are opened for one scan."""

from __future__ import annotations

from collections.abc import Mapping

OPEN_LIMITS: dict[str, dict[str, float]] = {
    "ingest": {
        "min_slices": 2,
        "max_thickness_mm": 1e6,
        "min_coverage_mm": 0.0,
        "body_width_mm": [0.0, 1e6],
        "min_air_percent": 0.0,
        "min_soft_percent": 0.0,
    },
    "lungs": {},  # every limit of its checks that excludes; see with_open_limits
    "resample": {"max_volume_change_percent": 1e6},
    "register": {},  # the same
}
# the reason codes that those limits raise: a human may overrule these and no others
ACCEPTABLE = {
    "DCM-SLICES": "ingest",
    "DCM-SHORT": "ingest",
    "DCM-THICK": "ingest",
    "IMG-SIZE": "ingest",
    "HU-IMPLAUSIBLE": "ingest",
    "SEG-BORDER": "lungs",
    "SEG-TRUNCATED": "lungs",
    "SEG-VOLUME": "lungs",
    "SEG-RATIO": "lungs",
    "SEG-MIDLINE": "lungs",
    "SEG-DENSITY": "lungs",
    "SEG-SHAPE": "lungs",
    "SEG-GAP": "lungs",
    "SEG-PIECES": "lungs",
    "SEG-AIRWAY": "lungs",
    "RES-VOLUME": "resample",
    "REG-DICE": "register",
    "REG-SURFACE": "register",
    "REG-FOLDED": "register",
    "REG-JACOBIAN": "register",
    "REG-INVERSE": "register",
    "REG-HU": "register",
}


def with_open_limits(section: Mapping[str, object], stage: str) -> dict[str, object]:
    """The stage's section of the config with every limit opened; other keys stay, and so do limits that only warn."""
    opened = {**section, **OPEN_LIMITS[stage]}
    if "checks" in section:
        opened["checks"] = {name: {**limits, "fail": None} for name, limits in section["checks"].items()}
    return opened
