"""The virtual cohort on disk: real DICOM, planted identities, balanced scanners, truth beside it."""

import json

import pandas as pd
import pydicom
import pytest

from lungtypes.cohort.lesion_table import read_lesion_table
from lungtypes.errors import InputError
from lungtypes.imaging.zones import LOBES, LOBES_AND_ZONES, REGIONS
from lungtypes.phantom.clinical import grade
from lungtypes.phantom.cohort import CohortPlan, plan_members, write_cohort
from lungtypes.phantom.generated import require_replaceable

EDGES = [0, 1, 5, 25, 50, 75, 100]
PLAN = CohortPlan(seed=2, per_group=2, in_plane=32, corrupt=1, confounded=False)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort") / "demo"
    write_cohort(folder, PLAN, workers=2)
    return folder


def read(folder, name):
    return pd.read_csv(folder / name, sep="\t", dtype={"subject": str})


def test_every_subject_has_a_study_a_clinical_row_and_truth(cohort):
    sheet, clinical, truth = (read(cohort, n) for n in ("subjects.tsv", "clinical.tsv", "truth/subjects.tsv"))
    assert len(sheet) == 9 and sheet.subject.is_unique
    assert set(sheet.subject) == set(clinical.subject) == set(truth.subject)
    assert truth[truth.corrupt == 0].group.value_counts().tolist() == [2, 2, 2, 2]
    for name in ("lungs", "lobes", "lesions"):
        assert (cohort / "truth" / sheet.subject[0] / f"{name}.nii.gz").exists()


def test_one_half_of_each_group_and_scanner_comes_with_lobes():
    members = pd.DataFrame(plan_members(CohortPlan(1, 8, 32, 0, False)))
    assert (members.groupby(["group", "scanner"]).lobes.sum() == 2).all()


def test_readers_score_opacities_by_lobe_or_where_there_is_no_lobe_mask_by_zone(cohort):
    sheet, scores, truth = (read(cohort, n) for n in ("subjects.tsv", "lobe_scores.tsv", "truth/subjects.tsv"))
    groups, lobes = truth.set_index("subject").group, sheet.set_index("subject").lobes.fillna("")
    for subject, rows in scores.groupby("subject"):
        if lobes[subject]:
            assert set(rows.region) <= set(LOBES.values()) and (cohort / f"lobes/{subject}.nii.gz").exists()
        else:
            assert set(rows.region) <= set(REGIONS.values()) and not (cohort / f"lobes/{subject}.nii.gz").exists()
        if groups[subject] in ("control", "emphysema"):  # emphysema is no opacity
            assert (rows.percent == 0).all()
    diseased = scores[scores.subject.map(groups).isin(["fibrosis", "sarcoid"])]
    assert diseased.percent.max() >= 20 and (diseased.percent % 5 == 0).all()
    regions = tuple(LOBES_AND_ZONES.values())
    read_lesion_table(cohort / "lobe_scores.tsv", subjects=list(sheet.subject), regions=regions, edges=EDGES)


def test_clustering_labels_do_not_stand_in_the_clinical_table_or_sheet(cohort):
    for name in ("subjects.tsv", "clinical.tsv"):
        assert not {"group", "severity"} & set(read(cohort, name).columns)


def test_dicom_is_valid_and_carries_a_planted_identity(cohort):
    files = sorted((cohort / "dicom").rglob("IM*.dcm"))
    header = pydicom.dcmread(files[5])
    assert header.SOPClassUID == "1.2.840.10008.5.1.4.1.1.2" and header.SeriesInstanceUID.is_valid
    assert header.PatientName and header.PatientBirthDate and header.AccessionNumber
    assert len({pydicom.dcmread(f, stop_before_pixels=True).SOPInstanceUID for f in files}) == len(files)
    assert header.pixel_array.shape == (32, 32)


def test_some_studies_hold_a_localizer_and_a_second_reconstruction(cohort):
    assert list((cohort / "dicom").rglob("SCOUT*.dcm"))
    assert list((cohort / "dicom").glob("*/series_03"))


def test_scanners_are_balanced_unless_confounded():
    balanced = pd.DataFrame(plan_members(CohortPlan(1, 8, 32, 0, False)))
    assert (pd.crosstab(balanced.group, balanced.scanner) == 4).all().all()
    confounded = pd.DataFrame(plan_members(CohortPlan(1, 8, 32, 0, True)))
    assert set(pd.crosstab(confounded.group, confounded.scanner).to_numpy().ravel()) == {0, 8}


def test_same_plan_writes_the_same_bytes(cohort, tmp_path):
    again = tmp_path / "demo"
    write_cohort(again, PLAN, workers=1)
    names = [p.relative_to(cohort) for p in sorted(cohort.rglob("IM00010.dcm"))]
    assert names and all((cohort / n).read_bytes() == (again / n).read_bytes() for n in names)
    assert (cohort / "clinical.tsv").read_bytes() == (again / "clinical.tsv").read_bytes()
    assert json.loads((cohort / "plan.json").read_text())["seed"] == 2


def test_grades_follow_the_published_limits():
    assert [grade(p) for p in (0.5, 1, 4.9, 5, 30, 60, 75)] == [0, 1, 1, 2, 3, 4, 5]


def test_only_a_generated_cohort_is_replaced(tmp_path):
    require_replaceable(tmp_path / "absent")
    require_replaceable(tmp_path)
    (tmp_path / "subjects.tsv").write_text("subject\n")
    with pytest.raises(InputError, match="no generated cohort"):
        require_replaceable(tmp_path)
    (tmp_path / "plan.json").write_text("{}")
    require_replaceable(tmp_path)
