"""The table of lesion percentages and grades: what is read, and every fault with its line."""

import numpy as np
import pandas as pd
import pytest

from lungtypes.cohort.lesion_table import coverage_faults, lesion_faults, read_lesion_table, rows_checksum
from lungtypes.cohort.tables import read_table
from lungtypes.errors import InputError
from lungtypes.imaging.zones import LOBES_AND_ZONES

REGIONS = ["right_upper", "right_middle", "left_upper"]
EDGES = [0, 1, 5, 25, 50, 75, 100]


def read(tmp_path, text, subjects=("S1", "S2")):
    path = tmp_path / "lesions.tsv"
    path.write_text(text)
    return read_lesion_table(path, subjects=subjects, regions=REGIONS, edges=EDGES)


def faults(tmp_path, text, **options):
    with pytest.raises(InputError) as caught:
        read(tmp_path, text, **options)
    found = str(caught.value).splitlines()
    assert all(str(tmp_path / "lesions.tsv") in fault for fault in found)
    return [fault.replace(str(tmp_path / "lesions.tsv"), "T") for fault in found]


def test_percentages_and_grades_stand_side_by_side(tmp_path):
    text = "subject\tregion\tpercent\tgrade\nS2\tleft_upper\t\t5\nS1\tright_upper\t12.5\tNA\nS1\tleft_upper\t0\t\n"
    wanted = pd.DataFrame(
        [("S1", "left_upper", 0.0, np.nan), ("S1", "right_upper", 12.5, np.nan), ("S2", "left_upper", np.nan, 5.0)],
        columns=["subject", "region", "percent", "grade"],
    )
    pd.testing.assert_frame_equal(read(tmp_path, text), wanted)


def test_one_of_both_columns_is_enough_and_regions_may_be_missing(tmp_path):
    assert read(tmp_path, "subject\tregion\tgrade\nS1\tright_upper\t0\n")["percent"].isna().all()
    assert read(tmp_path, "subject\tregion\tpercent\nS9\tright_upper\t100\n", subjects=())["percent"].tolist() == [100]


def test_every_fault_is_told_with_line_column_value_and_remedy(tmp_path):
    rows = ["S3\tright_upper\t1\t", "S1\tright_uper\t1\t", "S1\tright_upper\t1\t2", "S1\tright_middle\t\t"]
    rows += ["S1\tleft_upper\t100.5\t", "S2\tleft_upper\t\t2.5", "S2\tright_upper\t\t6", "S2\tright_middle\t12,5\t"]
    rows += ["S2\tright_upper\t4\t", "\tright_upper\t3\t"]
    found = faults(tmp_path, "subject\tregion\tpercent\tgrade\n" + "\n".join(rows) + "\n")
    assert found == [
        "T, line 2, column subject: found 'S3', expected an id of the sheet. Mend it, or remove the row.",
        "T, line 3, column region: found 'right_uper', expected a region. Did you mean right_upper?",
        "T, line 4, columns percent and grade: found '1' and '2', expected 5 to 25 percent for grade 2 (dram.edges). "
        "Mend one of them, or empty it.",
        "T, line 5, columns percent and grade: found neither, expected one of them. Fill it in, or remove the row: a "
        "region without a row is passed over.",
        "T, line 6, column percent: found '100.5', expected 0 to 100. Mend it.",
        "T, line 7, column grade: found '2.5', expected a whole number, 0 to 5. Mend it.",
        "T, line 8, column grade: found '6', expected a whole number, 0 to 5. Mend it.",
        "T, line 9, column percent: found '12,5', expected 0 to 100. Mend it.",
        "T, line 10, columns subject and region: found 'S2' and 'right_upper' again (line 8), expected one row each. "
        "Remove one row.",
        "T, line 11, column subject: found nothing, expected an id of the sheet. Fill it in.",
    ]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("subject\tpercent\nS1\t1\n", "T, line 1: column region is missing. Add it."),
        ("subject\tregion\nS1\tleft_upper\n", "T, line 1: column percent is missing. Add it, or column grade."),
        (
            "subject\tregion\tpercnt\nS1\tleft_upper\t1\n",
            "found column 'percnt', which is not known. Did you mean",
        ),
        ("subject\tregion\tgrade\n", "T: found no row, expected one for each subject and region"),
        ("subject\tregion\tpercent\nS1\tleft_upper\t-1\n", "T, line 2, column percent: found '-1', expected 0 to 100"),
        ("subject\tregion\tgrade\nS1\tleft_upper\t1e999\n", "T, line 2, column grade: found '1e999', expected a whole"),
    ],
)
def test_single_faults(tmp_path, text, wanted):
    assert any(wanted in fault for fault in faults(tmp_path, text))


