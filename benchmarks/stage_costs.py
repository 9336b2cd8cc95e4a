"""What each stage of a finished run cost: jobs, seconds and memory per job, from Snakemake's benchmark files."""

import argparse
import sys
from pathlib import Path

import pandas as pd

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("results", type=Path, help="results folder of a finished run, for example results/demo")
folder = parser.parse_args().results / "benchmarks"

rows = []
for path in sorted(folder.rglob("*.tsv")):
    rule = path.parent.name if path.parent != folder else path.stem
    rows.append(pd.read_csv(path, sep="\t").assign(rule=rule))
table = (
    pd.concat(rows)
    .groupby("rule")
    .agg(jobs=("s", "size"), seconds_per_job=("s", "mean"), seconds_total=("s", "sum"), mb_max=("max_rss", "max"))
)
sys.stdout.write(table.sort_values("seconds_total", ascending=False).round(1).to_string() + "\n")
sys.stdout.write(f"all jobs: {table.seconds_total.sum():.0f} s, largest {table.mb_max.max():.0f} MB\n")
