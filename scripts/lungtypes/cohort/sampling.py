"""Who makes the template: how many, which, and which one the iteration starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from lungtypes.errors import InputError
from lungtypes.randomness import stream


def sample_size(n_subjects: int, *, fraction: float, minimum: int, maximum: int) -> int:
    """How many subjects make the template: a fraction of the cohort within limits."""
    return int(min(n_subjects, max(minimum, min(maximum, round(fraction * n_subjects)))))


def draw_sample(subjects: Sequence[str], strata: Sequence[str], *, size: int, seed: int) -> list[str]:
    """Draw ``size`` subjects, spread over the strata in proportion; independent of the order given.

    Raises InputError when fewer than three subjects are left.
    """
    if len(subjects) < 3:
        raise InputError(f"template: found {len(subjects)} usable subjects, expected at least 3.")
    rng = stream(seed, "template", "sample")
    frame = pd.DataFrame({"subject": list(subjects), "stratum": list(strata)}).sort_values("subject")
    frame["draw"] = rng.random(len(frame))
    # rank within stratum as a share of the stratum: the first `size` of all are proportional
    ranked = frame.sort_values("draw").groupby("stratum").cumcount() + 0.5
    frame["share"] = ranked / frame.groupby("stratum")["subject"].transform("size")
    chosen = frame.sort_values(["share", "draw"]).head(size)
    return sorted(chosen.subject)


def nearest_to_medians(volumes_ml: pd.DataFrame) -> str:
    """The subject whose right and left lung volumes lie nearest to the cohort's medians (log scale).

    volumes_ml : columns subject, right_ml, left_ml.
    """
    logs = np.log(volumes_ml[["right_ml", "left_ml"]].to_numpy(float))
    distance = np.abs(logs - np.median(logs, axis=0)).sum(axis=1)
    order = np.lexsort((volumes_ml.subject.astype(str), np.round(distance, 9)))
    return str(volumes_ml.subject.iloc[int(order[0])])


def volume_tertiles(volumes_ml: pd.DataFrame) -> list[str]:
    """small, middle or large: the third of the subjects that each one's lungs belong to; fewer than 9 are not cut.

    volumes_ml : columns right_ml, left_ml.
    """
    total = volumes_ml["right_ml"] + volumes_ml["left_ml"]
    if len(total) < 9:
        return ["any"] * len(total)
    limits = np.quantile(total, [1 / 3, 2 / 3])
    return [("small", "middle", "large")[int(np.searchsorted(limits, value, side="left"))] for value in total]


def sample_table(
    volumes_ml: pd.DataFrame,
    strata: Mapping[str, str],
    checksums: Mapping[str, str],
    *,
    sampling: Literal["stratified", "simple"],
    size: int,
    seed: int,
) -> pd.DataFrame:
    """template/sample.tsv: subject, drawn, start (1 for the one that the iteration starts from), sha256.

    The checksums of the scans make the file change when a scan of the sample does, and so what depends on it.

    volumes_ml : columns subject, right_ml, left_ml of the subjects that passed; the start is the one
    nearest to the medians of all of them, whether it was drawn or not.
    strata : subject -> sex and site; ``stratified`` spreads the sample over them and over thirds of lung volume,
    ``simple`` draws at random from all (the CLAM paper).
    """
    subjects = volumes_ml.subject.astype(str).tolist()
    cells = [f"{strata[s]}/{third}" for s, third in zip(subjects, volume_tertiles(volumes_ml), strict=True)]
    cells = cells if sampling == "stratified" else [""] * len(subjects)
    drawn = draw_sample(subjects, cells, size=min(size, len(subjects)), seed=seed)
    start = nearest_to_medians(volumes_ml)
    rows = [{"subject": s, "drawn": 1, "start": int(s == start)} for s in drawn]
    if start not in drawn:
        rows.append({"subject": start, "drawn": 0, "start": 1})
    return pd.DataFrame([{**row, "sha256": checksums[row["subject"]]} for row in rows])


@dataclass(frozen=True)
class Sample:
    """subjects drawn for the template, and the one that it starts from."""

    subjects: tuple[str, ...]
    start: str


def read_sample(path: str | Path) -> Sample:
    """Read template/sample.tsv."""
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    return Sample(tuple(table.subject[table.drawn == "1"]), str(table.subject[table.start == "1"].iloc[0]))
