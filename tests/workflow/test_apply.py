"""The target ``apply``: plans a job for each subject that has rows, says what to do without a table, reruns by row."""

import json
import re
import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from lungtypes.imaging.geometry import Volume, read_volume, write_sitk, write_volume
from lungtypes.imaging.transforms import TransformFiles

HEADER = "name\tsubject\tfile\tkind\tto"
ATLAS = "atlas\t*\tatlas.nii.gz\tlabels\tscan"
LESION = "lesion\tS00003\tmine/S00003.nrrd\tlabels\ttemplate"


@pytest.fixture
def study(fake):
    """Twelve scans, an atlas and two files of one subject, and no table yet."""
    (fake.folder / "mine").mkdir()
    for name in ("atlas.nii.gz", "mine/S00003.nrrd", "mine/other.nrrd"):
        (fake.folder / name).touch()
    return fake


def write(study, *rows):
    (study.folder / "config/apply.tsv").write_text("\n".join([HEADER, *rows]) + "\n")


def jobs_of(text, rule):
    """Everything that the plan says of each job of a rule, by subject."""
    jobs = [job for job in re.split(r"\n(?=\[)", text) if re.search(rf"^rule {rule}:", job, re.M)]
    return {re.search(r"subject=(\w+)", job)[1]: job for job in jobs}


def test_every_subject_with_rows_has_one_job(study):
    write(
        study, LESION, "map\tS00003\tmine/other.nrrd\timage\tscan", "lesion\tS00005\tmine/other.nrrd\tlabels\ttemplate"
    )
    text = study.snakemake("-n", "apply").stdout
    jobs = jobs_of(text, "apply_transforms")
    assert set(jobs) == {"S00003", "S00005"}
    (inputs,) = re.findall(r"^    input: (.*)$", jobs["S00003"], re.M)
    assert set(inputs.split(", ")) == {
        "results/registered/S00003",
        "results/lungs/S00003",
        "results/template/template.nii.gz",
        "mine/S00003.nrrd",
        "mine/other.nrrd",
    }
    assert "output: results/applied/S00003" in jobs["S00003"] and "mem_mb=4000" in jobs["S00003"]
    assert "build_cohort_array" not in text and jobs_of(text, "register_scan").keys() == {"S00003", "S00005"}


def test_star_is_every_scan_that_is_registered_here(study):
    rows = [row.split("\t") for row in (study.folder / "config/subjects.tsv").read_text().splitlines()]
    rows = [[*row, ""] for row in rows]
    rows[0][2], rows[1][1:] = "registered", ["", rows[1][1]]
    (study.folder / "config/subjects.tsv").write_text("\n".join("\t".join(row) for row in rows) + "\n")
    write(study, ATLAS)
    for name in ("t.nii.gz", "m.nii.gz"):
        (study.folder / name).touch()
    planned = study.planned("apply", "--config", "template={image: t.nii.gz, lungs: m.nii.gz}")
    assert planned["apply_transforms"] == 11


def test_target_says_how_to_write_the_table_when_there_is_none(study):
    for prepare in (lambda: None, lambda: write(study)):
        prepare()
        done = study.snakemake("-n", "apply", check=False)
        assert (
            done.returncode != 0
            and "There is nothing to apply: config/apply.tsv does not exist, has no rows" in done.stdout
        ), done.stdout
        assert "columns name, subject, file, kind and to" in done.stdout and "docs/transforms.md" in done.stdout
        assert study.planned("lungs")["segment_lungs"] == 12


def test_table_leaves_all_other_targets_as_they_were(study):
    without = study.planned()
    write(study, ATLAS, LESION)
    assert study.planned() == without and "apply_transforms" not in without


def test_table_of_another_name_must_exist(study):
    assert "my.tsv: found no such file" in study.snakemake("-n", "--config", "apply=my.tsv", check=False).stdout


def test_faults_of_the_table_come_with_those_of_other_files(study):
    write(study, LESION, "x\tS0003\tmine/other.nrrd\tlabels\ttemplate", "lesion\tS00003\tno.nii\tlabel\ttemplate")
    text = study.snakemake("-n", "--config", "devise=cpu", check=False).stdout
    for part in (
        "devise: this key is not known",
        "apply.tsv, line 3, column subject: found 'S0003', expected a subject of the sheet, or * for every scan. Did",
        "apply.tsv, line 4, column name: found 'lesion' again (line 2) for S00003",
        "apply.tsv, line 4, column file: found 'no.nii', which is no file",
        "apply.tsv, line 4, column kind: found 'label', expected image or labels or points. Did you mean labels?",
    ):
        assert part in text, text


ONLY = ("--allowed-rules", "apply", "apply_transforms")  # what comes before is there, made by hand


