"""The claims of the CLAM paper's simulation study (S1-S9) and ours (X1, ...) beside what the runs show.

Ryan et al. 2020, section 4.2. A claim whose scenarios or numbers of clusters are absent is "not run".
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from lungtypes.report.blocks import count_of
from lungtypes.report.simulation.k_claims import after_claims, before_claims, chosen_numbers, gap_claim
from lungtypes.report.simulation.map_claims import differences_table, map_claims, own_map_claims
from lungtypes.report.simulation.own_claims import accuracy_claim, own_claims
from lungtypes.report.simulation.runs import PAPER, Named, Run, by_scenario
from lungtypes.report.simulation.verdicts import Claim, combine, graded, joined, not_run, scenarios_not_run, spread

COLLAPSED = 0.95  # share of the images in one cluster, as the guard of the clustering phase has it

Cell = tuple[Run, int]  # a run and a fitted K


def find_claims(runs: Sequence[Run]) -> tuple[Claim, ...]:
    """All claims in the order of the paper, each followed by its scenarios, then ours."""
    named, chosen = by_scenario(runs), chosen_numbers(runs)
    return (
        *_accuracy_claims(named),
        *before_claims(chosen),
        *after_claims(chosen),
        *_collapse_claims(named),
        _empty_claim(named),
        *map_claims(named, differences_table(runs)),
        gap_claim(chosen),
        *own_claims(named),
        *own_map_claims(runs),
    )


def claims_table(claims: Sequence[Claim]) -> pd.DataFrame:
    """One row a claim: claim, what, paper, ours, holds, note."""
    return pd.DataFrame([vars(claim) for claim in claims])


def _accuracy_claims(named: Named) -> list[Claim]:
    """S1: every image in its cluster where the true K is fitted."""
    cells = [
        accuracy_claim(f"S1 {name}", f"{name}: accuracy at the true K", "1.00", named.get(name, ())) for name in PAPER
    ]
    judged = [cell.claim.removeprefix("S1 ") for cell in cells if cell.holds != "not run"]
    fits = {name: [run.at_truth for run in named[name] if run.at_truth is not None] for name in judged}
    means = [np.mean([row["accuracy"] for row in rows]) for rows in fits.values()]
    complete = sum(cell.holds == "yes" for cell in cells)
    ours = f"{spread(means, unit='scenario')}; complete in {complete} of {len(means)}" if means else ""
    worse = [cell.claim.removeprefix("S1 ") for cell in cells if cell.holds in ("partly", "no")]
    note = joined([f"below 1.00: {', '.join(worse)}" if worse else "", scenarios_not_run(cells)])
    what = "accuracy at the true K, mean of the nine scenarios"
    holds = combine(cell.holds for cell in cells)
    if any(cell.holds == "no" for cell in cells) and holds == "partly":
        holds = "no"  # the paper says all nine: one that fails is enough
    return [Claim("S1", what, "1.00", ours, holds, note), *cells]


def _collapse_claims(named: Named) -> list[Claim]:
    """S4: all images in one cluster, which the paper saw only where another K than the true one was fitted."""
    cells = _cells(named)
    at_truth = [(run, k) for run, k in cells if k == run.true_k]
    elsewhere = [(run, k) for run, k in cells if k != run.true_k]
    head = ("S4a", "all images in one cluster although the true K is fitted", "never")
    absent = [name for name in PAPER if not any(run.scenario == name for run, _ in at_truth)]
    if absent:
        first = not_run(*head, f"not run: {', '.join(absent)}", _collapses(at_truth) if at_truth else "")
    else:
        ended, caught = _ended(at_truth), _caught(at_truth)
        first = Claim(*head, _collapses(at_truth), graded(yes=not ended and not caught, partly=not ended))
    head = ("S4b", "all images in one cluster where another K is fitted", "seen, as at intensity-4 with K = 2 and 5")
    if not _all_swept(named):
        second = not_run(*head, "not all K of the nine were fitted", _collapses(elsewhere) if elsewhere else "")
    else:
        happened = bool(_ended(elsewhere) or _caught(elsewhere))
        second = Claim(*head, _collapses(elsewhere), graded(yes=happened))
    return [first, second]


def _empty_claim(named: Named) -> Claim:
    """S5: where more clusters are fitted than planted, the extra ones may stay empty; the accuracy is 1.00 then."""
    head = ("S5", "more clusters fitted than planted: the extra ones stay empty and the accuracy is 1.00", "seen")
    more = [(run, k) for run, k in _cells(named) if k > run.true_k]
    empty = [(run, k) for run, k in more if run.fits.loc[k, "clusters_used"] < k]
    right = [(run, k) for run, k in empty if run.fits.loc[k, "accuracy"] > 1 - 1e-9]
    ours = f"empty clusters in {len(empty)} of {count_of(len(more), 'fit')}, {len(right)} of these with accuracy 1.00"
    if not _all_swept(named):
        return not_run(*head, "not all K of the nine were fitted", ours if more else "")
    return Claim(*head, ours, graded(yes=bool(right), partly=bool(empty)), _named(right))


def _cells(named: Named) -> list[Cell]:
    return [(run, k) for name in PAPER for run in named.get(name, ()) for k in run.fitted]


def _all_swept(named: Named) -> bool:
    """Whether each of the nine has a seed for which all K were fitted."""
    return all(any(run.is_swept for run in named.get(name, ())) for name in PAPER)


def _ended(cells: Sequence[Cell]) -> list[Cell]:
    """Those that hold all but all images in one cluster in the end."""
    return [(run, k) for run, k in cells if run.fits.loc[k, "largest_share"] > COLLAPSED]


def _caught(cells: Sequence[Cell]) -> list[Cell]:
    """Those where the guard saw that on the way and took it back."""
    others = [cell for cell in cells if cell not in _ended(cells)]
    return [(run, k) for run, k in others if re.search(r"collapse: one cluster holds \d", run.fits.loc[k, "guard"])]


def _collapses(cells: Sequence[Cell]) -> str:
    ended, caught = _named(_ended(cells)), _named(_caught(cells))
    parts = [f"ended so: {ended}" if ended else "", f"taken back by the guard: {caught}" if caught else ""]
    return joined(parts) or f"never in {count_of(len(cells), 'fit')}"


def _named(cells: Sequence[Cell]) -> str:
    """ "size-3 with K = 5 (seed 1)"; several seeds of the same in one."""
    seeds: dict[tuple[str, int], list[str]] = {}
    for run, k in cells:
        seeds.setdefault((run.scenario, k), []).append(str(run.seed))
    return ", ".join(f"{name} with K = {k} (seed {', '.join(found)})" for (name, k), found in seeds.items())
