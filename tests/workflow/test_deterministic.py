"""A registration gives the same bytes whatever the number of cores, and leaves nothing in the temporary folder."""

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
