"""What a study of N subjects costs: jobs, SLURM submissions, core hours, memory and disk, rule by rule.

Seconds and memory come from two places, and the table says for each rule from which: `full`, measured at the size of
a real study (FULL below: chest CT of 512x512x300, 1.5 mm, CLAM at 88 voxels; two cores, no GPU), or `run`, measured in
the finished run that is named, at its own size. What grows with the scans was brought to N in proportion, which is
extrapolated wherever the table says `x scans`; nothing of N subjects was run.

Usage: python benchmarks/study_costs.py results/demo --subjects 300 10000
"""

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

ROOT = Path(__file__).resolve().parents[1]
CONFIG = yaml.safe_load((ROOT / "config/config.yaml").read_text())
PROFILE = yaml.safe_load((ROOT / "profiles/slurm/profile.v9+.yaml").read_text())

# rule: seconds a job (or a scan, for jobs of the cohort), cores, MB at most. Sources: benchmarks/README.md.
EPOCHS = (CONFIG["clam"]["pretrain"]["epochs"], CONFIG["clam"]["cluster"]["epochs"])
SECONDS_OF_EPOCH = (36.6 / 301, 50.7 / 301)  # of one scan: pre-training, clustering
FULL = {
    "ingest_scan": (4.5, 1, 674),
    "segment_lungs": (9.5, 1, 965),
    "register_scan": (96.0, 2, 2000),
    "register_template_slot": (96.0, 2, 2000),  # as a scan; most converge earlier
    "pretrain_clam": (EPOCHS[0] * SECONDS_OF_EPOCH[0], 2, 5300),
    "cluster_clam": (EPOCHS[1] * SECONDS_OF_EPOCH[1], 2, 5300),
    "map_clam": (2.01, 2, 5300),
}
DISK_MB = {
    "ingest": 21,
    "lungs and densitometry": 0.2,
    "resampled": 8,
    "registered": 137,
}  # a scan, docs/your-cohort.md
SLOT_MB = 63  # of the template, a scan and iteration
MAP_KINDS = 1 + len(CONFIG["maps"]["kinds"])
# Seconds of CPU and MB of one start of Snakemake inside a job, by subjects in the sheet. A job on the cluster starts it
# twice, and once more for each member of a group.
START = {300: (3.0, 140), 10_000: (6.2, 245)}

PER_SCAN = {
    "ingest_scan",
    "segment_lungs",
    "draw_quality",
    "measure_densitometry",
    "resample_scan",
    "register_scan",
}
OF_CLAM = {
    "screen_cohort",
    "select_template_sample",
    "start_template",
    "update_template",
    "finish_template",
    "collect_series",
    "collect_densitometry",
    "collect_attrition",
    "build_cohort_array",
    "build_common_space",
    "pretrain_clam",
    "choose_clam_clusters",
    "cluster_clam",
    "map_clam",
    "compare_maps",
    "evaluate_clusters",
    "audit_confounders",
    "associate_outcomes",
    "write_report",
    "write_subject_pages",
}
CONSTANT = {"start_template", "update_template", "finish_template"}  # as dear for every cohort


@dataclass(frozen=True)
class Cost:
    """What one rule costs in a study; hours of cores, memory of its dearest job."""

    rule: str
    jobs: int
    submissions: int
    core_hours: float
    mb: float
    basis: str


def measured_run(benchmarks: Path) -> pd.DataFrame:
    """Mean seconds, CPU seconds and peak MB of each rule of a finished run, and how many jobs it had."""
    rows = []
    for path in sorted(benchmarks.rglob("*.tsv")):
        rule = path.parent.name if path.parent != benchmarks else path.stem
        rows.append(pd.read_csv(path, sep="\t", na_values="-").assign(rule=rule))
    table = pd.concat(rows)
    return table.groupby("rule").agg(jobs=("s", "size"), seconds=("s", "mean"), mb=("max_rss", "max"))


def costs(run: pd.DataFrame, n: int) -> list[Cost]:
    """Every rule of a default study (CLAM, a template of its own) of ``n`` scans."""
    scans_of_run = int(run.jobs["ingest_scan"])
    found = []
    for rule in [*sorted(PER_SCAN), "register_template_slot", *sorted(OF_CLAM)]:
        jobs = number_of_jobs(rule, n)
        if rule in FULL:
            seconds, cores, mb = FULL[rule]
            per_cohort = rule in OF_CLAM
            seconds *= n if per_cohort else 1
            basis = "full" + (", x scans" if per_cohort and n != 301 else "")
        elif rule in run.index:
            seconds, cores, mb = run.seconds[rule], 1, run.mb[rule]
            grows = rule in OF_CLAM - CONSTANT
            seconds *= n / scans_of_run if grows else 1
            basis = "run, x scans" if grows else "run"
        else:
            continue  # a rule that the run did not have
        found.append(Cost(rule, jobs, submissions(rule, jobs), jobs * seconds * cores / 3600, mb, basis))
    return found


