"""Which number of clusters each rule chooses in the simulation study, and the paper on that (claims S2, S3, S9)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from lungtypes.evaluation.gap import Gap, gap_choice
from lungtypes.report.simulation.runs import PAPER, Run
from lungtypes.report.simulation.verdicts import Claim, graded, joined, not_run, scenarios_not_run

KMEANS, SPARSE, GAP, AFTER = "k-means silhouette", "sparse k-means silhouette", "gap", "silhouette after clustering"
RULES = (KMEANS, SPARSE, GAP, AFTER)
PAPER_BEFORE = {"size-4": 2, "size-5": 2}  # the K that the silhouette chose where it was not the true one
PAPER_AFTER = ("size-3", "location-3", "intensity-4")  # where the silhouette chose the true K after clustering
PAPER_RIGHT, HALF = 7, 5  # of the nine scenarios


def chosen_numbers(runs: Sequence[Run]) -> pd.DataFrame:
    """One row a run: scenario, seed, true_k, and the K of each of RULES (NaN: none, or not run).

    compared : the true K is among several that were compared before clustering. swept : all of these were fitted.
    """
    rows = []
    for run in runs:
        numbers = {
            KMEANS: _largest(run, "silhouette_kmeans"),
            SPARSE: _largest(run, "silhouette_sparse"),
            GAP: _gap_k(run),
            AFTER: _largest(run, "silhouette_after") if run.is_swept else None,
        }
        compared = run.true_k in run.compared and len(run.compared) > 1
        row = {
            "scenario": run.scenario,
            "seed": run.seed,
            "true_k": run.true_k,
            "compared": compared,
            "swept": run.is_swept,
        }
        rows.append(row | {name: np.nan if k is None else float(k) for name, k in numbers.items()})
    return pd.DataFrame(rows)


def majority(numbers: Sequence[float]) -> float:
    """The K that most seeds choose; ties go to the smaller one, NaN if most choose none."""
    counts = Counter(np.inf if np.isnan(k) else float(k) for k in numbers)
    best = min(counts, key=lambda k: (-counts[k], k))
    return np.nan if np.isinf(best) else best


def numbers_in_words(values: Sequence[float]) -> str:
    """ "3", or "3 (3, 3, 2)" where the seeds differ."""
    words = ["none" if np.isnan(k) else f"{k:.0f}" for k in values]
    most = majority(values)
    word = "none" if np.isnan(most) else f"{most:.0f}"
    return word if len(set(words)) == 1 else f"{word} ({', '.join(words)})"


def before_claims(chosen: pd.DataFrame) -> list[Claim]:
    """S2: the silhouette of k-means, before clustering, chooses the true K in seven of nine."""
    cells = []
    for scenario in PAPER:
        true_k = int(scenario[-1])
        paper = PAPER_BEFORE.get(scenario, true_k)
        rows = _rows(chosen, scenario)
        head = (f"S2 {scenario}", f"{scenario}: K with the largest k-means silhouette before clustering", str(paper))
        if not _judged(rows, "compared"):
            why = "the true K was not among those compared" if len(rows) else "the scenario was not run"
            cells.append(not_run(*head, why))
            continue
        k = majority(rows[KMEANS])
        others = [f"{name}: {numbers_in_words(rows[name])}" for name in (SPARSE, GAP)]
        note = joined([_beside_paper(k, paper, true_k), *others])
        cells.append(Claim(*head, numbers_in_words(rows[KMEANS]), graded(yes=k == paper), note))

    what = "scenarios where the silhouette before clustering chooses the true K (majority of the seeds)"
    right = _right(chosen, KMEANS)
    n, count = len(right), sum(right.values())
    if n < len(PAPER):
        ours = f"{count} of {n} that were run" if n else ""
        return [not_run("S2", what, "7 of 9", scenarios_not_run(cells), ours), *cells]
    failing = [name for name, good in right.items() if not good]
    note = f"wrong in {', '.join(failing) or 'none'}; paper: wrong in size-4, size-5"
    holds = graded(yes=count >= PAPER_RIGHT, partly=count >= HALF)
    return [Claim("S2", what, "7 of 9", f"{count} of {n}", holds, note), *cells]


def after_claims(chosen: pd.DataFrame) -> list[Claim]:
    """S3: after clustering the silhouette chooses the true K in three of nine only; seeds with all K fitted count."""
    swept = chosen[chosen["swept"]]
    cells = []
    for scenario in PAPER:
        paper = "true K" if scenario in PAPER_AFTER else "another K"
        rows = _rows(swept, scenario)
        head = (f"S3 {scenario}", f"{scenario}: K with the largest silhouette after clustering", paper)
        if not _judged(rows, "compared"):
            why = "not all K were fitted" if len(_rows(chosen, scenario)) else "the scenario was not run"
            cells.append(not_run(*head, why))
            continue
        is_true = majority(rows[AFTER]) == int(scenario[-1])
        holds = graded(yes=is_true == (scenario in PAPER_AFTER))
        cells.append(Claim(*head, numbers_in_words(rows[AFTER]), holds, f"true K {scenario[-1]}"))
    what = "scenarios where the silhouette after clustering chooses the true K: fewer than before it"
    if any(cell.holds == "not run" for cell in cells):
        return [not_run("S3", what, "3 of 9", scenarios_not_run(cells)), *cells]
    after, before = (sum(_right(rows, rule).values()) for rows, rule in ((swept, AFTER), (chosen, KMEANS)))
    holds = graded(yes=after < before, partly=after == before)
    return [Claim("S3", what, "3 of 9", f"{after} of 9", holds, f"before clustering: {before} of 9"), *cells]


def gap_claim(chosen: pd.DataFrame) -> Claim:
    """S9: the gap statistic does worse than the silhouette."""
    what, paper = "scenarios with the true K by the gap statistic: fewer than by the silhouette", "fewer"
    right = {rule: _right(chosen, rule) for rule in (KMEANS, SPARSE, GAP)}
    counts = {rule: sum(found.values()) for rule, found in right.items()}
    n = len(right[GAP])
    ours = ", ".join(f"{rule} {count}" for rule, count in counts.items()) + f" of {n}" if n else ""
    absent = [name for name in PAPER if name not in right[GAP]]
    if absent:
        return not_run("S9", what, paper, f"not run: {', '.join(absent)}", ours)
    note = "before clustering, majority of the seeds"
    return Claim("S9", what, paper, ours, graded(yes=counts[GAP] < counts[KMEANS]), note)


def _largest(run: Run, column: str) -> int | None:
    values = run.fits[column].dropna().round(12)
    return int(min(values.index, key=lambda k: (-values[k], k))) if len(values) else None


def _gap_k(run: Run) -> int | None:
    rows = run.criteria[run.criteria["criterion"] == "gap"].sort_values("k")
    gaps = [
        Gap(int(k), None if pd.isna(value) else float(value), None if pd.isna(error) else float(error))
        for k, value, error in zip(rows["k"], rows["value"], rows["standard_error"], strict=True)
    ]
    return gap_choice(gaps) if gaps else None


def _beside_paper(k: float, paper: int, true_k: int) -> str:
    if k == paper:
        return ""
    return "the true K, which the paper's run missed" if k == true_k else f"the true K is {true_k}"


def _right(chosen: pd.DataFrame, rule: str) -> dict[str, bool]:
    """For each of the nine that can be judged: whether most seeds choose the true K."""
    rows = {scenario: _rows(chosen, scenario) for scenario in PAPER}
    return {name: majority(found[rule]) == int(name[-1]) for name, found in rows.items() if _judged(found, "compared")}


def _rows(chosen: pd.DataFrame, scenario: str) -> pd.DataFrame:
    return chosen[chosen["scenario"] == scenario]


def _judged(rows: pd.DataFrame, column: str) -> bool:
    return bool(len(rows)) and bool(rows[column].all())
