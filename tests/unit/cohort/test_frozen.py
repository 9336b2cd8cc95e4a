"""The manifest of a frozen folder: what it says, that an edit is seen, and the config that it makes."""

import json
from pathlib import Path

import pytest
import yaml

from lungtypes.cohort.config import config_faults
from lungtypes.cohort.frozen import (
    TEMPLATE_FILES,
    check_frozen,
    check_weights,
    config_of_assignment,
    frozen_folder,
    frozen_settings,
    read_manifest,
    version_note,
    write_manifest,
)
from lungtypes.errors import InputError
from lungtypes.provenance import sha256_of

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())


@pytest.fixture
def config():
    return yaml.safe_load((ROOT / "config/config.yaml").read_text())


@pytest.fixture
def frozen(config, tmp_path):
    config["resample"]["spacing_mm"] = 2.5
    config["volumes"]["size"], config["clam"]["strides"] = 44, [2, 2, 1]
    config["lungs"] |= {"engine": "lungmask", "lungmask_weights": "/home/someone/weights.pth"}
    for name in TEMPLATE_FILES:
        (tmp_path / name).write_text(name)
    (tmp_path / "weights.pth").write_text("w")
    sha256 = sha256_of(tmp_path / "weights.pth")
    (tmp_path / "weights.pth").unlink()
    write_manifest(tmp_path, settings=frozen_settings(config), methods={"clam": {"k": 2}}, lungmask_sha256=sha256)
    return tmp_path


def test_settings_that_decide_a_scan_are_kept_and_no_path(frozen):
    settings = read_manifest(frozen)["settings"]
    assert settings["resample"]["spacing_mm"] == 2.5 and "checks" in settings["register"]
    assert "/" not in json.dumps(settings) and "subjects" not in settings


def test_frozen_settings_replace_those_of_the_config_and_nothing_learns(frozen, config):
    mine = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    mine["resample"]["spacing_mm"], mine["lungs"]["lungmask_weights"] = 9.0, "here.pth"
    mine["dcam"]["methods"], mine["torch_threads"] = ["dcam"], 7
    made = config_of_assignment(mine, str(frozen), read_manifest(frozen))
    assert made["resample"] == config["resample"] and made["volumes"]["size"] == 44
    assert made["lungs"]["engine"] == "lungmask" and made["lungs"]["lungmask_weights"] == "here.pth"
    assert made["template"]["image"] == f"{frozen}/template.nii.gz" and not made["template"]["frozen"]
    assert not made["clam"]["enabled"] and made["dcam"]["methods"] == made["dram"]["methods"] == []
    assert made["clinical"] == "" and made["torch_threads"] == 7 and mine["resample"]["spacing_mm"] == 9.0
    faults = config_faults(made, SCHEMA)
    assert not [fault for fault in faults if "lungmask" not in fault], faults


@pytest.mark.parametrize("key", ["settings", "methods", "files", "digest"])
def test_an_edited_manifest_is_refused(frozen, key):
    content = json.loads((frozen / "manifest.json").read_text())
    content[key] = {} if key != "digest" else "0"
    (frozen / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"manifest.json: found another content than was frozen.*snakemake freeze"):
        check_frozen(frozen)


def test_text_that_is_no_manifest_and_no_folder_at_all_are_refused(frozen):
    for text in ("{", "[]", "{}"):
        (frozen / "manifest.json").write_text(text)
        with pytest.raises(InputError, match="another content"):
            read_manifest(frozen)
    with pytest.raises(InputError, match="without manifest.json, expected the folder that `snakemake freeze` writes"):
        read_manifest(frozen / "no")


def test_every_missing_or_changed_file_is_named(frozen):
    assert check_frozen(frozen)["methods"] == {"clam": {"k": 2}}
    (frozen / "template.nii.gz").unlink()
    (frozen / "mask.nii.gz").write_text("x")
    with pytest.raises(InputError, match=r"mask.nii.gz: found SHA-256(.|\n)*template.nii.gz: found no file"):
        check_frozen(frozen)
    assert check_frozen(frozen, only=("clam/",))


def test_other_weights_of_the_lung_network_are_refused(frozen, tmp_path):
    with pytest.raises(InputError, match="lungmask_weights: found other weights"):
        check_weights(read_manifest(frozen), "")
    (tmp_path / "again.pth").write_text("w")
    check_weights(read_manifest(frozen), str(tmp_path / "again.pth"))


def test_other_versions_are_said(frozen):
    manifest = read_manifest(frozen)
    assert version_note(manifest) == ""
    manifest["packages"]["torch"] = "0.1"
    assert "torch 0.1 (here" in version_note(manifest)


@pytest.mark.parametrize("section", [None, "folder", 3, {}, {"frozen": 1}])
def test_a_section_that_the_schema_refuses_is_no_folder(section):
    assert frozen_folder({"assign": section}) == frozen_folder({}) == ""
