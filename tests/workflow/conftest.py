"""One small demo, generated and run once, shared by all workflow tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lungtypes.phantom.cohort import CohortPlan, write_cohort

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
        "iterations": [20, 10, 0],
        "mask_sigma_mm": 6.0,
        "max_update_mm": 3.0,
        "min_dice": 0.95,
        "max_volume_percent": 5.0,
    },
    "register": {"iterations": [30, 20, 10], "mask_sigma_mm": 6.0},
    "volumes": {"size": 32, "spacing_mm": 9.0},
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
    "evaluate": {
        "reference_table": "demo/truth/subjects.tsv",
        "reference_column": "group",
        "n_permutations": 100,
        "n_bootstrap": 50,
    },
    "associate": {"covariates": ["age"], "min_group": 1, "n_bootstrap": 50, "n_permutations": 100},
}


class Study:
    """A working folder with a generated cohort, and Snakemake to run on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "results"

    def snakemake(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
        """Run ``snakemake -d folder`` with the study's config; stdout and stderr together."""
        command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "-d", str(self.folder)]
        command += [*arguments, "--configfile", "study.yaml"]
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
    (folder / "study.yaml").write_text(yaml.safe_dump(SMALL))
    return Study(folder)


@pytest.fixture(scope="session")
def planned(tmp_path_factory) -> Study:
    """A generated cohort that was never run."""
    return make_study(tmp_path_factory.mktemp("planned"))


@pytest.fixture(scope="session")
def finished(planned, tmp_path_factory) -> Study:
    """The whole way, from DICOM to the report, once."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copytree(planned.folder / "demo", folder / "demo")
    shutil.copy(planned.folder / "study.yaml", folder)
    study = Study(folder)
    study.log = study.snakemake("--cores", "2", "--quiet", "rules").stdout
    return study
