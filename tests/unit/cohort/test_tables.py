"""Tables are read as text, and every fault of a file names its line."""

import datetime
import zipfile

import openpyxl
import pytest

from lungtypes.cohort.tables import lines_text, read_table
from lungtypes.errors import InputError


def text_file(tmp_path, content, name="table.tsv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def workbook(tmp_path, rows, **more):
    book = openpyxl.Workbook()
    book.active.title = "first"
    sheets = {"first": rows, **more}
    for title, content in sheets.items():
        sheet = book[title] if title in book.sheetnames else book.create_sheet(title)
        for row in content:
            sheet.append(row)
    path = tmp_path / "table.xlsx"
    book.save(path)
    return path


def refusal(path):
    with pytest.raises(InputError) as fault:
        read_table(path)
    return str(fault.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", "subject\tvalue\t\n 001 \t3,1\n\n\t\nS2\n"),
        ("a.txt", "subject\tvalue\r\n001\t3,1\r\n\r\n\r\nS2\t\r\n"),
        ("a.CSV", '\ufeffsubject,value\r001,"3,1"\r\r\rS2,\r'),
    ],
)
def test_text_tables_of_every_form_give_the_same_text_with_its_lines(tmp_path, name, content):
    table = read_table(text_file(tmp_path, content, name))
    assert list(table) == ["subject", "value"] and table.index.name == "line"
    assert table.to_dict("index") == {2: {"subject": "001", "value": "3,1"}, 5: {"subject": "S2", "value": ""}}


def test_quotes_inside_a_field_are_text(tmp_path):
    table = read_table(text_file(tmp_path, 'subject\tnote\nS1\t5" thick\nS2\t"said ""no"""\n'))
    assert table.note.tolist() == ['5" thick', 'said "no"']


def test_a_quote_left_open_is_named_with_its_line_and_hides_no_later_fault(tmp_path):
    message = refusal(text_file(tmp_path, 'subject,note\nS1,"two\nlines"\nS2,a,b\n', "a.csv"))
    assert "a.csv, line 2: found a quote that does not close" in message
    assert "a.csv, line 4: found 3 fields, expected 2 as in line 1. Look for a stray comma." in message


@pytest.mark.parametrize(
    ("name", "header", "found", "expected", "remedy"),
    [
        ("a.tsv", "subject,path", "commas", "tabs", "name the file .csv"),
        ("a.txt", "subject;path", "semicolons", "tabs", "decimal commas: save as CSV UTF-8"),
        ("a.csv", "subject;path;a", "semicolons", "commas", "decimal commas: save as CSV UTF-8"),
        ("a.csv", "subject\tpath", "tabs", "commas", "Name the file .tsv"),
    ],
)
def test_wrong_separators_are_named_with_the_way_out(tmp_path, name, header, found, expected, remedy):
    message = refusal(text_file(tmp_path, f"{header}\n", name))
    assert f"{name}, line 1: found {found}, expected {expected} between columns." in message and remedy in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"subject\tpath\nS1\tM\xfcller\n", "line 2: found text that is not UTF-8. Save as UTF-8."),
        ("subject\tpath\n".encode("utf-16"), "line 1: found text that is not UTF-8"),
        (b"subject\tpath\nS1\ta\n\0\n", "line 3: found a NUL byte"),
        (b"", "found an empty file, expected the column names in line 1"),
        (b" \n\n", "found an empty file"),
        (b"\nsubject\tpath\n", "line 1: found an empty line, expected the column names"),
        (b"subject\ta\ta\n", "line 1, column a: found the name 2 times"),
        (b"subject\t\ta\nS1\t\tb\n", "line 1, column 2: found no name, expected one for every column"),
        (
            b"subject\ta\t\nS1\tb\t\nS2\tb\tc\n",
            "line 3: found 3 fields, expected 2 as in line 1. Look for a stray tab.",
        ),
    ],
)
def test_every_fault_of_a_text_file_names_its_line(tmp_path, content, expected):
    assert f"table.tsv{',' if expected.startswith('line') else ':'} {expected}" in refusal(text_file(tmp_path, content))


