"""What a plan costs: `snakemake -n` of generated cohorts, wall time and peak memory, one row a cohort size.

Usage: python benchmarks/plan.py 500 2000 10000
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def write_study(folder: Path, n: int) -> None:
    """A sheet and a clinical table of ``n`` scans that exist and are empty."""
    (folder / "scans").mkdir()
    (folder / "config").mkdir()
    sheet, clinical = ["subject\tpath\tsite\tsex"], ["subject\tage\tfev1_l"]
    for number in range(n):
        subject = f"S{number:06d}"
        (folder / "scans" / f"{subject}.nii.gz").touch()
        sheet.append(f"{subject}\tscans/{subject}.nii.gz\tsite{number % 7}\t{'FM'[number % 2]}")
        clinical.append(f"{subject}\t{40 + number % 30}\t{2 + number % 3}")
    (folder / "config/subjects.tsv").write_text("\n".join(sheet) + "\n")
    (folder / "config/clinical.tsv").write_text("\n".join(clinical) + "\n")


def plan(folder: Path) -> tuple[float, float, int]:
    """Seconds, peak memory in MB and planned jobs of one dry run, its whole listing written to a file."""
    start = time.monotonic()
    with open(folder / "plan.txt", "w") as out:
        command = [sys.executable, "-m", "snakemake", "-n", "-s", str(ROOT / "Snakefile")]
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    text = (folder / "plan.txt").read_text()
    if status != 0:
        raise SystemExit(text[-3000:])
    totals = [line.split()[1] for line in text.splitlines() if line.startswith("total ")]
    return seconds, usage.ru_maxrss / 1024, int(totals[0])


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("sizes", type=int, nargs="+")
sys.stdout.write("subjects\tjobs\tseconds\tpeak_mb\n")
for size in parser.parse_args().sizes:
    with tempfile.TemporaryDirectory() as name:
        write_study(Path(name), size)
        seconds, megabytes, jobs = plan(Path(name))
    sys.stdout.write(f"{size}\t{jobs}\t{seconds:.1f}\t{megabytes:.0f}\n")
    sys.stdout.flush()
