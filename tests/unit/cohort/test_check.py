"""All inputs are checked together: one error with the faults of every file, or everything the workflow plans with."""

import copy
from pathlib import Path

import pytest
import yaml

from lungtypes.cohort.check import check_inputs, load_inputs
from lungtypes.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
DEFAULTS = yaml.safe_load((ROOT / "config/config.yaml").read_text())
DECISION = "subject\tstage\tdecision\tby\treason\nS1\tlungs\taccept\tHK\tseen\n"


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A study of six scans: four to learn from, one held out, one a second scan of S1's person."""
    monkeypatch.chdir(tmp_path)
    for number in range(1, 7):
        Path(f"scan{number}").mkdir()
    rows = ["subject\tpath\tperson\tprimary\tsplit"]
    rows += [f"S{n}\tscan{n}\tP{n}\t1\t{'test' if n == 5 else ''}" for n in range(1, 6)]
    Path("subjects.tsv").write_text("\n".join([*rows, "S6\tscan6\tP1\t0\t"]) + "\n")
    Path("clinical.tsv").write_text("subject\tage\n" + "".join(f"S{n}\t{40 + n}\n" for n in range(1, 6)))
    Path("decisions.tsv").write_text(DECISION)
    Path("study.yaml").write_text("seed: 2\n")
    tables = {"subjects": "subjects.tsv", "clinical": "clinical.tsv", "decisions": "decisions.tsv"}
    return copy.deepcopy(DEFAULTS) | tables


def refusal(config, files=("study.yaml",)):
    with pytest.raises(InputError) as fault:
        check_inputs(config, SCHEMA, config_files=files)
    return str(fault.value).splitlines()


def test_sound_inputs_are_read_and_summed_up(config):
    inputs = check_inputs(config, SCHEMA, config_files=["study.yaml"])
    assert inputs.sheet.subject.tolist() == ["S1", "S2", "S3", "S4", "S5", "S6"] and inputs.sheet.index[0] == 0
    assert inputs.splits["S5"] == "test" and inputs.splits["S6"] == "repeat" and inputs.n_clinical == 5
    assert inputs.decisions["S1", "lungs"].by == "HK"
    assert inputs.summary == (
        "config, 6 scans (4 to learn from, 1 held out, 1 repeated), 5 clinical rows, 1 decision: no fault found"
    )


def test_jobs_load_the_same_without_checks(config):
    checked = check_inputs(config, SCHEMA, config_files=[])
    Path("scan1").rmdir()
    loaded = load_inputs(config)
    assert loaded.sheet.equals(checked.sheet) and loaded.splits == checked.splits and loaded.summary == ""
    assert loaded.decisions == checked.decisions and loaded.n_clinical == 5


def test_without_clinical_table_and_decisions_there_is_no_fault(config):
    shipped = {"clinical": "config/clinical.tsv", "decisions": "config/decisions.tsv"}
    for more in (shipped, {"clinical": "", "decisions": ""}):
        inputs = check_inputs(config | more, SCHEMA, config_files=[])
        assert inputs.n_clinical == 0 == load_inputs(config | more).n_clinical and inputs.decisions == {}
        assert "no clinical rows, no decisions" in inputs.summary


def test_table_that_the_user_named_must_exist(config):
    with pytest.raises(InputError, match="clinicl.tsv: found no such file"):
        check_inputs(config | {"clinical": "clinicl.tsv"}, SCHEMA, config_files=[])


def test_frozen_template_must_be_there(config, tmp_path):
    frozen = config | {"template": {**config["template"], "frozen": True}, "results": "results"}
    with pytest.raises(InputError, match="template.frozen: found true, and no template.nii.gz or mask.nii.gz"):
        check_inputs(frozen, SCHEMA, config_files=[])


def test_faults_of_all_files_come_in_one_error(config):
    Path("study.yaml").write_text("seed: 1\nseed: 2\n")
    Path("scan2").rmdir()
    Path("clinical.tsv").write_text("subject\tage\nS1\t4,5\nS2\t40\n")
    Path("truth.tsv").write_text("subject\tgroup\nX\ta\n")
    Path("decisions.tsv").write_text(DECISION.replace("HK", ""))
    config["device"] = "gpu"
    config["evaluate"] |= {"reference_table": "truth.tsv", "reference_column": "group"}
    config["clam"]["k"]["n_clusters"] = 4
    assert [fault.split(":")[0] for fault in refusal(config)] == [
        "study.yaml, line 2",
        "config, device",
        "subjects.tsv, line 3, column path",
        "config, clam.k.n_clusters",
        "clinical.tsv",
        "clinical.tsv, line 2, column age",
        "truth.tsv, column subject",
        "decisions.tsv, line 2, column by",
    ]


