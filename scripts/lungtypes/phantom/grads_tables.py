"""Tables of a cohort like GRADS in the CLAM paper (Ryan et al. 2020, section 5): 301 patients, two clusters, no images.

Cluster sizes, Table 2 and the crossing of cluster and Scadding stage are the paper's. Which outcomes the cluster
explains, and where the stage explains more, is planted so that the paper's findings hold in the population; the sizes
of the effects are ours, since the paper prints p values only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lungtypes.phantom.sarcoidosis_clinical import AGE, BMI, HEIGHT_CM, HISPANIC, PREDICTED, SCADDING, WHITE
from lungtypes.randomness import stream

SIZES = {1: 126, 2: 175}
MALE = {1: 51 / 126, 2: 91 / 175}
SUBTYPE = {1: "diffuse", 2: "hilar"}  # as those tables are keyed
SCANNERS = (4, 26, 101, 3, 8, 38, 87, 34)  # patients by scanner model, Table 2


@dataclass(frozen=True)
class Planted:
    """One outcome.

    Attributes
    ----------
    mean, sd : without effects; the SD is that of the residual.
    cluster : change of cluster 1 against cluster 2, in SDs.
    stage : change from Scadding stage 0 to 4 within a cluster, in SDs; in steps of a quarter.
    """

    mean: float
    sd: float
    cluster: float
    stage: float


# PROMIS: nothing adds. CRP: the cluster's own change cancels what its patients' higher stages bring, so that the
# clusters do not differ and the stages do. CD4: both count, the stage more.
OUTCOMES = {
    "fev1_l": Planted(0.0, 0.55, -0.80, 0.0),
    "fvc_l": Planted(0.0, 0.65, -0.80, 0.0),
    "dlco": Planted(0.0, 4.5, -0.90, 0.0),
    "cd4": Planted(760.0, 260.0, -0.50, -1.20),
    "crp": Planted(6.0, 4.0, -0.22, 0.90),
    "fas": Planted(22.0, 7.5, 0.27, 0.0),
    "gerdq": Planted(6.5, 2.6, 0.27, 0.0),
    "cfq": Planted(32.0, 14.0, 0.27, 0.0),
    "sobq": Planted(25.0, 18.0, 0.75, 0.0),
    "promis": Planted(53.0, 8.5, 0.0, 0.0),
    "sf12_physical": Planted(42.0, 9.0, -0.70, 0.0),
    "sf12_mental": Planted(49.0, 10.0, -0.27, 0.0),
}
SIGNIFICANT = ("fev1_l", "fvc_l", "dlco", "sobq", "sf12_physical", "cd4")  # p < 0.001 in the paper
NOT_GAINED = ("crp", "promis")  # cluster did not explain more than the base model
NOT_BEATEN = ("cd4", "crp")  # cluster did not explain more than Scadding


def grads_tables(seed: int) -> tuple[pd.DataFrame, pd.Series]:
    """One cohort.

    Returns
    -------
    DataFrame : one row a patient: subject, age (years), sex, race, ethnicity, height_cm, bmi (kg/m2), scanner_model,
        scadding (0-4), the twelve outcomes.
    Series : cluster (1 or 2) by subject.
    """
    rng = stream(seed, "grads", "tables")
    cluster = np.repeat(list(SIZES), list(SIZES.values()))
    n = len(cluster)
    male = _shares(rng, cluster, MALE)
    white = _shares(rng, cluster, {c: WHITE[SUBTYPE[c]] for c in SIZES})
    stage = np.concatenate([rng.permutation(np.repeat(range(5), SCADDING[SUBTYPE[c]])) for c in SIZES])
    age = np.clip(rng.normal(*AGE, n), 18, 85)
    height = np.where(male, rng.normal(*HEIGHT_CM["M"], n), rng.normal(*HEIGHT_CM["F"], n))
    table = pd.DataFrame(
        {
            "subject": [f"G{i + 1:03d}" for i in range(n)],
            "age": age,
            "sex": np.where(male, "M", "F"),
            "race": np.where(white, "white", "other"),
            "ethnicity": np.where(rng.random(n) < HISPANIC, "hispanic", "not_hispanic"),
            "height_cm": height,
            "bmi": np.clip(rng.normal(*BMI, n), 17, 55),
            "scanner_model": rng.permutation(np.repeat([f"model {i}" for i in range(len(SCANNERS))], SCANNERS)),
            "scadding": stage,
        }
    )
    for name, planted in OUTCOMES.items():
        effect = planted.cluster * (cluster == 1) + planted.stage * stage / 4
        table[name] = planted.mean + planted.sd * (effect + rng.normal(size=n)) + _predicted(name, male, height, age)
    return table, pd.Series(cluster, index=table["subject"], name="cluster")


def _shares(rng: np.random.Generator, cluster: np.ndarray, shares: dict[int, float]) -> np.ndarray:
    """Exactly these shares of each cluster, at random places."""
    chosen = np.zeros(len(cluster), dtype=bool)
    for number, share in shares.items():
        members = np.flatnonzero(cluster == number)
        chosen[rng.permutation(members)[: round(share * len(members))]] = True
    return chosen


def _predicted(name: str, male: np.ndarray, height: np.ndarray, age: np.ndarray) -> np.ndarray:
    if (name, "M") not in PREDICTED:
        return np.zeros(len(male))
    by_height, by_age, intercept = (
        np.where(male, man, woman) for man, woman in zip(PREDICTED[name, "M"], PREDICTED[name, "F"], strict=True)
    )
    return by_height * height + by_age * age + intercept
