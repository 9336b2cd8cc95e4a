"""Sheet and config faults are all reported at once, each with its place and a remedy."""

import copy
from pathlib import Path

import pytest
import yaml

from lungtypes.cohort.config import check_config
from lungtypes.cohort.sheet import read_sheet
from lungtypes.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
CONFIG = yaml.safe_load((ROOT / "config/config.yaml").read_text())


def sheet(tmp_path, text):
    path = tmp_path / "subjects.tsv"
    path.write_text(text)
    return path


def test_shipped_configs_are_valid():
    check_config(CONFIG, SCHEMA)
    from snakemake.utils import update_config

    demo = copy.deepcopy(CONFIG)
    update_config(demo, yaml.safe_load((ROOT / "config/demo.yaml").read_text()))
    check_config(demo, SCHEMA)


def test_every_config_fault_is_named_with_the_nearest_key():
    config = copy.deepcopy(CONFIG)
    config["clam"]["filtres"] = 3
    config["device"] = "gpu"
    config["max_failed_fraction"] = 7
    with pytest.raises(InputError) as fault:
        check_config(config, SCHEMA)
    text = str(fault.value)
    assert "clam.filtres: this key is not known. Did you mean filters?" in text
    assert "device: found 'gpu', expected: one of auto, cpu, cuda." in text and "max_failed_fraction" in text


def test_contradicting_values_are_refused():
    config = copy.deepcopy(CONFIG)
    config["volumes"]["size"] = 45
    with pytest.raises(InputError, match="multiple of 8"):
        check_config(config, SCHEMA)


def test_template_sheet_of_the_repository_is_empty_and_valid():
    assert read_sheet(ROOT / "config/subjects.tsv").empty


def test_all_faults_of_a_sheet_are_reported_at_once(tmp_path):
    text = "subject\tpath\tcontrol\nS1\t.\t0\ns1\t.\t2\n../x\t/no/such\t\n"
    with pytest.raises(InputError) as fault:
        read_sheet(sheet(tmp_path, text))
    message = str(fault.value)
    for part in (
        "line 3, column subject: found 's1' again (line 2)",
        "line 3, column control",
        "line 4, column subject",
    ):
        assert part in message
    assert "line 4, column path: found '/no/such', which does not exist" in message


def test_misspelt_column_and_wrong_separator_have_hints(tmp_path):
    with pytest.raises(InputError, match="Did you mean site?"):
        read_sheet(sheet(tmp_path, "subject\tpath\tsitee\nS1\t.\ta\n"))
    with pytest.raises(InputError, match="expected tabs"):
        read_sheet(sheet(tmp_path, "subject,path\nS1,.\n"))
    with pytest.raises(InputError, match="column path is missing"):
        read_sheet(sheet(tmp_path, "subject\tsite\nS1\ta\n"))


def test_blank_lines_are_passed_over_and_text_stays_text(tmp_path):
    table = read_sheet(sheet(tmp_path, "subject\tpath\n001\t.\n\t\n"))
    assert table.subject.tolist() == ["001"]


def test_stray_tabs_reserved_ids_and_braces_are_named_with_their_line(tmp_path):
    assert read_sheet(sheet(tmp_path, "subject\tpath\t\nS1\t.\t\n")).subject.tolist() == ["S1"]
    with pytest.raises(InputError, match="line 3: found 3 fields, expected 2"):
        read_sheet(sheet(tmp_path, "subject\tpath\nS1\t.\nS2\t.\tmore\n"))
    with pytest.raises(InputError, match="line 4, column subject: found 'NA', which means missing"):
        read_sheet(sheet(tmp_path, "subject\tpath\nS1\t.\n\nNA\t.\n"))
    with pytest.raises(InputError, match="found braces"):
        read_sheet(sheet(tmp_path, "subject\tpath\nS1\ta{b}\n"))


def test_other_encodings_are_refused_in_words(tmp_path):
    path = tmp_path / "subjects.tsv"
    path.write_bytes("subject\tpath\nS1\tM\xfcller\n".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        read_sheet(path)