def test_a_config_file_named_twice_is_told_of_once(config):
    Path("study.yaml").write_text("a: &x 1\n")
    assert len(refusal(config, ["study.yaml", Path("study.yaml")])) == 1


@pytest.mark.parametrize("section", ["subjects", "clinical", "decisions", "template", "clam", "evaluate", "associate"])
def test_a_broken_part_of_the_config_does_not_hide_faults_of_other_files(config, section):
    broken = "clinical.tsv" if section != "clinical" else "decisions.tsv"
    Path(broken).write_bytes(b"\xff\n")
    config[section] = 7
    faults = refusal(config)
    assert faults[0].startswith(f"config, {section}: found 7, expected: a value of type ")
    assert faults[1:] == [f"{broken}, line 1: found text that is not UTF-8. Save as UTF-8."]


def test_an_unreadable_sheet_blames_no_other_table(config):
    config["subjects"] = "no.tsv"
    assert refusal(config) == ["no.tsv: found no such file, expected a table. Mend the path."]


def test_a_config_without_a_cohort_is_checked_for_the_simulation_study(config):
    config |= {"subjects": "", "clinical": "nothing.tsv"}  # no table of a cohort is read
    inputs = check_inputs(config, SCHEMA, config_files=[])
    assert inputs.sheet.empty and "without a cohort" in inputs.summary
    assert load_inputs(config).splits == {}
    config["simulation"] = {**config["simulation"], "strides": [2, 2], "size": 62, "image": "none.nii.gz"}
    config["simulation"]["lesions"] = {**config["simulation"]["lesions"], "fixed_location": 9}
    assert refusal(config) == [
        "config, simulation.strides: found 2 values, expected 3 as in clam.filters.",
        "config, simulation.size: found 62, expected a multiple of 4 (product of simulation.strides).",
        "config, simulation.image: found 'none.nii.gz' without simulation.lungs, expected both or neither.",
        "config, simulation.image: found 'none.nii.gz', which does not exist or cannot be read. Mend the path.",
        "config, simulation.lesions.fixed_location: found 9, expected at most 5 (simulation.lesions.locations).",
    ]


def test_an_empty_sheet_says_what_to_do_only_when_all_else_is_well(config):
    Path("subjects.tsv").write_text("subject\tpath\n")
    (fault,) = refusal(config)
    assert fault.startswith("subjects.tsv holds no scans yet. Add one row a scan") and "make demo" in fault
    config["device"] = "gpu"
    assert refusal(config) == ["config, device: found 'gpu', expected: one of auto, cpu, cuda."]


def test_a_scan_without_an_id_is_missed_in_no_other_table(config):
    Path("scan7").mkdir()
    Path("subjects.tsv").write_text(Path("subjects.tsv").read_text() + "\tscan7\t\t\t\n")
    (fault,) = refusal(config)
    assert fault.startswith("subjects.tsv, line 8, column subject: found ''")


def test_fewer_than_three_scans_to_learn_from_are_refused(config):
    text = Path("subjects.tsv").read_text().replace("P2\t1\t", "P2\t1\ttest").replace("P3\t1\t", "P3\t1\ttest")
    Path("subjects.tsv").write_text(text)
    config["clam"]["k"]["n_clusters"] = 8
    (fault,) = refusal(config)
    assert fault.startswith("subjects.tsv: found 2 scans to learn from, expected at least 3")


def test_registered_volumes_need_the_template_that_they_lie_in(config):
    text = Path("subjects.tsv").read_text().replace("subject\tpath\t", "subject\tregistered\t")
    Path("subjects.tsv").write_text(text)
    (fault,) = refusal(config)
    assert fault.startswith(
        "subjects.tsv, lines 2, 3, 4, 5, 6 and 1 more, column registered: found volumes in template"
    )
    config["template"] |= {"image": "scan1", "lungs": "scan2"}
    assert check_inputs(config, SCHEMA, config_files=[]).splits["S1"] == "train"
    config["dcam"] |= {"methods": ["dcam"], "k": config["dcam"]["k"] | {"n_clusters": 2}}
    (fault,) = refusal(config)
    assert fault.endswith("Set dcam.space to template, or leave dcam.methods empty.")
    config["dcam"]["space"] = "template"
    assert check_inputs(config, SCHEMA, config_files=[]).splits["S1"] == "train"


