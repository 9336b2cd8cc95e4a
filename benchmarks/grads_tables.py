"""Would the CLAM paper's tables come out, if its findings held in the population? Virtual GRADS cohorts, many seeds.

Prints for each claim of the paper (section 5.3) in how many cohorts it holds by point estimate, as the paper argued,
and in how many it is shown by the interval; then the tables of one seed. The
first seed in which all claims hold at once is named; nothing was tuned by seed.

Usage: OMP_NUM_THREADS=1 nice python benchmarks/grads_tables.py [--seeds 200] [--show 1]
"""

import argparse
import sys
import time

import pandas as pd

from lungtypes.association.comparison import comparison_table
from lungtypes.association.models import fit_outcomes
from lungtypes.association.outcomes import outcomes_table
from lungtypes.association.rows import AssociationPlan, Outcome, Predictor
from lungtypes.phantom.grads_tables import NOT_BEATEN, NOT_GAINED, OUTCOMES, SIGNIFICANT, grads_tables

COVARIATES = ("age", "sex", "race", "ethnicity", "height_cm", "bmi")


def plan_of(seed: int, n_bootstrap: int) -> AssociationPlan:
    """The models of the paper: classical linear ones, demographics as the base, Scadding as the comparator."""
    outcomes = tuple(Outcome(name, name, "", "all", "continuous") for name in OUTCOMES)
    return AssociationPlan(
        outcomes, COVARIATES, ("scanner_model",), "scadding", "classical", 0.02, 5, n_bootstrap, 0, seed
    )


def tables_of(seed: int, n_bootstrap: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Outcomes and comparison of one cohort, by outcome."""
    clinical, clusters = grads_tables(seed)
    plan = plan_of(seed, n_bootstrap)
    fits = fit_outcomes(clinical, Predictor(clusters, "cluster"), plan)
    return outcomes_table(fits, plan).set_index("outcome"), comparison_table(fits, plan).set_index("outcome")


def claims(found: pd.DataFrame, compared: pd.DataFrame) -> dict[str, bool]:
    """The paper's statements, by point estimates as it made them."""
    significant = set(found.index[found["p_value"] < 0.001])
    gained = set(found.index[found["r2_gain"] > 0])
    beaten = set(compared.index[compared["difference"] > 0])
    return {
        "p < 0.001 for the six": significant >= set(SIGNIFICANT),
        "p < 0.001 for the six and no other": significant == set(SIGNIFICANT),
        "adds to the base for the ten": gained >= set(OUTCOMES) - set(NOT_GAINED),
        "adds to the base for the ten and no other": gained == set(OUTCOMES) - set(NOT_GAINED),
        "beats Scadding for the ten": beaten >= set(OUTCOMES) - set(NOT_BEATEN),
        "beats Scadding for the ten and no other": beaten == set(OUTCOMES) - set(NOT_BEATEN),
    }


def main() -> None:
    """Rates over the seeds, rates by outcome, one cohort."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--bootstrap", type=int, default=500)
    parser.add_argument("--show", type=int, default=1)
    options = parser.parse_args()
    began, write = time.perf_counter(), sys.stdout.write
    held, by_outcome, verdicts = [], [], []
    for seed in range(1, options.seeds + 1):
        found, compared = tables_of(seed, options.bootstrap)
        held.append(claims(found, compared))
        by_outcome.append(
            pd.DataFrame(
                {
                    "p < 0.001": found["p_value"] < 0.001,
                    "gain > 0": found["r2_gain"] > 0,
                    "gain shown": found["gain_ci_low"] > 0,
                    "better than Scadding": compared["difference"] > 0,
                    "... shown": compared["verdict"] == "cluster explains more",
                    "not worse": compared["verdict"] == "not worse",
                }
            )
        )
        ten = compared.drop(index=list(NOT_BEATEN))["verdict"]
        verdicts.append(
            {
                "shown": (ten == "cluster explains more").sum(),
                "or not worse": ten.isin(["cluster explains more", "not worse"]).sum(),
            }
        )
    write(f"{options.seeds} cohorts, seeds 1 to {options.seeds}; % of them in which a claim holds\n\n")
    write((100 * pd.DataFrame(held).mean()).round(1).to_string() + "\n\n")
    rates = 100 * sum(frame.astype(float) for frame in by_outcome) / options.seeds
    write(f"by outcome, %\n{rates.round(0).astype(int).to_string()}\n\n")
    counts = pd.DataFrame(verdicts)
    shown, either = counts["shown"], counts["or not worse"]
    write(f"of the ten: better than Scadding shown by the interval in {shown.mean():.1f} on average ")
    write(f"({shown.min()}-{shown.max()}), shown or not worse in {either.mean():.1f}\n\n")
    whole = [seed for seed, row in enumerate(held, start=1) if all(row.values())]
    write(
        f"all six statements at once: {len(whole)} cohorts, the first of them seed {whole[0] if whole else 'none'}\n\n"
    )
    found, compared = tables_of(options.show, 2000)
    columns = ["p_value", "r2_base", "r2_full", "r2_gain", "gain_ci_low", "gain_ci_high", "effect"]
    write(f"seed {options.show}\n{found[columns].round(4).to_string()}\n\n")
    columns = ["r2_cluster", "r2_comparator", "difference", "ci_low", "ci_high", "verdict"]
    write(f"{compared[columns].round(4).to_string()}\n")
    write(f"\n{time.perf_counter() - began:.0f} s\n")


if __name__ == "__main__":
    main()
