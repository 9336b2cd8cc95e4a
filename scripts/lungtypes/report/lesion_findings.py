"""What a reader must know first of lesion maps learnt from percentages: the burden, and whether to trust it."""

from __future__ import annotations

import numpy as np

from lungtypes.report.blocks import Finding, count_of, method_name, number
from lungtypes.report.lesion_numbers import Agreement, agreement, region_rows
from lungtypes.report.results import Results

BASELINE = "dram-cam"  # learns presence, not percentages: that it misses them is what it is there to show


def burden(results: Results, method: str) -> list[Finding]:
    """The range of the burden, and scans of which nothing is known."""
    table, name = results.table(f"{method}/phenotype.tsv"), method_name(method)
    known = table["burden_percent"].dropna()
    found = []
    if len(known):
        text = f"{name}: lesions fill {number(known.min(), 1)} to {number(known.max(), 1)} % of the lungs (median "
        found.append(Finding("finding", f"{text}{number(known.median(), 1)} %, {count_of(len(known), 'scan')})."))
    absent = table[table["burden_percent"].isna()]
    if len(absent):
        reasons = absent["flag"].replace("", "no value").value_counts(sort=False)
        words = "; ".join(f"{size} with {flag}" for flag, size in reasons.items())
        verb = "has" if len(absent) == 1 else "have"
        found.append(Finding("amber", f"{name}: {count_of(len(absent), 'scan')} {verb} no burden ({words})."))
    return found


def percentages(results: Results, method: str) -> list[Finding]:
    """Whether predicted percentages say more than a guess without any scan; red where they do not."""
    judged, name = agreement(region_rows(results, method)), method_name(method)
    if judged is None:
        return [Finding("amber", f"{name}: of no scan a percentage is given to compare the predicted ones with.")]
    words = agreement_words(judged)
    if judged.no_better:
        level = "amber" if method == BASELINE else "red"
        text = "predicted percentages are no better than one guess for all regions"
        advice = (
            "A classifier never learnt percentages."
            if method == BASELINE
            else "Do not use burden and maps; see the training."
        )
        return [Finding(level, f"{name}: {text} ({words}). {advice}")]
    return [Finding("finding", f"{name}: predicted percentages beside given ones: {words}.")]


def agreement_words(judged: Agreement) -> str:
    """ "mean absolute error 3.1 percentage points, R2 0.82, 40 regions of held-out scans"."""
    parts = []
    if judged.n:
        parts.append(f"mean absolute error {number(judged.mean_absolute_error, 1)} percentage points")
        parts.append("R\u00b2 not defined" if np.isnan(judged.r2) else f"R\u00b2 {number(judged.r2)}")
        parts.append(count_of(judged.n, "region"))
    if judged.n_graded:
        text = f"{number(100 * judged.inside, 0)} % of {judged.n_graded} graded regions within their bounds"
        guess = "" if np.isnan(judged.commonest) else f" (one guess: {number(100 * judged.commonest, 0)} %)"
        parts.append(text + guess)
    return f"{', '.join(parts)}, {judged.scans} scans"
