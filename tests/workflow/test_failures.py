"""Bad scans: excluded with a reason, stopped when strict or when too many, overruled by a human."""

import gzip

import pandas as pd
import pytest
import yaml


def table(path):
    return pd.read_csv(path, sep="\t", keep_default_na=False, dtype={"subject": str})


@pytest.fixture(scope="module")
def broken(planned, tmp_path_factory):
    """Four scans: three files that are no images, and one DICOM folder."""
    folder = tmp_path_factory.mktemp("broken")
    for number in range(1, 4):
        (folder / f"B{number}.nii.gz").write_bytes(gzip.compress(b"no image"))
    source = table(planned.folder / "demo/subjects.tsv")
    truth = table(planned.folder / "demo/truth/subjects.tsv").set_index("subject")
    good = next(row for row in source.itertuples() if truth.corrupt[row.subject] == 0)
    rows = [("subject", "path"), *[(f"B{n}", f"B{n}.nii.gz") for n in range(1, 4)]]
    rows.append(("G1", str(planned.folder / good.path)))
    (folder / "subjects.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    (folder / "study.yaml").write_text(yaml.safe_dump({"subjects": "subjects.tsv", "clinical": ""}))
    return type(planned)(folder)


def test_strict_stops_at_the_first_faulty_scan_and_says_why_and_what_to_do(broken):
    done = broken.snakemake("ingest", "--cores", "1", "--config", "strict=true", "results=strict", check=False)
    assert done.returncode != 0
    assert len(list((broken.folder / "strict/logs/ingest_scan").glob("B*.log"))) == 1
    closing = done.stdout[done.stdout.index("lungtypes: 1 job failed.") :]
    assert "stage  ingest_scan, subject B" in closing and "why    IMG-UNREADABLE" in closing
    assert "log    strict/logs/ingest_scan/B" in closing and "strict: false" in closing
    assert len(closing.splitlines()) < 16


def test_too_many_failures_stop_the_cohort_with_the_list_and_leave_the_table(broken):
    done = broken.snakemake("template", "--cores", "2", check=False)
    assert done.returncode != 0
    closing = done.stdout[done.stdout.index("lungtypes: 1 job failed.") :]
    assert "stage  select_template_sample, whole cohort" in closing
    assert "3 of 4 scans failed, expected at most 50 % (max_failed_fraction)" in closing
    assert "B1 (ingest, IMG-UNREADABLE); B2 (ingest, IMG-UNREADABLE); B3 (ingest, IMG-UNREADABLE)" in closing
    screening = table(broken.results / "cohort/screening.tsv").set_index("subject")
    assert screening.status.tolist() == ["excluded"] * 3 + ["analysed"] and screening.stage["G1"] == "resample"
    page = (broken.results / "report/stopped.html").read_text()
    assert "3 of 4 scans failed" in page and "3 excluded: IMG-UNREADABLE" in page and str(broken.folder) not in page


def test_failed_scans_have_a_status_in_every_stage_and_nothing_else(broken):
    for stage in ("ingest", "lungs", "resampled"):
        assert [p.name for p in (broken.results / stage / "B1").glob("[!.]*")] == ["status.json"]


def test_each_stage_turns_its_fault_into_a_code_and_a_human_overrules_it(broken):
    limits = "lungs={checks: {total_ml: {warn: [10900, 11000], fail: [10900, 11000]}}}"
    tight = ["--cores", "2", "--config", limits, "decisions=decisions.tsv"]
    decisions = broken.folder / "decisions.tsv"
    decisions.write_text("subject\tstage\tdecision\tby\treason\n")
    broken.snakemake("results/resampled/G1", *tight)
    status = (broken.results / "resampled/G1/status.json").read_text()
    assert "SEG-VOLUME" in status and '"stage": "lungs"' in status
    decisions.write_text("subject\tstage\tdecision\tby\treason\nG1\tlungs\taccept\tAB\tlungs are right\n")
    planned = broken.planned("results/resampled/G1", *tight[2:])
    assert planned.get("segment_lungs") == 1 and "ingest_scan" not in planned
    broken.snakemake("results/resampled/G1", *tight)
    status = (broken.results / "resampled/G1/status.json").read_text()
    assert '"status": "ok"' in status and "lungs are right" in status


def test_run_that_only_checks_leaves_the_record_of_the_last_real_run(broken):
    run = broken.results / "provenance/manifest.json"
    before = run.read_text()
    broken.snakemake("check", "--cores", "1")
    assert run.read_text() == before
