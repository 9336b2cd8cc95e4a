"""What the CLAM paper's simulation did not ask (X1-X7): no clusters, rare ones, harder images, simpler features."""

from __future__ import annotations

import numpy as np

from lungtypes.evaluation.choose_k import NULL_LEVEL
from lungtypes.report.blocks import count_of
from lungtypes.report.simulation.runs import FACTORS, PAPER, Named, Run
from lungtypes.report.simulation.verdicts import NOT_STUDIED, Claim, all_found, combine, graded, joined, not_run, spread

MARGIN = 0.01  # a smaller difference of accuracies is none
NOT_ENOUGH = "table 1: not enough"


def own_claims(named: Named) -> list[Claim]:
    """X1 to X7, those about accuracy where the true K was fitted."""
    smoothed, shifted = "noise smoothed over 2 pixels", "lungs off by 1.5 pixels (SD)"
    return [
        _null_claim(named.get("no-clusters", ())),
        _power_claim(named),
        _rare_claim(named.get("unbalanced", ())),
        accuracy_claim("X4", f"five locations, {smoothed}: accuracy", NOT_STUDIED, named.get("correlated", ())),
        accuracy_claim("X5", f"five locations, {shifted}: accuracy", NOT_STUDIED, named.get("misregistered", ())),
        *(_densitometry_claim(factor, named) for factor in FACTORS),
        _gain_claim(named),
    ]


def accuracy_claim(claim: str, what: str, paper: str, runs: tuple[Run, ...]) -> Claim:
    """Whether all images of a scenario are found at the true K; what the data say where they are not."""
    fitted = [run for run in runs if run.at_truth is not None]
    if not fitted:
        return not_run(claim, what, paper, "the true K was not fitted" if runs else "the scenario was not run")
    values = [run.at_truth["accuracy"] for run in fitted]
    note = joined(why_below(run) for run in fitted if run.at_truth["accuracy"] < 1)
    return Claim(claim, what, paper, spread(values), combine(map(all_found, values)), note)


def why_below(run: Run) -> str:
    """What the data say of a run that misses images: how many, of which cluster, and since when."""
    row, images = run.at_truth, run.images
    right = images["cluster"] == images["true_cluster"]
    recall = right.groupby(images["true_cluster"]).mean()
    before = row["accuracy_kmeans"]
    parts = [
        f"{int((~right).sum())} of {len(images)} misassigned",
        f"true cluster {recall.idxmin()} fares worst (recall {recall.min():.2f})",
        "k-means before clustering was right, so the clustering phase lost them"
        if before > 1 - 1e-9
        else f"k-means before clustering was already wrong ({before:.3f})",
        guard_in_words(row["guard"]),
    ]
    return f"seed {run.seed}: " + ", ".join(parts)


def guard_in_words(guard: str) -> str:
    """What the guard of the clustering phase did, in short."""
    acted = guard.count("back to")
    words = [f"the guard acted {acted} x" if acted else "the guard did not act"]
    words += ["training ended early"] if "training ended" in guard else []
    words += ["q flat from the start"] if "flat from the start" in guard else []
    return ", ".join(words)


def _null_claim(runs: tuple[Run, ...]) -> Claim:
    what = f"no clusters planted: one single Gaussian is not rejected (p above {NULL_LEVEL:g}), so the run is flagged"
    if not runs:
        return not_run("X1", what, NOT_STUDIED, "the scenario was not run")
    p = [run.fits["null_p"].iloc[0] for run in runs]
    after = [run.fits["silhouette_after"].max() for run in runs]
    note = "the silhouette of the clusters found all the same, after clustering: " + spread(after, digits=2)
    holds = combine(graded(yes=value > NULL_LEVEL) for value in p)
    return Claim("X1", what, NOT_STUDIED, f"p {spread(p, digits=2)}", holds, note)


def _power_claim(named: Named) -> Claim:
    what = f"clusters planted (the paper's scenarios): one single Gaussian is rejected (p at most {NULL_LEVEL:g})"
    runs = [run for name in PAPER for run in named.get(name, ())]
    if not runs:
        return not_run("X2", what, NOT_STUDIED, "none of the nine scenarios was run")
    missed = [run for run in runs if not run.fits["null_p"].iloc[0] <= NULL_LEVEL]
    note = "not rejected: " + ", ".join(f"{r.scenario} (seed {r.seed})" for r in missed) if missed else ""
    holds = graded(yes=not missed, partly=len(missed) < len(runs))
    return Claim("X2", what, NOT_STUDIED, f"{len(runs) - len(missed)} of {count_of(len(runs), 'run')}", holds, note)


def _rare_claim(runs: tuple[Run, ...]) -> Claim:
    what = "unbalanced (67, 23 and 10 %): share of the smallest cluster's images that is found"
    fitted = [run for run in runs if run.at_truth is not None]
    if not fitted:
        return not_run("X3", what, NOT_STUDIED, "the true K was not fitted" if runs else "the scenario was not run")
    values = [_smallest_found(run.images["true_cluster"], run.images["cluster"]) for run in fitted]
    note = "accuracy " + spread([run.at_truth["accuracy"] for run in fitted])
    return Claim("X3", what, NOT_STUDIED, spread(values), combine(map(all_found, values)), note)


def _smallest_found(true, found) -> float:
    smallest = true.value_counts().sort_index().idxmin()
    return float((found == true)[true == smallest].mean())


def _densitometry_claim(factor: str, named: Named) -> Claim:
    claim, what = (
        f"X6 {factor}",
        f"{factor}: k-means on densitometry, without a network, finds fewer than CLAM (true K)",
    )
    runs = [run for k in (3, 4, 5) for run in named.get(f"{factor}-{k}", ()) if run.at_truth is not None]
    if not runs:
        return not_run(claim, what, NOT_ENOUGH, "none of its three scenarios was run")
    simple, network = (np.array([run.at_truth[c] for run in runs]) for c in ("accuracy_densitometry", "accuracy"))
    gain = float((network - simple).mean())
    ours = f"{spread(simple, unit='run')}; CLAM {network.mean():.3f}"
    note = ", ".join(dict.fromkeys(run.scenario for run in runs)) + "; chance is about 1/K"
    return Claim(claim, what, NOT_ENOUGH, ours, graded(yes=gain > MARGIN, partly=gain >= -MARGIN), note)


def _gain_claim(named: Named) -> Claim:
    what = "the clustering phase finds more than k-means on the features before it (true K, the paper's scenarios)"
    runs = [run for name in PAPER for run in named.get(name, ()) if run.at_truth is not None]
    if not runs:
        return not_run("X7", what, NOT_STUDIED, "none of the nine scenarios was run")
    after, before = (np.array([run.at_truth[c] for run in runs]) for c in ("accuracy", "accuracy_kmeans"))
    gain = float((after - before).mean())
    ours = f"before {before.mean():.3f}, after {after.mean():.3f}, {count_of(len(runs), 'run')}"
    better, worse = int((after > before).sum()), int((after < before).sum())
    note = f"better in {better}, worse in {worse}, the same in {len(runs) - better - worse}"
    return Claim("X7", what, NOT_STUDIED, ours, graded(yes=gain > MARGIN, partly=gain > 1e-9), note)
