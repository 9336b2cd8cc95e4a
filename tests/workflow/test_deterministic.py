"""The same bytes whatever the number of cores; a registration leaves nothing in the temporary folder."""

import hashlib
import json
import shutil

import pandas as pd
import pytest


@pytest.fixture
def copy(finished, tmp_path):
    """The finished study, to be run again in part; and one of its analysed scans."""
    shutil.copytree(finished.folder, tmp_path / "study", symlinks=True)
    attrition = pd.read_csv(finished.results / "cohort/attrition.tsv", sep="\t")
    return type(finished)(tmp_path / "study"), attrition.subject[attrition.status == "analysed"].iloc[0]


def register_again(study, subject, *arguments, cores, scratch):
    """Run register_scan of one scan once more; checksums of all files that it leaves."""
    scratch.mkdir(exist_ok=True)
    options = ("--cores", str(cores), "--forcerun", "register_scan", "--rerun-triggers", "mtime", "--quiet", "all")
    options += ("--default-resources", f"tmpdir='{scratch}'", *arguments)
    done = study.snakemake(f"results/registered/{subject}", *options)
    folder = study.results / f"registered/{subject}"
    assert (study.results / f"logs/register_scan/{subject}.log").exists(), done.stdout
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("[!.]*")}


def test_registration_is_the_same_on_one_and_on_two_cores(finished, copy, tmp_path):
    study, subject = copy
    first = register_again(study, subject, "--config", "itk_threads=2", cores=1, scratch=tmp_path / "tmp")
    shutil.rmtree(study.results / f"registered/{subject}")
    second = register_again(study, subject, "--config", "itk_threads=2", cores=2, scratch=tmp_path / "tmp")
    assert {"ct.nii.gz", "warp.nii.gz", "affine.mat", "registration.json"} < set(first)
    assert first == second
    assert list((tmp_path / "tmp").iterdir()) == []


def test_failed_registration_leaves_no_temporary_file(copy, tmp_path):
    study, subject = copy
    impossible = "register={checks: {dice: {warn: null, fail: [0.99999, 1]}}}"
    left = register_again(study, subject, "--config", impossible, cores=1, scratch=tmp_path / "tmp")
    assert set(left) == {"status.json"}
    status = json.loads((study.results / f"registered/{subject}/status.json").read_text())
    assert status["code"] == "REG-DICE" and "Neither did shape or stiff settings help" in status["message"]
    assert list((tmp_path / "tmp").iterdir()) == []


def fit_again(study, *, cores):
    """Fit CLAM's autoencoder once more with two threads; checksums of all files that it leaves."""
    options = (
        "--forcerun",
        "pretrain_clam",
        "--rerun-triggers",
        "mtime",
        "--config",
        "torch_threads=2",
        "--quiet",
        "all",
    )
    shutil.rmtree(study.results / "resume", ignore_errors=True)
    study.snakemake("results/clam/pretrained", "--cores", str(cores), *options)
    record = json.loads((study.results / "provenance/pretrain_clam/cohort.json").read_text())
    assert record["threads"] == {"blas": 2, "torch": 2, "itk": 1}
    return record["sha256"]


def test_training_with_two_threads_is_the_same_on_one_and_on_two_cores(copy):
    study, _ = copy
    assert fit_again(study, cores=1) == fit_again(study, cores=2)


def test_fast_mode_takes_the_threads_of_the_job_and_reruns_what_they_change(copy):
    study, _ = copy
    fast = ("--config", "deterministic=fast")
    planned = study.planned(*fast)
    assert {"segment_lungs", "register_scan", "pretrain_clam", "train_dcam", "train_dram", "compare_maps"} <= set(
        planned
    )
    assert "ingest_scan" not in planned
    study.snakemake("results/clam/pretrained", "--cores", "2", "--rerun-triggers", "mtime", "--force", *fast)
    record = json.loads((study.results / "provenance/pretrain_clam/cohort.json").read_text())
    assert record["threads"]["torch"] == 2 and record["config"]["torch_threads"] == "all"