def number_of_jobs(rule: str, n: int) -> int:
    template = CONFIG["template"]
    if rule in PER_SCAN:
        return n
    if rule == "update_template":
        return template["max_iterations"]
    if rule == "register_template_slot":
        share = round(template["fraction"] * n)
        return min(n, max(template["minimum"], min(template["maximum"], share))) * template["max_iterations"]
    return 1


def submissions(rule: str, jobs: int) -> int:
    """SLURM jobs of a rule; members of a group that are not its first rule cost none."""
    group = PROFILE["groups"].get(rule)
    if group is None:
        return jobs
    members = [name for name in PROFILE["groups"] if PROFILE["groups"][name] == group and name in PER_SCAN | OF_CLAM]
    if members and rule != members[0]:
        return 0
    bundle = PROFILE["group-components"].get(group, 1)
    rounds = CONFIG["template"]["max_iterations"] if rule == "register_template_slot" else 1
    return rounds * math.ceil(jobs / rounds / bundle)


def start_cost(n: int) -> tuple[float, float]:
    """CPU seconds and MB of a start of Snakemake with a sheet of ``n`` scans, on the line through what was measured."""
    (small, (s0, m0)), (large, (s1, m1)) = sorted(START.items())
    share = (n - small) / (large - small)
    return s0 + share * (s1 - s0), m0 + share * (m1 - m0)


def disk_gb(n: int) -> dict[str, float]:
    """Gigabytes by what takes them; the template's iterations and converted scans go with `keep: results`."""
    voxels = CONFIG["volumes"]["size"] ** 3
    slots = number_of_jobs("register_template_slot", n)
    return {
        **{name: mb * n / 1000 for name, mb in DISK_MB.items()},
        "template's iterations": slots * SLOT_MB / 1000,
        "cohort array": n * voxels * 2 / 1e9,
        "maps, at most": n * voxels * 4 * MAP_KINDS / 1e9,
    }


def describe(run: pd.DataFrame, n: int, slots: int) -> str:
    """The tables of one study size as text."""
    rows = costs(run, n)
    table = pd.DataFrame([vars(row) for row in rows]).sort_values("core_hours", ascending=False)
    table = table.astype({"mb": float}).round({"core_hours": 2, "mb": 0})
    jobs, submitted = int(table.jobs.sum()), int(table.submissions.sum())
    grouped = sum(row.jobs for row in rows if row.rule in PROFILE["groups"])
    seconds, mb = start_cost(n)
    starts = (2 * submitted + grouped) * seconds / 3600
    work = table.core_hours.sum()
    on_gpu = table.core_hours[table.rule.isin(["pretrain_clam", "cluster_clam", "map_clam", "compare_maps"])].sum()
    scans = work - on_gpu
    disk = disk_gb(n)
    lines = [
        f"## {n} subjects",
        table.to_string(index=False),
        f"jobs {jobs}, SLURM submissions {submitted}; core hours {work:.0f}, of which {on_gpu:.0f} of CLAM's rules on "
        f"two CPU cores (use a GPU); Snakemake's own starts inside the jobs {starts:.1f} core hours, {mb:.0f} MB each",
        f"hours of everything but CLAM with {slots} cores at work all the time: {(scans + starts) / slots:.1f}",
        "disk, GB: "
        + ", ".join(f"{name} {gb:.0f}" if gb >= 1 else f"{name} {gb:.1f}" for name, gb in disk.items())
        + f"; in all {sum(disk.values()):.0f}",
    ]
    return "\n".join(lines) + "\n\n"


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("results", type=Path, help="results folder of a finished run with its benchmarks/")
parser.add_argument("--subjects", type=int, nargs="+", default=[300, 10_000])
parser.add_argument("--cores", type=int, default=100, help="cores of the cluster that work for you at a time")
arguments = parser.parse_args()
finished = measured_run(arguments.results / "benchmarks")
for number in arguments.subjects:
    sys.stdout.write(describe(finished, number, arguments.cores))
