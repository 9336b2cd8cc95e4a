"""The verdict, the tables and the limits on the page of the simulation study, from claims and fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from lungtypes.report.blocks import Block, Bullets, Paragraph, Table, count_of, number
from lungtypes.report.simulation.k_claims import PAPER_BEFORE, RULES, chosen_numbers
from lungtypes.report.simulation.own_claims import guard_in_words
from lungtypes.report.simulation.runs import EXTRA, PAPER, Run
from lungtypes.report.simulation.verdicts import Claim

HEADER = ("Claim", "What", "Paper", "This run", "Holds", "Note")
NOT_STATED = "not stated"
# What the paper states (section 4.1), by our settings; all else is "not stated"
PAPER_SETTINGS = {
    "subjects": 300,
    "size": 64,
    "spacing_mm": 3.0,
    "strides": [2, 1, 2],
    "filters": [32, 64, 128],
    "fitted": [2, 3, 4, 5, 6, 7, 8],
    "lesions, intensities_hu": [0.0, 100.0, 200.0, 300.0, 400.0],
    "lesions, radii_px": [2.0, 3.0, 4.0, 5.0, 6.0],
    "lesions, locations": 5,
    "latent": 60,
    "background": "zero",
    "loss": "sum",
    "pretrain, epochs": 200,
    "pretrain, held_out": 0,
    "cluster, gamma": 0.1,
    "cluster, epochs": 500,
    "cluster, latent_scale": "none",
}
PAPER_WORDS = {"template": "a standard lung template", "scenarios": "the first nine", "seeds": "one run"}
LIMITS: tuple[Block, ...] = (
    Bullets(
        (
            "Slices are 2D, of one lung that is the same in every image: real scans are 3D and differ in shape.",
            "One factor varies at a time, in steps that the config fixes beforehand: in disease all vary at once.",
            "All images are perfectly aligned, except in the scenario misregistered.",
            "Values that the paper does not state (which locations, what is held constant) are ours; see the settings.",
            "With the synthetic lung, noise is drawn from the voxels of virtual healthy lungs: its SD is 93 HU, and "
            "vessels make its upper tail long. It is white, except in the scenario correlated.",
            "The threshold of an activated pixel (0.5), the limits of a collapse (95 % of the images) and of every "
            "verdict are ours: the paper gives none.",
        )
    ),
)
EXPLAINED = (
    "Holds says whether this run shows what the paper says: yes, partly, no, or not run where a scenario or a number "
    "of clusters is absent. With several seeds, yes and no need all of them. Accuracy: yes means every image, partly "
    "99 % or more. What the letters mean stands in docs/simulation.md."
)


@dataclass(frozen=True)
class Statement:
    """One sentence of the verdict: its mark on the page (finding, amber or red), in a word, and what it says."""

    level: str
    word: str
    text: str


def verdict(runs: Sequence[Run], claims: Sequence[Claim], settings: Mapping[str, object]) -> tuple[Statement, ...]:
    """What a reader must know first: how many of the paper's statements hold, which do not and why."""
    stated = [claim for claim in claims if claim.is_papers and not claim.is_cell]
    counts = Counter(claim.holds for claim in stated)
    text = (
        f"Of {len(stated)} statements of the paper (S1 to S9), {counts['yes']} hold, {counts['partly']} hold in part, "
        f"{counts['no']} do not hold, {counts['not run']} could not be judged."
    )
    found = [Statement("finding", "In short", text)]
    differing = _differing(settings)
    if differing:
        text = f"This run is not the paper's in {', '.join(differing)}. See the settings."
        found.append(Statement("amber", "Settings", text))
    found += [Statement("red", "Does not hold", _sentence(claim)) for claim in stated if claim.holds == "no"]
    found += [Statement("amber", "Holds in part", _sentence(claim)) for claim in stated if claim.holds == "partly"]
    found += _flagged(runs)
    absent = [claim.claim for claim in stated if claim.holds == "not run"]
    if absent:
        text = f"A scenario or a number of clusters is absent for {', '.join(absent)}."
        found.append(Statement("amber", "Not judged", text))
    own = [claim for claim in claims if not claim.is_papers]
    found += [Statement("amber", "Beyond the paper, no", _sentence(claim)) for claim in own if claim.holds == "no"]
    found += [Statement("amber", "Beyond the paper, partly", _sentence(c)) for c in own if c.holds == "partly"]
    return tuple(found)


def claims_block(claims: Sequence[Claim]) -> tuple[Block, ...]:
    """The statements of the paper, each scenario of them, and ours."""
    parts = {
        "The paper's statements": [c for c in claims if c.is_papers and not c.is_cell],
        "Each scenario": [c for c in claims if c.is_cell],
        "Ours": [c for c in claims if not c.is_papers],
    }
    tables = [Table(caption, HEADER, tuple(_cells(c) for c in part)) for caption, part in parts.items()]
    return (Paragraph(EXPLAINED, "note"), *tables)


def accuracy_table(runs: Sequence[Run]) -> Table | None:
    """One row a run with the true K fitted."""
    rows = []
    for run in (run for run in runs if run.at_truth is not None and run.true_k > 1):
        row = run.at_truth
        rows.append(
            (
                run.scenario,
                str(run.seed),
                number(row["accuracy"], 3),
                "1.00" if run.scenario in PAPER else "",
                number(row["ari"], 3),
                number(row["smallest_recall"], 2),
                number(row["accuracy_kmeans"], 3),
                number(row["silhouette_after"], 2),
                number(row["epochs"], 0),
                guard_in_words(row["guard"]),
                run.flag,
            )
        )
    header = ("Scenario", "Seed", "Accuracy", "Paper", "Adjusted Rand", "Worst recall", "k-means before", "Silhouette")
    return Table("Clusters found at the true K", (*header, "Epochs", "Guard", "Flag"), tuple(rows)) if rows else None