def test_a_percentage_may_stand_beside_its_grade_up_to_both_edges(tmp_path):
    text = "subject\tregion\tpercent\tgrade\n"
    text += "S1\tright_upper\t5\t1\nS1\tright_middle\t5\t2\nS1\tleft_upper\t100\t5\n"
    found = read(tmp_path, text).set_index("region")
    assert found["percent"].to_dict() == {"right_upper": 5, "right_middle": 5, "left_upper": 100}
    assert found["grade"].to_dict() == {"right_upper": 1, "right_middle": 2, "left_upper": 5}
    (fault,) = faults(tmp_path, text.replace("5\t2", "4.9\t2"))
    assert fault.startswith("T, line 3, columns percent and grade: found '4.9' and '2', expected 5 to 25 percent")


def test_names_of_regions_are_alike_in_case_blanks_hyphens_and_underscores(tmp_path):
    text = "subject\tregion\tgrade\nS1\tRight Upper\t0\nS1\tright-middle\t0\nS2\tLEFT__upper\t0\n"
    assert read(tmp_path, text)["region"].tolist() == ["right_middle", "right_upper", "left_upper"]
    (fault,) = faults(tmp_path, text + "S1\tright_upper\t3\n")
    assert "found 'S1' and 'right_upper' again (line 2)" in fault


def test_zones_of_each_lung_have_their_own_names_and_no_lobe_is_lost():
    names = list(LOBES_AND_ZONES.values())
    assert len(set(names)) == 11 == max(LOBES_AND_ZONES) and names[0] == "right_upper"
    assert LOBES_AND_ZONES[6] == "right_upper_zone" and LOBES_AND_ZONES[11] == "left_lower_zone"


@pytest.mark.parametrize(
    ("methods", "regions_of", "masked", "wanted"),
    [
        (["dram"], {"S1": ["right_upper"]}, [], ""),
        (["dram"], {"S1": ["right_upper_zone"]}, ["S1"], "found no row about a region of a training scan"),
        (["dram"], {"S3": ["right_upper"]}, [], "found no row about a region of a training scan"),
        ([], {}, [], ""),
        (["dram", "dram-supervised"], {"S1": ["right_upper"]}, ["S1"], ""),
        (["dram", "dram-supervised"], {"S1": ["right_upper"]}, ["S2"], "no training scan with a lesion mask and a row"),
    ],
)
def test_methods_need_rows_of_regions_that_training_scans_have(tmp_path, methods, regions_of, masked, wanted):
    path = tmp_path / "lesions.tsv"
    path.write_text("subject\tregion\tgrade\nS1\tRight-upper\t0\nS2\tright_upper\t0\n")
    found = coverage_faults(path, read_table(path), regions_of=regions_of, masked=masked, methods=methods)
    assert len(found) == bool(wanted) and all(wanted in fault for fault in found)


@pytest.mark.parametrize(
    ("values", "is_fault"),
    [
        (["0", "0.3", "1"], True),
        (["0", "0.3", "1.5"], False),
        (["0", "1", "1"], False),  # whole numbers: percentages of a healthy cohort
        (["0", "0", "0"], False),
        (["0.3", "0.2", "NA"], False),  # too few to tell
    ],
)
def test_shares_are_no_percentages(tmp_path, values, is_fault):
    rows = [f"S1\t{region}\t{value}\t1\n" for region, value in zip(REGIONS, values, strict=True)]
    text = "subject\tregion\tpercent\tgrade\n" + "".join(rows)
    path = tmp_path / "lesions.tsv"
    path.write_text(text)
    found = lesion_faults(path, read_table(path), subjects=["S1"], regions=REGIONS, edges=[0, 0, 100])
    wanted = [f"{path}, column percent: found nothing above 1, expected percentages, 0 to 100. Multiply shares by 100."]
    assert found == (wanted if is_fault else [])


def test_checksum_is_of_what_is_said_of_the_subjects_and_not_of_its_order(tmp_path):
    def checksum(text):
        (tmp_path / "lesions.tsv").write_text(text)
        return rows_checksum(tmp_path / "lesions.tsv", ["S1", "S2"])

    before = checksum("subject\tregion\tpercent\nS1\tleft_upper\t3\nS2\tleft_upper\t4\nS3\tleft_upper\t5\n")
    same = checksum("region\tsubject\tgrade\tpercent\nLeft-upper\tS2\t\t4\nleft_upper\tS1\t\t3\nleft_upper\tS3\t\t9\n")
    assert same == before
    assert checksum("subject\tregion\tpercent\nS1\tleft_upper\t3\nS2\tleft_upper\t6\n") != before
    assert checksum("subject\tregion\tpercent\nS1\tleft_upper\t3\n") != before
