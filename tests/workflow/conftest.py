"""One small demo, generated and run once, shared by all workflow tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
import yaml
from pydicom.datadict import DicomDictionary

from lungtypes.imaging.geometry import read_volume, write_volume
from lungtypes.phantom.cohort import CohortPlan, write_cohort
from lungtypes.phantom.lesions import OPACITIES

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "subjects": "demo/subjects.tsv",
    "clinical": "demo/clinical.tsv",
    "torch_threads": 1,
    "resample": {"spacing_mm": 6.0},
    "template": {
        "minimum": 3,
        "maximum": 3,
        "max_iterations": 2,
        "iterations": [15, 15, 10, 4],
        "max_update_mm": 3.0,
        "min_dice": 0.95,
        "max_volume_percent": 5.0,
    },
    "register": {"iterations": [20, 20, 15, 6], "distance_mm": 24.0, "checks": {"hd95_mm": {"warn": [0, 12]}}},
    "volumes": {"size": 32, "spacing_mm": 9.0, "native": {"size": 36, "spacing_mm": 9.0}},
    "clam": {
        "window_hu": [-1024.0, -400.0],
        "filters": [4, 8, 8],
        "strides": [2, 2, 1],
        "latent": 16,
        "batch": 4,
        "pretrain": {"epochs": 20},
        "cluster": {"epochs": 5},
        "k": {"rule": "silhouette", "maximum": 5, "n_init": 5, "n_null": 40, "n_permutations": 3},
    },
    "dcam": {
        "methods": ["dcam", "dcam-supervised"],
        "network": {"filters": 2},
        "k": {"n_clusters": 3, "rule": "silhouette", "maximum": 4, "n_init": 5, "n_null": 40, "n_permutations": 3},
        "training": {"epochs": 3},
    },
    "maps": {
        "kinds": ["difference", "margin"],
        "path": {"points": 2, "smooth_mm": 9.0},
        "occlusion": {"scans": 1, "window_mm": 72.0, "stride_mm": 72.0},
        "faithfulness": {"scans": 1, "steps": 2},
    },
    "dram": {
        "methods": ["dram", "dram-supervised"],
        "table": "demo/lobe_scores.tsv",
        "volumes": {"size": 36, "spacing_mm": 9.0},
        "regions": {"size": 16},
        "network": {"filters": 2, "attention_grid": 16},
        "training": {"epochs": 2, "regions_per_epoch": 24, "learning_rate": 0.003},
    },
    "evaluate": {
        "seeds": 1,
        "n_resamples": 20,
        "reference_table": "demo/truth/subjects.tsv",
        "reference_column": "group",
        "n_permutations": 100,
        "n_bootstrap": 50,
    },
    "report": {"share": True, "print_dpi": 60},
    "associate": {"covariates": ["age"], "min_group": 1, "n_bootstrap": 50, "n_permutations": 100},
}


@pytest.hookimpl(tryfirst=True)  # the workers read the groups in a hook of the same name
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of one study stay together, so that it is run once: one worker's work, where there are several."""
    for item in items:
        if {"planned", "finished"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group("study"))


class Study:
    """A working folder with a generated cohort, and Snakemake to run on it."""

    def __init__(self, folder: Path, snakefile: Path = ROOT / "Snakefile") -> None:
        self.folder = folder
        self.results = folder / "results"
        self.snakefile = snakefile

    def command(self, *arguments: str) -> list[str]:
        """``snakemake -d folder`` with the study's config."""
        command = [sys.executable, "-m", "snakemake", "-s", str(self.snakefile), "-d", str(self.folder)]
        return [*command, *arguments, "--configfile", "study.yaml"]

    def planned(self, *arguments: str, check: bool = True) -> dict[str, int]:
        """Jobs by rule of a dry run; nothing to be done is an empty dict."""
        text = self.snakemake("-n", *arguments, "--quiet", "host", check=check).stdout
        if "Nothing to be done" in text:
            return {}
        table = text.rpartition("Job stats:")[2].partition("\ntotal")[0]
        return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.M)}

    def snakemake(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
        """Run :meth:`command`; stdout and stderr together."""
        command = self.command(*arguments)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stdout[-6000:]}")
        return done


def make_study(folder: Path) -> Study:
    """Eight subjects and one corrupt series, no results yet."""
    plan = CohortPlan(seed=1, per_group=2, in_plane=96, corrupt=1, confounded=False)
    (folder / "demo").parent.mkdir(parents=True, exist_ok=True)
    here = Path.cwd()
    os.chdir(folder)
    try:
        write_cohort(Path("demo"), plan, workers=2)
    finally:
        os.chdir(here)
    give_lesion_masks(folder / "demo")
    (folder / "study.yaml").write_text(yaml.safe_dump(SMALL))
    return Study(folder)


