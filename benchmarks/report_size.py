"""How long the report of a large study takes, and how large it is: the scans of a finished one, many times over.

    make demo
    python benchmarks/report_size.py results/demo --scans 300

Tables get a row for every copy of a scan, images are linked, arrays repeated; clusters and group maps stay the same.
Times are of one process, those of the pages of single scans of --workers.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from lungtypes.report.page import write_page
from lungtypes.report.results import Results
from lungtypes.report.subject_pages import write_subject_pages

UNREAD = ("report", "provenance", "logs", "benchmarks", "resume", "lungs", "resampled", "lesions")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--scans", type=int, default=300)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        n = multiply(options.results, folder, options.scans)
        config = json.loads((options.results / "provenance/write_report/cohort.json").read_text())["config"]
        page = folder / "report/index.html"
        started = time.perf_counter()
        write_page(
            page,
            results=folder,
            run_config=config["run"],
            has_outcomes=config["has_outcomes"],
            share=True,
            print_dpi=300,
        )
        say(f"{n} scans: report {time.perf_counter() - started:.1f} s, with its shared version and figures for print")
        say(f"index.html {page.stat().st_size / 1e6:.1f} MB, shared {size_mb(page.parent / 'share'):.1f} MB with data")
        started = time.perf_counter()
        write_subject_pages(page.parent / "subjects", folder, workers=options.workers)
        seconds, megabytes = time.perf_counter() - started, size_mb(page.parent / "subjects")
        say(f"pages of single scans: {seconds:.1f} s with {options.workers} processes, {megabytes:.1f} MB")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def size_mb(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def multiply(source: Path, target: Path, scans: int) -> int:
    """Write ``target`` with about ``scans`` scans; returns how many."""
    subjects = Results(source).subjects()
    copies = max(1, scans // len(subjects))
    for file in source.rglob("*"):
        place = file.relative_to(source)
        if not file.is_file() or place.parts[0] in UNREAD or file.name.startswith("."):
            continue
        own = next((part for part in (*place.parts, place.name.split(".")[0]) if part in subjects), None)
        for copy in range(copies if own else 1):
            new = target / Path(*(part.replace(own, named(own, copy)) if own else part for part in place.parts))
            new.parent.mkdir(parents=True, exist_ok=True)
            if own or not write_multiplied(file, new, subjects, copies):
                os.symlink(file.resolve(), new)
    return copies * len(subjects)


def named(subject: str, copy: int) -> str:
    return f"{subject}-{copy}" if copy else subject


def write_multiplied(file: Path, target: Path, subjects: tuple[str, ...], copies: int) -> bool:
    """Write a table or array by subject with all copies; False for any other file."""
    if file.suffix == ".tsv":
        table = pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False)
        if "subject" not in table:
            return False
        parts = [table.assign(subject=[named(s, copy) for s in table["subject"]]) for copy in range(copies)]
        pd.concat(parts).to_csv(target, sep="\t", index=False)
        return True
    described = file.with_suffix(".json")
    if file.suffix == ".npy" and described.exists() and "subjects" in json.loads(described.read_text()):
        array = np.load(file, mmap_mode="r", allow_pickle=False)
        np.save(target, np.concatenate([array] * copies))
        return True
    if file.suffix == ".json":
        text = json.loads(file.read_text())
        if "subjects" not in text:
            return False
        n = len(text["subjects"])
        repeated = {k: v * copies if isinstance(v, list) and len(v) == n else v for k, v in text.items()}
        repeated["subjects"] = [named(s, copy) for copy in range(copies) for s in text["subjects"]]
        target.write_text(json.dumps(repeated))
        return True
    return False


if __name__ == "__main__":
    main()
