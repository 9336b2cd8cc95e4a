"""The SLURM profile against a scheduler that only keeps its command lines. tests/slurm/ starts a real one."""

import importlib.util
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from sbatch_line import option

ROOT = Path(__file__).resolve().parents[2]
PROFILE = ROOT / "profiles/slurm/profile.v9+.yaml"
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("snakemake_executor_plugin_slurm") is None,
    reason="the SLURM plugin is not installed: pip install --no-deps -r envs/requirements-slurm.txt",
)
# The plugin waits longer from poll to poll; here every poll comes after a second.
QUICK = (
    "import sys; from snakemake_executor_plugin_slurm import Executor; from snakemake.cli import main\n"
    "Executor.next_seconds_between_status_checks = property(lambda _: 1, lambda *_: None)\n"
    "main(sys.argv[1:])"
)
FAKES = {
    "sbatch": 'printf "%s\\n" "$@" > "$FAKE_SLURM/$$"; echo $$',
    "squeue": 'for n in $(ls "$FAKE_SLURM"); do echo "$n|OUT_OF_MEMORY"; done',
    "scontrol": 'echo "AccountingStorageType = accounting_storage/none"; echo "MinJobAge = 300 sec"',
    "sinfo": 'echo "cpu*"',
    "scancel": "",
    "sacctmgr": "echo lab",
    **dict.fromkeys(("sacct", "sshare"), 'echo "Slurm accounting storage is disabled" >&2; exit 1'),
}


