"""What a run left on disk: megabytes a subject and stage, and in all. Usage: python benchmarks/disk.py results/demo"""

import argparse
import sys
from pathlib import Path

import pandas as pd

STAGES = ("ingest", "lungs", "densitometry", "resampled", "registered")  # one folder a subject
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("results", type=Path)
results = parser.parse_args().results


def megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


rows = []
for stage in STAGES:
    scans = [folder for folder in sorted(results.glob(f"{stage}/*/")) if len(list(folder.iterdir())) > 1]
    sizes = pd.Series([megabytes(folder) for folder in scans], dtype=float)
    rows.append((stage, len(sizes), sizes.mean(), sizes.max(), sizes.sum()))
slots = pd.Series([megabytes(slot) for slot in sorted(results.glob("template/iter*/slot*/"))], dtype=float)
used = slots[slots > 0.1]
rows.append(("template iteration, a scan", len(used), used.mean(), used.max(), slots.sum()))
for name in ("template", "cohort", "clam", "report"):
    total = megabytes(results / name) - (slots.sum() if name == "template" else 0.0)
    rows.append((name, 1, total, total, total))
table = pd.DataFrame(rows, columns=["what", "folders", "mean_mb", "max_mb", "all_mb"])
sys.stdout.write(table.round(1).to_string(index=False) + f"\nall of {results}: {megabytes(results):.0f} MB\n")
