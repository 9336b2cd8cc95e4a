"""Generates the virtual cohort: DICOM studies, sample sheet, clinical table, and the truth beside them."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lungtypes.imaging.geometry import Volume, write_volume
from lungtypes.imaging.zones import LOBES, REGIONS, lung_regions
from lungtypes.phantom.anatomy import GROUPS, Person, draw_person
from lungtypes.phantom.clinical import clinical_row, lobe_scores
from lungtypes.phantom.dicom_writer import truncate_file, write_localizer, write_series
from lungtypes.phantom.scan import lesion_table, opacity_percents, virtual_scan
from lungtypes.phantom.scanner import SCANNERS, Scanner
from lungtypes.phantom.thorax import Thorax
from lungtypes.randomness import stream

FAMILY_NAMES = ("Ashgrove", "Bellweather", "Corvane", "Dunmarrow", "Elderfen", "Farrowgate", "Glimmerby", "Hollowell")
GIVEN_NAMES = ("Perpetua", "Thaddeus", "Wilhelmina", "Ignatius", "Clementine", "Barnabas", "Seraphina", "Leopold")


@dataclass(frozen=True)
class CohortPlan:
    """What to generate: n subjects per group, the in-plane matrix, and whether scanners confound the groups."""

    seed: int
    per_group: int
    in_plane: int
    corrupt: int
    confounded: bool


def write_cohort(folder: Path, plan: CohortPlan, *, workers: int) -> pd.DataFrame:
    """Write the cohort under ``folder`` (which must not hold one yet) and return its truth table.

    Layout: dicom/{study}/..., lobes/{subject}.nii.gz of one half of the subjects, subjects.tsv, clinical.tsv,
    lobe_scores.tsv (a reader's percentages of opacities by lobe, or by zone of each lung where there is no lobe mask),
    truth/subjects.tsv, truth/lesions.tsv, truth/{subject}/{lungs,lobes,lesions}.nii.gz.
    """
    building = folder.with_name(folder.name + ".part")
    if building.exists():
        shutil.rmtree(building)
    building.mkdir(parents=True)
    members = plan_members(plan)
    with ProcessPoolExecutor(max_workers=workers) as pool:
        rows = list(pool.map(_write_member, [(building, plan, member) for member in members]))
    sheet = pd.DataFrame([row["sheet"] for row in rows])
    for name in ("path", "lobes"):
        sheet[name] = [str(folder / path) if path else "" for path in sheet[name]]
    sheet.to_csv(building / "subjects.tsv", sep="\t", index=False)
    clinical = pd.DataFrame([row["clinical"] for row in rows])
    clinical.to_csv(building / "clinical.tsv", sep="\t", index=False)
    pd.concat([row["scores"] for row in rows]).to_csv(building / "lobe_scores.tsv", sep="\t", index=False)
    truth = pd.DataFrame([row["truth"] for row in rows])
    truth.to_csv(building / "truth/subjects.tsv", sep="\t", index=False)
    pd.concat([row["lesions"] for row in rows]).to_csv(building / "truth/lesions.tsv", sep="\t", index=False)
    (building / "plan.json").write_text(json.dumps(plan.__dict__, indent=1, sort_keys=True) + "\n")
    if folder.exists():
        shutil.rmtree(folder)
    building.rename(folder)
    return truth


def plan_members(plan: CohortPlan) -> list[dict[str, object]]:
    """Subject ids in shuffled order, their group, scanner, whether their series is corrupt and whether lobes are known.

    One half of each group and scanner comes with lobe masks, so that lungs are found in the other.
    """
    groups = [g for g in GROUPS for _ in range(plan.per_group)]
    groups += [GROUPS[i % len(GROUPS)] for i in range(plan.corrupt)]
    count = len(groups)
    order = stream(plan.seed, "phantom", "order").permutation(count)
    seen = dict.fromkeys(GROUPS, 0)
    members = []
    for index, group in enumerate(groups):
        number = seen[group]
        seen[group] += 1
        scanner = number % 2 if not plan.confounded else int(group in ("fibrosis", "sarcoid"))
        corrupt = index >= count - plan.corrupt
        subject = f"S{int(np.flatnonzero(order == index)[0]) + 1:03d}"
        lobes = (number + number // 2) % 2 == 0
        members.append(
            {
                "index": index,
                "subject": subject,
                "group": group,
                "scanner": scanner,
                "corrupt": corrupt,
                "lobes": lobes,
            }
        )
    return sorted(members, key=lambda member: member["subject"])


def _write_member(task: tuple[Path, CohortPlan, dict]) -> dict[str, object]:
    folder, plan, member = task
    subject, index = member["subject"], member["index"]
    scanner = SCANNERS[member["scanner"]]
    person = draw_person(plan.seed, index, member["group"])
    hu, thorax = virtual_scan(person, scanner, in_plane=plan.in_plane, seed=plan.seed)
    study = _write_study(folder, plan, member, person, hu, thorax, scanner)

    grid = Volume(
        thorax.lungs, thorax.spacing_mm, (thorax.origin_mm[2], thorax.origin_mm[1], thorax.origin_mm[0]), np.eye(3)
    )
    for name in ("lungs", "lobes", "lesions"):
        write_volume(grid.with_array(getattr(thorax, name)), folder / "truth" / subject / f"{name}.nii.gz")
    lobes = Path("lobes") / f"{subject}.nii.gz" if member["lobes"] else ""
    if lobes:
        write_volume(grid.with_array(thorax.lobes), folder / lobes)
    read = (thorax.lobes, LOBES) if lobes else (lung_regions(thorax.lungs), REGIONS)
    lesions = lesion_table(thorax, subject)
    whole = lesions[lesions.region == "lungs"].set_index("kind").percent.to_dict()
    voxel_ml = float(np.prod(thorax.spacing_mm)) / 1000
    truth = {
        "subject": subject,
        "group": person.group,
        "severity": round(person.severity, 4),
        "scanner": scanner.name,
        "corrupt": int(member["corrupt"]),
        "right_lung_ml": round(float((thorax.lungs == 1).sum()) * voxel_ml, 1),
        "left_lung_ml": round(float((thorax.lungs == 2).sum()) * voxel_ml, 1),
        "lesion_percent": whole["any"],
    }
    return {
        "sheet": {
            "subject": subject,
            "path": str(study),
            "lobes": str(lobes),
            "site": f"site_{scanner.name}",
            "sex": person.sex,
            "control": int(person.group == "control"),
        },
        "clinical": clinical_row(person, subject, whole, seed=plan.seed),
        "scores": lobe_scores(opacity_percents(thorax, *read), subject, seed=plan.seed, index=index),
        "truth": truth,
        "lesions": lesions,
    }


def _write_study(
    folder: Path, plan: CohortPlan, member: dict, person: Person, hu: np.ndarray, thorax: Thorax, scanner: Scanner
) -> Path:
    rng = stream(plan.seed, "phantom", "identity", person.index)
    family, given = str(rng.choice(FAMILY_NAMES)), str(rng.choice(GIVEN_NAMES))
    study = Path("dicom") / f"{family.upper()}_{given.upper()}_{int(rng.integers(10**6)):06d}"
    tags = {
        "PatientName": f"{family}^{given}",
        "PatientID": f"MRN{int(rng.integers(10**8)):08d}",
        "PatientBirthDate": f"19{int(rng.integers(35, 90))}0{int(rng.integers(1, 9))}17",
        "PatientSex": person.sex,
        "AccessionNumber": f"ACC{int(rng.integers(10**7)):07d}",
        "StudyID": str(int(rng.integers(10**5))),
        "StudyDate": "20240311",
        "SeriesDate": "20240311",
        "StudyTime": "101500",
        "ReferringPhysicianName": "Quillfeather^Octavia",
        "InstitutionName": "Saint Elsewhere Hospital",
        "StudyDescription": "CT CHEST WITHOUT CONTRAST",
        "SeriesDescription": "CHEST AXIAL",
        "BodyPartExamined": "CHEST",
        "ProtocolName": "CHEST ROUTINE",
        "Manufacturer": scanner.manufacturer,
        "ManufacturerModelName": scanner.model,
        "ConvolutionKernel": scanner.kernel,
        "KVP": scanner.kvp,
        "XRayTubeCurrent": 180,
        "SeriesNumber": 2,
    }
    names = (plan.seed, person.index)
    main = write_series(
        hu,
        folder / study / "series_02",
        spacing_mm=thorax.spacing_mm,
        origin_mm=thorax.origin_mm,
        tags=tags,
        uid_names=(f"{names}", "main"),
    )
    if member["corrupt"]:
        for path in main[10:14]:
            truncate_file(path, 0.4)
        return study
    if rng.random() < 0.6:
        scout = {**tags, "SeriesNumber": 1, "SeriesDescription": "SCOUT"}
        write_localizer(
            hu, folder / study / "series_01", spacing_mm=thorax.spacing_mm, tags=scout, uid_names=(f"{names}", "scout")
        )
    if rng.random() < 0.3:
        thick = {**tags, "SeriesNumber": 3, "SeriesDescription": "LUNG 10 MM", "ConvolutionKernel": "LUNG"}
        pairs = hu.shape[0] // 2
        merged = hu[: 2 * pairs].reshape(pairs, 2, *hu.shape[1:]).mean(axis=1).round().astype(np.int16)
        spacing = (2 * thorax.spacing_mm[0], *thorax.spacing_mm[1:])
        origin = (thorax.origin_mm[0] + thorax.spacing_mm[0] / 2, *thorax.origin_mm[1:])
        write_series(
            merged,
            folder / study / "series_03",
            spacing_mm=spacing,
            origin_mm=origin,
            tags=thick,
            uid_names=(f"{names}", "thick"),
        )
    return study
