"""Prints what `make demo` found: scans, K, accuracy against the planted truth, strongest outcome, report."""

import argparse
import json
import sys
from pathlib import Path

import pandas as pd
import yaml

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--config", type=Path, required=True)
results = Path(yaml.safe_load(parser.parse_args().config.read_text())["results"])

attrition = pd.read_csv(results / "cohort/attrition.tsv", sep="\t", keep_default_na=False)
choice = json.loads((results / "clam/k_selection.json").read_text())
metrics = pd.read_csv(results / "evaluation/clam.tsv", sep="\t", keep_default_na=False).set_index("metric")
outcomes = pd.read_csv(results / "association/clam/outcomes.tsv", sep="\t")
quality = [json.loads(path.read_text()) for path in sorted(results.glob("registered/*/registration.json"))]

excluded = attrition[attrition.status == "excluded"]
reasons = "; ".join(f"{row.subject}: {row.code}" for row in excluded.itertuples()) or "none"
accuracy = metrics.loc["accuracy"]
chance = metrics.loc["accuracy_permuted_p95"]
best = outcomes[outcomes.status == "ok"].sort_values(["p_value", "outcome"]).iloc[0]
worst_dice = min(min(q["dice_right"], q["dice_left"]) for q in quality)

sys.stdout.write(
    f"""
lungtypes demo
  Scans      {len(attrition)} in, {len(attrition) - len(excluded)} analysed, {len(excluded)} excluded ({reasons})
  Template   worst registered lung overlap (Dice): {worst_dice:.3f}
  Clusters   {choice["reason"]}
  Accuracy   {100 * float(accuracy.value):.0f} % of {accuracy.n} scans in their planted group \
(95 % interval {100 * float(accuracy.ci_low):.0f}-{100 * float(accuracy.ci_high):.0f} %; \
by chance at most {100 * float(chance.value):.0f} %)
  Outcome    {best.label}: partial R2 {best.partial_r2:.2f} of the cluster beyond covariates, q = {best.q_value:.2g}
  Report     {results / "report/index.html"}
"""
)
