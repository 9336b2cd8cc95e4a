"""Whether the engine that the config names for the lungs can run here. Imports nothing heavy: it is checked at once."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

WEIGHTS = "unet_r231-d5d2fc3d.pth from https://github.com/JoHof/lungmask/releases"


def engine_faults(engine: str, weights: str) -> list[str]:
    """What is missing for ``engine`` (classical or lungmask), in words; ``weights`` is a path."""
    if engine != "lungmask":
        return []
    faults = []
    if not weights or not Path(weights).is_file():
        faults.append(
            f"lungs.lungmask_weights: found {weights!r}, expected the path of a weights file. Fetch {WEIGHTS} and "
            "name the file here, or set lungs.engine to classical."
        )
    if _missing("lungmask"):
        faults.append(
            "lungs.engine: found lungmask, which is not installed. Run `pip install lungmask` in the environment of "
            "lungtypes, or set lungs.engine to classical."
        )
    return faults


def _missing(module: str) -> bool:
    if module in sys.modules:
        return sys.modules[module] is None
    return find_spec(module) is None
