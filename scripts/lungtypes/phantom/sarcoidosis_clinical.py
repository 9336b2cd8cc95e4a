"""The clinical table of virtual sarcoidosis: Table 2 and the twelve outcomes of the CLAM paper, with effects planted.

Made from the plan alone, without images. What is planted follows from the subtype and, within it, from severity; what
is not planted is drawn alike for all patients. The sizes of the effects are ours, since the paper prints p values only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lungtypes.phantom.sarcoidosis import Member, SarcoidosisPlan, plan_members
from lungtypes.randomness import stream

# Table 2: the share of whites and the numbers of patients in Scadding stages 0-4, by cluster
WHITE = {"diffuse": 77 / 126, "hilar": 141 / 175}
SCADDING = {"diffuse": (7, 17, 32, 16, 54), "hilar": (33, 42, 55, 27, 18)}
MALE, HISPANIC = 142 / 301, 14 / 301  # the whole cohort's
AGE, BMI = (52.87, 9.75), (30.56, 6.55)  # mean, SD
HEIGHT_CM = {"M": (177.0, 8.0), "F": (164.6, 7.6)}  # together 67.1 (4.15) inches
MISSING_SHARE = 0.03
MEAN_SEVERITY = {"diffuse": 0.575, "hilar": 0.5}


@dataclass(frozen=True)
class Measure:
    """One measurement: mean and SD without diffuse disease, change by it at mean severity, limits, decimals."""

    mean: float
    sd: float
    change: float = 0.0
    low: float = -np.inf
    high: float = np.inf
    decimals: int = 0


# for lung function the mean is a share of what sex, age and height predict
OUTCOMES = {
    "fev1_l": Measure(0.92, 0.42, -0.48, low=0.5, decimals=2),
    "fvc_l": Measure(0.94, 0.50, -0.55, low=0.8, decimals=2),
    "dlco": Measure(0.80, 4.0, -4.5, low=4.0, decimals=1),
    "cd4": Measure(760, 260, -190, low=60),
    "crp": Measure(3.0, 0.8, low=0.1, decimals=1),  # the median, and the SD of the logarithm
    "fas": Measure(22, 7.5, low=10, high=50),
    "gerdq": Measure(6.5, 2.6, low=0, high=18),
    "cfq": Measure(32, 14, low=0, high=100),
    "sobq": Measure(20, 16, 14, low=0, high=120),
    "promis": Measure(53, 8.5, decimals=1),
    "sf12_physical": Measure(45, 9.0, -6.0, low=10, high=70, decimals=1),
    "sf12_mental": Measure(49, 10, low=10, high=75, decimals=1),
}
VISUAL = {
    "visual_ground_glass": Measure(0.4, 0.8, 1.6, low=0, high=5),
    "visual_fibrosis": Measure(0.2, 0.8, 1.2, low=0, high=5),
    "visual_honeycombing": Measure(-0.9, 0.8, low=0, high=5),
}
# litres, and mL/min/mmHg, for height in cm and age in years: (slope of height, of age, intercept)
# spirometry: Quanjer et al., ECSC 1993; DLCO: Crapo & Morris 1981
PREDICTED = {
    ("fev1_l", "M"): (0.0430, -0.029, -2.49),
    ("fev1_l", "F"): (0.0395, -0.025, -2.60),
    ("fvc_l", "M"): (0.0576, -0.026, -4.34),
    ("fvc_l", "F"): (0.0443, -0.026, -2.89),
    ("dlco", "M"): (0.410, -0.210, -26.31),
    ("dlco", "F"): (0.282, -0.157, -10.89),
}
NOT_WHITE = {"fev1_l": 0.88, "fvc_l": 0.88, "dlco": 0.93}  # of the prediction, as older reference equations had it
MAY_BE_MISSING = ("bmi", "smoking", *OUTCOMES, *VISUAL)


def clinical_table(plan: SarcoidosisPlan) -> pd.DataFrame:
    """One row a patient, in the order of the ids; height in cm, missing values None. Neither subtype nor severity."""
    members = plan_members(plan)
    race, scadding = _races(plan, members), _stages(plan, members)
    rows = [_row(plan.seed, member, race[member.subject], scadding[member.subject]) for member in members]
    return pd.DataFrame(rows)


def planted_table() -> pd.DataFrame:
    """What :func:`clinical_table` holds: variable; planted 0 or 1; effect, diffuse less hilar; through which it comes.

    The effect is in the variable's unit, that of race a difference of shares; lung function loses more by race.
    """
    measures = OUTCOMES | VISUAL
    stage = {subtype: np.average(range(5), weights=counts) for subtype, counts in SCADDING.items()}
    effects = {"race": WHITE["diffuse"] - WHITE["hilar"], "scadding": stage["diffuse"] - stage["hilar"]}
    effects |= {name: measure.change for name, measure in measures.items()}
    through = {name: "subtype and severity" for name in (*measures, "scadding")} | {"race": "subtype"}
    null = ("sex", "ethnicity", "age", "bmi", "height_cm", "smoking", "scanner_model")
    rows = []
    for name in ("race", "scadding", *null, *measures):
        effect = effects.get(name, 0.0)
        rows.append(
            {
                "variable": name,
                "planted": int(effect != 0),
                "effect": round(float(effect), 3),
                "through": through[name] if effect else "",
            }
        )
    return pd.DataFrame(rows)


def _row(seed: int, member: Member, race: str, scadding: int) -> dict[str, object]:
    rng = stream(seed, "sarcoidosis", "clinical", member.subtype, member.number)
    sex = "M" if rng.random() < MALE else "F"
    age = float(np.clip(rng.normal(*AGE), 18, 85))  # the study's limits
    height = float(np.clip(rng.normal(*HEIGHT_CM[sex]), 145, 205))
    bmi = float(np.clip(rng.normal(*BMI), 17, 55))
    row: dict[str, object] = {
        "subject": member.subject,
        "age": round(age, 1),
        "sex": sex,
        "race": race,
        "ethnicity": "hispanic" if rng.random() < HISPANIC else "not_hispanic",
        "height_cm": round(height, 1),
        "bmi": round(bmi, 1),
        "smoking": str(rng.choice(["never", "former", "current"], p=[0.64, 0.31, 0.05])),
        "scanner_model": member.scanner_model,
        "scadding": scadding,
    }
    burden = _burden(member)
    for name, measure in (OUTCOMES | VISUAL).items():
        if (name, sex) in PREDICTED:
            by_height, by_age, intercept = PREDICTED[name, sex]
            predicted = by_height * height + by_age * age + intercept
            mean = measure.mean * predicted * (1.0 if race == "white" else NOT_WHITE[name])
        else:
            mean = measure.mean
        if name == "crp":
            value = mean * np.exp(rng.normal(0, measure.sd))
        else:
            value = mean + measure.change * burden + rng.normal(0, measure.sd)
        value = round(float(np.clip(value, measure.low, measure.high)), measure.decimals)
        row[name] = value if measure.decimals else int(value)
    for name in MAY_BE_MISSING:
        if rng.random() < MISSING_SHARE:
            row[name] = None
    return row


def _burden(member: Member) -> float:
    """How much of the planted change a patient has: 1 and 0 on average in the two subtypes."""
    own = member.severity / MEAN_SEVERITY[member.subtype] - 1
    return 1 + 0.6 * own if member.subtype == "diffuse" else 0.15 * own


def _races(plan: SarcoidosisPlan, members: Sequence[Member]) -> dict[str, str]:
    """Exactly the shares of Table 2 in each subtype."""
    races = {}
    for subtype, share in WHITE.items():
        own = [member.subject for member in members if member.subtype == subtype]
        places = stream(plan.seed, "sarcoidosis", "race", subtype).permutation(len(own))
        races |= {s: "white" if p < round(share * len(own)) else "other" for s, p in zip(own, places, strict=True)}
    return races


def _stages(plan: SarcoidosisPlan, members: Sequence[Member]) -> dict[str, int]:
    """Exactly the shares of Table 2 in each subtype; the stage rises loosely with severity."""
    stages = {}
    for subtype, counts in SCADDING.items():
        own = [member for member in members if member.subtype == subtype]
        noise = stream(plan.seed, "sarcoidosis", "scadding", subtype).normal(0, 0.35, len(own))
        order = np.argsort([member.severity + n for member, n in zip(own, noise, strict=True)])
        limits = np.round(np.cumsum(counts) / sum(counts) * len(own))
        for rank, place in enumerate(order):
            stages[own[place].subject] = int(np.searchsorted(limits, rank, side="right"))
    return stages
