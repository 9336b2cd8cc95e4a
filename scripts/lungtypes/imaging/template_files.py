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
from lungtypes.imaging.checks import Limits
from lungtypes.imaging.geometry import Volume, read_volume, write_sitk, write_volume
from lungtypes.imaging.given import read_given_template
from lungtypes.imaging.registration_engine import RegistrationSettings
from lungtypes.imaging.registration_files import register_scan
from lungtypes.imaging.resample import resample_scan
from lungtypes.imaging.template import Convergence, Template, WarpedSubject, start_template, update_template
from lungtypes.imaging.transforms import TransformFiles, displacement_field, point_map, vector_image
from lungtypes.imaging.zones import REGIONS, lung_regions
from lungtypes.provenance import whole_folder, write_json, write_table

MAX_FAILED_SHARE = 0.1  # of the sample, and at least one


def write_iteration(
    folder: Path, template: Template, *, iteration: int, convergence: Convergence | None, converged: bool
) -> None:
    """Write one mean: template, lungs, probability and status.json with the convergence figures."""
    write_volume(template.hu, folder / "template.nii.gz")
    write_volume(template.lungs, folder / "lungs.nii.gz")
    write_volume(template.probability, folder / "probability.nii.gz")
    if template.sd is not None:
        write_volume(template.sd, folder / "sd.nii.gz")
    if template.displacement_mm is not None:
        write_sitk(vector_image(template.displacement_mm, template.hu), folder / "displacement.nii.gz")
    figures = asdict(convergence) if convergence else {}
    volume_ml = float((template.lungs.array > 0).sum()) * template.lungs.voxel_ml
    status = {"iteration": iteration, "used": True, "converged": converged, "lungs_ml": volume_ml, **figures}
    write_json(folder / "status.json", status)


def start_iteration(
    folder: Path,
    *,
    ct: str | Path,
    lungs: str | Path,
    brought: bool,
    spacing_mm: float,
    margin_mm: float,
    padding_mm: float,
) -> None:
    """Write the first mean: a resampled scan of the cohort, or an image that the user brought, on a padded grid.

    Raises InputError when what was brought cannot serve.
    """
    if brought:
        hu, labels = read_given_template(ct, lungs, keys=("template.start_image", "template.start_lungs"))
        # it is only a start, so its lungs may change more than a scan's
        own = resample_scan(hu, labels, spacing_mm=spacing_mm, margin_mm=margin_mm, max_volume_change_percent=100.0)
        hu, labels = own.ct, own.lungs
    else:
        hu, labels = read_volume(Path(ct)), read_volume(Path(lungs))
    template = start_template(hu, labels, padding_mm=padding_mm)
    write_iteration(folder, template, iteration=0, convergence=None, converged=False)


def read_iteration(folder: Path) -> Template:
    """The template of one mean's folder."""
    images = (read_volume(folder / f"{name}.nii.gz") for name in ("template", "lungs", "probability"))
    field = folder / "displacement.nii.gz"
    displacement_mm = sitk.GetArrayFromImage(sitk.ReadImage(str(field))) if field.exists() else None
    return Template(*images, displacement_mm=displacement_mm)


def register_slot(
    folder: Path,
    *,
    previous: Path,
    scans: Path,
    sample: Sequence[str],
    slot: int,
    settings: RegistrationSettings,
    checks: Limits,
) -> None:
    """Register the slot's subject to the previous mean; a slot beyond the sample, or after convergence, is unused.

    The gate and the further attempts are those of every scan, so no scan is averaged that they would exclude later.
    """
    with whole_folder(folder) as building:
        status = _status(previous)
        if slot >= len(sample) or status["converged"] or not status["used"]:
            write_json(building / "status.json", {"used": False, "ok": True})
            return
        template = {"template": previous / "template.nii.gz", "mask": previous / "lungs.nii.gz"}
        try:
            register_scan(building, scans / sample[slot], **template, settings=settings, checks=checks)
        except ScanFault as fault:
            message = f"{sample[slot]}, {fault}"
            write_json(building / "status.json", {"used": True, "ok": False, "message": message})
            return
        for name in ("inverse_warp.nii.gz", "log_jacobian.nii.gz"):  # a mean needs neither
            (building / name).unlink()
        write_json(building / "status.json", {"used": True, "ok": True})


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
    mean = read_iteration(previous)
    template, convergence = update_template(
        mean, (_warped_subject(slot, mean.hu) for slot in good), step=step, applications=applications
    )
    limits = {"min_dice": min_dice, "max_update_mm": max_update_mm, "max_volume_percent": max_volume_percent}
    converged = convergence.within(**limits)
    with whole_folder(folder) as building:
        write_iteration(building, template, iteration=iteration, convergence=convergence, converged=converged)


def _warped_subject(slot: Path, grid: Volume) -> WarpedSubject:
    field = displacement_field(point_map(TransformFiles.of(slot), to="scan"), grid)
    return WarpedSubject(read_volume(slot / "ct.nii.gz"), read_volume(slot / "lungs.nii.gz"), field)


def copy_last_iteration(means: Sequence[Path], *, hu: str, lungs: str, probability: str, sd: str) -> None:
    """Copy the images of the last mean that was used."""
    last = [folder for folder in means if _status(folder)["used"]][-1]
    for name, target in (("template", hu), ("lungs", lungs), ("probability", probability), ("sd", sd)):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(target).with_name(f".part-{Path(target).name}")
        shutil.copyfile(last / f"{name}.nii.gz", temporary)
        temporary.replace(target)


def write_regions(mask: str | Path, *, labels: str | Path, names: str | Path) -> None:
    """The template's regions (see :func:`lungtypes.imaging.zones.lung_regions`) and what each label means."""
    lungs = read_volume(Path(mask))
    regions = lungs.with_array(lung_regions(lungs.array))
    write_volume(regions, Path(labels))
    rows = [
        {"label": label, "region": name, "volume_ml": int((regions.array == label).sum()) * lungs.voxel_ml}
        for label, name in REGIONS.items()
    ]
    write_table(names, pd.DataFrame(rows))


def convergence_table(means: Sequence[Path]) -> pd.DataFrame:
    """convergence.tsv: one row an iteration that was used; no iterations, no rows."""
    columns = ["iteration", "dice", "mean_update_mm", "net_update_mm", "volume_change_percent", "lungs_ml", "converged"]
    rows = [status for status in map(_status, means) if status["used"]]
    return pd.DataFrame([{name: row.get(name, np.nan) for name in columns} for row in rows], columns=columns)


def adopt_template(
    image: str | Path,
    lungs: str | Path,
    *,
    hu: str,
    mask: str,
    probability: str,
    convergence: str,
    regions: str,
    region_names: str,
) -> None:
    """Write the user's own template as the template of the study; raises InputError when it cannot serve as one."""
    template, labels = read_given_template(image, lungs)
    write_volume(template, Path(hu))
    write_volume(labels, Path(mask))
    write_volume(labels.with_array((labels.array > 0).astype(np.float32)), Path(probability))
    write_table(convergence, convergence_table([]))
    for name in ("sd.nii.gz", "sample.tsv"):  # of a template that was built here before
        Path(hu).with_name(name).unlink(missing_ok=True)
    write_regions(mask, labels=regions, names=region_names)


def _status(folder: Path) -> dict:
    return json.loads((Path(folder) / "status.json").read_text())
