"""The version to be shared: nothing of single scans, and no count below five, not even by subtraction."""

import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from lungtypes.report.blocks import Finding, Flow, FlowStep, Heading, Link, Links, Paragraph, Picture, Section, Table
from lungtypes.report.page import write_page
from lungtypes.report.results import Results
from lungtypes.report.share import (
    FEWEST,
    HIDDEN,
    WITHHELD,
    is_of_few,
    protected,
    shared_findings,
    shared_sections,
    withheld,
)

from .conftest import CONFIG


def picture(data, **more):
    return Picture("p", b"", "alt n = 3", "caption", data, **more)


def share(run, *blocks):
    return shared_sections([Section("x", "X", "X", blocks)], Results(run.results))


@pytest.mark.parametrize(
    ("data", "few"),
    [
        (pd.DataFrame({"subject": ["a"], "x": [1]}), True),
        (pd.DataFrame({"group": ["a", "b"], "n": [12, 4]}), True),
        (pd.DataFrame({"group": ["a", "b"], "n": [12, 0]}), False),
        (pd.DataFrame({"level": ["a"], "count": [2]}), True),
        (pd.DataFrame({"epoch": [1, 2], "loss": [1.0, 0.5]}), False),
    ],
)
def test_figures_by_subject_or_of_few_are_known_by_their_data(run, data, few):
    assert is_of_few(data) == few
    assert bool(share(run, picture(data))) != few


def test_figures_that_show_persons_without_naming_them_are_left_out(run):
    assert not share(run, picture(pd.DataFrame({"value": [1.0]}), of_persons=True))


def test_links_tables_by_subject_and_bare_headings_are_left_out(run):
    of_subjects = Table("t", ("Subject", "Code"), (("S001", "X"),))
    assert not share(run, Heading("Scans"), Links((Link("S001", "s.html"),)), Heading("More"), of_subjects)
    (section,) = share(run, Heading("Gone"), of_subjects, Heading("Kept"), Paragraph("text"))
    assert [block.text for block in section.blocks] == ["Kept", "text"]


def test_small_counts_and_those_that_give_them_away_are_withheld(run):
    rows = (("A", "3", "9", "12"), ("B", "7", "8", "15"), ("All", "10", "17", "27"))
    table = Table("Scanner", ("", "Cluster 1 (n = 10)", "Cluster 2 (n = 17)", "All"), rows)
    (section,) = share(run, table)
    shown = np.array([row[1:] for row in section.blocks[0].rows])
    assert shown[0, 0] == WITHHELD and not np.isin(shown, [str(i) for i in range(1, FEWEST)]).any()
    for line in [*shown, *shown.T]:
        assert np.isin(line, [WITHHELD, HIDDEN]).sum() != 1


def test_columns_that_are_no_counts_stay(run):
    table = Table("Criteria n = 2", ("Criterion", "K", "n"), (("gap", "3", "40"), ("gap", "4", "40")))
    (section,) = share(run, table)
    assert section.blocks[0].rows == table.rows and section.blocks[0].caption == "Criteria n < 5"


def test_nothing_small_nothing_withheld():
    small, more = withheld(np.array([[5.0, 9.0], [0.0, np.nan]]))
    assert not small.any() and not more.any()


def test_flow_keeps_the_ends_and_gives_no_small_difference(run):
    steps = (FlowStep("in", 40, ("6 excluded: A",)), FlowStep("mid", 34, ("2 excluded: B",)), FlowStep("out", 32))
    (section,) = share(run, Flow(steps))
    assert [s.n for s in section.blocks[0].steps] == [40, 32]
    assert section.blocks[0].steps[0].leaving == ("8 excluded: A, B",)
    (section,) = share(run, Flow((FlowStep("in", 33, ("1 excluded: A",)), FlowStep("out", 32))))
    assert [s.n for s in section.blocks[0].steps] == [32]


def test_findings_that_name_a_subject_or_a_small_number_are_left_out(run):
    texts = ["Scan b failed.", "bc is not b-1; n = 2", "33 scans in: 32 analysed, 1 excluded.", "Seen in 3 scans."]
    found = shared_findings([Finding("red", text) for text in texts], Results(run.results))
    assert [f.text for f in found] == ["bc is not b-1; n < 5", "Seen in fewer than 5 scans."]


def test_method_with_a_small_cluster_is_left_out_whole_since_totals_tell_its_size(build_run):
    results = Results(build_run([1] * 6 + [2] * 3, k=2).results)
    sections = [
        Section("protocol", "P", "P", (Paragraph("kept"), Table("Scans by CLAM cluster", ("", "n"), (("A", "9"),)))),
        Section("clam-k", "K", "K", (Paragraph("K = 2"),)),
    ]
    kept = shared_sections(sections, results)
    assert [s.anchor for s in kept] == ["protocol", "clam-withheld"] and len(kept[0].blocks) == 1
    assert not shared_findings([Finding("finding", "CLAM: it found 2.")], results)


def test_characteristics_lose_small_counts_and_values_of_few():
    rows = [
        {"variable": "sex", "level": level, "group": group, "n": n, "n_missing": 0, "count": count, "percent": 1.0}
        for level, counts in (("F", (8, 6, 2)), ("M", (22, 14, 8)), ("X", (10, 5, 5)))
        for group, n, count in zip(("overall", "1", "2"), (40, 25, 15), counts, strict=True)
    ]
    rows += [
        {"variable": "age", "level": "", "group": "2", "n": 4, "n_missing": 2, "count": np.nan, "mean": 50.0, "sd": 1.0}
    ]
    found = protected(pd.DataFrame(rows).reindex(columns=[*rows[0], "mean", "sd", "median", "q1", "q3"]))
    counts = found[found["variable"] == "sex"].pivot(index="level", columns="group", values="count")
    assert (
        np.isnan(counts.loc["F", "2"]) and (counts.isna().sum() != 1).all() and (counts.isna().sum(axis=1) != 1).all()
    )
    assert counts.notna().any(axis=None)
    age = found[found["variable"] == "age"].iloc[0]
    assert np.isnan(age["mean"]) and age["n_missing"] == 0


def test_shared_page_lies_apart_and_holds_no_scan(run, tmp_path):
    options = {"results": run.results, "run_config": CONFIG, "has_outcomes": True}
    page = tmp_path / "report/index.html"
    write_page(page, **options, share=True)
    shared = page.parent / "share"
    html = re.sub(
        r'data:[^"]*"|<script.*?</script>|<style.*?</style>', "", (shared / "index.html").read_text(), flags=re.S
    )
    assert "version to be shared" in html and "subjects/" not in html
    for file in (shared / "data").glob("*.tsv"):
        assert not {"subject", "Subject"} & set(pd.read_csv(file, sep="\t", nrows=1).columns)
    assert "caption" in html and "John" not in html
    write_page(page, **options)
    assert not shared.exists()


def test_figures_for_print_are_larger_and_go_when_not_asked_for(run, tmp_path):
    options = {"results": run.results, "run_config": CONFIG, "has_outcomes": True}
    page = tmp_path / "report/index.html"
    write_page(page, **options, print_dpi=150)

    names = {file.stem for file in (page.parent / "figures").glob("*.png")}
    assert {"clam_mean_ct", "clam_mean_map", "clam_training"} <= names
    assert imread(page.parent / "figures/clam_mean_ct.png").shape[1] == 9 * 150
    write_page(page, **options)
    assert not (page.parent / "figures").exists()
