"""A study that brings things along: ZIP, NRRD and MHA scans, lung and lobe masks, a template, registered volumes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from lungtypes.imaging.geometry import read_volume, write_volume

LUNGMASK = [3, 4, 5, 1, 2]  # how another program numbers right upper, middle, lower, left upper, lower


def table(path):
    return pd.read_csv(path, sep="\t", keep_default_na=False, dtype={"subject": str})


def lobes_of(lungs):
    """A lobe mask in the other program's labels: the right lung cut in three, the left in two, along z."""
    lobes = np.zeros(lungs.array.shape, np.uint8)
    for side, labels in ((1, LUNGMASK[2::-1]), (2, LUNGMASK[:2:-1])):  # from the lowest slice up
        where = np.flatnonzero((lungs.array == side).any(axis=(1, 2)))
        for part, label in zip(np.array_split(where, len(labels)), labels, strict=True):
            lobes[part] = np.where(lungs.array[part] == side, label, lobes[part])
    return lungs.with_array(lobes)


@pytest.fixture(scope="module")
def brought(finished, tmp_path_factory):
    """Four volumes registered already, three scans in other forms with masks, run to the report with keep: results."""
    folder = tmp_path_factory.mktemp("brought")
    old, rows = finished.results, []
    good = table(old / "cohort/attrition.tsv").query("status == 'analysed'").subject.tolist()
    for name in ("template", "mask"):
        shutil.copy(old / f"template/{name}.nii.gz", folder)
    for number, subject in enumerate(good[:4], start=1):
        shutil.copy(old / f"registered/{subject}/ct.nii.gz", folder / f"r{number}.nii.gz")
        shutil.copy(old / f"registered/{subject}/lungs.nii.gz", folder / f"m{number}.nii.gz")
        lungs = f"m{number}.nii.gz" if number == 1 else ""
        rows.append({"subject": f"R{number}", "registered": f"r{number}.nii.gz", "lungs": lungs})
    paths = table(finished.folder / "demo/subjects.tsv").set_index("subject").path
    shutil.make_archive(str(folder / "zipped"), "zip", finished.folder / paths[good[4]])
    rows.append({"subject": "Z1", "path": "zipped.zip"})
    write_volume(read_volume(old / f"ingest/{good[5]}/ct.nii.gz"), folder / "scan.nrrd")
    write_volume(read_volume(old / f"lungs/{good[5]}/lungs.nii.gz"), folder / "lungs.mha")
    rows.append({"subject": "N1", "path": "scan.nrrd", "lungs": "lungs.mha", "person": "P", "primary": "1"})
    write_volume(read_volume(old / f"ingest/{good[6]}/ct.nii.gz"), folder / "scan.mha")
    write_volume(lobes_of(read_volume(old / f"lungs/{good[6]}/lungs.nii.gz")), folder / "lobes.nii.gz")
    rows.append({"subject": "L1", "path": "scan.mha", "lobes": "lobes.nii.gz", "person": "P", "primary": "0"})
    pd.DataFrame(rows).to_csv(folder / "subjects.tsv", sep="\t", index=False)
    (folder / "decisions.tsv").write_text("subject\tstage\tdecision\tby\treason\nR4\tregister\texclude\tAB\tmoved\n")
    config = yaml.safe_load((finished.folder / "study.yaml").read_text())
    config |= {"subjects": "subjects.tsv", "decisions": "decisions.tsv", "clinical": "", "keep": "results"}
    config["evaluate"] |= {"reference_table": "", "reference_column": ""}
    config["dcam"]["methods"] = []
    config.pop("dram")  # needs scans of their own space
    write_volume(lobes_of(read_volume(folder / "mask.nii.gz")), folder / "atlas.nii.gz")
    config["template"] = {"image": "template.nii.gz", "lungs": "mask.nii.gz", "lobes": "atlas.nii.gz"}
    config["lungs"] = {"lobe_labels": LUNGMASK}
    config["clam"]["k"] |= {"n_clusters": 2, "maximum": 3}
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    study = type(finished)(folder)
    study.log = study.snakemake("--cores", "2", "--quiet", "rules").stdout
    return study


def test_every_scan_is_accounted_for_however_it_came(brought):
    attrition = table(brought.results / "cohort/attrition.tsv").set_index("subject")
    assert attrition.status.to_dict() == {
        **dict.fromkeys(["R1", "R2", "R3", "Z1", "N1", "L1"], "analysed"),
        "R4": "excluded",
    }
    assert attrition.code["R4"] == "HUMAN-EXCLUDED" and attrition.decisions["R4"] == "register: exclude by AB (moved)"


