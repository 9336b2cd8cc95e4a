"""Records, manifest and `snakemake verify` on a finished study and on copies of it."""

import json
import os
import re
import shutil

import pandas as pd
import pytest

MANIFEST = "provenance/manifest.json"


@pytest.fixture(scope="module")
def copied(finished, tmp_path_factory):
    """A copy of the finished study, whose files tests may change and must put back."""
    folder = tmp_path_factory.mktemp("copied") / "study"
    shutil.copytree(finished.folder, folder, symlinks=True)
    return type(finished)(folder)


def verify(study, *arguments):
    """The finished process of ``snakemake verify`` and its table."""
    done = study.snakemake("verify", "--cores", "1", *arguments, check=False)
    return done, pd.read_csv(study.results / "provenance/verify.tsv", sep="\t", keep_default_na=False).set_index("file")


def test_finished_study_is_as_computed_and_verifying_it_changes_and_plans_nothing(copied):
    before = (copied.results / MANIFEST).read_bytes()
    for _ in range(2):  # its own table and log must not disturb the next one
        done, table = verify(copied)
        assert done.returncode == 0, done.stdout[-3000:]
        assert set(table.state) == {"as computed"} and len(table) > 300
    assert f"{len(table):8d}  as computed" in done.stdout
    assert (copied.results / MANIFEST).read_bytes() == before and copied.planned() == {}


@pytest.mark.parametrize("name", ["clam/assignment.tsv", "a map in a folder"])
def test_one_changed_byte_is_named_with_what_to_do(copied, name):
    path = next((copied.results / "clam/maps/clam").glob("*.nii.gz")) if " " in name else copied.results / name
    name, output = path.relative_to(copied.results).as_posix(), "clam/maps/clam" if " " in name else name
    before, times = path.read_bytes(), (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    os.utime(path, ns=times)  # so that Snakemake cannot see it
    try:
        assert copied.planned() == {}
        done, table = verify(copied)
    finally:
        path.write_bytes(before)
        os.utime(path, ns=times)
    assert done.returncode != 0 and "found 1 edited, expected every product as it was computed" in done.stdout
    assert table.index[table.state == "edited"].tolist() == [name] and table.output[name] == output
    assert f"  {name}  (output {output}, by {table.job[name]})" in done.stdout and "run snakemake again" in done.stdout
    assert verify(copied)[0].returncode == 0


def test_missing_and_foreign_files_are_named_and_only_missing_ones_fail(copied):
    path, foreign = copied.results / "densitometry.tsv", copied.results / "clam/my notes.txt"
    foreign.write_text("look again at S003")
    done, table = verify(copied)
    assert done.returncode == 0 and table.state["clam/my notes.txt"] == "no record"
    path.rename(copied.folder / "aside")
    try:
        done, table = verify(copied)
    finally:
        (copied.folder / "aside").rename(path)
        foreign.unlink()
    assert done.returncode != 0 and table.state["densitometry.tsv"] == "missing"
    assert set(table.state) == {"as computed", "missing", "no record"}


def test_code_of_today_is_held_against_that_of_the_record(copied):
    path = copied.results / "provenance/map_clam/cohort.json"
    before = path.read_text()
    record = json.loads(before)
    try:
        path.write_text(json.dumps({**record, "code": "0123456789abcdef"}))
        done, table = verify(copied)
    finally:
        path.write_text(before)
    assert done.returncode == 0 and set(table.rule[table.state == "other code"]) == {"map_clam"}
    assert "of map_clam: code 0123456789abcdef, now" in done.stdout


def test_another_clone_reproduces_the_checksums_of_the_first_ones_manifest(finished, tmp_path):
    shutil.copytree(finished.folder / "demo", tmp_path / "elsewhere/demo")
    shutil.copy(finished.folder / "study.yaml", tmp_path / "elsewhere")
    other = type(finished)(tmp_path / "elsewhere")
    other.snakemake("lungs", "--cores", "1", "--quiet", "all")
    manifest = finished.results / MANIFEST
    done, table = verify(other, "--config", f"verify={{manifest: {manifest}}}")
    made = table[table.state != ""]
    assert len(made) > 50 and set(made.other_manifest) == {"same"} and set(made.state) == {"as computed"}
    assert done.returncode != 0 and re.search(r"found \d+ only in the other manifest", done.stdout)
    assert str(manifest) not in (other.results / "logs/verify.log").read_text()


def test_product_that_differs_from_the_other_manifest_is_named_with_what_else_differs(copied):
    manifest = json.loads((copied.results / MANIFEST).read_text())
    path = copied.folder / "other.json"
    path.write_text(json.dumps(manifest))
    done, _ = verify(copied, "--config", "verify={manifest: other.json}")
    assert done.returncode == 0 and f"{len(manifest['sha256'])} of {len(manifest['sha256'])} checksums" in done.stdout
    manifest["sha256"]["clam/model.json"] = "0" * 64
    manifest["config"]["clam"]["batch"] = 7
    path.write_text(json.dumps(manifest))
    done, table = verify(copied, "--config", "verify={manifest: other.json}")
    assert done.returncode != 0 and "1 differing from the other manifest" in done.stdout
    assert table.index[table.other_manifest == "differs"].tolist() == ["clam/model.json"]
    assert "config, clam.batch: here 4, there 7" in done.stdout


def test_manifest_holds_what_made_the_results(finished):
    manifest = json.loads((finished.results / MANIFEST).read_text())
    assert set(manifest) == {"config", "sheets", "code", "git", "computed_with", "seeds", "inputs", "sha256", "run"}
    assert set(manifest["sheets"]) == {"subjects", "clinical"} and manifest["config"]["seed"] == 1
    made = manifest["computed_with"]
    assert len(made["packages"]["torch"]) == 1 and made["threads"]["torch"] == [1] and len(made["processor"]) == 1
    assert manifest["seeds"]["cluster_clam/cohort"] == 1 and len({*manifest["seeds"].values()}) > 9
    assert len(manifest["code"]) > 40 and manifest["run"]["state"] == "complete"


def test_every_job_that_reads_a_file_of_the_users_recorded_its_checksum(finished):
    text = finished.snakemake("-n", "--forceall").stdout
    read = {}
    for rule, files in re.findall(r"^rule (\w+):\n    input: (.*)$", text, re.M):
        read.setdefault(rule, []).extend(file for file in files.split(", ") if not file.startswith("results/"))
    expected = {rule for rule, files in read.items() if files}
    manifest = json.loads((finished.results / MANIFEST).read_text())
    assert {job.partition("/")[0] for job in manifest["inputs"]} == expected and "ingest_scan" in expected
    subject = pd.read_csv(finished.folder / "demo/subjects.tsv", sep="\t").subject[0]
    assert set(manifest["inputs"][f"ingest_scan/{subject}"]) == {f"{subject}/scan"}
