"""Files held against records, and manifests against each other, on small folders that tests spoil."""

import hashlib
import io
import json
from types import SimpleNamespace

import pandas as pd
import pytest

from lungtypes.errors import InputError
from lungtypes.provenance import record, write_table
from lungtypes.verification import (
    COLUMNS,
    Comparison,
    compare_checksums,
    require_unchanged,
    summary_lines,
    verification_table,
    verify_results,
)

CODE = {"cluster": "c1", "register": "r1"}


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def results(tmp_path):
    """A table of one job, and two files in a folder of another."""
    root = tmp_path / "results"
    (root / "registered/S1").mkdir(parents=True)
    (root / "assignment.tsv").write_text("1")
    for name in ("ct.nii.gz", "status.json"):
        (root / "registered/S1" / name).write_text(name)
    record(job(root, "c1", "assignment.tsv", rule="cluster"))
    record(job(root, "r1", "registered/S1", rule="register"), name="S1")
    return root


def job(root, code, output, *, rule):
    params = SimpleNamespace(results=str(root), config={}, code=code)
    return SimpleNamespace(rule=rule, params=params, input={}, output=[str(root / output)])


def edit_record(results, job, **changed):
    path = results / f"provenance/{job}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def verdicts(results, *, code=CODE, temporary=(), **versions):
    content = json.loads((results / "provenance/cluster/cohort.json").read_text())
    now = {"python": content["python"], **content["packages"], **versions}
    return verify_results(results, code=code, versions=now, temporary=temporary, workers=2)


def states(results, **how):
    return {verdict.file: verdict.state for verdict in verdicts(results, **how)}


FILES = ("assignment.tsv", "registered/S1/ct.nii.gz", "registered/S1/status.json")


def test_untouched_results_are_as_computed(results):
    assert states(results) == dict.fromkeys(FILES, "as computed")
    require_unchanged(verdicts(results), None, table="t")


def test_one_edited_byte_is_found_and_the_folder_to_delete_is_named(results):
    (results / "registered/S1/ct.nii.gz").write_text("ct.nii.gy")
    found = verdicts(results)
    assert {v.file: v.output for v in found if v.state == "edited"} == {"registered/S1/ct.nii.gz": "registered/S1"}
    lines = "\n".join(summary_lines(found, None))
    assert "registered/S1/ct.nii.gz  (output registered/S1, by register/S1)" in lines and "run snakemake again" in lines
    with pytest.raises(InputError, match="verify.tsv: found 1 edited, expected every product"):
        require_unchanged(found, None, table="verify.tsv")


def test_missing_file_is_found(results):
    (results / "assignment.tsv").unlink()
    assert states(results)["assignment.tsv"] == "missing"
    with pytest.raises(InputError, match="found 1 missing"):
        require_unchanged(verdicts(results), None, table="t")


def test_folder_that_is_deleted_after_use_is_not_missing_but_a_file_out_of_it_is(results):
    temporary = ["registered/{subject}", "template/iter{iteration}/mean"]
    (results / "registered/S1/ct.nii.gz").unlink()
    assert states(results, temporary=temporary)["registered/S1/ct.nii.gz"] == "missing"
    (results / "registered/S1/status.json").unlink()
    (results / "registered/S1").rmdir()
    expected = dict.fromkeys(FILES[1:], "deleted after use")
    assert states(results, temporary=temporary) == {"assignment.tsv": "as computed", **expected}
    assert set(states(results).values()) == {"as computed", "missing"}


def test_folder_of_a_rule_that_this_config_has_not_may_have_been_deleted_after_use(results):
    for name in ("ct.nii.gz", "status.json"):
        (results / "registered/S1" / name).unlink()
    (results / "registered/S1").rmdir()
    found = states(results, temporary=["ingest/{subject}"], code={"cluster": "c1"})
    assert set(found.values()) == {"as computed", "deleted after use"}
    assert set(states(results, code={"cluster": "c1"}).values()) == {"as computed", "missing"}  # keep: all
    (results / "assignment.tsv").unlink()
    assert states(results, temporary=["ingest/{subject}"], code={"register": "r1"})["assignment.tsv"] == "missing"


