"""A faulty scan is an outcome: status files, attrition, code stamps, records."""

import json

import pytest

from lungtypes.cohort.attrition import attrition_table
from lungtypes.cohort.status import read_status, run_scan_stage
from lungtypes.errors import InputError, ScanFault
from lungtypes.provenance import record, stamp
from lungtypes.randomness import derive_seed, stream


def stage(folder, work, upstream=(), strict=False, subject="S1"):
    return run_scan_stage(folder, subject=subject, stage="lungs", upstream=upstream, strict=strict, work=work)


def fail(folder):
    (folder / "half.nii.gz").touch()
    raise ScanFault("SEG-NONE", "found no air.")


def test_fault_leaves_a_status_and_no_images(tmp_path):
    stage(tmp_path / "S1", fail)
    assert [p.name for p in (tmp_path / "S1").iterdir()] == ["status.json"]
    assert read_status(tmp_path / "S1").code == "SEG-NONE"


def test_failed_scan_keeps_its_table_of_series(tmp_path):
    def work(folder):
        (folder / "series.tsv").write_text("series\n")
        fail(folder)

    stage(tmp_path / "S1", work)
    assert sorted(p.name for p in (tmp_path / "S1").iterdir()) == ["series.tsv", "status.json"]


def test_failed_status_is_passed_on_without_work(tmp_path):
    stage(tmp_path / "a", fail)
    status = stage(tmp_path / "b", lambda folder: pytest.fail("must not run"), upstream=[tmp_path / "a"])
    assert status.stage == "lungs" and status.code == "SEG-NONE" and not status.ok


def test_bug_stays_a_crash_and_leaves_no_output(tmp_path):
    with pytest.raises(ZeroDivisionError):
        stage(tmp_path / "S1", lambda folder: 1 / 0)
    assert not (tmp_path / "S1").exists()


def test_strict_raises_the_fault(tmp_path):
    with pytest.raises(ScanFault):
        stage(tmp_path / "S1", fail, strict=True)


def test_attrition_has_one_row_a_subject_and_adds_up(tmp_path):
    stage(tmp_path / "S1", lambda folder: None)
    stage(tmp_path / "S2", fail, subject="S2")
    table = attrition_table({"S1": [tmp_path / "S1"], "S2": [tmp_path / "S2"]}, max_failed_fraction=0.5)
    assert table.status.tolist() == ["analysed", "excluded"] and table.code.tolist() == ["", "SEG-NONE"]
    with pytest.raises(InputError, match="S2 \\(lungs, SEG-NONE\\)"):
        attrition_table({"S1": [tmp_path / "S1"], "S2": [tmp_path / "S2"]}, max_failed_fraction=0.4)


def test_stamp_sees_code_and_not_comments(monkeypatch, tmp_path):
    import lungtypes.provenance as provenance

    package = tmp_path / "lungtypes"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "a.py").write_text("from lungtypes.b import f\n")
    (package / "b.py").write_text("def f():\n    return 1\n")
    (package / "c.py").write_text("def g():\n    return 1\n")
    monkeypatch.setattr(provenance, "SCRIPTS", tmp_path)

    def fresh(module):
        stamp.cache_clear()
        return stamp(module)

    first, other = fresh("lungtypes.a"), fresh("lungtypes.c")
    (package / "b.py").write_text('"""Docs."""\n\ndef f():\n    """More."""\n    return 1  # why\n')
    assert fresh("lungtypes.a") == first
    (package / "b.py").write_text("def f():\n    return 2\n")
    assert fresh("lungtypes.a") != first and fresh("lungtypes.c") == other
    stamp.cache_clear()


def test_stamp_is_the_same_for_every_python_version():
    import ast

    from lungtypes.provenance import _plain

    tree = ast.parse("def f(a, *, b=1):\n    return [a, b]\n")
    function = tree.body[0]
    function.type_params = []  # what Python 3.12 adds
    with_new_field = _plain(tree)
    del function.type_params
    assert _plain(tree) == with_new_field


def test_logs_and_manifest_hide_source_paths(tmp_path):
    import logging

    from lungtypes.provenance import _HidingFormatter, _without_paths

    formatter = _HidingFormatter("%(message)s")
    formatter.hidden = ["/data/DOE_JANE"]
    record = logging.LogRecord("x", 10, "f", 1, "cannot read /data/DOE_JANE/1.dcm", None, None)
    assert formatter.format(record) == "cannot read <source path>/1.dcm"
    hidden = _without_paths({"subjects": "/home/me/s.tsv", "seed": 1, "command": ["-n", "subjects=/x", "clam"]})
    assert hidden == {"subjects": "<path>", "seed": 1, "command": ["-n", "<path>", "clam"]}


def test_record_holds_checksums_below_the_results_folder(tmp_path):
    (tmp_path / "clam").mkdir()
    (tmp_path / "clam" / "x.tsv").write_text("a\n")
    record(tmp_path, "rule", "S1", config={"a": 1}, code="c", outputs=[str(tmp_path / "clam")])
    content = json.loads((tmp_path / "provenance/rule/S1.json").read_text())
    assert list(content["sha256"]) == ["clam/x.tsv"] and content["config"] == {"a": 1}


def test_random_streams_are_independent_of_each_other():
    assert derive_seed(1, "a") != derive_seed(1, "b") != derive_seed(2, "b")
    assert stream(1, "a", 3).random() == stream(1, "a", 3).random()
