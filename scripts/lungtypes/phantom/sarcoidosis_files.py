"""Writes virtual sarcoidosis as a study brings its own data: a template, registered volumes, sheet, clinical table."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from lungtypes.imaging.geometry import Volume, write_volume
from lungtypes.phantom.sarcoidosis import (
    Member,
    SarcoidosisPlan,
    draw_patient,
    plan_members,
    render_patient,
    template_space,
)
from lungtypes.phantom.sarcoidosis_clinical import clinical_table, planted_table
from lungtypes.provenance import write_json, write_table


def write_virtual_sarcoidosis(
    folder: Path, plan: SarcoidosisPlan, *, workers: int, made_by: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Write the cohort as ``folder``, whole or not at all, in place of one that is there; return its truth table.

    Layout: template.nii.gz, template_lungs.nii.gz (1 right, 2 left), registered/{subject}.nii.gz, subjects.tsv,
    clinical.tsv, truth/subjects.tsv (subject, subtype, severity), truth/planted.tsv, plan.json.

    made_by : stands in plan.json beside the plan, such as the code's stamp.
    """
    building = folder.with_name(folder.name + ".part")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    members = plan_members(plan)
    thorax = template_space(plan.seed).thorax
    template = Volume(np.rint(thorax.hu).astype(np.int16), thorax.spacing_mm, thorax.origin_mm[::-1], np.eye(3))
    write_volume(template, building / "template.nii.gz")
    write_volume(template.with_array(thorax.lungs), building / "template_lungs.nii.gz")
    with ProcessPoolExecutor(max_workers=workers) as pool:
        for _ in pool.map(partial(_write_scan, building / "registered", plan.seed, template), members):
            pass
    write_table(building / "subjects.tsv", sheet_table(plan, folder))
    write_table(building / "clinical.tsv", clinical_table(plan))
    truth = pd.DataFrame(
        [{"subject": m.subject, "subtype": m.subtype, "severity": round(m.severity, 4)} for m in members]
    )
    write_table(building / "truth/subjects.tsv", truth)
    write_table(building / "truth/planted.tsv", planted_table())
    write_json(building / "plan.json", {**asdict(plan), **(made_by or {})})
    shutil.rmtree(folder, ignore_errors=True)
    building.rename(folder)
    return truth


def made_already(folder: Path, plan: SarcoidosisPlan, made_by: Mapping[str, str]) -> bool:
    """Whether ``folder`` holds the cohort of this plan, made by the same code."""
    made = folder / "plan.json"
    return made.exists() and json.loads(made.read_text()) == {**asdict(plan), **made_by}


def sheet_table(plan: SarcoidosisPlan, folder: Path) -> pd.DataFrame:
    """The sample sheet of a cohort in ``folder``; the scanner stands as site, for the audits."""
    clinical = clinical_table(plan)
    site = clinical.scanner_model.map(lambda name: re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_"))
    paths = [str(folder / "registered" / f"{subject}.nii.gz") for subject in clinical.subject]
    return pd.DataFrame({"subject": clinical.subject, "registered": paths, "site": site, "sex": clinical.sex})


def _write_scan(folder: Path, seed: int, template: Volume, member: Member) -> None:
    hu = render_patient(draw_patient(seed, member), seed=seed)
    write_volume(template.with_array(hu), folder / f"{member.subject}.nii.gz")