def test_given_template_is_the_template_of_the_study(brought):
    ours, given = (read_volume(p) for p in (brought.results / "template/mask.nii.gz", brought.folder / "mask.nii.gz"))
    assert (ours.array == given.array).all() and ours.origin_mm == pytest.approx(given.origin_mm)
    assert not (brought.results / "template/sample.tsv").exists()


def test_registered_volumes_keep_their_values_and_skip_the_stages_before(brought):
    for number in (1, 2, 3):
        found = read_volume(brought.results / f"registered/R{number}/ct.nii.gz").array
        assert (found == read_volume(brought.folder / f"r{number}.nii.gz").array).all()
        assert not (brought.results / f"lungs/R{number}").exists()
    own = read_volume(brought.folder / "m1.nii.gz").array
    assert (read_volume(brought.results / "registered/R1/lungs.nii.gz").array == own).all()
    figures = json.loads((brought.results / "registered/R2/registration.json").read_text())
    assert figures["dice_left"] == 1.0 and figures["folded_percent"] is None and figures["attempt"] == "given"


def test_given_masks_are_used_as_they_are(brought):
    checks = {s: json.loads((brought.results / f"lungs/{s}/lungs.json").read_text()) for s in ("Z1", "N1", "L1")}
    assert [checks[s]["split_by"] == "given" for s in checks] == [False, True, True]
    lungs = read_volume(brought.results / "lungs/N1/lungs.nii.gz").array
    assert (lungs == read_volume(brought.folder / "lungs.mha").array).all()


def test_lobes_get_our_labels_and_rows_of_densitometry_also_when_the_template_brings_them(brought):
    lobes = read_volume(brought.results / "lungs/L1/lobes.nii.gz").array
    theirs = read_volume(brought.folder / "lobes.nii.gz").array
    assert all(((lobes == ours) == (theirs == label)).all() for ours, label in enumerate(LUNGMASK, start=1))
    assert not (brought.results / "lobes/L1").exists()  # its own mask goes before the template's lobes
    density = table(brought.results / "densitometry.tsv")
    names = ["right_upper", "right_middle", "right_lower", "left_upper", "left_lower"]
    for subject in ("L1", "Z1", "N1"):
        regions = density[density.subject == subject].set_index("region").volume_ml.astype(float)
        assert regions[names].sum() == pytest.approx(regions["lungs"]) and (regions[names] > 50).all()


def test_second_scan_of_a_person_is_assigned_and_not_learned_from(brought):
    assignment = table(brought.results / "clam/assignment.tsv").set_index("subject")
    assert assignment.split.to_dict() == {
        "R1": "train",
        "R2": "train",
        "R3": "train",
        "Z1": "train",
        "N1": "train",
        "L1": "repeat",
    }
    count = read_volume(brought.results / "clam/group_maps/ct_count_population.nii.gz").array
    assert count.max() == 5
    sizes = table(brought.results / "evaluation/clam.tsv").query("metric == 'cluster_size'").value.astype(float)
    assert sizes.sum() == 5


def test_kept_results_hold_no_intermediates_and_nothing_is_left_to_do(brought):
    assert not list(brought.results.glob("ingest/*/ct.nii.gz")) and not list(brought.results.glob("resampled/*/*"))
    assert len(list(brought.results.glob("registered/*/ct.nii.gz"))) == 6
    assert (brought.results / "ingest/series.tsv").exists() and (brought.results / "series/Z1.tsv").exists()
    assert brought.planned() == {}


def test_report_says_what_was_brought_along(brought):
    page = (brought.results / "report/index.html").read_text()
    assert "A template that existed before the study was used" in page and "HUMAN-EXCLUDED" in page
    assert str(Path(brought.folder)) not in page


def test_verify_tells_what_keep_results_deleted_from_what_is_missing(brought):
    done = brought.snakemake("verify", "--cores", "1", check=False)
    verdicts = table(brought.results / "provenance/verify.tsv")
    deleted = verdicts.file[verdicts.state == "deleted after use"].str.partition("/")[0]
    assert done.returncode == 0 and set(deleted) == {"ingest", "resampled"}, done.stdout[-3000:]
    assert set(verdicts.state) == {"as computed", "deleted after use"}