class Cluster:
    """Fake SLURM commands, and Snakemake with the profile among them."""

    def __init__(self, folder, study):
        self.study, self.bin, self.calls = study, folder / "bin", folder / "calls"
        self.bin.mkdir()
        self.calls.mkdir()
        for name, script in FAKES.items():
            (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
            (self.bin / name).chmod(stat.S_IRWXU)

    def profile(self, **changed):
        """A copy of the profile as a user would change it."""
        folder = self.study.folder / "profile"
        folder.mkdir(exist_ok=True)
        content = {
            **yaml.safe_load(PROFILE.read_text()),
            "latency-wait": 0,
            "max-status-checks-per-second": 10,
            **changed,
        }
        (folder / PROFILE.name).write_text(yaml.safe_dump({**content, **changed}))
        return str(folder)

    def run(self, *arguments, profile):
        command = ["-s", str(ROOT / "Snakefile"), "-d", ".", "--workflow-profile", profile, *arguments]
        path = f"{self.bin}:{os.environ['PATH']}"
        return subprocess.run(
            [sys.executable, "-c", QUICK, *command, "--configfile", "study.yaml"],
            cwd=self.study.folder,
            env={**os.environ, "PATH": path, "FAKE_SLURM": str(self.calls)},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
        )

    def submitted(self):
        """The sbatch lines without the command."""
        return [file.read_text().partition("\n--wrap=")[0].split("\n") for file in self.calls.iterdir()]


@pytest.fixture
def cluster(fake, tmp_path_factory):
    return Cluster(tmp_path_factory.mktemp("cluster"), fake)


def test_ten_scans_are_one_job_of_two_cores_and_every_attempt_asks_for_more(cluster):
    profile = cluster.profile(**{"slurm-status-command": "squeue"})
    done = cluster.run("resample", profile=profile)
    assert done.returncode != 0
    lines = cluster.submitted()
    asked = sorted((int(option(line, "--mem")), int(option(line, "-t"))) for line in lines)
    # ten scans two at a time: 5 rounds of 5 + 5 + 5 minutes; the two that remain: one round
    assert asked == [(8000, 15), (8000, 75), (16000, 30), (16000, 150), (24000, 45), (24000, 225)]
    assert {option(line, "--cpus-per-task") for line in lines} == {"2"}
    assert all("--no-requeue" in line and option(line, "--gpus") is None for line in lines)
    assert not [line for line in lines if any(word.startswith("--array") for word in line)]


def test_gpu_rule_goes_to_the_gpu_partition_with_the_account_that_was_filled_in(cluster):
    study, profile = cluster.study, yaml.safe_load(PROFILE.read_text())
    (study.results / "cohort").mkdir(parents=True)
    for name in ("template.npy", "template.json"):
        (study.results / "cohort" / name).touch()
    resources = {**profile["default-resources"], "slurm_partition": "normal", "slurm_account": "lab"}
    changed = {"slurm-status-command": "squeue", "retries": 0, "default-resources": resources}
    cluster.run("results/clam/pretrained", profile=cluster.profile(**changed))
    (line,) = cluster.submitted()
    assert option(line, "-A") == "lab"
    assert (option(line, "-p"), option(line, "--gpus"), option(line, "--mem")) == ("gpu", "1", "8000")
    assert option(line, "-t") == "240" and option(line, "--cpus-per-task") == "2"


def test_run_that_could_never_learn_how_its_jobs_ended_is_refused(cluster):
    refused = cluster.run("resample", profile=cluster.profile())  # sacct, and no accounting
    assert refused.returncode != 0 and "`slurm-status-command: squeue`" in refused.stdout
    assert not cluster.submitted()
    again = cluster.run("resample", profile=cluster.profile(**{"slurm-status-command": "squeue", "retries": 0}))
    assert "locked" not in again.stdout and cluster.submitted()


def test_plan_holds_no_gpu_limit_and_a_job_for_a_bundle_of_scans(cluster):
    text = cluster.run("-n", profile=str(PROFILE.parent)).stdout
    groups = re.findall(r"[Gg]roup job (\w+) \(", text)
    assert {name: groups.count(name) for name in sorted(set(groups)) if not name.startswith("slots")} == {
        "array": 1,
        "density": 1,
        "lists": 1,
        "register": 2,
        "sample": 1,
        "scan": 2,
    }
    # slots of one iteration only: the next needs the mean of all of them
    slots = re.findall(r"[Gg]roup job slots_(\d+) \(.*?(?=[Gg]roup job|\n\[)", text, re.S)
    assert [slots.count(str(n)) for n in range(1, 9)] == [3] * 8


def test_lobes_of_a_labelled_template_can_be_planned_in_groups(cluster):
    study = cluster.study
    for name in ("t.nii.gz", "m.nii.gz", "l.nii.gz"):
        (study.folder / name).touch()
    template = {"image": "t.nii.gz", "lungs": "m.nii.gz", "lobes": "l.nii.gz"}
    (study.folder / "study.yaml").write_text(yaml.safe_dump({"template": template}))
    done = cluster.run("-n", profile=str(PROFILE.parent))
    assert done.returncode == 0 and "warp_lobes" in done.stdout, done.stdout[-2000:]


def test_profile_is_complete():
    profile = yaml.safe_load(PROFILE.read_text())
    rules = "".join(path.read_text() for path in sorted((ROOT / "workflow/rules").iterdir()))
    blocks = dict(re.findall(r"^ *rule (\w+):(.*?)(?=^ *rule \w+:|\Z)", rules, re.M | re.S))
    on_gpu = {name for name, block in blocks.items() if re.search(r"\bgpu=1\b", block)}
    chosen = profile["set-resources"]
    assert {name for name, values in chosen.items() if "slurm_partition" in values} == on_gpu
    bundled = {name for name, values in chosen.items() if "at_once" in values}
    groups, sizes = profile["groups"], profile["group-components"]
    assert groups.keys() <= blocks.keys() and set(sizes) <= set(groups.values())
    # without it Snakemake asks for the cores of all members of a bundle at once
    assert bundled == {rule for rule, group in groups.items() if sizes.get(group, 1) > 1}
    # no limit on GPUs, which SLURM queues; no job arrays, which are not sound in this plugin; no cap on threads
    assert profile["resources"].keys() == profile["set-resource-scopes"].keys() == {"at_once"}
    assert not {"slurm-array-jobs", "cores", "max-threads"} & profile.keys()
    assert profile["retries"] == 2 and not re.search(r"^ *retries:", rules, re.M)
    text = PROFILE.read_text()
    assert re.search(r"^ +# slurm_account:", text, re.M) and re.search(r"^ +# slurm_partition:", text, re.M)


def test_memory_and_time_of_every_rule_grow_with_the_attempt(planned):
    def asked(attempt):
        text = planned.snakemake("-n", "all", "freeze", "--attempt", str(attempt)).stdout
        found = {}
        for job in re.split(r"\n(?=\[)", text):
            name, resources = re.search(r"^rule (\w+):", job, re.M), re.search(r"resources:(.*)", job)
            if name and resources and "log:" in job:
                numbers = re.findall(r"\b(mem_mb|runtime)=(\d+)", resources[1])
                found[name[1]] = {key: int(value) for key, value in numbers}
        return found

    first, second = asked(1), asked(2)
    assert len(first) > 20
    assert second == {rule: {key: 2 * value for key, value in needs.items()} for rule, needs in first.items()}