def test_table_beside_folders_that_are_deleted_after_use_can_be_missing(results):
    (results / "registered/all.tsv").write_text("x")
    record(job(results, "r1", "registered/all.tsv", rule="register"), name="all")
    (results / "registered/all.tsv").unlink()
    assert states(results, temporary=["registered/{subject}"])["registered/all.tsv"] == "missing"


def test_products_of_other_code_other_versions_and_rules_that_are_gone_are_told_and_do_not_fail(results):
    found = verdicts(results, code={**CODE, "cluster": "c2"}, numpy="0.1")
    by_file = {v.file: v for v in found}
    assert by_file["assignment.tsv"].state == "other code"
    assert "code c1, now c2; numpy" in by_file["assignment.tsv"].detail
    assert by_file["registered/S1/ct.nii.gz"].state == "other versions"
    assert by_file["registered/S1/ct.nii.gz"].detail.endswith(", now 0.1")
    assert states(results, code={"cluster": "c1"})["registered/S1/ct.nii.gz"] == "no such rule"
    lines = "\n".join(summary_lines(found, None))
    assert "     1 of cluster: code c1, now c2" in lines and "     2 of register: numpy" in lines
    require_unchanged(found, None, table="t")


def test_edited_counts_before_other_code(results):
    (results / "assignment.tsv").write_text("2")
    assert states(results, code={**CODE, "cluster": "c2"})["assignment.tsv"] == "edited"


def test_foreign_files_are_told_and_what_holds_no_product_is_passed_over(results):
    for name in (
        "logs/a.log",
        "benchmarks/a.tsv",
        "resume/a.safetensors",
        ".snakemake/x",
        "provenance/verify.tsv",
        "registered/S1/.snakemake_timestamp",
        ".gitkeep",
        "report/stopped.html",
        "demo/provenance/a/cohort.json",  # the results of another study, inside of these
        "demo/clam/assignment.tsv",
    ):
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        (results / name).write_text("x")
    assert states(results) == dict.fromkeys(FILES, "as computed")
    (results / "registered/logs").mkdir()
    (results / "registered/logs/notes.txt").write_text("x")
    assert states(results)["registered/logs/notes.txt"] == "no record"
    require_unchanged(verdicts(results), None, table="t")


def test_damaged_record_fails_and_its_products_have_no_record(results):
    (results / "provenance/cluster/cohort.json").write_text("{")
    found = verify_results(results, code=CODE, versions={}, temporary=(), workers=1)
    assert {v.file: v.state for v in found if v.rule == ""} == {
        "assignment.tsv": "no record",
        "provenance/cluster/cohort.json": "damaged record",
    }
    with pytest.raises(InputError, match="1 damaged record"):
        require_unchanged(found, None, table="t")


def test_results_without_any_record_are_refused(tmp_path):
    with pytest.raises(InputError, match="found no record of any product, expected some. Run snakemake first"):
        verify_results(tmp_path, code={}, versions={}, temporary=(), workers=1)


def test_link_to_nowhere_and_product_that_became_a_folder_are_not_as_computed(results):
    (results / "assignment.tsv").unlink()
    (results / "assignment.tsv").symlink_to("nowhere")
    (results / "registered/S1/ct.nii.gz").unlink()
    (results / "registered/S1/ct.nii.gz").mkdir()
    found = states(results)
    assert (found["assignment.tsv"], found["registered/S1/ct.nii.gz"]) == ("edited", "missing")


