"""A cohort with planted effects, and how its models are asked for."""

import numpy as np
import pandas as pd
import pytest

from lungtypes.association.rows import AssociationPlan, Predictor, as_outcomes

PLAN = AssociationPlan(
    outcomes=(),
    covariates=("age", "sex"),
    technical=("scanner",),
    comparator="scadding",
    standard_errors="hc3",
    margin=0.02,
    min_group=5,
    n_bootstrap=200,
    cv_repeats=2,
    seed=0,
)


def outcomes_of(**types):
    """Outcomes by name and type, all in the family "pft"; a dict gives further fields."""
    items = {name: value if isinstance(value, dict) else {"type": value} for name, value in types.items()}
    return tuple(
        as_outcomes({"name": n, "label": n.upper(), "unit": "L", "family": "pft"} | v for n, v in items.items())
    )


@pytest.fixture(scope="session")
def cohort():
    """240 subjects, three clusters. Cluster drives fvc, event and grade; stage drives crp; nothing drives fas."""
    rng = np.random.default_rng(0)
    n = 240
    cluster = rng.integers(1, 4, n)
    clinical = pd.DataFrame(
        {
            "subject": [f"S{i:03d}" for i in range(n)],
            "age": rng.normal(55, 9, n),
            "sex": rng.choice(["f", "m"], n),
            "scanner": rng.choice(["A", "B", "C"], n),
            "scadding": rng.integers(0, 3, n),
        }
    )
    clinical["fvc"] = 3 + 0.02 * clinical["age"] + 1.5 * cluster + rng.normal(size=n) * cluster
    clinical["crp"] = np.exp(clinical["scadding"] + rng.normal(size=n))
    clinical["fas"] = rng.normal(20, 5, n)
    clinical["event"] = np.where(rng.random(n) < 1 / (1 + np.exp(2.5 - cluster)), "yes", "no")
    latent = 0.8 * cluster + 0.02 * clinical["age"] + rng.logistic(size=n)
    clinical["grade"] = pd.cut(latent, [-99, 1.5, 2.5, 4, 99], labels=False)
    clinical.loc[:4, "fvc"] = np.nan
    return clinical, pd.Series(cluster, index=clinical["subject"])


@pytest.fixture(scope="session")
def clusters(cohort):
    return Predictor(cohort[1], "cluster")


@pytest.fixture(scope="session")
def two_clusters(cohort):
    """Cluster 3 counts as cluster 2."""
    return Predictor(cohort[1].clip(upper=2), "cluster")


@pytest.fixture(scope="session")
def phenotype(cohort):
    """A number that follows the clusters."""
    values = cohort[1] * 40.0 + np.random.default_rng(1).normal(0, 15, len(cohort[1])) - 900
    return Predictor(values, "phenotype", "mean_hu", "Mean lung density", "HU")