def test_files_of_an_external_cohort_are_checked_before_anything_runs(config):
    config["associate"]["external"] = {"assignment": "theirs.tsv", "clinical": ""}
    (fault,) = refusal(config)
    assert fault.startswith("config, associate.external.clinical: is empty beside associate.external.assignment")
    config["associate"]["external"]["clinical"] = "theirs_clinical.tsv"
    Path("theirs.tsv").write_text("subject\tgroup\tsplit\nA\t1\ttrain\nA\t2\ttrain\n")
    Path("theirs_clinical.tsv").write_text("subject\tage\nA\told\n")
    faults = refusal(config)
    assert "theirs.tsv, line 1: column cluster is missing. There are: subject, group, split." in faults
    assert any(fault.startswith("theirs.tsv, line 3, column subject: found 'A'") for fault in faults), faults
    assert any(fault.startswith("theirs_clinical.tsv, line 2, column age: found 'old'") for fault in faults)


@pytest.fixture
def graded(config):
    """The study with a lesion table: S1 has a lobe mask and a row of a lobe, S2 a row of a zone, S5 is held out."""
    Path("lobes1.nii.gz").touch(), Path("lesions1.nii.gz").touch()
    rows = [row.split("\t") for row in Path("subjects.tsv").read_text().splitlines()]
    more = {"S1": ["lobes1.nii.gz", "lesions1.nii.gz"], "subject": ["lobes", "lesions"]}
    rows = [row + more.get(row[0], ["", ""]) for row in rows]
    Path("subjects.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    table = "subject\tregion\tpercent\nS1\tright_upper\t10\nS2\tleft_lower_zone\t0\nS5\tright_upper\t3\n"
    Path("scores.tsv").write_text(table)
    return config | {"dram": config["dram"] | {"methods": ["dram", "dram-supervised"], "table": "scores.tsv"}}


def test_lesion_table_is_counted(graded):
    summary = check_inputs(graded, SCHEMA, config_files=[]).summary
    assert "5 clinical rows, 3 lesion rows (1 about regions that their scans do not have), 1 decision" in summary
    Path("scores.tsv").write_text(Path("scores.tsv").read_text().replace("S5\tright_upper", "S5\tright-upper zone"))
    assert "5 clinical rows, 3 lesion rows, 1 decision" in check_inputs(graded, SCHEMA, config_files=[]).summary


def test_faults_of_the_lesion_table_come_before_anything_runs(graded):
    Path("scores.tsv").write_text("subject\tregion\tpercent\nS9\tright_upper\t10\nS2\tleft_lwer\t101\n")
    assert refusal(graded) == [
        "scores.tsv, line 2, column subject: found 'S9', expected an id of the sheet. Mend it, or remove the row.",
        "scores.tsv, line 3, column region: found 'left_lwer', expected a region. Did you mean left_lower?",
        "scores.tsv, line 3, column percent: found '101', expected 0 to 100. Mend it.",
    ]
    graded["dram"]["table"] = "scors.tsv"
    assert refusal(graded) == ["scors.tsv: found no such file, expected a table. Mend the path."]


def test_a_table_about_lobes_of_scans_without_lobes_teaches_nothing(graded):
    Path("scores.tsv").write_text("subject\tregion\tgrade\nS2\tright_upper\t1\nS5\tright_upper_zone\t1\n")
    (fault,) = refusal(graded)
    assert fault.startswith("scores.tsv: found no row about a region of a training scan, expected many: lobes (right_u")
    graded["template"] = graded["template"] | {"lobes": "lobes1.nii.gz"}  # all scans get lobes from it
    graded["dram"]["methods"] = ["dram"]
    assert check_inputs(graded, SCHEMA, config_files=[]).summary


def test_the_supervised_network_needs_masks_of_scans_that_it_may_learn_from(graded):
    sheet = Path("subjects.tsv").read_text()
    Path("subjects.tsv").write_text(sheet.replace("lobes1.nii.gz\tlesions1.nii.gz", "lobes1.nii.gz\t"))
    (fault,) = refusal(graded)
    assert fault.startswith("config, dram.methods: found dram-supervised, and no training scan with a lesion mask")


def test_volumes_of_template_space_have_no_space_of_their_own_for_dram(graded):
    rows = [row.split("\t") for row in Path("subjects.tsv").read_text().splitlines()]
    rows = [[*row, "registered" if row[0] == "subject" else ""] for row in rows]
    rows[2][1], rows[2][-1] = "", "scan2"
    Path("subjects.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    graded["template"] = graded["template"] | {"image": "scan1", "lungs": "scan1"}
    assert any("line 3, column registered" in f and "for dram. Leave dram.methods empty" in f for f in refusal(graded))
