"""Faults of the sample sheet are all reported at once, each with its place and a remedy."""

from pathlib import Path

import pytest

from lungtypes.cohort.sheet import SERIES_NUMBER, read_sheet, splits
from lungtypes.errors import InputError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def study(tmp_path, monkeypatch):
    """A folder with scans a, b, c to name by relative paths."""
    for name in "abc":
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sheet(*rows):
    """A sheet from rows whose fields are set apart by spaces; - is an empty field."""
    lines = ["\t".join("" if field == "-" else field for field in row.split(" ")) for row in rows]
    Path("subjects.tsv").write_text("\n".join(lines) + "\n")
    return Path("subjects.tsv")


def refusal(*rows):
    with pytest.raises(InputError) as fault:
        read_sheet(sheet(*rows))
    return str(fault.value).splitlines()


def test_template_sheet_of_the_repository_is_empty_and_valid(monkeypatch):
    assert read_sheet(ROOT / "config/subjects.tsv").empty


def test_a_valid_sheet_keeps_its_columns_and_its_text():
    table = read_sheet(sheet("subject path site", "001 a x", "", "S2 b -"))
    assert list(table) == ["subject", "path", "site"] and table.index.tolist() == [0, 1]
    assert table.to_numpy().tolist() == [["001", "a", "x"], ["S2", "b", ""]]


def test_all_faults_of_a_sheet_are_reported_at_once_in_the_order_of_lines():
    faults = refusal("subject path control", "S1 a 0", "s1 b 2", "../x /no/such -")
    assert [fault.split(":")[0] for fault in faults] == [
        "subjects.tsv, line 3, column subject",
        "subjects.tsv, line 3, column control",
        "subjects.tsv, line 4, column subject",
        "subjects.tsv, line 4, column path",
    ]
    assert "found 's1' again (line 2)" in faults[0] and "found '2', expected 0 or 1, or empty" in faults[1]
    assert "found '../x', expected 1-64 letters" in faults[2]
    assert faults[3].endswith("found '/no/such', which does not exist or cannot be read. Mend the path.")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("subject path Sitee", "found column 'Sitee', which is not known. Did you mean site?"),
        ("subject path qwerty", "found column 'qwerty', which is not known. Known: subject, path, registered"),
        ("subject site", "column path is missing. Add it, or column registered."),
        ("path site", "column subject is missing. Add it."),
        ("subject path primary", "found column primary without column person. Add person, or remove primary."),
    ],
)
def test_faults_of_the_header_are_named(header, expected):
    (fault,) = refusal(header)
    assert fault.startswith(f"subjects.tsv, line 1: {expected}")


def test_misspelt_columns_do_not_hide_faults_of_rows():
    faults = refusal("subject path sitee control", "S1 a x 7")
    assert len(faults) == 2 and "line 2, column control" in faults[1]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["subject path", "S1 a", "-", "NA b"], "line 4, column subject: found 'NA', which means missing"),
        (["subject path", "- a"], "line 2, column subject: found '', expected 1-64 letters"),
        (["subject path", f"{'x' * 65} a"], f"line 2, column subject: found '{'x' * 65}', expected 1-64"),
        (["subject path", "S1 a{b}"], "line 2, column path: found braces in 'a{b}'"),
        (["subject path", "S1 ~/a"], "line 2, column path: found '~/a', expected a path without ~"),
        (
            ["subject path", "S1 z"],
            "line 2, column path: found 'z', which does not exist or cannot be read (a relative path counts from the "
            "folder where Snakemake runs)",
        ),
        (["subject path lungs", "S1 a z"], "line 2, column lungs: found 'z', which does not exist"),
        (["subject path lobes", "S1 a z"], "line 2, column lobes: found 'z', which does not exist"),
        (["subject registered", "S1 z"], "line 2, column registered: found 'z', which does not exist"),
        (["subject path split", "S1 a Test"], "line 2, column split: found 'Test', expected test or train, or empty"),
        (["subject path person primary", "S1 a P yes"], "line 2, column primary: found 'yes', expected 0 or 1"),
        (["subject path series", "S1 a 2.0"], "line 2, column series: found '2.0', expected a series number"),
        (["subject path", "S1 -"], "line 2, column path: found nothing, and nothing in column registered"),
        (["subject path registered", "S1 a b"], "line 2, column registered: found a value beside column path"),
        (["subject registered series", "S1 a 3"], "line 2, column series: found '3' beside a registered volume"),
        (["subject path lesions", "S1 a z"], "line 2, column lesions: found 'z', which does not exist"),
        (["subject registered lesions", "S1 a b"], "line 2, column lesions: found 'b' beside a registered volume"),
        (["subject registered lobes", "S1 a b"], "line 2, column lobes: found 'b' beside a registered volume"),
        (["subject path", "S1 a", "S2 ./a/"], "line 3, column path: found './a/' again (line 2), expected each scan"),
        (
            ["subject path series", "S1 a 3", "S2 a 4", "S3 a 03"],
            "line 4, column path: found 'a' with series 3 again (line 2)",
        ),
        (["subject registered", "S1 a", "S2 a"], "line 3, column registered: found 'a' again (line 2)"),
    ],
)
def test_each_fault_of_a_row_is_named_with_its_place(rows, expected):
    (fault,) = refusal(*rows)
    assert fault.startswith(f"subjects.tsv, {expected}")


@pytest.mark.parametrize("number", ["3", "003", "2.1", "2.1.1"])
def test_every_number_that_the_table_of_series_may_print_can_be_asked_for(number):
    assert SERIES_NUMBER.fullmatch(number)


def test_two_series_of_one_folder_and_registered_volumes_with_masks_are_allowed():
    assert len(read_sheet(sheet("subject path series", "S1 a 3", "S2 a 4"))) == 2
    table = read_sheet(sheet("subject path registered lungs", "S1 a - -", "S2 - b c"))
    assert table.registered.tolist() == ["", "b"]


def test_several_scans_of_a_person_need_exactly_one_primary():
    header = "subject path person primary"
    (fault,) = refusal(header, "S1 a P -", "S2 b Q -", "S3 c P 0")
    assert fault.startswith(
        "subjects.tsv, lines 2, 4, column person: found 2 scans of person P and none marked, expected primary = 1 in"
    )
    (fault,) = refusal(header, "S1 a P 1", "S2 b P 0", "S3 c P 1")
    assert fault.startswith("subjects.tsv, lines 2, 4, column primary: found 2 scans of person P marked, expected")
    assert len(read_sheet(sheet(header, "S1 a P 1", "S2 b P -", "S3 c - -"))) == 3


def test_without_checks_faulty_rows_are_read_and_broken_files_are_not():
    assert read_sheet(sheet("subject path", "../x z"), check=False).subject.tolist() == ["../x"]
    Path("subjects.tsv").write_bytes(b"subject\tpath\n\xff\ta\n")
    with pytest.raises(InputError, match="line 2: found text that is not UTF-8"):
        read_sheet("subjects.tsv", check=False)


def test_further_scans_of_a_person_are_repeats_whatever_their_split():
    rows = ["A - - -", "B - - test", "C P 1 -", "D P 0 -", "E Q 1 test", "F Q - test", "G R - train"]
    table = read_sheet(sheet("subject person primary split", *rows), check=False)
    assert splits(table) == {
        "A": "train",
        "B": "test",
        "C": "train",
        "D": "repeat",
        "E": "test",
        "F": "repeat",
        "G": "train",
    }
    assert splits(table[["subject"]]) == dict.fromkeys("ABCDEFG", "train")
