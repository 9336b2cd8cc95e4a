"""The pins: all that is installed comes from them, their licences let a study be done and published with them."""

import importlib.metadata
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PERMISSIVE = re.compile(
    r"\b(MIT|BSD|Apache|PSF|Python Software Foundation|MPL|Mozilla Public License|ISC|HPND|Unlicense)\b|MIT-CMU|BSL-1.0"
)
COPYLEFT = re.compile(r"\b(A?GPL|GNU (General|Affero)|SSPL|CC-BY-NC)", re.IGNORECASE)
READ = {  # their metadata say nothing, or not enough: what their licence file says
    "conda-inject": "MIT",
    "dcm2niix": "BSD-2-Clause, with parts in the public domain, MIT and BSD-3-Clause",
    "docutils": "public domain, BSD-2-Clause; GPL for an Emacs mode that is not installed",
    "snakemake-interface-common": "MIT",
    "snakemake-interface-logger-plugins": "MIT",
    "snakemake-interface-report-plugins": "MIT",
    "snakemake-interface-scheduler-plugins": "MIT",
    "snakemake-interface-storage-plugins": "MIT",
}


def pins(name="requirements.txt"):
    lines = (ROOT / "envs" / name).read_text().splitlines()
    return dict(line.split("==") for line in lines if re.match(r"[A-Za-z]", line))


def said(name):
    """What the metadata of a package say of its licence, in one line."""
    about = importlib.metadata.metadata(name)
    classifiers = [c for c in about.get_all("Classifier") or [] if c.startswith("License")]
    first = (about.get("License") or "").strip().partition("\n")[0]
    return "; ".join(filter(None, [about.get("License-Expression"), *classifiers, first]))


@pytest.mark.parametrize("name", pins())
def test_licence_of_every_pin_is_permissive(name):
    text = READ.get(name) or said(name)
    assert PERMISSIVE.search(text), f"{name}: found licence {text!r}; read its licence file, then name it in READ."
    assert name in READ or not COPYLEFT.search(text), f"{name}: found licence {text!r}."


def test_licences_that_were_read_are_of_packages_that_are_pinned():
    assert set(READ) <= set(pins())


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt"])
def test_installed_versions_are_the_pinned_ones(file):
    installed = {name: importlib.metadata.version(name).split("+")[0] for name in pins(file)}
    assert installed == pins(file)


def test_every_wish_is_pinned():
    wishes = (ROOT / "envs/requirements.in").read_text().splitlines()
    names = {re.match(r"[\w-]+", line).group().lower() for line in wishes if re.match(r"\w", line)}
    assert names <= {name.lower() for name in pins()}


def test_conda_and_container_use_the_same_pins():
    conda = yaml.safe_load((ROOT / "envs/environment.yaml").read_text())
    assert {"pip": ["-r requirements.txt"]} in conda["dependencies"]
    container = (ROOT / "Dockerfile").read_text()
    assert "pip install" in container and "-r envs/requirements.txt" in container
    python = next(d for d in conda["dependencies"] if str(d).startswith("python="))
    assert f"FROM python:{python.removeprefix('python=')}-" in container
