"""A faulty scan is an outcome: status files, attrition, code stamps, records."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml

from lungtypes.cohort.attrition import attrition_table
from lungtypes.cohort.gate import check_failures
from lungtypes.cohort.overrule import ACCEPTABLE, OPEN_LIMITS, with_open_limits
from lungtypes.cohort.reasons import REASONS
from lungtypes.cohort.review import review_table, robust_z
from lungtypes.cohort.status import read_status, run_scan_stage
from lungtypes.errors import InputError, ScanFault
from lungtypes.imaging import lung_checks, registration_checks
from lungtypes.provenance import record, stamp
from lungtypes.randomness import derive_seed, stream

ROOT = Path(__file__).resolve().parents[3]


def stage(folder, work, upstream=(), strict=False, subject="S1", name="lungs", decision=None):
    return run_scan_stage(
        folder, subject=subject, stage=name, upstream=upstream, strict=strict, work=work, decision=decision
    )


def fail(folder):
    (folder / "half.nii.gz").touch()
    raise ScanFault("SEG-NONE", "found no air.")


def test_fault_leaves_a_status_and_no_images(tmp_path):
    stage(tmp_path / "S1", fail)
    assert [p.name for p in (tmp_path / "S1").iterdir()] == ["status.json"]
    assert read_status(tmp_path / "S1").code == "SEG-NONE"


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


def test_attrition_has_one_row_a_subject_with_its_remedy_and_adds_up(tmp_path):
    stage(tmp_path / "S1", lambda folder: None)
    stage(tmp_path / "S2", fail, subject="S2")
    table = attrition_table({"S1": tmp_path / "S1", "S2": tmp_path / "S2"})
    assert table.status.tolist() == ["analysed", "excluded"] and table.code.tolist() == ["", "SEG-NONE"]
    assert table.remedy.tolist() == ["", REASONS["SEG-NONE"][1]]


def test_fault_of_a_side_branch_is_reported_and_does_not_exclude(tmp_path):
    stage(tmp_path / "density", fail, name="densitometry")
    stage(tmp_path / "registered", lambda folder: None, name="register")
    table = attrition_table({"S1": tmp_path / "registered"}, {"S1": tmp_path / "density"})
    assert table[["stage", "status", "code"]].values.tolist() == [["densitometry", "analysed", "SEG-NONE"]]


def cohort(*codes):
    rows = [(f"S{n}", "lungs", "excluded" if c else "analysed", c, "", "", "") for n, c in enumerate(codes, start=1)]
    return pd.DataFrame(rows, columns=["subject", "stage", "status", "code", "message", "remedy", "decisions"])


def test_too_many_failures_stop_the_cohort_with_the_list():
    table = cohort("SEG-NONE", "", "", "", "SEG-RATIO")
    with pytest.raises(InputError, match="2 of 5 .* S1 \\(lungs, SEG-NONE\\); S5 \\(lungs, SEG-RATIO\\)"):
        check_failures(table, max_failed_fraction=0.39, place="cohort/attrition.tsv")
    check_failures(table, max_failed_fraction=0.4, place="cohort/attrition.tsv")


def test_scans_that_a_human_excluded_did_not_fail():
    table = cohort("HUMAN-EXCLUDED", "HUMAN-EXCLUDED", "", "", "")
    check_failures(table, max_failed_fraction=0.0, place="cohort/attrition.tsv")
    with pytest.raises(InputError, match="found 2 usable scans of 3"):
        check_failures(cohort("HUMAN-EXCLUDED", "", ""), max_failed_fraction=0.0, place="cohort/attrition.tsv")


EXCLUDE = {"decision": "exclude", "by": "AB", "reason": "moved"}
ACCEPT = {"decision": "accept", "by": "CD", "reason": "one lung is small by nature"}


def test_scan_that_a_human_excluded_is_not_worked_on(tmp_path):
    status = stage(tmp_path / "S1", lambda folder: pytest.fail("must not run"), decision=EXCLUDE)
    assert (status.code, status.message) == ("HUMAN-EXCLUDED", "excluded by AB: moved") and not status.ok


def test_decisions_travel_with_the_scan_into_the_attrition_table(tmp_path):
    stage(tmp_path / "lungs", lambda folder: None, decision=ACCEPT)
    stage(tmp_path / "resample", lambda folder: None, upstream=[tmp_path / "lungs"], name="resample")
    stage(tmp_path / "register", fail, upstream=[tmp_path / "resample"], name="register", decision=EXCLUDE)
    (row,) = attrition_table({"S1": tmp_path / "register"}).itertuples()
    assert row.code == "HUMAN-EXCLUDED"
    expected = "lungs: accept by CD (one lung is small by nature); register: exclude by AB (moved)"
    assert row.decisions == expected


def test_every_reason_code_has_a_remedy_and_stands_in_the_docs():
    raised = set()
    for path in (ROOT / "scripts/lungtypes").rglob("*.py"):
        if path.name not in ("reasons.py", "overrule.py"):
            raised |= set(re.findall(r'"((?:IN|ZIP|DCM|IMG|HU|SEG|RES|REG|HUMAN|APPLY)-[A-Z]+)"', path.read_text()))
    assert raised | {"GEOMETRY"} == set(REASONS)
    documented = (ROOT / "docs/your-cohort.md").read_text()
    assert [code for code in REASONS if f"| `{code}` |" not in documented] == []
    assert set(ACCEPTABLE) <= set(REASONS) and set(ACCEPTABLE.values()) == set(OPEN_LIMITS)


def test_limits_that_accept_opens_are_keys_of_the_config():
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    for section, limits in OPEN_LIMITS.items():
        assert set(limits) <= set(config[section])


@pytest.mark.parametrize("stage_name", ["lungs", "register"])
def test_accepting_opens_the_limits_that_exclude_and_keeps_those_that_warn(stage_name):
    section = yaml.safe_load((ROOT / "config/config.yaml").read_text())[stage_name]
    opened = with_open_limits(section, stage_name)
    assert {limits["fail"] for limits in opened["checks"].values()} == {None}
    assert [c["warn"] for c in opened["checks"].values()] == [c["warn"] for c in section["checks"].values()]
    assert {str(limits["fail"]) for limits in section["checks"].values()} > {"None"}
    assert {**opened, "checks": section["checks"]} == section


@pytest.mark.parametrize(
    ("stage_name", "checks"), [("lungs", lung_checks.CHECKS), ("register", registration_checks.CHECKS)]
)
def test_every_check_has_limits_in_the_config_and_a_code_that_can_be_accepted(stage_name, checks):
    limits = yaml.safe_load((ROOT / "config/config.yaml").read_text())[stage_name]["checks"]
    assert list(limits) == list(checks)
    assert {code for code, _ in checks.values()} == {c for c, stage in ACCEPTABLE.items() if stage == stage_name}


def review(table, lungs=(), registration=(), decided=()):
    return review_table(table, lungs=dict(lungs), registration=dict(registration), decided=set(decided))


def test_gates_are_proposed_to_be_accepted_and_broken_files_are_not():
    proposals = review(cohort("SEG-RATIO", "", "SEG-NONE"))
    assert proposals.values.tolist() == [["S1", "lungs", "accept", "", "SEG-RATIO: "]]
    assert review(cohort("SEG-RATIO", ""), decided=[("S1", "lungs")]).empty


def test_warnings_and_outliers_are_proposed_to_be_excluded():
    good = {
        f"S{n}": {"dice_right": 0.98 + 0.001 * (n % 3), "dice_left": 0.97, "hu_correlation": 0.8} for n in range(1, 11)
    }
    good["S4"] |= {"dice_left": 0.92, "warnings": ["the way to the scan and back misses by 1.50 mm"]}
    good["S5"]["hu_correlation"] = None  # brought along, constant
    table = cohort(*[""] * 10)
    proposals = review(table, {"S2": {"warnings": ["lung reaches the end of the scan"]}, "S3": {"warnings": []}}, good)
    assert proposals.subject.tolist() == ["S2", "S4"] and proposals.stage.tolist() == ["lungs", "register"]
    assert set(proposals.decision) == {"exclude"} and set(proposals.by) == {""}
    expected = "overlap of the left lung with the template 0.920, cohort's median 0.970"
    assert proposals.reason[1] == f"the way to the scan and back misses by 1.50 mm; {expected}"


def lungs_of(total_ml, side_ratio=1.1, mean_hu=-830.0, warnings=()):
    values = {"total_ml": total_ml, "side_ratio": side_ratio, "mean_hu": mean_hu, "airway_ml": None}
    return {"warnings": list(warnings), "checks": {name: {"value": value} for name, value in values.items()}}


def test_lungs_that_stand_out_from_the_cohort_are_proposed_for_a_look():
    lungs = {f"S{n}": lungs_of(5000 + 150 * n, 1.1 + 0.01 * n, -830.0 + 4 * n) for n in range(1, 11)}
    assert review(cohort(*[""] * 10), lungs).empty
    lungs["S2"], lungs["S7"] = lungs_of(2600), lungs_of(5600, 1.12, -610.0, ["mean lung density"])
    proposals = review(cohort(*[""] * 10), lungs)
    assert proposals.subject.tolist() == ["S2", "S7"] and set(proposals.stage) == {"lungs"}
    assert proposals.reason[0] == "lung volume 2600 mL, cohort's median 5675 mL"
    assert proposals.reason[1].startswith("mean lung density; mean lung density -610 HU, cohort's median -8")
    few = {subject: lungs[subject] for subject in ("S1", "S2", "S3", "S4", "S5")}
    assert review(cohort(*[""] * 10), few).empty


def test_robust_z_equals_the_sum_by_hand():
    values = pd.Series([1.0, 2.0, 3.0, 4.0, 100.0])  # median 3, deviations 2 1 0 1 97, MAD 1
    assert robust_z(values, least_spread=0.1).tolist() == pytest.approx([-1.349, -0.6745, 0, 0.6745, 65.4265])
    assert robust_z(pd.Series([2.0] * 9 + [2.1]), least_spread=0.1).abs().max() == pytest.approx(0.6745)


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

    from lungtypes.provenance import _write_tree

    def words_of(tree):
        words = []
        _write_tree(tree, words, imports=[])
        return words

    tree = ast.parse("def f(a, *, b=1):\n    return [a, b]\n")
    function = tree.body[0]
    before = words_of(tree)
    function._fields = (*function._fields, "new")
    function.new = []  # as the type_params that Python 3.12 brought
    assert words_of(tree) == before
    function.new = [ast.Pass()]
    assert words_of(tree) != before


def test_logs_and_manifest_hide_source_paths(tmp_path):
    import logging

    from lungtypes.provenance import _HidingFormatter, without_paths

    formatter = _HidingFormatter("%(message)s")
    formatter.hidden = ["/data/DOE_JANE"]
    record = logging.LogRecord("x", 10, "f", 1, "cannot read /data/DOE_JANE/1.dcm", None, None)
    assert formatter.format(record) == "cannot read <source path>/1.dcm"
    hidden = without_paths({"subjects": "/home/me/s.tsv", "seed": 1, "command": ["-n", "subjects=/x", "clam"]})
    assert hidden == {"subjects": "<path>", "seed": 1, "command": ["-n", "<path>", "clam"]}
    command = ["template={start_image: /data/Smith/ct.nii.gz}", "units=mL/min/mmHg", "iterations=[1, 2]"]
    assert without_paths(command) == ["<path>", *command[1:]]


def test_record_holds_checksums_below_the_results_folder(tmp_path):
    (tmp_path / "clam").mkdir()
    (tmp_path / "clam" / "x.tsv").write_text("a\n")
    params = SimpleNamespace(results=str(tmp_path), config={"a": 1}, code="c")
    job = SimpleNamespace(rule="rule", params=params, input={}, output=[str(tmp_path / "clam")])
    record(job, name="S1")
    content = json.loads((tmp_path / "provenance/rule/S1.json").read_text())
    assert list(content["sha256"]) == ["clam/x.tsv"] and content["config"] == {"a": 1}


def test_random_streams_are_independent_of_each_other():
    assert derive_seed(1, "a") != derive_seed(1, "b") != derive_seed(2, "b")
    assert stream(1, "a", 3).random() == stream(1, "a", 3).random()
