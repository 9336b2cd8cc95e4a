"""The clinical table: values as the statistics read them, and faults that would bend the statistics unseen."""

import numpy as np
import pytest

from lungtypes.cohort.clinical import clinical_faults, external_faults, read_clinical, reference_faults
from lungtypes.cohort.tables import read_table
from lungtypes.errors import InputError

ASSOCIATE = {
    "unmatched": "error",
    "covariates": ["age", "smoking", "height_cm"],
    "technical": ["scanner_model"],
    "comparator": "scadding",
    "table_one": [
        {"name": "age", "label": "Age", "type": "continuous"},
        {"name": "smoking", "label": "Smoking", "type": "categorical"},
    ],
    "outcomes": [
        {"name": "fev1_l", "label": "FEV1", "family": "lung", "type": "continuous"},
        {"name": "cd4", "label": "", "family": "", "type": "skewed"},
        {"name": "dyspnoea", "label": "", "family": "", "type": "ordinal"},
    ],
}


def clinical(tmp_path, **columns):
    """A table with subjects S1, S2, ... and these columns; their first value stands on line 2."""
    n = max(map(len, columns.values()))
    columns = {"subject": [f"S{i + 1}" for i in range(n)], **columns}
    rows = ["\t".join(columns), *("\t".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path = tmp_path / "clinical.tsv"
    path.write_text("\n".join(rows) + "\n")
    return path


def faults_of(path, subjects=(), **options):
    found = clinical_faults(
        path, read_table(path), list(subjects), {**ASSOCIATE, **options.pop("associate", {})}, **options
    )
    assert all(str(path) in fault for fault in found)
    return [fault.replace(f"{path}", "T") for fault in found]


def test_declared_numbers_are_float_and_missing_ones_nan(tmp_path):
    columns = {
        "age": ["", "NA", "NaN"],
        "fev1_l": ["3", "-.5", "1e1"],
        "scadding": ["0", "", "2"],
        "note": ["x", "NA", "1"],
    }
    table = read_clinical(clinical(tmp_path, **columns), ASSOCIATE)
    assert table.subject.tolist() == ["S1", "S2", "S3"] and table.index.tolist() == [0, 1, 2]
    assert table.age.dtype == float and table.age.isna().all()
    assert table.fev1_l.tolist() == [3.0, -0.5, 10.0]
    assert table.scadding.dtype == float and np.isnan(table.scadding[1])
    assert table.note[0] == "x" and table.note.isna().tolist() == [False, True, False]


def test_binary_and_ordinal_outcomes_may_be_words_and_others_may_not(tmp_path):
    words = clinical(tmp_path, dyspnoea=["none", "mild", "severe"])
    assert faults_of(words) == []
    assert read_clinical(words, ASSOCIATE).dyspnoea.tolist() == ["none", "mild", "severe"]
    assert "column cd4: found 'high', expected a number" in faults_of(clinical(tmp_path, cd4=["high"]))[0]


def test_no_table_and_no_rows_give_an_empty_frame_with_subjects(tmp_path):
    for path in (tmp_path / "no.tsv", "", clinical(tmp_path, age=[])):
        assert list(read_clinical(path, ASSOCIATE)) == ["subject"] and read_clinical(path, ASSOCIATE).empty


def test_ids_are_text_whatever_they_look_like(tmp_path):
    path = tmp_path / "clinical.csv"
    path.write_text("subject,age\n001,4\n")
    assert read_clinical(path, ASSOCIATE).subject.tolist() == ["001"]


def test_reading_refuses_text_in_a_declared_number(tmp_path):
    with pytest.raises(InputError, match="line 3, column fev1_l: found '3,1', expected a decimal point"):
        read_clinical(clinical(tmp_path, fev1_l=["2", "3,1"]), ASSOCIATE)


def test_a_sound_table_has_no_faults(tmp_path):
    path = clinical(tmp_path, age=[50, "NA"], smoking=["never", ""], cd4=[999, 1200], other=["?", "3,1"])
    assert faults_of(path, ["S1", "S2"]) == []


def test_missing_subject_column_and_misspelt_columns_name_both_spellings(tmp_path):
    path = tmp_path / "clinical.tsv"
    path.write_text("Subjects\tFEV1_L\tfev1_pred\tage\tages\nS1\t3\t1\t4\t4\n")
    assert faults_of(path) == [
        "T, line 1: column subject is missing. Rename column 'Subjects'.",
        "T, line 1: found column 'FEV1_L', expected 'fev1_l' as in section associate of the config. "
        "Rename the column, or write 'FEV1_L' in the config.",
    ]


def test_empty_and_repeated_subjects_are_named(tmp_path):
    faults = faults_of(clinical(tmp_path, subject=["S1", "", "s1", ""], age=[1, 2, 3, 4]))
    assert len(faults) == 3
    assert faults[0].startswith("T, line 3, column subject: found nothing")
    assert faults[1].startswith("T, line 5, column subject: found nothing")
    assert faults[2].startswith("T, line 4, column subject: found 's1' again (line 2), expected one row a subject")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("3,1", "found '3,1', expected a decimal point and no separator of thousands. Write 3.1."),
        ("0,312", "Write 0.312."),
        ("1,234", "Write 1234 or 1.234."),
        ("1,234.5", "Write 1234.5."),
        ("1.234,5", "Write 1234.5."),
        ("1,234,567", "Write 1234567."),
        ("inf", "found 'inf', expected a finite number"),
        ("1e999", "found '1e999', expected a finite number"),
        ("<0.3", "found '<0.3', expected a number. Write what your analysis plan gives"),
        *((word, f"found {word!r}, expected a number alone") for word in (".", "-", "?", "n/a", "unknown", "1_000")),
    ],
)
def test_values_of_a_declared_number_that_are_none_are_explained(tmp_path, value, expected):
    (fault,) = faults_of(clinical(tmp_path, fev1_l=["2.5", value]))
    assert fault.startswith("T, line 3, column fev1_l: found ") and expected in fault


