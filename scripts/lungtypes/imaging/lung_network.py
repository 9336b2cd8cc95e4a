"""Segments the lungs with lungmask (Hofmanninger et al. 2020), which the user installs with its R231 weights.

The weights are opened as plain tensors before lungmask's own loader sees them: a file that would run code is refused.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

from lungtypes.cohort.engines import engine_faults
from lungtypes.errors import InputError, ScanFault
from lungtypes.imaging.checks import Limits
from lungtypes.imaging.geometry import Volume
from lungtypes.imaging.lung_split import LEFT, RIGHT, require_right_on_the_right
from lungtypes.imaging.lungs import LungSegmentation, checked_lungs


def require_lungmask(weights: str) -> None:
    """Raise InputError, a fault of the installation and not of a scan, when lungmask cannot run here."""
    faults = engine_faults("lungmask", weights)
    if faults:
        raise InputError("\n".join(f"config, {fault}" for fault in faults))
    import torch

    try:
        torch.load(Path(weights), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        text = "found a file that is no plain set of weights, expected R231. Fetch it again."
        raise InputError(f"config, lungs.lungmask_weights: {text}") from error


def segment_with_lungmask(scan: Volume, *, weights: str, checks: Limits) -> LungSegmentation:
    """Label the lungs with lungmask's R231 on the CPU; effusion stays inside its lungs, the trachea outside.

    Parameters
    ----------
    scan : int16 HU with index axes along LPS, which is how lungmask takes bare arrays: label 1 is right, 2 left.
    weights : path of the R231 weights.

    Raises
    ------
    InputError : lungmask or its weights are missing.
    ScanFault : SEG-NONE when a lung is missing, SEG-LABELS for swapped sides, or the code of a check that failed.
    """
    require_lungmask(weights)
    from lungmask import LMInferer

    network = LMInferer(modelpath=weights, force_cpu=True, tqdm_disable=True)
    labels = np.asarray(network.apply(scan.array), np.uint8)
    if labels.shape != scan.array.shape or not {RIGHT, LEFT} <= set(np.unique(labels).tolist()) <= {0, RIGHT, LEFT}:
        found = sorted(np.unique(labels).tolist())
        raise ScanFault("SEG-NONE", f"lungmask found labels {found}, expected 1 and 2. Look at the scan and its HU.")
    require_right_on_the_right(labels)
    return checked_lungs(scan, labels, np.zeros(labels.shape, bool), split_by="lungmask R231", checks=checks)