def chosen_table(runs: Sequence[Run]) -> Table | None:
    """The K of each rule, the paper's beside it."""
    chosen, flags = chosen_numbers(runs), {(run.scenario, run.seed): run.flag for run in runs}
    rows = []
    for row in chosen[chosen["scenario"].isin(PAPER)].to_dict("records"):
        paper = PAPER_BEFORE.get(row["scenario"], row["true_k"])
        words = [number(row[rule], 0) for rule in RULES[:3]]
        after = number(row[RULES[3]], 0) if row["swept"] else "not run"
        rows.append(
            (
                row["scenario"],
                str(row["seed"]),
                str(row["true_k"]),
                str(paper),
                *words,
                after,
                flags[row["scenario"], row["seed"]],
            )
        )
    header = ("Scenario", "Seed", "True K", "Paper, silhouette before", *(rule.capitalize() for rule in RULES), "Flag")
    return Table("Number of clusters that each rule chooses", header, tuple(rows)) if rows else None


def extra_table(runs: Sequence[Run]) -> Table | None:
    """Our own scenarios: what was chosen, and what was found at the K that was fitted."""
    rows = []
    for run in (run for run in runs if run.scenario in EXTRA):
        chosen = int(run.fits["chosen_k"].iloc[0])
        fit = run.fits.loc[chosen] if run.true_k == 1 and chosen in run.fitted else run.at_truth
        words = [number(None if fit is None else fit[name], 3) for name in ("accuracy", "smallest_recall")]
        after = number(None if fit is None else fit["silhouette_after"], 2)
        p = number(run.fits["null_p"].iloc[0], 3)
        rows.append((run.scenario, str(run.seed), str(run.true_k), number(chosen, 0), p, *words, after, run.flag))
    header = ("Scenario", "Seed", "True K", "Chosen K", "p of one Gaussian", "Accuracy", "Worst recall")
    return (
        Table("Scenarios that the paper leaves out", (*header, "Silhouette after", "Flag"), tuple(rows))
        if rows
        else None
    )


def comparator_table(runs: Sequence[Run]) -> Table | None:
    """Accuracy of the network beside k-means on its features and on densitometry, at the true K."""
    rows = []
    for run in (run for run in runs if run.true_k > 1 and run.true_k in run.fits.index):
        row = run.fits.loc[run.true_k]
        values = (row["accuracy_densitometry"], row["accuracy_kmeans"], row["accuracy"])
        largest = run.images["true_cluster"].value_counts(normalize=True).max()
        rows.append((run.scenario, str(run.seed), number(largest, 3), *(number(value, 3) for value in values)))
    header = ("Scenario", "Seed", "Largest true cluster", "Densitometry, k-means", "Features before, k-means", "CLAM")
    return Table("Accuracy at the true K", header, tuple(rows)) if rows else None


def settings_table(settings: Mapping[str, object], runs: Sequence[Run]) -> Table:
    """Every setting beside the paper's, and what was found."""
    rows = [(name, _words(value), _paper_words(name)) for name, value in _flat(settings).items()]
    seeds = Counter(run.scenario for run in runs)
    found = f"{count_of(len(runs), 'run')} of {count_of(len(seeds), 'scenario')}"
    return Table("Settings of this run", ("Setting", "This run", "Paper"), (("runs found", found, ""), *rows))


def _flagged(runs: Sequence[Run]) -> list[Statement]:
    """Runs in which there may be one group only: right where nothing was planted, else a reason to doubt the run."""
    found = []
    for planted, level, words in (
        (True, "red", "Clusters were planted, so their features do not hold them: do not trust these runs"),
        (False, "finding", "No cluster was planted, so this is right; clusters and maps were made all the same"),
    ):
        names = [f"{r.scenario}, seed {r.seed}: {r.flag}" for r in runs if r.flag and (r.true_k > 1) == planted]
        found += [Statement(level, "Flagged", f"{'; '.join(names)}. {words}.")] if names else []
    return found


def _sentence(claim: Claim) -> str:
    paper = f" The paper: {claim.paper}." if claim.is_papers else ""
    note = f" {claim.note[0].upper()}{claim.note[1:]}." if claim.note else ""
    return f"{claim.claim}, {claim.what}. Found: {claim.ours}.{paper}{note}"


def _cells(claim: Claim) -> tuple[str, ...]:
    return tuple(str(value) for value in vars(claim).values())


def _flat(settings: Mapping[str, object]) -> dict[str, object]:
    """Nested settings by "section, name"."""
    flat: dict[str, object] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}, {inner}": item for inner, item in value.items()}
        else:
            flat[name] = value
    return flat


def _differing(settings: Mapping[str, object]) -> list[str]:
    flat = _flat(settings)
    return [
        f"{name} ({_words(flat[name])}, paper {_words(v)})" for name, v in PAPER_SETTINGS.items() if flat[name] != v
    ]


def _paper_words(name: str) -> str:
    return _words(PAPER_SETTINGS[name]) if name in PAPER_SETTINGS else PAPER_WORDS.get(name, NOT_STATED)


def _words(value: object) -> str:
    if isinstance(value, str) or pd.api.types.is_scalar(value):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return ", ".join(_words(item) for item in value)
