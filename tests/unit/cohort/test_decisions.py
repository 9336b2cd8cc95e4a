"""Human decisions: each names a scan, a stage, a person and a reason, once."""

import pytest

from lungtypes.cohort.decisions import Decision, read_decisions
from lungtypes.errors import InputError

HEADER = "subject\tstage\tdecision\tby\treason"


def decisions(tmp_path, *rows, header=HEADER):
    path = tmp_path / "decisions.tsv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_decisions_are_found_by_subject_and_stage(tmp_path):
    path = decisions(tmp_path, "S1\tlungs\taccept\tHK\tlarge effusion", "S1\tregister\texclude\tHK\tmoved")
    assert read_decisions(path, subjects=["S1"]) == {
        ("S1", "lungs"): Decision("lungs", "accept", "HK", "large effusion"),
        ("S1", "register"): Decision("register", "exclude", "HK", "moved"),
    }


def test_no_file_and_no_rows_mean_no_decisions(tmp_path):
    assert read_decisions(tmp_path / "no.tsv") == {} == read_decisions("") == read_decisions(decisions(tmp_path))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("s1\tlungs\taccept\tHK\tx", "subject: found 's1', expected a subject of the sheet. Did you mean S1?"),
        ("\tlungs\taccept\tHK\tx", "subject: found '', expected a subject of the sheet. Mend"),
        ("S1\tlung\taccept\tHK\tx", "stage: found 'lung', expected ingest or lungs or resample or register. Did you"),
        ("S1\tlungs\tdrop\tHK\tx", "decision: found 'drop', expected accept or exclude. Mend the value."),
        ("S1\tlungs\taccept\t\tx", "by: found nothing, expected who decided."),
        ("S1\tlungs\taccept\tHK\t", "reason: found nothing, expected why."),
        ("S2\tlungs\taccept\tHK\tx", "subject: found 'S2' with stage 'lungs' again (line 2), expected one decision."),
    ],
)
def test_each_fault_of_a_decision_is_named_with_its_place(tmp_path, row, expected):
    path = decisions(tmp_path, "S2\tlungs\texclude\tHK\tx", row)
    with pytest.raises(InputError) as fault:
        read_decisions(path, subjects=["S1", "S2"])
    (text,) = str(fault.value).splitlines()
    assert text.startswith(f"{path}, line 3, column {expected}")


def test_missing_and_unknown_columns_are_named_once(tmp_path):
    path = decisions(tmp_path, "S1\tlungs\taccept\tHK", "S2\tlungs\taccept\tHK", header="subject\tstage\tdecision\twho")
    with pytest.raises(InputError) as fault:
        read_decisions(path)
    assert [text.replace(f"{path}, line 1: ", "") for text in str(fault.value).splitlines()] == [
        "column by is missing. Add it.",
        "column reason is missing. Add it.",
        "found column 'who', which is not known. Known: subject, stage, decision, by, reason.",
    ]


def test_ids_are_compared_only_when_the_sheet_is_known_and_checks_are_asked_for(tmp_path):
    path = decisions(tmp_path, "S9\tlungs\taccept\tHK\tx")
    assert list(read_decisions(path)) == [("S9", "lungs")] == list(read_decisions(path, check=False, subjects=["S1"]))
