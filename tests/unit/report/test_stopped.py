"""The page of a run that stopped: all excluded, nothing there yet, hostile texts."""

import pandas as pd

from lungtypes.failures import FailedJob, describe_failures
from lungtypes.provenance import STOPPED
from lungtypes.report.stopped import write_stopped_page

from .conftest import CANARY, CONFIG


def test_all_excluded_gives_a_page_that_says_why_and_what_to_do(tmp_path):
    results = tmp_path / "results"
    (results / "cohort").mkdir(parents=True)
    rows = [
        {"subject": f"S{i}", "status": "excluded", "stage": "lungs", "code": "SEG-NONE", "message": f"{CANARY} $x^"}
        for i in range(4)
    ]
    table = pd.DataFrame(rows).assign(decisions="=HYPERLINK('x')")
    table.to_csv(results / "cohort/screening.tsv", sep="\t", index=False)
    log = tmp_path / "select.log"
    log.write_text(f"12:00: {STOPPED}InputError: 4 of 4 scans failed, see /home/jane/scan.nii.gz\n")
    reasons = describe_failures([FailedJob("select_template_sample", "", str(log))])
    page = results / "report/stopped.html"
    write_stopped_page(page, results=results, run_config=CONFIG, reasons=reasons)
    html = page.read_text()
    assert "This run stopped" in html and "4 of 4 scans failed" in html and "select_template_sample" in html
    assert "4 excluded: SEG-NONE" in html and "4 scans in = 0 left + 4 excluded." in html
    assert "<script>alert" not in html and "&lt;script&gt;alert(1)" in html
    assert "=HYPERLINK(&#39;x&#39;)" in html
    assert "jane" not in html and str(tmp_path) not in html


def test_nothing_there_yet_still_gives_a_page(tmp_path):
    reasons = describe_failures([FailedJob("ingest_scan", "S1", "")])
    write_stopped_page(tmp_path / "stopped.html", results=tmp_path, run_config={}, reasons=reasons)
    html = (tmp_path / "stopped.html").read_text()
    assert "ingest_scan, subject S1" in html and "No attrition table" not in html


def test_every_failed_job_has_its_line_and_the_rest_a_number(tmp_path):
    reasons = describe_failures([FailedJob("register_scan", f"S{i:02d}", "") for i in range(12)])
    write_stopped_page(tmp_path / "stopped.html", results=tmp_path, run_config={}, reasons=reasons)
    html = (tmp_path / "stopped.html").read_text()
    assert html.count("register_scan, subject S") == 10