@pytest.fixture
def registered(study):
    """Registrations of three scans to one template, without warp, the third one failed; two files of each scan."""
    grid = Volume(np.zeros((8, 9, 10), np.uint8), (3.0, 3.0, 3.0), (-12.0, -12.0, -9.0), np.eye(3))
    write_volume(grid, study.results / "template/template.nii.gz")
    still = sitk.Image([10, 9, 8], sitk.sitkVectorFloat32, 3)
    still.SetSpacing([3.0] * 3)
    (study.folder / "DOE").mkdir()
    for number, subject in enumerate(("S00001", "S00002", "S00003"), start=1):
        status = {"subject": subject, "stage": "register", "status": "ok", "code": "", "message": "", "decisions": []}
        if number == 3:
            status |= {"status": "failed", "code": "REG-DICE"}
        for stage in ("lungs", "registered"):
            folder = study.results / stage / subject
            folder.mkdir(parents=True)
            (folder / "status.json").write_text(json.dumps(status))
        write_volume(grid, study.results / "lungs" / subject / "lungs.nii.gz")
        files = TransformFiles.of(study.results / "registered" / subject)
        sitk.WriteTransform(sitk.Transform(sitk.TranslationTransform(3, (3.0 * number, 0.0, 0.0))), str(files.affine))
        write_sitk(still, files.warp)
        write_sitk(still, files.inverse_warp)
        labels = np.zeros((8, 9, 10), np.int16)
        labels[4, 4, 5] = number
        write_volume(grid.with_array(labels), study.folder / f"DOE/{subject}.nii.gz")
        write_volume(grid.with_array(2 * labels), study.folder / f"DOE/{subject}_2.nii.gz")
    return study


def test_jobs_write_both_directions_without_any_source_path_and_pass_failures_on(registered):
    own = str(registered.folder / "DOE/{subject}.nii.gz")
    rows = [f"one\t{subject}\t{own}\tlabels\ttemplate" for subject in ("S00001", "S00002", "S00003")]
    write(registered, *rows, "back\tS00001\t./DOE/S00001.nii.gz\timage\tscan")
    registered.snakemake("apply", "--cores", "1", *ONLY)
    applied = registered.results / "applied"
    for number in (1, 2):  # the scan lies 3 mm times number to the left of the template
        found = read_volume(applied / f"S0000{number}/to_template/one.nii.gz").array
        assert np.argwhere(found).tolist() == [[4, 4, 5 - number]] and found.max() == number
    assert np.argwhere(read_volume(applied / "S00001/to_scan/back.nii.gz").array).tolist() == [[4, 4, 6]]
    assert [path.name for path in (applied / "S00003").glob("[!.]*")] == ["status.json"]
    assert json.loads((applied / "S00003/status.json").read_text())["code"] == "REG-DICE"

    (registered.folder / "DOE/S00002.nii.gz").write_bytes(b"no image")
    registered.snakemake("apply", "--cores", "1", *ONLY)
    status = json.loads((applied / "S00002/status.json").read_text())
    assert (status["stage"], status["code"]) == ("apply", "APPLY-FILE") and "name one: image: found" in status[
        "message"
    ]
    texts = [path for path in registered.results.rglob("*") if path.suffix in (".json", ".log", ".tsv")]
    assert {path.name for path in texts} >= {"status.json", "S00002.log", "S00002.json"}
    assert not [path for path in texts if "DOE" in path.read_text()]
    assert registered.planned("apply", *ONLY) == {}


def test_files_of_the_results_need_not_exist_for_scans_that_failed(registered):
    """A failed scan has no airway, which is no file that Snakemake knows how to make."""
    for subject in ("S00001", "S00002"):
        folder = registered.results / "lungs" / subject
        shutil.copy(registered.folder / f"DOE/{subject}.nii.gz", folder / "airway.nii.gz")
    for table in ("subjects", "clinical"):  # the three scans only
        path = registered.folder / f"config/{table}.tsv"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:4]))
    write(registered, "airway\t*\tresults/lungs/{subject}/airway.nii.gz\tlabels\ttemplate")
    registered.snakemake("apply", "--cores", "1", *ONLY)
    codes = {}
    for subject in ("S00001", "S00002", "S00003"):
        status = json.loads((registered.results / f"applied/{subject}/status.json").read_text())
        codes[subject] = status["code"]
    assert codes == {"S00001": "", "S00002": "", "S00003": "REG-DICE"}
    assert (registered.results / "applied/S00002/to_template/airway.nii.gz").exists()


def test_edited_rows_rerun_their_subject_only(registered):
    files = [("a", "S00001"), ("b", "S00001_2"), ("a", "S00002"), ("b", "S00002_2")]
    rows = [f"{name}\t{file[:6]}\tDOE/{file}.nii.gz\tlabels\ttemplate" for name, file in files]
    write(registered, *rows)
    registered.snakemake("apply", "--cores", "1", *ONLY)
    write(registered, *rows[::-1])
    assert registered.planned("apply", *ONLY) == {}

    def redone(*rows):
        write(registered, *rows)
        return set(jobs_of(registered.snakemake("-n", "apply", *ONLY).stdout, "apply_transforms"))

    assert redone(rows[0].replace("template", "scan"), *rows[1:]) == {"S00001"}
    swapped = [rows[2].replace("S00002.nii", "S00002_2.nii"), rows[3].replace("S00002_2.nii", "S00002.nii")]
    assert redone(*rows[:2], *swapped) == {"S00002"}  # the same files under each other's names
    assert redone(*rows, "a\tS00003\tatlas.nii.gz\tlabels\tscan") == {"S00003"}
    assert redone(*rows) == set()
    shutil.copy(registered.folder / "DOE/S00001_2.nii.gz", registered.folder / "DOE/S00001.nii.gz")  # saved again
    assert redone(*rows) == {"S00001"}
