"""The table of lesion percentages and grades: what is read, and every fault with its line."""

import numpy as np
import pandas as pd
import pytest

from lungtypes.cohort.lesion_table import read_lesion_table
from lungtypes.errors import InputError

REGIONS = ["right_upper", "right_middle", "left_upper"]


def read(tmp_path, text, subjects=("S1", "S2")):
    path = tmp_path / "lesions.tsv"
    path.write_text(text)
    return read_lesion_table(path, subjects=subjects, regions=REGIONS, n_grades=6)


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
        "T, line 4, columns percent and grade: found '1' and '2', expected one of them. Empty the other.",
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
