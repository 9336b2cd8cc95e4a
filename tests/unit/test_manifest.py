"""What a job records of itself, and the manifest that a run puts together from the records."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lungtypes.device import ITK_THREADS
from lungtypes.errors import InputError
from lungtypes.manifest import git_state, read_manifest, read_records, write_run_manifest
from lungtypes.provenance import content_checksum, record

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def job(results, rule, files, *, name="cohort", config=None, code="c0de", inputs=(), seed=None):
    """Write ``files`` (text by name) as the outputs of a job, and its record."""
    for file, text in files.items():
        write(results / file, text)
    params = SimpleNamespace(results=str(results), config=config or {}, code=code)
    output = [str(results / file) for file in files]
    record(SimpleNamespace(rule=rule, params=params, input=dict(inputs), output=output), name=name, seed=seed)
    return json.loads((results / f"provenance/{rule}/{name}.json").read_text())


def manifest_of(results, **changed):
    settings = {"state": "complete", "config": {"seed": 1}, "sheets": {}, "code": {}, "command": ["/bin/snakemake"]}
    write_run_manifest(str(results), **{**settings, "workflow": results.parent, **changed})
    return json.loads((results / "provenance/manifest.json").read_text())


def test_record_names_the_users_inputs_by_subject_and_role_and_never_by_path(tmp_path):
    scan, masks = write(tmp_path / "DOE^JANE/ct.nii", "scan"), [write(tmp_path / f"Doe/{n}", n) for n in "ab"]
    upstream = write(tmp_path / "results/lungs/S1/lungs.json", "{}").parent
    inputs = [("scan", str(scan)), ("lungs", str(upstream)), ("lobes", []), ("files", [str(mask) for mask in masks])]
    content = job(tmp_path / "results", "ingest_scan", {"a.tsv": ""}, name="S1", inputs=inputs)
    assert content["inputs"] == {"S1/scan": sha256("scan"), "S1/files/1": sha256("a"), "S1/files/2": sha256("b")}
    content = job(tmp_path / "results", "train", {"b.tsv": ""}, inputs=[("table", str(scan))])
    assert content["inputs"] == {"table": sha256("scan")}
    for path in (tmp_path / "results/provenance").rglob("*.json"):
        assert not [word for word in ("DOE", "Doe", str(tmp_path)) if word in path.read_text()]


def test_checksum_of_a_scans_folder_depends_on_contents_and_on_no_name(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    write(one / "Doe/IM1", "x"), write(one / "IM2", "y")
    write(two / "a", "y"), write(two / "b/c/d", "x")
    expected = sha256("\n".join(sorted([sha256("x"), sha256("y")])))
    assert content_checksum(one) == content_checksum(two) == expected
    write(two / "e", "x")
    assert content_checksum(two) != expected
    assert content_checksum(tmp_path / "gone") == "unreadable"


def test_record_holds_the_seed_and_another_one_where_the_job_has_its_own(tmp_path):
    assert job(tmp_path, "a", {"a": ""}, config={"seed": 3})["seed"] == 3
    assert job(tmp_path, "a", {"a": ""}, config={"seed": 3}, seed=0)["seed"] == 0
    assert job(tmp_path, "a", {"a": ""})["seed"] is None


def test_record_holds_threads_and_device_of_the_process(tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from types import SimpleNamespace as N\n"
        "from lungtypes.provenance import record\n"
        "params = N(results=sys.argv[2], config={}, code='c')\n"
        "record(N(rule='before', params=params, input={}, output=[]))\n"
        "from lungtypes.device import set_torch, set_itk\n"
        "set_torch(threads=3); set_itk(threads=2, seed=1)\n"
        "record(N(rule='after', params=params, input={}, output=[]))\n"
    )
    clean = {name: value for name, value in os.environ.items() if name != ITK_THREADS}  # other tests set it
    subprocess.run([sys.executable, "-c", code, str(SCRIPTS), str(tmp_path)], check=True, env=clean)
    before, after = (json.loads((tmp_path / f"provenance/{n}/cohort.json").read_text()) for n in ("before", "after"))
    assert before["threads"]["torch"] is before["threads"]["itk"] is None
    assert (after["threads"]["torch"], after["threads"]["itk"]) == (3, 2)
    assert before["device"] == after["device"] == "cpu" and after["processor"] == before["processor"]


def test_manifest_gathers_the_records_of_all_runs(tmp_path):
    results, sheet = tmp_path / "results", write(tmp_path / "s.tsv", "subject\n")
    job(results, "a", {"a.tsv": "1"}, config={"seed": 5}, inputs=[("table", str(sheet))])
    job(results, "b", {"b.tsv": "2"}, name="S1", seed=9)
    config = {"subjects": "/data/Doe/s.tsv", "template": {"image": "~/t.nii"}, "seed": 5}
    content = manifest_of(
        results,
        state="failed",
        config=config,
        sheets={"subjects": str(sheet), "clinical": "", "apply": str(tmp_path / "absent.tsv")},
        code={"a": "c0de"},
        command=["/home/doe/bin/snakemake", "--configfile", "/home/doe/x.yaml"],
    )
    assert content["sha256"] == {"a.tsv": sha256("1"), "b.tsv": sha256("2")}
    assert content["seeds"] == {"a/cohort": 5, "b/S1": 9} and content["sheets"] == {"subjects": sha256("subject\n")}
    assert content["inputs"] == {"a/cohort": {"table": sha256("subject\n")}} and content["code"] == {"a": "c0de"}
    assert content["run"]["state"] == "failed" and content["run"]["command"] == ["snakemake", "--configfile", "<path>"]
    assert len(content["computed_with"]["packages"]["numpy"]) == 1 and content["computed_with"]["device"] == ["cpu"]
    assert "doe" not in json.dumps(content).lower()


def test_manifests_of_equal_studies_are_equal_but_for_the_run(tmp_path):
    files = {"b/x.tsv": "1", "a.tsv": "2"}
    for study, order in (("one", list(files)), ("two", list(files)[::-1])):
        for name in order:
            job(tmp_path / study / "results", "rule", {name: files[name]}, name=name[0])
    one, two = (manifest_of(tmp_path / study / "results") for study in ("one", "two"))
    assert list(one["sha256"]) == ["a.tsv", "b/x.tsv"]
    del one["run"], two["run"]
    assert json.dumps(one) == json.dumps(two)


def test_product_that_another_rule_took_over_counts_by_its_newest_record(tmp_path):
    job(tmp_path, "finish_template", {"template.nii.gz": "built"})
    old = tmp_path / "provenance/finish_template/cohort.json"
    old.write_text(old.read_text().replace('"ended_utc": "2', '"ended_utc": "1'))
    job(tmp_path, "adopt_template", {"template.nii.gz": "given"})
    assert manifest_of(tmp_path)["sha256"] == {"template.nii.gz": sha256("given")}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "[" * 100_000,
        '{"rule": "a", "code": "c", "packages": {}, "sha256": {"../../etc/passwd": "0"}}',
        '{"rule": "a", "code": "c", "packages": {}, "sha256": {"/etc/passwd": "0"}}',
        '{"rule": "a", "code": "c", "packages": {}, "sha256": {"a": 1}}',
        '{"rule": ["a"], "code": "c", "packages": {}, "sha256": {}}',
        "\udcff",
    ],
)
def test_damaged_record_is_reported_and_stops_no_run(tmp_path, text):
    job(tmp_path, "a", {"a.tsv": "1"})
    (tmp_path / "provenance/b").mkdir()
    (tmp_path / "provenance/b/S1.json").write_bytes(text.encode(errors="surrogateescape"))
    records, damaged = read_records(tmp_path)
    assert [content["rule"] for content in records] == ["a"] and damaged == ["provenance/b/S1.json"]
    assert manifest_of(tmp_path)["sha256"] == {"a.tsv": sha256("1")}


def test_records_of_earlier_versions_are_read(tmp_path):
    old = {"rule": "a", "code": "c", "packages": {"numpy": "2"}, "sha256": {"a.tsv": "0"}, "itk_threads": "1"}
    write(tmp_path / "provenance/a/S1.json", json.dumps(old))
    assert manifest_of(tmp_path)["computed_with"]["packages"] == {"numpy": ["2"]}


def test_manifest_that_is_none_is_refused_with_its_name(tmp_path):
    with pytest.raises(InputError, match="found no such file"):
        read_manifest(tmp_path / "none.json")
    for text in ("{", "[]", '{"sha256": []}'):
        with pytest.raises(InputError, match="found no manifest in it"):
            read_manifest(write(tmp_path / "m.json", text))


def git(folder, *arguments):
    options = ("-c", "user.name=A", "-c", "user.email=a@b.c")
    done = subprocess.run(["git", "-C", str(folder), *options, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_commit_is_recorded_and_whether_the_code_is_as_committed(tmp_path):
    clone = tmp_path / "clone"
    write(clone / "scripts/a.py", "1"), write(clone / "Snakefile", "")
    assert git_state(clone) == {}
    git(clone, "init", "-q")
    assert git_state(clone) == {}
    git(clone, "add", "."), git(clone, "commit", "-q", "-m", "first")
    commit = git(clone, "rev-parse", "HEAD")
    assert git_state(clone) == {"commit": commit, "clean": True}
    write(clone / "config/Doe.tsv", "subject\n")  # a user's own file is no change of the code
    assert git_state(clone) == {"commit": commit, "clean": True}
    write(clone / "scripts/a.py", "2")
    assert git_state(clone) == {"commit": commit, "clean": False}


def test_copy_inside_of_a_foreign_repository_has_no_commit_and_git_may_be_absent(tmp_path, monkeypatch):
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "mine")
    write(tmp_path / "copy/Snakefile", "")
    assert git_state(tmp_path / "copy") == {}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path / "copy") == {}
