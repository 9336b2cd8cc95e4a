"""The virtual cohort's clinical table: outcomes follow from group and severity, with noise and gaps."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lungtypes.phantom.anatomy import Person
from lungtypes.randomness import stream

GRADE_LIMITS_PERCENT = (1.0, 5.0, 25.0, 50.0, 75.0)  # grade 0 below 1 %, ... grade 5 from 75 %
MISSING_SHARE = 0.06

# mean in a healthy 50-year-old of 170 cm, SD, change at full severity of each group
OUTCOMES: dict[str, tuple[float, float, dict[str, float]]] = {
    "fev1_l": (3.1, 0.30, {"emphysema": -1.7, "fibrosis": -0.7, "sarcoid": -0.6}),
    "fvc_l": (4.0, 0.35, {"emphysema": -0.5, "fibrosis": -1.5, "sarcoid": -0.6}),
    "dlco": (26.0, 2.5, {"emphysema": -11.0, "fibrosis": -13.0, "sarcoid": -5.0}),
    "cd4": (850.0, 180.0, {"sarcoid": -420.0}),
    "crp": (2.0, 1.0, {"fibrosis": 3.0, "sarcoid": 2.5, "emphysema": 1.0}),
    "fas": (18.0, 4.5, {"sarcoid": 13.0, "fibrosis": 8.0, "emphysema": 6.0}),
    "gerdq": (4.5, 2.0, {"fibrosis": 3.5}),
    "cfq": (28.0, 10.0, {"sarcoid": 10.0}),
    "sobq": (12.0, 9.0, {"emphysema": 52.0, "fibrosis": 58.0, "sarcoid": 25.0}),
    "promis": (50.0, 7.0, {"sarcoid": -5.0}),
    "sf12_physical": (50.0, 5.5, {"emphysema": -13.0, "fibrosis": -15.0, "sarcoid": -8.0}),
    "sf12_mental": (50.0, 8.0, {"sarcoid": -4.0}),
}
LOWER_LIMIT = {
    "fev1_l": 0.5,
    "fvc_l": 0.9,
    "dlco": 3,
    "cd4": 60,
    "crp": 0.1,
    "fas": 10,
    "gerdq": 0,
    "cfq": 0,
    "sobq": 0,
}
DECIMALS = {"fev1_l": 2, "fvc_l": 2, "dlco": 1, "crp": 1, "promis": 1, "sf12_physical": 1, "sf12_mental": 1}


def clinical_row(person: Person, subject: str, lesion_percent: dict[str, float], *, seed: int) -> dict[str, object]:
    """One row of the clinical table; a missing value is None.

    lesion_percent : share of the lungs (0-100) by kind: ground_glass, reticulation, honeycombing, ...
    """
    rng = stream(seed, "phantom", "clinical", person.index)
    age = float(np.clip(rng.normal({"fibrosis": 66, "emphysema": 62}.get(person.group, 52), 8), 24, 88))
    smoking_odds = {"emphysema": (0.05, 0.55, 0.40), "fibrosis": (0.35, 0.55, 0.10)}
    row: dict[str, object] = {
        "subject": subject,
        "age": round(age, 1),
        "sex": person.sex,
        "race": str(rng.choice(["white", "black", "asian"], p=[0.68, 0.24, 0.08])),
        "ethnicity": str(rng.choice(["not_hispanic", "hispanic"], p=[0.9, 0.1])),
        "height_cm": round(person.height_cm, 1),
        "bmi": round(float(np.clip(rng.normal(28.5, 4.5), 17, 48)), 1),
        "smoking": str(rng.choice(["never", "former", "current"], p=smoking_odds.get(person.group, (0.6, 0.3, 0.1)))),
    }
    size = (person.height_cm - 170) / 100 + (0.12 if person.sex == "M" else -0.12)
    for name, (mean, spread, effects) in OUTCOMES.items():
        value = mean + effects.get(person.group, 0.0) * person.severity + rng.normal(0, spread)
        if name in ("fev1_l", "fvc_l"):
            value += 2.2 * size - 0.018 * (age - 55)
        row[name] = round(float(max(value, LOWER_LIMIT.get(name, -np.inf))), DECIMALS.get(name, 0))
    row["visual_ground_glass"] = _visual(lesion_percent.get("ground_glass", 0.0), rng)
    fibrosis = lesion_percent.get("reticulation", 0.0) + lesion_percent.get("honeycombing", 0.0)
    row["visual_fibrosis"] = _visual(fibrosis, rng)
    row["visual_honeycombing"] = _visual(lesion_percent.get("honeycombing", 0.0), rng)
    # a radiographic stage follows disease loosely: it overlaps between the groups
    stage = {
        "control": 0,
        "emphysema": 0.5,
        "sarcoid": 1 + 2 * person.severity,
        "fibrosis": 1.5 + 1.5 * person.severity,
    }
    row["scadding"] = int(np.clip(round(stage[person.group] + rng.normal(0, 1.0)), 0, 4))
    for name in [*OUTCOMES, "bmi"]:
        if rng.random() < MISSING_SHARE:
            row[name] = None
    return row


def lobe_scores(percents: dict[str, float], subject: str, *, seed: int, index: int) -> pd.DataFrame:
    """A reader's visual percentage, in steps of five, and its grade (0-5) by region; keyed by subject and region."""
    rng = stream(seed, "phantom", "reader", index)
    rows = []
    for region, percent in percents.items():
        read = float(np.clip(percent + rng.normal(0, 2.0 + 0.08 * percent) * (percent > 0.2), 0, 100))
        read = 5 * round(read / 5)
        rows.append({"subject": subject, "region": region, "percent": read, "grade": grade(read)})
    return pd.DataFrame(rows)


def grade(percent: float) -> int:
    """Visual grade 0-5 of an involvement in percent; limits of the CT severity score that dRAM uses (Xie et al.)."""
    return int(np.digitize(percent, GRADE_LIMITS_PERCENT))


def _visual(percent: float, rng: np.random.Generator) -> int:
    return int(np.clip(grade(percent) + rng.choice([-1, 0, 0, 0, 1]) * (percent > 0.5), 0, 5))
