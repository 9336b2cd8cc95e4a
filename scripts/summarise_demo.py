"""Prints what `make demo` found: scans, K, accuracy against the planted truth, strongest outcome, lesions, report."""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from lungtypes.evaluation.segmentation_files import dice_table
from lungtypes.imaging.geometry import read_volume
from lungtypes.imaging.region_files import nearest_on_grid, read_region_arrays
from lungtypes.phantom.lesions import OPACITIES

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--config", type=Path, required=True)
config = yaml.safe_load(parser.parse_args().config.read_text())
results, truth = Path(config["results"]), Path(config["subjects"]).parent / "truth"

attrition = pd.read_csv(results / "cohort/attrition.tsv", sep="\t", keep_default_na=False)
choice = json.loads((results / "clam/k_selection.json").read_text())
metrics = pd.read_csv(results / "evaluation/clam.tsv", sep="\t", keep_default_na=False).set_index("metric")
outcomes = pd.read_csv(results / "association/clam/outcomes.tsv", sep="\t")
quality = [json.loads(path.read_text()) for path in sorted(results.glob("registered/*/registration.json"))]

errors = pd.read_csv(results / "evaluation/dram_percentages.tsv", sep="\t").query("grade == 'all'").iloc[0]
cohort = read_region_arrays(
    *(results / f"cohort/{name}" for name in ("regions.npy", "regions_labels.npy", "regions.json"))
)
planted = [read_volume(truth / subject / "lesions.nii.gz") for subject in cohort.subjects]
opacities = [v.with_array(np.isin(v.array, OPACITIES).astype(np.uint8)) for v in planted]
masks = np.stack([nearest_on_grid(mask, grid) for mask, grid in zip(opacities, cohort.grids, strict=True)])
known = replace(cohort, lesions=masks, with_lesions=(True,) * len(masks))
dice = dice_table(results / "dram/maps/dram-lesions", known).query("truth_ml > 0").dice

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
  Lesions    learnt from a reader's percentages of opacities: off by {errors.mean_absolute_error:.1f} points in \
{errors.n} lobes or zones of the training scans; Dice with the planted opacities {dice.median():.2f} (median of \
{len(dice)} scans)
  Report     {results / "report/index.html"}
"""
)
