"""Which files go to the template or to a scan: every row checked before anything runs, and expanded by subject."""

from pathlib import Path

import pandas as pd
import pytest

from lungtypes.cohort.apply_table import (
    Application,
    applications_of,
    apply_faults,
    read_applications,
    registered_here,
)
from lungtypes.cohort.tables import read_table

HEADER = "name\tsubject\tfile\tkind\tto"
SCANS = {"S1": True, "S2": True, "R1": False}


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """Two label maps, an atlas and a table of points."""
    monkeypatch.chdir(tmp_path)
    Path("snap").mkdir()
    for name in ("snap/S1.nii.gz", "snap/S2.nii.gz", "atlas.nrrd", "points.csv"):
        Path(name).touch()


def table(*rows, header=HEADER):
    Path("apply.tsv").write_text("\n".join([header, *rows]) + "\n")
    return read_table("apply.tsv")


def faults(*rows, scans=SCANS, **more):
    return apply_faults("apply.tsv", table(*rows, **more), scans, results="results")


SOUND = (
    "lesion\tS2\tsnap/{subject}.nii.gz\tlabels\ttemplate",
    "atlas\t*\t./atlas.nrrd\tlabels\tscan",
    "notes\tS1\tpoints.csv\tpoints\tscan",
)


def test_rows_become_what_each_subject_needs():
    assert faults(*SOUND) == []
    assert applications_of(table(*SOUND), SCANS) == {
        "S1": (
            Application("atlas", "atlas.nrrd", "labels", "scan"),
            Application("notes", "points.csv", "points", "scan"),
        ),
        "S2": (
            Application("atlas", "atlas.nrrd", "labels", "scan"),
            Application("lesion", "snap/S2.nii.gz", "labels", "template"),
        ),
    }


def test_order_of_rows_does_not_matter():
    assert applications_of(table(*SOUND[::-1]), SCANS) == applications_of(table(*SOUND), SCANS)


def test_jobs_read_the_same_and_no_file_means_nothing():
    assert read_applications("no.tsv", SCANS) == {} == read_applications("", SCANS)
    assert read_applications("apply.tsv", SCANS) == {}
    assert read_applications("apply.tsv", SCANS) == applications_of(table(*SOUND[:0]), SCANS)
    expected = applications_of(table(*SOUND), SCANS)
    assert expected and read_applications("apply.tsv", SCANS) == expected


def test_scans_that_came_registered_have_no_transform():
    sheet = pd.DataFrame({"subject": ["S1", "R1", ""], "registered": ["", "r.nii.gz", ""]})
    assert registered_here(sheet) == {"S1": True, "R1": False}
    assert registered_here(sheet[["subject"]]) == {"S1": True, "R1": True}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("a b\tS1\tatlas.nrrd\timage\tscan", "name: found 'a b', expected 1-64 letters, digits, _ or -,"),
        ("\tS1\tatlas.nrrd\timage\tscan", "name: found '', expected 1-64 letters"),
        (
            "x\ts1\tatlas.nrrd\timage\tscan",
            "subject: found 's1', expected a subject of the sheet, or * for every scan. Did",
        ),
        ("x\t\tatlas.nrrd\timage\tscan", "subject: found '', expected a subject"),
        ("x\tR1\tatlas.nrrd\timage\tscan", "subject: found 'R1', whose volume came registered, expected a scan"),
        ("x\tS1\t\timage\tscan", "file: found nothing, expected the path of a file."),
        ("x\tS1\tatlas.nii\timage\tscan", "file: found 'atlas.nii', which is no file that can be read (a relative"),
        ("x\tS1\tsnap.nrrd\timage\tscan", "file: found 'snap.nrrd', which is no file"),
        (
            "x\tS1\tpoints.csv\tlabels\tscan",
            "file: found 'points.csv', expected .nii, .nii.gz, .nrrd or .mha for labels.",
        ),
        ("x\tS1\tatlas.nrrd\tpoints\tscan", "file: found 'atlas.nrrd', expected .tsv or .csv for points."),
        (
            "x\tS1\tsnap/{id}.nii.gz\timage\tscan",
            "file: found braces in 'snap/{id}.nii.gz', expected none but {subject}.",
        ),
        ("x\tS1\t~/atlas.nrrd\timage\tscan", "file: found '~/atlas.nrrd', expected a path without ~."),
        ("x\t*\tatlas.nrrd\timage\ttemplate", "file: found 'atlas.nrrd' for every scan, expected {subject} in it"),
        (
            "x\tS1\tatlas.nrrd\tlabel\tscan",
            "kind: found 'label', expected image or labels or points. Did you mean labels?",
        ),
        ("x\tS1\tatlas.nrrd\timage\t", "to: found '', expected template or scan. Mend the value."),
        (
            "MAP\tS2\tatlas.nrrd\timage\tscan",
            "name: found 'MAP' again (line 2) for S2 to the scan, expected each result",
        ),
        (
            "map\t*\tatlas.nrrd\timage\tscan",
            "name: found 'map' again (line 2) for S2 to the scan, expected each result",
        ),
    ],
)
def test_each_fault_is_named_with_its_place(row, expected):
    Path("snap.nrrd").mkdir()
    (text,) = faults("map\tS2\tatlas.nrrd\tlabels\tscan", row)
    assert text.startswith(f"apply.tsv, line 3, column {expected}"), text


def test_same_name_may_stand_for_other_subjects_and_the_other_space():
    rows = ["a\tS1\tatlas.nrrd\timage\tscan", "a\tS2\tatlas.nrrd\timage\tscan", "a\tS1\tatlas.nrrd\timage\ttemplate"]
    assert faults(*rows) == []


def test_missing_files_of_many_subjects_are_counted():
    scans = {f"S{n}": True for n in range(1, 11)}
    (text,) = faults("x\t*\tsnap/{subject}.nii.gz\tlabels\ttemplate", scans=scans)
    assert "'snap/S3.nii.gz'" in text and "'snap/S1.nii.gz'" not in text and "and 3 more, which are no files" in text


def test_every_fault_of_a_row_and_of_all_rows_comes_at_once():
    found = faults("a b\tS9\tno.nrrd\tpicture\there", "x\tS1\tno.nrrd\timage\tscan")
    assert [text.split(":")[0].split("apply.tsv, ")[1] for text in found] == [
        "line 2, column name",
        "line 2, column subject",
        "line 2, column kind",
        "line 2, column to",
        "line 3, column file",
    ]


def test_star_needs_a_scan_that_is_registered_here():
    (text,) = faults("x\t*\tatlas.nrrd\timage\tscan", scans={"R1": False})
    assert "column subject: found '*', and every volume came registered" in text


def test_ids_are_compared_only_when_the_sheet_is_known():
    assert faults("x\tS9\tatlas.nrrd\timage\tscan", "y\t*\tatlas.nrrd\timage\tscan", scans={}) == []


def test_missing_and_unknown_columns_are_named_once():
    found = faults("x\tS1\tatlas.nrrd\timage", "y\tS1\tatlas.nrrd\timage", header="name\tsubject\tpath\tkind")
    assert [text.replace("apply.tsv, line 1: ", "") for text in found] == [
        "column file is missing. Add it.",
        "column to is missing. Add it.",
        "found column 'path', which is not known. Known: name, subject, file, kind, to.",
    ]