def give_lesion_masks(demo: Path) -> None:
    """Lesion masks of every other scan that is not corrupt, as a user would bring them; named in the sheet."""
    sheet = pd.read_csv(demo / "subjects.tsv", sep="\t", dtype=str, keep_default_na=False)
    truth = pd.read_csv(demo / "truth/subjects.tsv", sep="\t").set_index("subject")
    sheet["lesions"] = ""
    for row in [row for row, subject in enumerate(sheet.subject) if truth.corrupt[subject] == 0][::2]:
        lesions = read_volume(demo / f"truth/{sheet.subject[row]}/lesions.nii.gz")
        mask = lesions.with_array(np.isin(lesions.array, OPACITIES))
        write_volume(mask, demo / f"lesions/{sheet.subject[row]}.nii.gz")
        sheet.loc[row, "lesions"] = f"demo/lesions/{sheet.subject[row]}.nii.gz"
    sheet.to_csv(demo / "subjects.tsv", sep="\t", index=False)


def plant_canaries(study: Study) -> None:
    """Fill every text tag of two scans (one of them corrupt), a private tag, a nested sequence, file and folder names.

    Tags that are meant to be seen (scanner, kernel) and those that decide how a file is read stay as they are.
    """
    sheet = pd.read_csv(study.folder / "demo/subjects.tsv", sep="\t", dtype=str, keep_default_na=False)
    truth = pd.read_csv(study.folder / "demo/truth/subjects.tsv", sep="\t").set_index("subject")
    good = next(s for s in sheet.subject if truth.corrupt[s] == 0)
    bad = next(s for s in sheet.subject if truth.corrupt[s] == 1)
    for subject in (good, bad):
        row = sheet.index[sheet.subject == subject][0]
        old = study.folder / sheet.path[row]
        new = old.with_name(f"CANARY^{subject}")
        old.rename(new)
        sheet.loc[row, "path"] = str(new.relative_to(study.folder))
        for number, file in enumerate(sorted(p for p in new.rglob("*") if p.is_file())):
            try:
                data = pydicom.dcmread(file)
                _fill_with_canaries(data, f"CANARY{subject}N{number}")
                data.save_as(file)
            except (pydicom.errors.InvalidDicomError, OSError, EOFError, ValueError):
                pass  # the corrupt file stays as it is
            file.rename(file.with_name(f"CANARY_{file.name}"))
    sheet.to_csv(study.folder / "demo/subjects.tsv", sep="\t", index=False)


def _fill_with_canaries(data: pydicom.Dataset, token: str) -> None:
    keep = {"SpecificCharacterSet", "RescaleType", "Manufacturer", "ManufacturerModelName", "ConvolutionKernel"}
    keep |= {"ContrastBolusAgent"}
    texts, groups = {"LO", "SH", "PN", "LT", "ST", "UT", "UC"}, (0x0008, 0x0010, 0x0018, 0x0020, 0x0032, 0x0040)
    for tag, (vr, _, _, retired, keyword) in DicomDictionary.items():
        if vr in texts and tag >> 16 in groups and keyword and not retired and keyword not in keep:
            setattr(data, keyword, f"{token}{keyword}"[:16])
    data.PatientBirthDate, data.StudyDate, data.StudyTime = "19130713", "19991231", "235959"
    data.private_block(0x0011, "CANARY CREATOR", create=True).add_new(0x01, "LO", f"{token}PRIVATE")
    nested = pydicom.Dataset()
    nested.PatientName = f"{token}^NESTED"
    data.ReferencedPatientSequence = [nested]


@pytest.fixture(scope="session")
def planned(tmp_path_factory) -> Study:
    """A generated cohort that was never run; two of its scans are full of canaries."""
    study = make_study(tmp_path_factory.mktemp("planned"))
    plant_canaries(study)
    return study


@pytest.fixture(scope="session")
def finished(planned, tmp_path_factory) -> Study:
    """The whole way, from DICOM to the report, once."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copytree(planned.folder / "demo", folder / "demo")
    shutil.copy(planned.folder / "study.yaml", folder)
    study = Study(folder)
    study.log = study.snakemake("--cores", "2", "--quiet", "rules").stdout
    return study


@pytest.fixture
def fake(tmp_path) -> Study:
    """Twelve scans whose files only exist: enough to plan with, nothing to run."""
    return make_fake_study(tmp_path)


def make_fake_study(folder: Path, n: int = 12) -> Study:
    """A sheet of ``n`` scans that are empty files, and a clinical table."""
    (folder / "scans").mkdir(parents=True)
    (folder / "config").mkdir()
    subjects = [f"S{number:05d}" for number in range(1, n + 1)]
    rows = ["subject\tpath"]
    for subject in subjects:
        (folder / "scans" / f"{subject}.nii.gz").touch()
        rows.append(f"{subject}\tscans/{subject}.nii.gz")
    (folder / "config/subjects.tsv").write_text("\n".join(rows) + "\n")
    clinical = ["subject\tage\tfev1_l", *[f"{s}\t{40 + n % 30}\t{2 + n % 3}" for n, s in enumerate(subjects)]]
    (folder / "config/clinical.tsv").write_text("\n".join(clinical) + "\n")
    (folder / "study.yaml").write_text("seed: 1\n")
    return Study(folder)
