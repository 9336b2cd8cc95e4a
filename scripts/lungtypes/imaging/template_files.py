"""The template's iterations on disk: one folder a mean, one a registered subject; unused ones end at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import SimpleITK as sitk

from lungtypes.errors import InputError, ScanFault
from lungtypes.imaging.geometry import read_volume, write_sitk, write_volume
from lungtypes.imaging.given import read_given_template
from lungtypes.imaging.registration import register_to_template
from lungtypes.imaging.registration_files import check_registration
from lungtypes.imaging.template import (
    Convergence,
    Template,
    WarpedSubject,
    composite_displacement,
    update_template,
)
from lungtypes.provenance import whole_folder, write_json, write_table

MAX_FAILED_SHARE = 0.1  # of the sample, and at least one


def write_iteration(
    folder: Path, template: Template, *, iteration: int, convergence: Convergence | None, converged: bool
) -> None:
    """Write one mean: template, lungs, probability and status.json with the convergence figures."""
    write_volume(template.hu, folder / "template.nii.gz")
    write_volume(template.lungs, folder / "lungs.nii.gz")
    write_volume(template.probability, folder / "probability.nii.gz")
    figures = asdict(convergence) if convergence else {}
    volume_ml = float((template.lungs.array > 0).sum()) * template.lungs.voxel_ml
    status = {"iteration": iteration, "used": True, "converged": converged, "lungs_ml": volume_ml, **figures}
    write_json(folder / "status.json", status)


def read_iteration(folder: Path) -> Template:
    """The template of one mean's folder."""
    return Template(*(read_volume(folder / f"{name}.nii.gz") for name in ("template", "lungs", "probability")))


def register_slot(
    folder: Path,
    *,
    previous: Path,
    scans: Path,
    sample: Sequence[str],
    slot: int,
    representation: str,
    iterations: Sequence[int],
    mask_sigma_mm: float,
    min_dice: float,
) -> None:
    """Register the slot's subject to the previous mean; a slot beyond the sample, or after convergence, is unused.

    An overlap below ``min_dice`` counts as failed, so that no scan is averaged that would be excluded later.
    """
    with whole_folder(folder) as building:
        status = _status(previous)
        if slot >= len(sample) or status["converged"] or not status["used"]:
            write_json(building / "status.json", {"used": False, "ok": True})
            return
        scratch = building / "scratch"
        scratch.mkdir()
        options = (representation, iterations, mask_sigma_mm, min_dice)
        _register_slot(building, scratch, previous, scans / sample[slot], *options)
        shutil.rmtree(scratch)


def _register_slot(
    folder: Path,
    scratch: Path,
    previous: Path,
    scan: Path,
    representation: str,
    iterations: Sequence[int],
    mask_sigma_mm: float,
    min_dice: float,
) -> None:
    template = read_iteration(previous)
    try:
        result = register_to_template(
            read_volume(scan / "ct.nii.gz"),
            read_volume(scan / "lungs.nii.gz"),
            template.hu,
            template.lungs,
            representation=representation,
            iterations=tuple(iterations),
            mask_sigma_mm=mask_sigma_mm,
            work_dir=scratch,
        )
        check_registration(result, min_dice=min_dice, max_folded_fraction=1.0)
    except ScanFault as fault:
        write_json(folder / "status.json", {"used": True, "ok": False, "message": f"{scan.name}, {fault}"})
        return
    displacement = composite_displacement(str(result.affine_file), str(result.warp_file), template.hu)
    write_volume(result.ct, folder / "ct.nii.gz")
    write_volume(result.lungs, folder / "lungs.nii.gz")
    write_sitk(displacement, folder / "displacement.nii.gz")
    write_json(folder / "status.json", {"used": True, "ok": True, **result.quality()})


def update_iteration(
    folder: Path,
    *,
    previous: Path,
    slots: Sequence[Path],
    iteration: int,
    step: float,
    applications: int,
    min_dice: float,
    max_update_mm: float,
    max_volume_percent: float,
) -> None:
    """Average the slots into the next mean; after convergence the folder only says that it is unused.

    Raises InputError when more than 10 % of the registrations (and more than one) failed.
    """
    before = _status(previous)
    if before["converged"] or not before["used"]:
        with whole_folder(folder) as building:
            write_json(building / "status.json", {"iteration": iteration, "used": False, "converged": True})
        return
    states = {slot: _status(slot) for slot in slots}
    used = [slot for slot, state in states.items() if state["used"]]
    good = [slot for slot in used if states[slot]["ok"]]
    if len(good) < 2 or len(used) - len(good) > max(1, int(MAX_FAILED_SHARE * len(used))):
        listed = " ".join(states[slot]["message"] for slot in used if slot not in good)
        raise InputError(
            f"template, iteration {iteration}: {len(used) - len(good)} of {len(used)} registrations failed, expected "
            f"at most {100 * MAX_FAILED_SHARE:g} %. {listed} Mend these lung masks, or exclude the scans in "
            "config/decisions.tsv (stage resample)."
        )
    template, convergence = update_template(
        read_iteration(previous), map(_warped_subject, good), step=step, applications=applications
    )
    limits = {"min_dice": min_dice, "max_update_mm": max_update_mm, "max_volume_percent": max_volume_percent}
    converged = convergence.within(**limits)
    with whole_folder(folder) as building:
        write_iteration(building, template, iteration=iteration, convergence=convergence, converged=converged)


def _warped_subject(slot: Path) -> WarpedSubject:
    field = sitk.ReadImage(str(slot / "displacement.nii.gz"), sitk.sitkVectorFloat32)
    return WarpedSubject(read_volume(slot / "ct.nii.gz"), read_volume(slot / "lungs.nii.gz"), field)


def copy_last_iteration(means: Sequence[Path], *, hu: str, lungs: str, probability: str) -> None:
    """Copy the images of the last mean that was used."""
    last = [folder for folder in means if _status(folder)["used"]][-1]
    names = {"template": hu, "lungs": lungs, "probability": probability}
    for name, target in names.items():
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(target).with_name(f".part-{Path(target).name}")
        shutil.copyfile(last / f"{name}.nii.gz", temporary)
        temporary.replace(target)


def convergence_table(means: Sequence[Path]) -> pd.DataFrame:
    """convergence.tsv: one row an iteration that was used; no iterations, no rows."""
    columns = ["iteration", "dice", "mean_update_mm", "volume_change_percent", "lungs_ml", "converged"]
    rows = [status for status in map(_status, means) if status["used"]]
    return pd.DataFrame([{name: row.get(name, np.nan) for name in columns} for row in rows], columns=columns)


def adopt_template(
    image: str | Path, lungs: str | Path, *, hu: str, mask: str, probability: str, convergence: str
) -> None:
    """Write the user's own template as the template of the study; raises InputError when it cannot serve as one."""
    template, labels = read_given_template(image, lungs)
    write_volume(template, Path(hu))
    write_volume(labels, Path(mask))
    write_volume(labels.with_array((labels.array > 0).astype(np.float32)), Path(probability))
    write_table(convergence, convergence_table([]))


def _status(folder: Path) -> dict:
    return json.loads((Path(folder) / "status.json").read_text())
