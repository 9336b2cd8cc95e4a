"""The last lines of a failed run."""

import subprocess
import sys
from pathlib import Path

from lungtypes.failures import FailedJob, describe_failures

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def failed_job(tmp_path, code):
    """Run ``code`` as a job with a log of its own, and describe it."""
    log = tmp_path / "S003.log"
    start = f"from lungtypes.provenance import open_log; open_log({str(log)!r}, hide=['/data/DOE'])\n"
    subprocess.run([sys.executable, "-c", start + code], cwd=SCRIPTS, capture_output=True)
    return describe_failures([FailedJob("segment_lungs", "S003", str(log))])


def test_fault_of_a_scan_names_stage_subject_reason_log_and_remedy(tmp_path):
    code = "from lungtypes.errors import ScanFault; raise ScanFault('SEG-NONE', 'found no air. Look at it.')"
    text = failed_job(tmp_path, code)
    assert "stage  segment_lungs, subject S003" in text and "why    SEG-NONE: found no air. Look at it." in text
    assert f"log    {tmp_path / 'S003.log'}" in text and "strict: false" in text
    assert text.endswith("finished work is kept.")


def test_multi_line_input_errors_stay_one_line_and_paths_stay_hidden(tmp_path):
    code = "from lungtypes.errors import InputError; raise InputError('/data/DOE/a is broken.\\nMend it.')"
    text = failed_job(tmp_path, code)
    assert "why    <source path>/a is broken. Mend it." in text and "DOE" not in text


def test_bug_asks_for_the_log(tmp_path):
    assert "why    ZeroDivisionError: division by zero" in failed_job(tmp_path, "1 / 0")
    assert "report it with the log" in failed_job(tmp_path, "1 / 0")


def test_job_that_was_killed_is_told_from_one_that_raised(tmp_path):
    text = failed_job(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert "stopped from outside" in text and "--set-resources segment_lungs:mem_mb" in text
    assert "subject" not in describe_failures([FailedJob("map_clam", "", "no/such.log")])


def test_a_long_list_is_cut():
    text = describe_failures([FailedJob("ingest_scan", f"S{n:02d}", "") for n in range(14)])
    assert "14 jobs failed" in text and "... and 4 more" in text and "S09" in text and "S10" not in text
