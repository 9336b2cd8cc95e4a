"""The section on clinical association: order, words, pictures and what they show."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from lungtypes.report.association_figures import plot_balance, plot_boxes, plot_counts, plot_dumbbells, plot_effects
from lungtypes.report.association_pictures import effect_rows
from lungtypes.report.association_sections import association_methods, association_section, external_section
from lungtypes.report.blocks import Fragment, Picture
from lungtypes.report.results import Results
from lungtypes.report.style import CLUSTER_COLOURS


def blocks_of(run):
    return association_section(Results(run.results), "clam", has_outcomes=True).blocks


def test_tables_and_figures_stand_in_the_order_of_a_paper(shared):
    names = [b.name if isinstance(b, Picture) else b.caption for b in blocks_of(shared[0]) if b.kind != "heading"]
    assert names == [
        "Characteristics",
        "clam_balance",
        "Outcomes",
        "clam_effects",
        "clam_boxes",
        "Adjusted means",
        "Beside the existing classification",
        "clam_comparison",
        "clam_comparator",
        "clam_embedding_by_level",
    ]


def test_every_caption_has_its_n_and_every_picture_its_data(shared):
    pictures = [block for block in blocks_of(shared[0]) if isinstance(block, Picture)]
    assert len(pictures) == 6 and all(len(picture.data) for picture in pictures)
    assert all("n = " in picture.caption or "n = " in str(picture.data["label"].iloc[0]) for picture in pictures)


def test_embedding_shows_the_existing_classification_of_those_who_have_one(shared):
    (picture,) = [b for b in blocks_of(shared[0]) if isinstance(b, Picture) and b.name == "clam_embedding_by_level"]
    levels = pd.read_csv(shared[0].results / "association/clam/comparator_levels.tsv", sep="\t", dtype=str)
    told = dict(zip(levels["subject"], levels["level"], strict=True))
    assert set(picture.data["subject"]) == set(told)
    assert all(told[s] == level for s, level in zip(picture.data["subject"], picture.data["level"], strict=True))


def test_folded_tables_can_be_opened(shared):
    folded = [b.html for b in blocks_of(shared[0]) if isinstance(b, Fragment) and b.caption == "Adjusted means"]
    assert folded[0].startswith("<details><summary>Adjusted means</summary>") and folded[0].endswith("</details>")


def test_methods_of_what_ran_are_on_the_page(shared):
    run, html = shared
    assert "Tested by HC3 [1]" in html and "Somebody, 1985." in html
    assert association_methods(Results(run.results), ("none",)) == ()


def test_external_cohort_has_a_section_of_its_own_when_there_is_one(run):
    assert external_section(Results(run.results)) is None
    (run.results / "association/clam").rename(run.results / "association/external")
    section = external_section(Results(run.results))
    assert section.anchor == "external-association"
    assert [b.name for b in section.blocks if isinstance(b, Picture)][0] == "external_balance"


def test_comparison_that_failed_says_why(run):
    run.edit("association/clam/comparison.tsv", lambda t: t.assign(status="not_fitted:one_cluster", difference=""))
    texts = [block.text for block in blocks_of(run) if block.kind == "paragraph"]
    assert texts == ["None of 1 outcomes could be compared (not_fitted:one_cluster: 1)."]
    assert "clam_comparison" not in [b.name for b in blocks_of(run) if isinstance(b, Picture)]


def test_only_the_tables_that_are_there_are_shown(run):
    for path in (run.results / "association/clam").glob("*"):
        if path.stem != "table_one":
            path.unlink()
    kinds = [block.kind for block in blocks_of(run)]
    assert kinds == ["heading", "fragment", "picture"]


def contrast(outcome, pair, model, value, scale="difference"):
    row = {"outcome": outcome, "label": outcome, "contrast": pair, "model_set": model, "scale": scale}
    return row | {"standardised": value, "standardised_ci_low": value - 1, "standardised_ci_high": value + 1}


def test_forest_rows_pair_crude_with_adjusted_and_leave_odds_out():
    outcomes = pd.DataFrame({"outcome": ["a", "b"], "q_value": [0.01, 0.2]})
    table = pd.DataFrame(
        [
            contrast("a", "2 - 1", "crude", 0.5),
            contrast("a", "2 - 1", "adjusted", 0.7),
            contrast("b", "2 - 1", "adjusted", np.nan, "odds ratio"),
            contrast("b", "2 - 1", "adjusted", np.nan, "risk difference"),
        ]
    )
    rows = effect_rows(outcomes, table, None)
    assert rows[["outcome", "crude", "adjusted", "adjusted_high", "passed"]].values.tolist() == [
        ["a", 0.5, 0.7, 1.7, True]
    ]


def test_forest_of_more_clusters_keeps_the_pairs_of_the_largest():
    outcomes = pd.DataFrame({"outcome": ["a"], "q_value": [0.2]})
    table = pd.DataFrame(
        [contrast("a", pair, "adjusted", 0.1) for pair in ("2 - 1", "3 - 1", "12 - 1", "12 - 2", "3 - 2")]
    )
    rows = effect_rows(outcomes, table, 2)
    assert rows["contrast"].tolist() == ["2 - 1", "12 - 2", "3 - 2"] and not rows["passed"].any()
    assert rows["crude"].isna().all()


def test_forest_fills_what_passed():
    base = {"crude": 0.1, "crude_low": 0.0, "crude_high": 0.2, "adjusted_low": 0.3, "adjusted_high": 0.9}
    rows = pd.DataFrame([base | {"label": "x", "adjusted": v, "passed": v > 0.5} for v in (0.6, 0.4)])
    ax = Figure().subplots()
    plot_effects(ax, rows, xlabel="SD")
    faces = {line.get_xdata()[0]: line.get_markerfacecolor() for line in ax.lines if len(line.get_xdata()) == 1}
    assert faces[0.6] == CLUSTER_COLOURS[0] and faces[0.4] == "white" and ax.get_xlabel() == "SD"


def test_boxes_are_those_of_numpy_and_show_every_value():
    values = {"1": np.array([1.0, 2.0, 4.0, 9.0]), "2": np.array([3.0])}
    ax = Figure().subplots()
    plot_boxes(ax, values, {"1": (3.0, 2.0, 5.0)}, ylabel="L", title="FEV1", numbers=[1, 2])
    medians = [line.get_ydata()[0] for line in ax.lines if line.get_color() == "black" and len(line.get_ydata()) == 2]
    assert np.median(values["1"]) in medians
    dots = [line.get_ydata().tolist() for line in ax.lines if line.get_marker() in ("o", "s")]
    assert dots == [[1.0, 2.0, 4.0, 9.0], [3.0]]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1\nn = 4", "2\nn = 1"]


def test_counts_and_percentages_are_of_the_row():
    ax = Figure().subplots()
    plot_counts(ax, pd.DataFrame({"I": [3, 0], "II": [1, 0]}, index=["cluster 1", "cluster 2"]), xlabel="S", ylabel="")
    assert [text.get_text() for text in ax.texts] == ["3\n75 %", "1\n25 %", "0", "0"]


def test_balance_fills_above_the_limit_and_dumbbells_mark_the_margin():
    figure = Figure()
    ax, fits, differences = figure.subplots(1, 3)
    plot_balance(ax, ["a", "b"], [0.3, 0.05], xlabel="SMD")
    faces = [line.get_markerfacecolor() for line in ax.lines if line.get_marker() == "o"]
    assert faces == [CLUSTER_COLOURS[0], "white"]
    row = {"label": "a", "r2_base": 0.1, "r2_cluster": 0.3, "r2_comparator": 0.2, "r2_both": 0.35, "difference": 0.1}
    rows = pd.DataFrame([row | {"ci_low": 0.0, "ci_high": 0.2, "margin": 0.02}])
    plot_dumbbells(fits, differences, rows, predictor="cluster", comparator="stage")
    lines = [line.get_xdata()[0] for line in differences.lines if line.get_linestyle() == "--"]
    assert lines == [pytest.approx(-0.02)]
    assert [t.get_text() for t in fits.get_legend().get_texts()] == ["covariates", "+ cluster", "+ stage", "+ both"]
