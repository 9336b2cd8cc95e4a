"""Registrations on disk: made here or brought along, the gate that they have to pass, and the ways to try again."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lungtypes.errors import ScanFault
from lungtypes.imaging.checks import Check, Limits, checks_record, raise_failures
from lungtypes.imaging.geometry import read_volume, write_volume
from lungtypes.imaging.given import check_given_registration
from lungtypes.imaging.registration import Registration, register_to_template
from lungtypes.imaging.registration_checks import REMEDY, judge_registration
from lungtypes.imaging.registration_engine import RegistrationSettings
from lungtypes.imaging.transforms import TransformFiles
from lungtypes.provenance import write_json

logger = logging.getLogger(__name__)


def attempts(settings: RegistrationSettings) -> dict[str, RegistrationSettings]:
    """The settings to try, one after the other, until a registration passes: each takes away what may have misled.

    ``shape`` leaves HU out (a dense or empty lung finds no like in the template) and looks further and longer;
    ``stiff`` smooths the deformation on top of that, against folding and against spikes of a mask.
    """
    shape = replace(
        settings,
        representation="mask",
        iterations=tuple(2 * n for n in settings.iterations),
        distance_mm=2 * settings.distance_mm,
    )
    return {"configured": settings, "shape": shape, "stiff": replace(shape, stiffness=2.0 * settings.stiffness)}


def register_scan(
    folder: Path,
    scan: str | Path,
    *,
    template: str | Path,
    mask: str | Path,
    settings: RegistrationSettings,
    checks: Limits,
) -> None:
    """Register ``scan`` (folder with ct.nii.gz and lungs.nii.gz) to the template and write all into ``folder``.

    settings : see :class:`RegistrationSettings`. checks : see :mod:`lungtypes.imaging.registration_checks`.
    Raises ScanFault when no attempt passes; the fault is that of the settings as configured.
    """
    images = [read_volume(Path(path)) for path in (f"{scan}/ct.nii.gz", f"{scan}/lungs.nii.gz", template, mask)]
    faults: dict[str, ScanFault] = {}
    for name, tried in attempts(settings).items():
        with tempfile.TemporaryDirectory(prefix="lungtypes-registration-") as scratch:
            try:
                result = register_to_template(*images, settings=tried, folder=Path(scratch))
                judged = judge_registration(result.figures, checks)
                raise_failures(judged, remedy=REMEDY)
            except ScanFault as fault:
                faults[name] = fault
                logger.info("attempt %s: %s", name, fault)
            else:
                write_registration(folder, result, judged, attempt=name, failed=list(faults))
                return
    first = faults["configured"]
    raise ScanFault(first.code, f"{first.message} Neither did {' or '.join(list(faults)[1:])} settings help.")


def adopt_registered(
    folder: Path, *, registered: str, lungs: str | None, template: str, mask: str, checks: Limits
) -> None:
    """Write a volume that the user registered, its lungs and its figures; there are no transforms then."""
    result = check_given_registration(
        read_volume(Path(registered)),
        read_volume(Path(lungs)) if lungs else None,
        template=read_volume(Path(template)),
        mask=read_volume(Path(mask)),
    )
    judged = judge_registration(result.figures, checks)
    raise_failures(judged, remedy=REMEDY)
    write_volume(result.ct, folder / "ct.nii.gz")
    write_volume(result.lungs, folder / "lungs.nii.gz")
    write_json(folder / "registration.json", _record(result.figures, judged, attempt="given", failed=()))


def write_registration(
    folder: Path, result: Registration, judged: Sequence[Check], *, attempt: str, failed: Sequence[str]
) -> None:
    """Write images, transforms and registration.json into ``folder``.

    attempt : the settings that passed, and those that were tried before and failed; see :func:`attempts`.
    """
    write_volume(result.ct, folder / "ct.nii.gz")
    write_volume(result.lungs, folder / "lungs.nii.gz")
    write_volume(result.log_jacobian, folder / "log_jacobian.nii.gz")
    target = TransformFiles.of(folder)
    for name in ("affine", "warp", "inverse_warp"):
        shutil.copyfile(getattr(result.transforms, name), getattr(target, name))
    write_json(folder / "registration.json", _record(result.figures, judged, attempt=attempt, failed=failed))


def _record(
    figures: Mapping[str, float | None], judged: Sequence[Check], *, attempt: str, failed: Sequence[str]
) -> dict[str, object]:
    plain = {name: None if value is None or np.isnan(value) else value for name, value in figures.items()}
    return {**plain, "attempt": attempt, "failed_attempts": list(failed), "checks": checks_record(judged)}
