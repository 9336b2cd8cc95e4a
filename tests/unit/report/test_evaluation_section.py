"""The evaluation on the page: groups of measures, confusion, confounders and what is flagged."""

import numpy as np
import pandas as pd
import pytest

from lungtypes.evaluation.confounders import GOES_WITH, PREDICTED, Variable, audit_confounders
from lungtypes.evaluation.evaluate import evaluate_clustering
from lungtypes.report.blocks import Heading, Paragraph, Picture, Table
from lungtypes.report.confounder_blocks import above_chance
from lungtypes.report.evaluation_section import evaluation_section
from lungtypes.report.render import render_page
from lungtypes.report.results import Results

HEADINGS = [
    "Agreement with the reference",
    "Validity in each space",
    "Stability",
    "Memberships and sizes",
    "Do clusters follow how the scans were made?",
]


def save(run, name, table):
    table.to_csv(run.results / "evaluation" / name, sep="\t", index=False)


def row(variable, family, flag, **numbers):
    blank = {"label": variable.title(), "kind": "categorical", "n": 40, "n_missing": 2, "test": "chi-square"}
    blank |= {"statistic": 9.0, "p_value": 0.001, "q_value": 0.004, "effect_name": "V", "effect": 0.5}
    blank |= {"predictable": 0.9, "chance": 0.5, "predictable_p95": 0.6, "predictable_p": 0.001}
    return (
        blank | {"predictable_q": 0.004, "note": ""} | numbers | {"variable": variable, "family": family, "flag": flag}
    )


@pytest.fixture
def measured(run):
    """The run with tables as the evaluation and the audit write them, one scanner a cluster."""
    rng = np.random.default_rng(0)
    names = list("abcdefghij")
    assignment = pd.DataFrame(
        {"subject": names, "cluster": [1] * 5 + [2] * 5, "q_1": 0.7, "q_2": 0.3, "split": "train"}
    )
    z = rng.normal(size=(10, 3)) + 9 * np.repeat([0, 1], 5)[:, None]
    parts = [pd.DataFrame(z, columns=["z_1", "z_2", "z_3"]).assign(subject=names, phase=p) for p in ("before", "after")]
    draws = {"n_permutations": 20, "n_bootstrap": 20, "n_resamples": 5, "n_null": 2, "null_p": 0.01, "seed": 1}
    reference = pd.Series(["x$"] * 4 + ["<b>"] * 6, index=names)
    metrics = evaluate_clustering(
        assignment, pd.concat(parts), reference=reference, reference_name="readers", common=None, refits=[], **draws
    )
    save(run, "clam.tsv", metrics.assign(flag=""))
    confusion = pd.DataFrame({"cluster": [1, 1, 2, 2], "reference": ["x$", "<b>"] * 2, "n": [4, 1, 0, 5]})
    save(run, "clam_confusion.tsv", confusion)
    scanner = Variable("scanner", "Scanner", "scanner", "categorical", pd.Series(["A"] * 5 + ["B"] * 5, index=names))
    absent = Variable("site", "Site", "scanner", "categorical", pd.Series(dtype=object))
    audit = audit_confounders(
        assignment.set_index("subject")["cluster"], z, [scanner, absent], min_level=2, n_permutations=99, seed=0
    )
    save(run, "clam_confounders.tsv", audit)
    return run


def section_of(run):
    return evaluation_section(Results(run.results), "clam")


def blocks_of(run, kind):
    return [block for block in section_of(run).blocks if isinstance(block, kind)]


def page_of(run):
    """The section alone as HTML."""
    return render_page(findings=(), sections=(section_of(run),), methods=("clam",))


def test_measures_stand_in_groups_and_every_metric_is_on_the_page(measured):
    assert [heading.text for heading in blocks_of(measured, Heading)] == HEADINGS
    tables = blocks_of(measured, Table)
    assert tables[0].rows[0][0].startswith("Accuracy") and "0.900" in tables[0].rows[0]
    spaces = [line[0] for line in tables[1].rows]
    assert spaces[0] == "Before clustering, its own k-means" and "Common space" in spaces
    assert "Other measures" not in [table.caption for table in tables]


def test_confusion_shows_every_count_and_hostile_levels_stay_text(measured):
    picture = next(p for p in blocks_of(measured, Picture) if p.name == "clam_confusion")
    assert "cluster 1: 4 x$, 1 <b>" in picture.alt and "cluster 2: 5 <b>" in picture.alt
    assert "<b>" not in page_of(measured)


def test_scanner_that_goes_with_the_clusters_is_a_red_flag_said_once(measured):
    reds = [text for text in measured.findings("red") if "canner" in text]
    assert len(reds) == 1 and "differs between the clusters" in reds[0] and "read from the embedding" in reds[0]
    page = page_of(measured)
    assert "1 of 1 variable flagged: Scanner" in page and "not known of any scan" in page
    assert any(p.name == "clam_confounders" for p in blocks_of(measured, Picture))


@pytest.mark.parametrize(
    ("line", "level"),
    [
        (row("kernel", "scanner", GOES_WITH), "red"),
        (row("kernel", "scanner", PREDICTED), "red"),
        (row("kernel", "scanner", PREDICTED, predictable_q=0.2), "amber"),
        (row("dice", "registration", GOES_WITH), "amber"),
        (row("sex", "person", f"{GOES_WITH}; {PREDICTED}"), None),
        (row("kernel", "scanner", ""), None),
    ],
)
def test_level_of_a_confounder_follows_family_and_certainty(run, line, level):
    save(run, "clam_confounders.tsv", pd.DataFrame([line]))
    found = {lev: [t for t in run.findings(lev) if line["label"] in t] for lev in ("red", "amber", "finding")}
    assert {lev for lev, texts in found.items() if texts} == ({level} if level else set())


def test_without_reference_and_audit_the_page_says_so(measured):
    (measured.results / "evaluation/clam_confounders.tsv").unlink()
    measured.edit(
        "evaluation/clam.tsv",
        lambda t: t.assign(
            value=t["value"].where(t["space"].ne("") | t["note"].str.startswith("largest"), ""), note="no reference"
        ),
    )
    said = " ".join(p.text for p in blocks_of(measured, Paragraph))
    assert "No accuracy: no reference." in said and "No audit of confounders was found." in said


def test_score_above_chance_is_zero_at_chance_and_one_when_perfect():
    table = pd.DataFrame({"predictable": [0.5, 1.0, 0.75, -0.2], "chance": [0.5, 0.5, 0.5, 0.0]})
    assert above_chance(table, "predictable").tolist() == pytest.approx([0, 1, 0.5, -0.2])
