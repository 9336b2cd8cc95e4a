"""A registration on disk, and the gate that it has to pass."""

from __future__ import annotations

import shutil
from pathlib import Path

from lungtypes.errors import ScanFault
from lungtypes.imaging.geometry import write_volume
from lungtypes.imaging.registration import Registration
from lungtypes.provenance import write_json


def write_registration(folder: Path, result: Registration) -> None:
    """Write images, transforms and registration.json into ``folder``."""
    write_volume(result.ct, folder / "ct.nii.gz")
    write_volume(result.lungs, folder / "lungs.nii.gz")
    write_volume(result.log_jacobian, folder / "log_jacobian.nii.gz")
    for source, name in (
        (result.affine_file, "affine.mat"),
        (result.warp_file, "warp.nii.gz"),
        (result.inverse_warp_file, "inverse_warp.nii.gz"),
    ):
        shutil.copyfile(source, folder / name)
    write_json(folder / "registration.json", result.quality())


def check_registration(result: Registration, *, min_dice: float, max_folded_fraction: float) -> None:
    """Raise ScanFault (REG-DICE, REG-FOLDED) when the registration is not good enough to be analysed."""
    worst = min(result.dice_right, result.dice_left)
    if worst < min_dice:
        raise ScanFault(
            "REG-DICE",
            f"lung overlap with the template of {worst:.3f}, expected at least {min_dice:g}. "
            "Look at the lung mask; a wrong mask is the usual cause.",
        )
    if result.folded_fraction > max_folded_fraction:
        raise ScanFault(
            "REG-FOLDED",
            f"{100 * result.folded_fraction:.3f} % of the lung is folded, expected at most "
            f"{100 * max_folded_fraction:g} %. Use fewer SyN iterations at full resolution.",
        )
