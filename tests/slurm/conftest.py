"""A real scheduler on this machine, and a study of six subjects that is run on it and without it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import yaml

from lungtypes.phantom.cohort import CohortPlan, write_cohort

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PROFILE = ROOT / "profiles/slurm/profile.v9+.yaml"
SMALL = {
    "subjects": "demo/subjects.tsv",
    "clinical": "demo/clinical.tsv",
    "torch_threads": 1,
    "resample": {"spacing_mm": 6.0},
    "template": {"minimum": 3, "maximum": 3, "max_iterations": 1, "iterations": [15, 15, 10, 4]},
    "register": {"iterations": [20, 20, 15, 6], "distance_mm": 24.0, "checks": {"hd95_mm": {"warn": [0, 12]}}},
    "volumes": {"size": 32, "spacing_mm": 9.0},
    "clam": {
        "filters": [4, 8, 8],
        "strides": [2, 2, 1],
        "latent": 16,
        "batch": 4,
        "pretrain": {"epochs": 10},
        "cluster": {"epochs": 5},
        "k": {"n_clusters": 2, "rule": "silhouette", "maximum": 4, "n_init": 5, "n_null": 40, "n_permutations": 3},
    },
    "maps": {
        "kinds": ["difference", "margin"],
        "path": {"points": 2, "smooth_mm": 9.0},
        "occlusion": {"scans": 1, "window_mm": 72.0, "stride_mm": 72.0},
        "faithfulness": {"scans": 1, "steps": 2},
    },
    "report": {"print_dpi": 0},
    "evaluate": {"seeds": 1, "n_resamples": 20, "n_permutations": 50, "n_bootstrap": 20},
    "associate": {"covariates": ["age"], "min_group": 1, "n_bootstrap": 20, "n_permutations": 50},
}
# The plugin waits longer from poll to poll, which is right for days; here every poll comes after a second.
QUICK = (
    "import sys; from snakemake_executor_plugin_slurm import Executor; from snakemake.cli import main\n"
    "Executor.next_seconds_between_status_checks = property(lambda _: 1, lambda *_: None)\n"
    "main(sys.argv[1:])"
)


def why_not() -> str:
    """Why no scheduler can be started here; empty when one can."""
    programs = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scontrol", "srun")
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [name for name in programs if shutil.which(name, path=path) is None]
    if missing:
        return f"no {', '.join(missing)} here: tests/slurm/install.sh installs what is needed (Debian, as root)"
    if os.geteuid() != 0:
        return "starting a scheduler takes root"
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        return "the SLURM plugin is not installed: pip install --no-deps -r envs/requirements-slurm.txt"
    if Path("/etc/slurm/slurm.conf").exists():
        return "/etc/slurm/slurm.conf exists: this machine has a SLURM of its own, which stays as it is"
    return ""


@pytest.fixture(scope="session")
def scheduler():
    """Two nodes with one fake GPU. They are taken down whatever happens, by watch.sh when this process is killed."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="lungtypes-slurm-"))
    folder.chmod(0o755)  # munged wants its socket where everybody can reach it
    try:
        subprocess.run([HERE / "up.sh", folder, str(os.getpid())], check=True)
        yield folder
    finally:
        subprocess.run([HERE / "down.sh", folder], check=False)


@dataclass(frozen=True)
class SlurmJob:
    """One job as the scheduler saw it; moments in seconds."""

    number: int
    partition: str
    state: str
    submitted: float
    started: float
    ended: float
    comment: str