def test_a_column_of_decimal_commas_is_one_fault(tmp_path):
    (fault,) = faults_of(clinical(tmp_path, fev1_l=["2,5", "3", "3,5", "4,5", "5,5", "6,5", "7,5"]))
    assert fault.startswith("T, lines 2, 4, 5, 6, 7 and 1 more, column fev1_l: found '2,5'")


def test_covariates_without_a_type_are_numbers_when_most_values_are(tmp_path):
    (fault,) = faults_of(clinical(tmp_path, height_cm=["170", "1,75", "180"]))
    assert fault.startswith("T, line 3, column height_cm: found '1,75'")
    assert faults_of(clinical(tmp_path, height_cm=["tall", "small", "180"])) == []


@pytest.mark.parametrize(
    ("values", "code"),
    [
        (["3", "-9", "0", "-9"], "-9"),
        (["-2", "999", "3", "999"], "999"),
        (["", "-99", "", "-99"], "-99"),
        (["31", "99", "32", "99.0"], "99"),
    ],
)
def test_codes_for_missing_among_numbers_are_one_fault_with_their_lines(tmp_path, values, code):
    (fault,) = faults_of(clinical(tmp_path, fev1_l=values))
    assert fault.startswith(f"T, lines 3, 5, column fev1_l: found {code}, expected a measurement, not a code")


@pytest.mark.parametrize(
    "values",
    [["1200", "999"], ["40", "99"], ["-3", "-9"], ["31", "9.9e1"]],
)
def test_plausible_and_confirmed_values_are_no_codes(tmp_path, values):
    assert faults_of(clinical(tmp_path, cd4=values)) == []


def test_the_way_out_that_a_code_fault_names_is_heard(tmp_path):
    (fault,) = faults_of(clinical(tmp_path, fev1_l=["3", "-9"]))
    assert "write -0.9e1." in fault and faults_of(clinical(tmp_path, fev1_l=["3", "-0.9e1"])) == []


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (["never", "-9", "former"], "-9"),
        (["0", "-999", "2"], "-999"),
        (["never", "-9", "-3"], "-9"),
        (["never", "N/A", "former"], "N/A"),
        (["never", ".", "former"], "."),
    ],
)
def test_codes_for_missing_are_no_levels(tmp_path, values, found):
    (fault,) = faults_of(clinical(tmp_path, smoking=values))
    assert fault.startswith(f"T, line 3, column smoking: found {found!r}, expected a level, not a code for missing")


def test_values_that_an_outcomes_levels_lack_are_named(tmp_path):
    graded = {"name": "grade", "type": "ordinal", "label": "Grade", "levels": [0, 1, 2]}
    binary = {"name": "icu", "type": "binary", "label": "ICU", "levels": [False, True]}  # YAML's no and yes
    associate = {"outcomes": [graded, binary]}
    path = clinical(tmp_path, grade=["0", "1.0", "7", ""], icu=["no", "yes", "Yes", "NA"])
    first, second = faults_of(path, associate=associate)
    assert first.startswith("T, line 4, column grade: found '7', expected one of the outcome's levels (0, 1, 2)")
    assert second.startswith("T, line 4, column icu: found 'Yes', expected one of the outcome's levels")
    assert faults_of(clinical(tmp_path, grade=["0", "2"], icu=["no", "yes"]), associate=associate) == []