HOSTILE = ["a\nb\tc.tsv", 'x",y.tsv', "\x1b[31mred", "\udcff.nii", "{subject}", "-rf", "<b>.html"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_names_stay_in_one_row_and_cannot_write_to_the_terminal(results, tmp_path, name):
    (results / name).write_text("x")
    found = verdicts(results)
    table = verification_table(found, None)
    write_table(tmp_path / "t.tsv", table)
    read = pd.read_csv(tmp_path / "t.tsv", sep="\t", keep_default_na=False)
    assert read.columns.tolist() == COLUMNS and len(read) == 4
    assert read.state.tolist() == ["no record", *["as computed"] * 3] and read.file[0] == table.file[0]
    lines = summary_lines(found, None)
    assert not [line for line in lines if not line.isprintable()] and "\n".join(lines).encode("utf-8")
    record(job(results, "c1", name, rule="cluster"), name="other")
    assert states(results)[name] == "as computed"


def test_long_lists_are_cut_in_the_summary_and_whole_in_the_table(results):
    for number in range(30):
        (results / f"{number:02d}.txt").touch()
    found = verdicts(results)
    lines = summary_lines(found, None)
    assert "  19.txt" in lines and "  20.txt" not in lines and lines[-1] == "  ... and 10 more"
    assert (verification_table(found, None).state == "no record").sum() == 30


def test_checksums_are_compared_with_those_of_another_manifest(results):
    other = {"sha256": {"assignment.tsv": sha256("1"), "registered/S1/ct.nii.gz": "0", "dcam/model.json": "1"}}
    compared = compare_checksums(verdicts(results), other, {})
    assert compared.places == {
        "assignment.tsv": "same",
        "dcam/model.json": "only there",
        "registered/S1/ct.nii.gz": "differs",
        "registered/S1/status.json": "only here",
    }
    table = verification_table(verdicts(results), compared).set_index("file")
    assert table.other_manifest["dcam/model.json"] == "only there" and table.state["dcam/model.json"] == ""
    text = "1 differing from the other manifest, 1 only in the other manifest"
    with pytest.raises(InputError, match=text):
        require_unchanged(verdicts(results), compared, table="t")
    lines = summary_lines(verdicts(results), compared)
    assert "Beside the other manifest: 1 of 4 checksums are the same." in lines and "  dcam/model.json" in lines


def test_deleted_products_are_compared_by_their_records_and_foreign_files_not_at_all(results):
    (results / "notes.txt").touch()
    for name in ("ct.nii.gz", "status.json"):
        (results / "registered/S1" / name).unlink()
    (results / "registered/S1").rmdir()
    other = {"sha256": {name: sha256(name.rpartition("/")[2]) for name in FILES[1:]} | {FILES[0]: sha256("1")}}
    compared = compare_checksums(verdicts(results, temporary=["registered/{subject}"]), other, {})
    assert compared.places == dict.fromkeys(FILES, "same")
    require_unchanged(verdicts(results, temporary=["registered/{subject}"]), compared, table="t")


def test_what_else_two_manifests_say_differently_is_told():
    own = {"sha256": {}, "config": {"clam": {"batch": 16}, "seed": 1}, "code": {"a": "1"}, "run": {"ended_utc": "x"}}
    other = {**own, "config": {"clam": {"batch": 8}, "seed": 1}, "code": {}, "run": {"ended_utc": "y"}}
    own["inputs"] = {"ingest_scan/S1": {"S1/scan": "a" * 64}, "ingest_scan/S2": {"S2/scan": "c" * 64}}
    other["inputs"] = {"ingest_scan/S1": {"S1/scan": "b" * 64}}  # S2 was not run there
    expected = ["code, a: here 1, there nothing", "config, clam.batch: here 16, there 8"]
    expected += ["inputs, ingest_scan/S1.S1/scan: here aaaaaaaaaaaa..., there bbbbbbbbbbbb..."]
    assert compare_checksums([], other, own) == Comparison({}, expected)
    assert compare_checksums([], own, own).reasons == []


def test_table_can_be_read_back(results):
    text = verification_table(verdicts(results), None).to_csv(sep="\t", index=False)
    assert pd.read_csv(io.StringIO(text), sep="\t").file.tolist() == list(FILES)
