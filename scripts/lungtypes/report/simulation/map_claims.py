"""What the maps and the activated areas of the simulation study show: the paper's claims S6-S8, and ours (X8, X9).

Ryan et al. 2020, section 4.2. The paper gives no threshold for "activated": 0.5 here, and pixels of the lung only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import f_oneway, spearmanr

from lungtypes.report.blocks import count_of
from lungtypes.report.findings import UNIFORM_LIMIT
from lungtypes.report.simulation.runs import FACTORS, Named, Run
from lungtypes.report.simulation.verdicts import (
    NOT_STUDIED,
    Claim,
    Holds,
    combine,
    graded,
    joined,
    not_run,
    p_values,
    spread,
)

VARIABLES = ("active_px", "mean_hu", "active_mean_hu")
SMALL_P, LEVEL = 0.001, 0.05
HALF, NEAR_HALF, ROUGHLY_HALF = 0.5, 0.1, 0.2  # the paper: "an average importance near 0.5"
NEAR_ONE = 0.9  # the paper: "the maximum of the average importance at 1"
SMALLEST_REGION_PX = 4
CLEARLY_MORE = 2.0  # times what a map without a preference would have in the disc


@dataclass(frozen=True)
class Fact:
    """What one run shows for a claim: in words, and whether it is what the paper says."""

    text: str
    holds: Holds


def differences_table(runs: Sequence[Run]) -> pd.DataFrame:
    """Differences between the clusters found: one row a run and variable, with the mean of each cluster.

    f, p : one-way ANOVA. trend, trend_p : Spearman correlation of the variable with the number of the cluster.
    """
    rows = []
    for run in runs:
        for variable in VARIABLES:
            values = run.images[["cluster", variable]].dropna()
            means = {f"mean_{c}": mean for c, mean in values.groupby("cluster")[variable].mean().items()}
            row = {"scenario": run.scenario, "seed": run.seed, "variable": variable, "n": len(values), "flag": run.flag}
            rows.append(row | means | _tests(values["cluster"], values[variable]))
    table = pd.DataFrame(rows)
    means = sorted((c for c in table if c.startswith("mean_")), key=lambda name: int(name.removeprefix("mean_")))
    return table[["scenario", "seed", "variable", "n", *means, "f", "p", "trend", "trend_p", "flag"]]


def map_claims(named: Named, tests: pd.DataFrame) -> list[Claim]:
    """S6 to S8, about the three scenarios with five clusters."""
    where = {f"S{i}": f"{factor}-5" for i, factor in enumerate(FACTORS, start=6)}

    def judge(claim: str, what: str, paper: str, fact: Callable[[Run], Fact]) -> Claim:
        scenario = where[claim[:2]]
        runs = [run for run in named.get(scenario, ()) if run.at_truth is not None]
        what = f"{scenario}: {what}"
        if not runs:
            return not_run(claim, what, paper, "the scenario was not run")
        facts = [fact(run) for run in runs]
        texts = [f"seed {run.seed}: {found.text}" for run, found in zip(runs, facts, strict=True)]
        ours = facts[0].text if len({found.text for found in facts}) == 1 else "; ".join(texts)
        return Claim(claim, what, paper, ours, combine(found.holds for found in facts))

    def area(run: Run) -> Fact:
        p = _row(tests, run, "active_px")["p"]
        return Fact(p_values([p]), graded(yes=p < SMALL_P, partly=p < LEVEL))

    def density(run: Run) -> Fact:
        p = _row(tests, run, "mean_hu")["p"]
        return Fact(p_values([p]), graded(yes=p > LEVEL))

    def growth(run: Run) -> Fact:
        return _growth(_row(tests, run, "active_px"))

    return [
        judge("S6a", "mean importance over the lung in the average map of the +0 HU cluster", "about 0.5", _healthy),
        judge(
            "S6b", "the average map of the +400 HU cluster is largest in its disc, and what it is there", "1", _dense
        ),
        judge("S7a", "average maps that are largest in their own cluster's disc", "5 of 5", _own_peaks),
        judge("S7b", "separate regions of the population map", "5, one for each location", _five_regions),
        judge("S7c", "the activated area differs between clusters", "p <0.001", area),
        judge("S7d", "the mean HU does not differ between clusters", "p 0.605", density),
        judge("S8a", "average maps that are largest in the one place where all lesions are", "5 of 5", _same_place),
        judge("S8b", "the activated area grows from cluster 1 to 5", "grows, p <0.001", growth),
    ]


def own_map_claims(runs: Sequence[Run]) -> list[Claim]:
    """X8: is the map more than the sum of all channels? X9: does it point at the lesion?"""
    what = f"median correlation of the map with the unweighted channel sum is below {UNIFORM_LIMIT:g}"
    medians = [run.images["uniform_correlation"].median() for run in runs]
    holds = combine(graded(yes=value < UNIFORM_LIMIT) for value in medians)
    notes = [] if holds == "yes" else ["where it is not, the channels' weights say little"]
    degenerate = sum(run.n_degenerate for run in runs)
    notes += [f"{count_of(degenerate, 'map')} zero everywhere, left out of all averages"] if degenerate else []
    first = Claim("X8", what, NOT_STUDIED, spread(medians, unit="run"), holds, "; ".join(notes))
    return [first, *(_energy_claim(factor, runs) for factor in FACTORS)]


def peak_of(values: NDArray, lung: NDArray[np.bool_]) -> tuple[int, int]:
    """Row and column of the largest value within the lung."""
    row, column = np.unravel_index(int(np.where(lung, values, -np.inf).argmax()), lung.shape)
    return int(row), int(column)


def regions_of(values: NDArray, lung: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Separate regions of a map within the lung, numbered from 1, and their number.

    A pixel belongs to one where it is above the middle between the lung's median and maximum: all maps have a floor,
    and half of the maximum would often take in the whole lung. Diagonal neighbours touch; specks below 4 px go.
    """
    level = (np.median(values[lung]) + values[lung].max()) / 2
    labels, n = ndimage.label((values > level) & lung, structure=np.ones((3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=n + 1)
    kept = [i for i in range(1, n + 1) if sizes[i] >= SMALLEST_REGION_PX]
    renumbered = np.zeros(n + 1, np.int32)
    renumbered[kept] = np.arange(1, len(kept) + 1)
    return renumbered[labels], len(kept)


def _tests(clusters: pd.Series, values: pd.Series) -> dict[str, float]:
    groups = [part.to_numpy(float) for _, part in values.groupby(clusters)]
    undefined = len(groups) < 2 or values.nunique() < 2 or all(np.ptp(group) == 0 for group in groups)
    if undefined:
        return dict.fromkeys(("f", "p", "trend", "trend_p"), np.nan)
    f, p = f_oneway(*groups)
    trend, trend_p = spearmanr(clusters, values)
    return {"f": float(f), "p": float(p), "trend": float(trend), "trend_p": float(trend_p)}


def _row(tests: pd.DataFrame, run: Run, variable: str) -> pd.Series:
    chosen = (tests["scenario"] == run.scenario) & (tests["seed"] == run.seed) & (tests["variable"] == variable)
    return tests[chosen].iloc[0]


def _healthy(run: Run) -> Fact:
    maps, lung = run.cluster_maps(), run.array("lung")
    if 1 not in maps:
        return Fact("no image was assigned to it", "no")
    values = maps[1][lung]
    low, high = np.percentile(values, [5, 95])
    away = abs(values.mean() - HALF)
    text = f"{values.mean():.2f} (5th to 95th percentile of the pixels {low:.2f}-{high:.2f})"
    return Fact(text, graded(yes=away <= NEAR_HALF, partly=away <= ROUGHLY_HALF))


def _dense(run: Run) -> Fact:
    maps, lung, discs = run.cluster_maps(), run.array("lung"), run.true_discs()
    last = max(discs)
    if last not in maps:
        return Fact("no image was assigned to it", "no")
    inside, disc = discs[last][peak_of(maps[last], lung)], maps[last][discs[last] & lung].max()
    text = f"{disc:.2f} in its disc, where it is {'' if inside else 'not '}largest"
    if not inside:
        text += f" ({maps[last][lung].max():.2f} elsewhere)"
    return Fact(text, graded(yes=inside and disc >= NEAR_ONE, partly=inside or disc >= NEAR_ONE))


def _own_peaks(run: Run) -> Fact:
    maps, lung, discs = run.cluster_maps(), run.array("lung"), run.true_discs()
    hits = sum(c in maps and bool(disc[peak_of(maps[c], lung)]) for c, disc in discs.items())
    return _hits(hits, len(discs))


def _same_place(run: Run) -> Fact:
    maps, lung, discs = run.cluster_maps(), run.array("lung"), run.true_discs()
    place = np.logical_or.reduce(list(discs.values()))
    hits = sum(c in maps and bool(place[peak_of(maps[c], lung)]) for c in discs)
    return _hits(hits, len(discs))


def _hits(hits: int, n: int) -> Fact:
    return Fact(f"{hits} of {n}", graded(yes=hits == n, partly=2 * hits > n))


def _five_regions(run: Run) -> Fact:
    lung, discs = run.array("lung"), run.true_discs()
    labels, n = regions_of(run.population_map(), lung)
    held = {c: set(np.unique(labels[disc])) - {0} for c, disc in discs.items()}
    covered = sum(bool(found) for found in held.values())
    distinct = len(set().union(*held.values()))  # one region over two discs counts once
    text = f"{count_of(n, 'region')}, which take in {covered} of {len(discs)} discs"
    apart = min(covered, distinct)
    return Fact(text, graded(yes=n == apart == len(discs), partly=2 * apart > len(discs)))


def _growth(row: pd.Series) -> Fact:
    means = row[[name for name in row.index if name.startswith("mean_")]].dropna().to_numpy(float)
    means = means[:5]  # larger numbers are clusters that match no class
    text = f"mean {', '.join(f'{mean:.0f}' for mean in means)} px; {p_values([row['p']])}; trend {row['trend']:.2f}"
    grows = len(means) == 5 and bool((np.diff(means) > 0).all())
    sure = row["p"] < SMALL_P
    return Fact(text, graded(yes=grows and sure, partly=sure and row["trend"] > 0))


def _energy_claim(factor: str, runs: Sequence[Run]) -> Claim:
    """X9: share of the map in the disc, beside the disc's share of the lung; without images of +0 HU."""
    claim, what = (
        f"X9 {factor}",
        f"{factor}: median share of the lung's importance in the disc, over twice the disc's share of the lung",
    )
    scenarios = tuple(f"{factor}-{k}" for k in (3, 4, 5))
    shares, areas, hits, used = [], [], [], []
    for run in (run for run in runs if run.scenario in scenarios):
        lesion = (run.images["true_cluster"] > 1).to_numpy() | (factor != "intensity")
        images = run.images[lesion]
        maps, discs, lung = run.array("importance")[lesion], run.array("discs")[lesion], run.array("lung")
        within, total = (maps * discs).sum(axis=(1, 2)), (maps * lung).sum(axis=(1, 2))
        shares += (within[total > 0] / total[total > 0]).tolist()  # of the importance in the lung, as the area is
        hits += images["peak_in_disc"].dropna().tolist()
        areas += (discs.sum(axis=(1, 2)) / lung.sum()).tolist()
        used.append(run.scenario)
    if not shares:
        return not_run(claim, what, NOT_STUDIED, "none of its three scenarios was run")
    share, area = float(np.median(shares)), float(np.median(areas))
    ours = f"{share:.3f}; the disc is {area:.3f} of the lung; peak in the disc in {100 * np.mean(hits):.0f} %"
    left_out = "without the +0 HU cluster" if factor == "intensity" else ""
    note = joined([", ".join(dict.fromkeys(used)), left_out])
    return Claim(claim, what, NOT_STUDIED, ours, graded(yes=share > CLEARLY_MORE * area, partly=share > area), note)