def test_clusters_of_an_external_cohort_are_whole_numbers(tmp_path):
    for name, values in (("assignment", "S1,1\nS2,A\nS3,1.5\nS4,2.0\n"), ("clinical", "S1,3\nS2,4\nS3,5\nS4,6\n")):
        column = "cluster" if name == "assignment" else "fvc_l"
        (tmp_path / f"{name}.csv").write_text(f"subject,{column}\n{values}")
    external = {name: str(tmp_path / f"{name}.csv") for name in ("assignment", "clinical")}
    first, second = external_faults(ASSOCIATE | {"external": external})
    assert first.endswith("line 3, column cluster: found 'A', expected a whole number. Number the clusters.")
    assert "line 4, column cluster: found '1.5'" in second


def test_words_and_negative_grades_may_be_levels(tmp_path):
    assert faults_of(clinical(tmp_path, smoking=["never", "unknown", "none"], scadding=["-9", "-8", "9"])) == []


def test_subjects_and_rows_without_a_partner_are_one_fault_each(tmp_path):
    path = clinical(tmp_path, subject=["1", "S2", "X"], age=[1, 2, 3])
    first, second = faults_of(path, ["001", "S2", "S3"])
    assert first.startswith("T: found no row for 2 of 3 subjects of the sheet (001, S3), expected one each.")
    assert second.startswith("T, lines 2, 4, column subject: found 2 ids that the sheet lacks (1, X)")
    assert "Is '1' the sheet's '001'?" in second
    assert all("associate.unmatched: allow" in fault for fault in (first, second))


def test_unmatched_rows_are_faults_unless_allowed(tmp_path):
    path = clinical(tmp_path, subject=["S2"], age=[1])
    without_key = {key: value for key, value in ASSOCIATE.items() if key != "unmatched"}
    assert len(clinical_faults(path, read_table(path), ["S1"], without_key)) == 2
    assert faults_of(path, ["S1"], associate={"unmatched": "allow"}) == []
    assert faults_of(path, []) == []
    assert faults_of(clinical(tmp_path, age=[]), ["S1"]) == []


def test_a_repeated_scan_may_have_a_row_and_needs_none(tmp_path):
    path = clinical(tmp_path, subject=["S1", "S2"], age=[1, 2])
    assert faults_of(path, ["S1"], repeat_subjects=["S2", "S3"]) == []


def test_labels_that_would_stop_a_method_later_are_named_before_anything_runs(tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text("subject,grade\nS1,0\nS2,NA\nS3,\nS4,7\nS5,1\nS6,1\n")
    assert reference_faults(path, "grade", ["S1"]) == []  # NA and nothing: missing, as R and spreadsheets write it
    (fault,) = reference_faults(path, "grade", ["S1"], order=["0", "1", "2"])
    assert fault.startswith(f"{path}, line 5, column grade: found '7', expected one of 0, 1, 2")
    (fault,) = reference_faults(path, "grade", ["S1"], learners=["S1", "S2", "S3", "S5", "S9"])
    assert "found no label for 3 training scans, first S2, S3, S9" in fault and "set their split to test" in fault
    (fault,) = reference_faults(path, "grade", ["S1"], learners=["S5", "S6"])
    assert "found one label (1) in all training scans" in fault
    path.write_text("subject,grade\nS1,0\nS2,n/a\nS3,1\n")
    (fault,) = reference_faults(path, "grade", ["S1"])
    assert fault.startswith(f"{path}, line 3, column grade: found 'n/a', expected a level, not a code for missing")


def test_each_fault_of_the_reference_table_is_named(tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text("subject,group\nS1,a\nS2,b\ns1,a\n")
    assert reference_faults("", "", ["S1"]) == []
    (fault,) = reference_faults(path, "group", ["S1"])
    assert fault.startswith(f"{path}, line 4, column subject: found 's1' again (line 2)")
    path.write_text("subject,group\nS1,a\n,b\n")
    assert "line 3, column subject: found nothing" in reference_faults(path, "group", ["S1"])[0]
    path.write_text("subject,group\nS1,a\n")
    assert reference_faults(path, "group", ["S1", "S9"]) == [] == reference_faults(path, "group", [])
    (fault,) = reference_faults(path, "groups", ["S1"])
    assert fault == (
        f"{path}, line 1: column groups is missing, the config's evaluate.reference_column. Did you mean group?"
    )
    assert "found no subject of the sheet" in reference_faults(path, "group", ["X"])[0]
    assert reference_faults(path, "", [])[0].startswith("config, evaluate.reference_column: is empty")
    assert reference_faults("", "group", [])[0].startswith("config, evaluate.reference_table: is empty")
    assert "found no such file" in reference_faults(tmp_path / "no.tsv", "group", [])[0]
    path.write_text("patient,group\nS1,a\n")
    assert "column subject is missing" in reference_faults(path, "group", ["S1"])[0]