def test_suffix_folder_and_absence_are_told_apart(tmp_path):
    assert "found suffix '.xls', expected .tsv, .csv or .xlsx" in refusal(text_file(tmp_path, "a", "a.xls"))
    assert "found no such file" in refusal(tmp_path / "no.tsv")
    (tmp_path / "folder.tsv").mkdir()
    assert "found a folder" in refusal(tmp_path / "folder.tsv")


def test_files_beyond_the_size_limit_are_not_opened(tmp_path):
    path = tmp_path / "big.xlsx"
    with path.open("wb") as file:
        file.truncate(51_000_000)
    assert "found 51.0 MB, expected at most 50" in refusal(path)


def test_workbook_cells_become_the_text_that_a_person_would_write(tmp_path):
    rows = [["subject", "a", "b", None], [1.0, 2.5, True], [], ["007", None, False, " "], [" x ", 0.1, 12]]
    table = read_table(workbook(tmp_path, rows, empty=[]))
    assert table.index.tolist() == [2, 4, 5]
    assert table.to_numpy().tolist() == [["1", "2.5", "1"], ["007", "", "0"], ["x", "0.1", "12"]]


def test_workbooks_of_other_programs_with_a_wrong_size_and_whole_floats_are_read_in_full(tmp_path):
    path = workbook(tmp_path, [["subject", "grade"], ["S1", 3]])
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    changed = parts[sheet].replace(b'ref="A1:B2"', b'ref="A1"').replace(b"<v>3</v>", b"<v>3.0</v>")
    assert len(changed) == len(parts[sheet]) - 3 + 2
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**parts, sheet: changed}.items():
            archive.writestr(name, content)
    assert read_table(path).to_dict("records") == [{"subject": "S1", "grade": "3"}]


def test_dates_and_errors_of_a_spreadsheet_are_faults_with_row_and_column(tmp_path):
    rows = [["subject", "age"], ["S1", datetime.datetime(2024, 3, 1)], ["S2", "#N/A"], ["S3", datetime.time(8)]]
    message = refusal(workbook(tmp_path, rows))
    assert "table.xlsx, line 2, column age: found the date or time 2024-03-01 00:00:00" in message
    assert "formatted as text" in message
    assert "table.xlsx, line 3, column age: found the error #N/A" in message
    assert "table.xlsx, line 4, column age: found the date or time 08:00:00" in message


def test_a_formula_without_its_result_is_no_missing_value(tmp_path):
    message = refusal(workbook(tmp_path, [["subject", "age"], ["S1", 4], ["S2", "=40+1"]]))
    assert "table.xlsx, line 3, column age: found the formula '=40+1' without its result" in message


def test_workbooks_with_several_filled_sheets_or_none_are_refused(tmp_path):
    rows = [["subject", "age"], ["S1", 4]]
    assert "found 2 worksheets with content (first, notes)" in refusal(workbook(tmp_path, rows, notes=[["x"]]))
    assert "found an empty file" in refusal(workbook(tmp_path, []))
    assert "line 1: found an empty line" in refusal(workbook(tmp_path, [[], *rows]))
    assert "line 2: found 3 fields, expected 2" in refusal(workbook(tmp_path, [["subject", "age"], ["S1", 4, 5]]))


def test_broken_workbooks_are_refused_in_words(tmp_path):
    whole = workbook(tmp_path, [["subject"], ["S1"]]).read_bytes()
    for content in (b"no archive", whole[: len(whole) // 2]):
        message = refusal(text_file(tmp_path, content, "broken.xlsx"))
        assert "broken.xlsx: found no readable workbook" in message and "without a password" in message


def test_workbooks_that_unpack_beyond_the_limit_are_not_read(tmp_path, monkeypatch):
    path = workbook(tmp_path, [["subject"], ["S1"]])
    monkeypatch.setattr("lungtypes.cohort.workbook.MAX_UNPACKED_MB", 0.001)
    assert "unpacked, expected at most 0.001" in refusal(path)


def test_long_lists_of_lines_are_cut_short():
    assert lines_text([3]) == "line 3"
    assert lines_text([2, 3, 4, 5, 6, 7, 8]) == "lines 2, 3, 4, 5, 6 and 2 more"
