"""Registrations on disk: made here or brought along, and the gate that they have to pass."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from lungtypes.errors import ScanFault
from lungtypes.imaging.geometry import read_volume, write_volume
from lungtypes.imaging.given import check_given_registration
from lungtypes.imaging.registration import Registration, register_to_template
from lungtypes.provenance import write_json


def register_scan(
    folder: Path,
    scan: str | Path,
    *,
    template: str | Path,
    mask: str | Path,
    representation: str,
    iterations: Sequence[int],
    mask_sigma_mm: float,
    min_dice: float,
    max_folded_fraction: float,
) -> None:
    """Register ``scan`` (folder with ct.nii.gz and lungs.nii.gz) to the template and write all into ``folder``.

    Raises ScanFault when the registration fails or does not pass the gate.
    """
    images = [Path(scan) / "ct.nii.gz", Path(scan) / "lungs.nii.gz", Path(template), Path(mask)]
    scratch = folder / "scratch"
    scratch.mkdir()
    result = register_to_template(
        *map(read_volume, images),
        representation=representation,
        iterations=tuple(iterations),
        mask_sigma_mm=mask_sigma_mm,
        work_dir=scratch,
    )
    write_registration(folder, result)
    shutil.rmtree(scratch)
    check_registration(result, min_dice=min_dice, max_folded_fraction=max_folded_fraction)


def adopt_registered(
    folder: Path, *, registered: str, lungs: str | None, template: str, mask: str, min_dice: float
) -> None:
    """Write a volume that the user registered, its lungs and its figures; there are no transforms then."""
    result = check_given_registration(
        read_volume(Path(registered)),
        read_volume(Path(lungs)) if lungs else None,
        template=read_volume(Path(template)),
        mask=read_volume(Path(mask)),
        min_dice=min_dice,
    )
    write_volume(result.ct, folder / "ct.nii.gz")
    write_volume(result.lungs, folder / "lungs.nii.gz")
    write_json(folder / "registration.json", result.figures)


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
