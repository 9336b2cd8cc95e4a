"""The SLURM profile with a real scheduler: same results, few jobs, a GPU for one job, retries, runs that go on."""

import hashlib
import os
import signal
import subprocess
import time

import pytest
from sbatch_line import option

MOST_JOBS = 25
LITTLE_MB = 250  # not enough for a job that imports torch; three times as much is
PRODUCTS = ("*.tsv", "*.nii.gz", "*.npy", "*.safetensors", "*.json")
RECORDS = ("benchmarks", "logs", "provenance")  # hold moments and durations


def products(results):
    """Checksums of tables, images, arrays and models, by path."""
    files = [path for pattern in PRODUCTS for path in results.rglob(pattern)]
    kept = [path for path in files if path.relative_to(results).parts[0] not in RECORDS]
    return {str(path.relative_to(results)): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


def rule_of(line):
    return option(line, "--comment").removeprefix("rule_")


@pytest.fixture(scope="module")
def on_cluster(cohort, tmp_path_factory):
    """The whole study on the cluster, with too little memory for one rule, and three scans to a job."""
    study = cohort.copy(tmp_path_factory.mktemp("on_cluster") / "study")
    little = {"slurm_partition": "gpu", "mem_mb": f"{LITTLE_MB} * attempt ** 2"}
    study.use_profile(set_resources={"pretrain_clam": little}, group_components={"scan": 3})
    study.log = study.run()
    return study


@pytest.fixture(scope="module")
def here(cohort, tmp_path_factory):
    """The same study without the cluster."""
    study = cohort.copy(tmp_path_factory.mktemp("here") / "study")
    study.run_here()
    return study


def test_cluster_and_this_machine_give_the_same_results(on_cluster, here):
    expected, found = products(here.results), products(on_cluster.results)
    assert {"clam/assignment.tsv", "clam/group_maps.tsv", "cohort/attrition.tsv"} <= expected.keys()
    assert sum("/maps/" in name for name in expected) > 6
    assert found.keys() == expected.keys()
    assert not [name for name in expected if found[name] != expected[name]]


def test_few_jobs(on_cluster):
    lines = on_cluster.lines()
    assert len(lines) <= MOST_JOBS, [rule_of(line) for line in lines.values()]
    assert sum(rule_of(line).startswith("scan_") for line in lines.values()) == 2


def test_sbatch_lines_are_as_intended(on_cluster):
    lines = on_cluster.lines().values()
    gpu = {rule_of(line) for line in lines if option(line, "--gpus")}
    assert gpu == {"pretrain_clam", "cluster_clam", "refit_clam_wildcards_1", "map_clam", "compare_maps_wildcards_clam"}
    for line in lines:
        assert option(line, "-p") == ("gpu" if rule_of(line) in gpu else "cpu")
        assert option(line, "--gpus") in (None, "1") and "--no-requeue" in line
        assert int(option(line, "--mem")) > 0 and int(option(line, "-t")) > 0
        assert option(line, "--job-name").startswith("lungtypes_") and option(line, "-A") is None
    (registration,) = [line for line in lines if rule_of(line).startswith("register_")]
    assert (option(registration, "--cpus-per-task"), option(registration, "-t")) == (
        "2",
        "30",
    )  # six scans, two at once


def test_gpu_jobs_are_queued_together_and_never_overlap_on_one_gpu(on_cluster):
    jobs = [job for job in on_cluster.jobs() if job.partition == "gpu"]
    refit = next(job for job in jobs if "refit_clam" in job.comment)
    cluster = next(job for job in jobs if "cluster_clam" in job.comment)
    first, second = sorted((refit, cluster), key=lambda job: job.started)
    assert second.submitted < first.ended <= second.started
    spans = sorted((job.started, job.ended) for job in jobs)
    assert all(ended <= started for (_, ended), (started, _) in zip(spans, spans[1:], strict=False))


def test_job_killed_for_memory_is_retried_with_more(on_cluster):
    memory = [
        (int(option(line, "--mem")), number)
        for number, line in on_cluster.lines().items()
        if rule_of(line) == "pretrain_clam"
    ]
    assert len(memory) in (2, 3)
    assert [mb for mb, _ in memory] == [LITTLE_MB, 4 * LITTLE_MB, 9 * LITTLE_MB][: len(memory)]
    states = {job.number: job.state for job in on_cluster.jobs()}
    assert states[memory[0][1]] in ("FAILED", "OUT_OF_MEMORY") and states[memory[-1][1]] == "COMPLETED"


def test_logs_of_failed_jobs_stay_and_those_of_others_go(on_cluster):
    logs = list((on_cluster.folder / ".snakemake/slurm_logs").rglob("*.log"))
    failed = [job.number for job in on_cluster.jobs() if job.state != "COMPLETED"]
    assert failed and {int(path.stem) for path in logs} == set(failed)


def test_second_run_submits_nothing(on_cluster):
    before = len(on_cluster.lines())
    assert "Nothing to be done" in on_cluster.run()
    assert len(on_cluster.lines()) == before


def ingested(study):
    """When each scan was finished, by subject."""
    return {path.parent.name: path.stat().st_mtime_ns for path in study.results.glob("ingest/S*/status.json")}


def cancel_left_behind(study):
    """What docs/cluster.md says to do after a killed Snakemake."""
    script = 'squeue --me -h -o "%A %Z" | awk -v d="$PWD" \'$2 == d {print $1}\' | xargs -r scancel'
    subprocess.run(["bash", "-c", script], cwd=study.folder, check=True)
    end = time.monotonic() + 60
    while any(job.state in ("RUNNING", "PENDING", "COMPLETING") for job in study.jobs()):
        assert time.monotonic() < end, study.jobs()
        time.sleep(0.2)


def test_killed_snakemake_and_lost_job_go_on_without_doing_finished_work_again(fresh):
    fresh.use_profile(group_components={"scan": 2})
    run = fresh.start("ingest")
    log = fresh.folder / "out"
    fresh.wait_until(lambda: "Finished jobid" in log.read_text(), run)
    finished = ingested(fresh)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    cancel_left_behind(fresh)
    before = fresh.jobs()
    ended = [job for job in before if job.state == "COMPLETED"]
    assert len(before) == 3 and 1 <= len(ended) < 3 and len(finished) >= 2

    fresh.run("--unlock")
    run = fresh.start("ingest")
    lost = fresh.wait_until(lambda: [job for job in fresh.jobs()[3:] if job.state == "RUNNING"], run)[0]
    subprocess.run(["scancel", str(lost.number)], check=True)
    assert run.wait(timeout=300) == 0, log.read_text()[-6000:]
    again = {job.number: job for job in fresh.jobs()[3:]}
    assert again[lost.number].state == "CANCELLED"
    scans = [job for job in again.values() if "scan_" in job.comment]
    assert len(scans) <= 3 - 1 + 1  # what was unfinished, and the lost one once more
    last = ingested(fresh)
    assert len(last) == 6 and sum(last[subject] == finished[subject] for subject in finished) >= 2


def test_profile_that_asks_sacct_is_refused_where_there_is_no_accounting(fresh):
    fresh.use_profile(slurm_status_command="sacct")
    run = fresh.start("resample")
    assert run.wait(timeout=60) != 0
    assert "`slurm-status-command: squeue`" in (fresh.folder / "out").read_text() and not fresh.jobs()
