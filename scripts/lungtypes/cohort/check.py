"""Checks everything a user hands in before anything runs: config, sheet and every other table."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lungtypes.cohort.apply_table import Application, applications_of, apply_faults, read_applications, registered_here
from lungtypes.cohort.clinical import clinical_faults, external_faults, is_given, reference_faults
from lungtypes.cohort.config import config_faults, k_faults, section_is_valid
from lungtypes.cohort.config_files import file_faults
from lungtypes.cohort.decisions import Decision, decision_faults, decisions_of, read_decisions
from lungtypes.cohort.frozen import frozen_folder
from lungtypes.cohort.lesion_table import coverage_faults, lesion_faults, n_unused
from lungtypes.cohort.sheet import read_sheet, sheet_faults, splits
from lungtypes.cohort.tables import lines_text, read_table
from lungtypes.errors import InputError

MIN_TRAINING = 3
# a study without these files is complete; a path that the user wrote must exist
MAY_BE_ABSENT = {"clinical": "config/clinical.tsv", "decisions": "config/decisions.tsv", "apply": "config/apply.tsv"}
FROZEN_FILES = ("template.nii.gz", "mask.nii.gz", "convergence.tsv")


@dataclass(frozen=True)
class Inputs:
    """What the workflow plans with.

    Attributes
    ----------
    sheet : one row a scan, all text, see :func:`lungtypes.cohort.sheet.read_sheet`.
    splits : subject -> train, test or repeat.
    decisions : (subject, stage) -> a human's decision.
    n_clinical : rows of the clinical table; 0 without one.
    applications : subject -> files to bring to the template or to the scan; subjects without any are left out.
    summary : one line for the user; empty when nothing was checked.
    """

    sheet: pd.DataFrame
    splits: dict[str, str]
    decisions: dict[tuple[str, str], Decision]
    n_clinical: int
    applications: dict[str, tuple[Application, ...]]
    summary: str = ""


def check_inputs(
    config: Mapping[str, object], schema: Mapping[str, object], *, config_files: Sequence[str | Path]
) -> Inputs:
    """Read and check all inputs.

    config : the merged config, from ``config_files`` and the command line. schema : of the config.

    A config whose ``subjects`` is empty has no cohort: only the simulation study can run with it.

    Raises
    ------
    InputError : the faults of all files at once; without any, an empty sheet.
    """
    faults = [fault for file in dict.fromkeys(map(str, config_files)) for fault in file_faults(file)]
    faults += config_faults(config, schema)
    if config.get("subjects") == "":
        if faults:
            raise InputError("\n".join(faults))
        return _without_cohort("config without a cohort (subjects is empty), for the simulation study: no fault found")

    sheet = _table(config, "subjects", faults)
    parts: dict[str, str] = {}
    if sheet is not None:
        faults += sheet_faults(config["subjects"], sheet)
        parts = splits(sheet[sheet["subject"] != ""]) if "subject" in sheet else {}
        faults += _cohort_faults(config, schema, sheet, parts)

    clinical = _table(config, "clinical", faults)
    if clinical is not None and section_is_valid(config, schema, "associate"):
        expected = [subject for subject, part in parts.items() if part != "repeat"]
        further = [subject for subject, part in parts.items() if part == "repeat"]
        faults += clinical_faults(config["clinical"], clinical, expected, config["associate"], repeat_subjects=further)
    if section_is_valid(config, schema, "associate"):
        faults += external_faults(config["associate"])
    if section_is_valid(config, schema, "evaluate"):
        evaluate = config["evaluate"]
        supervised = section_is_valid(config, schema, "dcam") and "dcam-supervised" in config["dcam"]["methods"]
        faults += reference_faults(
            evaluate["reference_table"],
            evaluate["reference_column"],
            parts,
            order=evaluate["reference_order"],
            learners=[subject for subject, part in parts.items() if supervised and part == "train"],
        )
    n_lesion_rows = n_unusable = 0
    if section_is_valid(config, schema, "dram") and config["dram"]["table"]:
        table = _table(config["dram"], "table", faults)
        if table is not None:
            n_lesion_rows = len(table)
            found, n_unusable = _judge_lesion_table(config, table, sheet, parts)
            faults += found
    decisions = _table(config, "decisions", faults)
    if decisions is not None:
        faults += decision_faults(config["decisions"], decisions, parts)
    scans = registered_here(sheet) if sheet is not None and "subject" in sheet else {}
    apply = _table(config, "apply", faults)
    if apply is not None:
        faults += apply_faults(config["apply"], apply, scans, results=str(config.get("results", "")))

    if faults:
        raise InputError("\n".join(faults))
    if sheet.empty:
        raise InputError(
            f"{config['subjects']} holds no scans yet. Add one row a scan: its id in column subject, its DICOM folder "
            "or NIfTI file in column path (see config/README.md). To try lungtypes without data of your own: make demo"
        )
    decided = {} if decisions is None else decisions_of(decisions)
    n_clinical = 0 if clinical is None else len(clinical)
    applications = {} if apply is None else applications_of(apply, scans)
    summary = _summary(parts, n_clinical, _lesion_words(n_lesion_rows, n_unusable), len(decided))
    return Inputs(sheet.reset_index(drop=True), parts, decided, n_clinical, applications, summary)


def load_inputs(config: Mapping[str, object]) -> Inputs:
    """The same without any check, for the jobs of a workflow whose inputs were checked when it began."""
    if config["subjects"] == "":
        return _without_cohort()
    sheet = read_sheet(config["subjects"], check=False)
    n_clinical = len(read_table(config["clinical"])) if is_given(config["clinical"]) else 0
    decisions = read_decisions(config.get("decisions", ""), check=False)
    applications = read_applications(config.get("apply", ""), registered_here(sheet))
    return Inputs(sheet, splits(sheet), decisions, n_clinical, applications)


def _without_cohort(summary: str = "") -> Inputs:
    return Inputs(pd.DataFrame({"subject": []}, dtype=str), {}, {}, 0, {}, summary)


def _table(config: Mapping[str, object], key: str, faults: list[str]) -> pd.DataFrame | None:
    """The table that the config names, or None: not given, or its faults were added to ``faults``."""
    path = config.get(key)
    if not isinstance(path, str):  # the schema's fault
        return None
    if not path or (path == MAY_BE_ABSENT.get(key) and not os.path.exists(path)):
        return None
    try:
        return read_table(path)
    except InputError as error:
        faults += str(error).split("\n")
        return None


def _cohort_faults(
    config: Mapping[str, object], schema: Mapping[str, object], sheet: pd.DataFrame, parts: Mapping[str, str]
) -> list[str]:
    """What the sheet and the config do not allow together."""
    faults, place = [], config["subjects"]
    template = config.get("template")
    registered = sheet.index[sheet["registered"] != ""].tolist() if "registered" in sheet else []
    if registered and isinstance(template, Mapping) and not template.get("image"):
        faults.append(
            f"{place}, {lines_text(registered)}, column registered: found volumes in template space without a "
            "template, expected template.image and template.lungs in the config. Name the template's two files there."
        )
    if section_is_valid(config, schema, "template") and template["frozen"] and not template["image"]:
        missing = [n for n in FROZEN_FILES if not Path(config["results"], "template", n).exists()]
        if missing:
            faults.append(
                f"config, template.frozen: found true, and no {' or '.join(missing)} in {config['results']}/template, "
                "expected a finished template. Build it first (`snakemake template` with frozen: false)."
            )
    n_training = sum(part == "train" for part in parts.values())
    if frozen_folder(config):  # one new scan will do; nothing is learnt from it
        pass
    elif parts and n_training < MIN_TRAINING:
        faults.append(
            f"{place}: found {n_training} scans to learn from, expected at least {MIN_TRAINING} (rows whose split is "
            "not test, one a person). Add scans."
        )
    elif parts and section_is_valid(config, schema, "clam") and section_is_valid(config, schema, "dcam"):
        faults += k_faults(config, n_training)
    remedies = {
        "dcam": "Set dcam.space to template, or leave dcam.methods empty.",
        "dram": "Leave dram.methods empty, or give the scans themselves.",
    }
    for section, remedy in remedies.items():
        native = section_is_valid(config, schema, section) and config[section].get("space", "native") == "native"
        if registered and native and config[section]["methods"]:
            faults.append(
                f"{place}, {lines_text(registered)}, column registered: found volumes in template space, expected "
                f"scans of their own space for {section}. {remedy}"
            )
    return faults


def _judge_lesion_table(
    config: Mapping[str, object], table: pd.DataFrame, sheet: pd.DataFrame | None, parts: Mapping[str, str]
) -> tuple[list[str], int]:
    """Faults of the lesion table by itself; without any, whether the methods find something to learn from, and how
    many rows no scan can use."""
    from lungtypes.imaging.zones import LOBES, LOBES_AND_ZONES, REGIONS  # scipy, for studies with such a table only

    section, path = config["dram"], config["dram"]["table"]
    names = tuple(LOBES_AND_ZONES.values())
    faults = lesion_faults(path, table, subjects=parts, regions=names, edges=section["edges"])
    if faults or not parts:
        return faults, 0
    lobed, masked = (
        set(sheet["subject"][sheet[name] != ""]) if name in sheet else set() for name in ("lobes", "lesions")
    )
    template = config.get("template")
    every = isinstance(template, Mapping) and bool(template.get("lobes"))
    regions = {subject: tuple((LOBES if every or subject in lobed else REGIONS).values()) for subject in parts}
    training = {subject: names for subject, names in regions.items() if parts[subject] == "train"}
    faults = coverage_faults(path, table, regions_of=training, masked=masked, methods=section["methods"])
    return faults, n_unused(table, regions)


def _lesion_words(n_rows: int, n_unusable: int) -> str:
    words = f", {n_rows} lesion row{'' if n_rows == 1 else 's'}" if n_rows else ""
    return words + (f" ({n_unusable} about regions that their scans do not have)" if n_unusable else "")


def _summary(parts: Mapping[str, str], n_clinical: int, lesion_rows: str, n_decisions: int) -> str:
    counts = {name: sum(part == name for part in parts.values()) for name in ("train", "test", "repeat")}
    words = {"train": "to learn from", "test": "held out", "repeat": "repeated"}
    scans = ", ".join(f"{n} {words[name]}" for name, n in counts.items() if n)
    decisions = f"{n_decisions or 'no'} decision{'' if n_decisions == 1 else 's'}"
    rows = f"{n_clinical or 'no'} clinical row{'' if n_clinical == 1 else 's'}"
    return f"config, {len(parts)} scans ({scans}), {rows}{lesion_rows}, {decisions}: no fault found"