class Study:
    """A working folder with a cohort, and Snakemake to run on it, here or on the cluster."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "results"
        self.calls = folder / "sbatch"

    def copy(self, folder: Path) -> Study:
        """The same in another folder."""
        shutil.copytree(self.folder, folder)
        return Study(folder)

    def use_profile(self, **changed) -> None:
        """The repository's profile as a user would fill it in for this cluster, which has no accounting."""
        profile = yaml.safe_load(PROFILE.read_text())
        profile |= {"slurm-status-command": "squeue", "max-status-checks-per-second": 5, "latency-wait": 20}
        profile["default-resources"]["slurm_partition"] = "cpu"
        for name, value in changed.items():
            name = name.replace("_", "-")
            profile[name] = {**profile[name], **value} if isinstance(value, dict) else value
        (self.folder / "profile").mkdir(exist_ok=True)
        (self.folder / "profile" / PROFILE.name).write_text(yaml.safe_dump(profile))
        self._keep_calls()

    def _keep_calls(self) -> None:
        """An sbatch before the real one that keeps every command line, by job number."""
        self.calls.mkdir(exist_ok=True)
        (self.folder / "bin").mkdir(exist_ok=True)
        script = self.folder / "bin/sbatch"
        real = shutil.which("sbatch")
        script.write_text(
            f'#!/bin/bash\nnumber=$({real} "$@") || exit\nprintf "%s\\n" "$@" > {self.calls}/$number\necho $number\n'
        )
        script.chmod(stat.S_IRWXU)

    def command(self, *arguments: str) -> list[str]:
        """``snakemake`` on the cluster."""
        fixed = ["-s", str(ROOT / "Snakefile"), "-d", str(self.folder), "--workflow-profile", "profile"]
        return [sys.executable, "-c", QUICK, *fixed, *arguments, "--configfile", "study.yaml"]

    def start(self, *arguments: str) -> subprocess.Popen:
        """Start :meth:`command`; its words go to the file ``out``."""
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        with open(self.folder / "out", "w") as out:
            return subprocess.Popen(
                self.command(*arguments),
                cwd=self.folder,
                env={**os.environ, "PATH": path},
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def run(self, *arguments: str) -> str:
        """Run :meth:`command` to a good end."""
        run = self.start(*arguments)
        try:
            code = run.wait(timeout=1200)  # a busy machine takes twice as long
        finally:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
        text = (self.folder / "out").read_text()
        assert code == 0, text[-6000:]
        return text

    def run_here(self, *arguments: str) -> None:
        """Run without a cluster."""
        command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "-d", str(self.folder)]
        command += [*arguments, "--cores", "2", "--configfile", "study.yaml", "--quiet", "rules"]
        done = subprocess.run(command, cwd=self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0, done.stdout[-6000:]

    def lines(self) -> dict[int, list[str]]:
        """The sbatch lines without the command, by job number."""
        files = {int(file.name): file.read_text() for file in self.calls.iterdir()}
        return {number: text.partition("\n--wrap=")[0].split("\n") for number, text in sorted(files.items())}

    def jobs(self) -> list[SlurmJob]:
        """All jobs of this folder that the scheduler remembers, in the order of submission."""
        form = "%A|%P|%T|%V|%S|%e|%k|%Z"
        text = subprocess.run(["squeue", "-h", "-t", "all", "-o", form], check=True, capture_output=True, text=True)
        rows = [line.split("|") for line in text.stdout.splitlines()]
        mine = [row for row in rows if row[7] == str(self.folder)]
        return sorted(
            (SlurmJob(int(row[0]), row[1], row[2], *map(_seconds, row[3:6]), row[6]) for row in mine),
            key=lambda job: job.number,
        )

    def wait_until(self, happened, run: subprocess.Popen, seconds: float = 180.0):
        """The first true answer of ``happened``, asked until then; fails when the run ends before."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            answer = happened()
            if answer:
                return answer
            assert run.poll() is None, (self.folder / "out").read_text()[-6000:]
            time.sleep(0.2)
        raise AssertionError(f"nothing happened in {seconds:.0f} s:\n{(self.folder / 'out').read_text()[-6000:]}")


def _seconds(moment: str) -> float:
    return float("nan") if moment in ("N/A", "Unknown") else pd.Timestamp(moment).timestamp()


@pytest.fixture(scope="session")
def cohort(scheduler, tmp_path_factory) -> Study:
    """Six virtual people with three diseases; nothing was run."""
    folder = tmp_path_factory.mktemp("cohort")
    here = Path.cwd()
    os.chdir(folder)
    try:
        write_cohort(Path("demo"), CohortPlan(seed=1, per_group=2, in_plane=96, corrupt=0, confounded=False), workers=2)
    finally:
        os.chdir(here)
    for name in ("subjects.tsv", "clinical.tsv"):
        rows = (folder / "demo" / name).read_text().splitlines()
        (folder / "demo" / name).write_text("\n".join(rows[:7]) + "\n")
    (folder / "study.yaml").write_text(yaml.safe_dump(SMALL))
    return Study(folder)


@pytest.fixture
def fresh(cohort, tmp_path) -> Study:
    """The study before its first run."""
    return cohort.copy(tmp_path / "study")
