"""What the models and their tables cost: all of `fit_outcomes` and every table of a generated cohort.

Usage: OMP_NUM_THREADS=2 python benchmarks/outcome_tables.py [--subjects 2500] [--outcomes 30] [--draws 2000]
"""

import argparse
import resource
import sys
import time

import numpy as np
import pandas as pd

from lungtypes.association.comparison import comparison_table
from lungtypes.association.contrasts import contrasts_table, means_table
from lungtypes.association.diagnostics import diagnostics_table
from lungtypes.association.models import fit_outcomes
from lungtypes.association.outcomes import outcomes_table
from lungtypes.association.rows import AssociationPlan, Outcome, Predictor
from lungtypes.randomness import stream

COVARIATES = ("age", "sex", "race", "ethnicity", "height_cm", "bmi", "smoking")


def cohort(n: int, n_outcomes: int, kind: str, seed: int) -> tuple[pd.DataFrame, pd.Series]:
    """Subjects with the default covariates, a scanner of eight models, a stage of five levels, three clusters."""
    rng = stream(seed, "outcome-tables")
    cluster = rng.integers(1, 4, n)
    table = pd.DataFrame(
        {
            "subject": [f"S{i:05d}" for i in range(n)],
            "age": rng.normal(55, 10, n),
            "sex": rng.choice(["F", "M"], n),
            "race": rng.choice(["white", "black", "asian"], n, p=[0.7, 0.2, 0.1]),
            "ethnicity": rng.choice(["hispanic", "not_hispanic"], n, p=[0.1, 0.9]),
            "height_cm": rng.normal(170, 9, n),
            "bmi": rng.normal(29, 6, n),
            "smoking": rng.choice(["never", "former", "current"], n),
            "scanner_model": rng.choice([f"model {i}" for i in range(8)], n),
            "scadding": rng.integers(0, 5, n),
        }
    )
    for number in range(n_outcomes):
        latent = 0.01 * number * cluster + 0.02 * table["age"] + rng.logistic(size=n)
        cuts = {"binary": [0.5], "ordinal": [0.25, 0.5, 0.75]}.get(kind)
        table[f"y{number}"] = latent if cuts is None else np.searchsorted(np.quantile(latent, cuts), latent)
    return table, pd.Series(cluster, index=table["subject"])


def main() -> None:
    """Seconds by step, and the peak of memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=2500)
    parser.add_argument("--outcomes", type=int, default=30)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--type", choices=["continuous", "binary", "ordinal"], default="continuous")
    options = parser.parse_args()
    clinical, clusters = cohort(options.subjects, options.outcomes, options.type, 1)
    outcomes = tuple(Outcome(f"y{i}", f"y{i}", "", "all", options.type) for i in range(options.outcomes))
    plan = AssociationPlan(
        outcomes, COVARIATES, ("scanner_model",), "scadding", "hc3", 0.02, 5, options.draws, cv_repeats=10, seed=1
    )
    write, began = sys.stdout.write, time.perf_counter()
    fits = fit_outcomes(clinical, Predictor(clusters, "cluster"), plan)
    write(f"fit_outcomes {time.perf_counter() - began:.1f} s\n")
    for make in (outcomes_table, contrasts_table, means_table, diagnostics_table, comparison_table):
        start = time.perf_counter()
        rows = len(make(fits, plan))
        write(f"{make.__name__} {time.perf_counter() - start:.1f} s, {rows} rows\n")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    write(f"in all {time.perf_counter() - began:.1f} s, {peak:.0f} MB at most\n")


if __name__ == "__main__":
    main()
