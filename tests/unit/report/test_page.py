"""The page as a reader, a browser and a careless sheet see it."""

import re
from html.parser import HTMLParser

import pandas as pd
import pytest

CANARY = "<script>alert(1)</script>"  # stands in kernels, levels, reasons and messages of the small run


class Tags(HTMLParser):
    """Every start tag with its attributes."""

    def __init__(self, html):
        super().__init__()
        self.tags = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def named(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


def findings_of(html, level):
    return re.findall(rf'<li class="{level}"><strong>[^<]*</strong> ([^<]*)</li>', html)


def test_page_needs_no_network_and_allows_no_script_but_its_own(shared):
    _, html = shared
    tags = Tags(html)
    for _, attributes in tags.tags:
        for name in ("src", "href", "action", "data", "srcset"):
            assert re.match(r"data:|#|subjects/[\w-]+\.html$|$", attributes.get(name) or "")
    assert not tags.named("link")
    (policy,) = [meta["content"] for meta in tags.named("meta") if "http-equiv" in meta]
    start, scripts = policy.split("; script-src ")
    assert start == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert all(re.fullmatch(r"'sha256-[\w+/]{43}='", source) for source in scripts.split())


def test_hostile_text_is_escaped_wherever_it_stands(shared):
    _, html = shared
    assert CANARY not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 5


def test_no_path_of_a_scan_or_sheet_is_on_the_page(shared):
    run, html = shared
    assert "Smith" not in html and "someone" not in html
    assert str(run.results) not in html


def test_counts_of_the_flow_add_up(shared):
    run, html = shared
    boxes = [int(n) for n in re.findall(r'<div class="step"><strong>(\d+)</strong>', html)]
    leaving = [int(n) for n in re.findall(r"<li>(\d+) excluded: ", html)]
    assert boxes[0] == len(pd.read_csv(run.results / "cohort/attrition.tsv", sep="\t")) == 11
    assert boxes[0] - sum(leaving) == boxes[-1] == 10
    assert "11 scans in = 10 analysed + 1 excluded." in html


def test_a_subject_called_na_is_a_subject(shared):
    _, html = shared
    assert '<th scope="row">NA</th>' in html


def test_same_results_give_the_same_bytes(shared):
    run, html = shared
    data = {path.name: path.read_bytes() for path in (run.page.parent / "data").iterdir()}
    assert run.write() == html
    assert data == {path.name: path.read_bytes() for path in (run.page.parent / "data").iterdir()}


def test_every_image_has_words_and_its_data(shared):
    run, html = shared
    images = Tags(html).named("img")
    names = re.findall(r"Data: data/(\w+\.tsv)", html)
    assert len(images) == len(names) == len(set(names)) >= 12
    assert all(len(image["alt"]) > 30 for image in images)
    assert {path.name for path in (run.page.parent / "data").iterdir()} == set(names)


def test_anchors_of_the_navigation_exist(shared):
    _, html = shared
    tags = Tags(html)
    anchors = {attributes["id"] for _, attributes in tags.tags if "id" in attributes}
    hrefs = {link["href"] for link in tags.named("a")}
    assert {href[1:] for href in hrefs if href.startswith("#")} <= anchors


def test_findings_come_before_everything_else(shared):
    _, html = shared
    assert html.index('id="findings"') < html.index('id="flow"') < html.index('id="clam-profiles"')


def test_one_cluster_is_reported_as_one_group(build_run):
    html = build_run([1] * 6, k=1).write()
    assert any("one continuous group" in text for text in findings_of(html, "red"))
    assert "NOT rejected" in html


@pytest.mark.parametrize("k", [3, 8])
def test_empty_clusters_are_named_and_break_nothing(build_run, k):
    html = build_run([1, 1, 1, 1, 1, 2, 2, 2], k=k).write()
    reds = findings_of(html, "red")
    assert any(f"cluster {k} is empty" in text for text in reds)
    assert any("cluster 2 holds only 3 scans" in text for text in reds)


def test_without_a_clinical_table_the_page_says_so(run):
    for path in (run.results / "association/clam").iterdir():
        path.unlink()
    html = run.write(has_outcomes=False)
    assert "No clinical table was given" in html
    assert "clam_effects" not in html


def test_without_a_reference_no_accuracy_is_claimed(run):
    run.edit("evaluation/clam.tsv", lambda table: table[~table["metric"].str.startswith("accuracy")])
    assert not any("shuffled labels reach" in text for text in run.findings("finding"))


def test_accuracy_at_the_level_of_chance_is_a_red_flag(run):
    run.edit("evaluation/clam.tsv", lambda t: t.assign(value=t["value"].where(t["metric"] != "accuracy", "0.45")))
    assert any("no better than chance" in text for text in run.findings("red"))


@pytest.mark.parametrize(("correlation", "flagged"), [(0.96, True), (0.94, False)])
def test_map_of_equal_weights_is_called_activation_energy(run, correlation, flagged):
    run.edit("clam/map_summary.tsv", lambda table: table.assign(uniform_correlation=correlation))
    said = [text for text in run.findings("red") if "unweighted activation energy" in text]
    assert bool(said) == flagged


def test_collapse_instability_and_restless_template_are_flagged(run):
    (run.results / "clam/model.json").write_text('{"events": ["rate 0.001: collapse"], "finished": false, "seed": 1}')
    run.edit("evaluation/clam.tsv", lambda t: t.assign(value=t["value"].where(t["metric"] != "jaccard", "0.5")))
    run.edit("template/convergence.tsv", lambda table: table.assign(converged=False))
    reds, ambers = run.findings("red"), run.findings("amber")
    assert any("rate 0.001: collapse" in text for text in reds)
    assert sum("is unstable" in text for text in reds) == 2
    assert any("had not converged after 1 iterations" in text for text in ambers)


@pytest.mark.parametrize(("explained", "flagged"), [(0.01, True), (0.1, False)])
def test_network_that_knows_only_the_mean_scan_is_flagged(run, explained, flagged):
    (run.results / "clam/model.json").write_text(f'{{"events": [], "seed": 1, "explained_variance": {explained}}}')
    assert any("learned little more than the mean scan (1.0 %" in text for text in run.findings("red")) == flagged


def test_cohort_that_came_registered_has_no_protocol_and_no_empty_panels(run):
    for name in ("ingest/series.tsv", "densitometry.tsv"):
        run.edit(name, lambda table: table.iloc[:0])
    page = run.write()
    assert "nothing is known of scanners" in page and "Lung volume and density by" not in page


def test_lungs_that_the_cube_cuts_are_flagged(run):
    (run.results / "cohort/template.json").write_text('{"lung_share_in_box": 0.86}')
    assert any("holds 86 % of the template" in text for text in run.findings("amber"))


def test_clusters_that_follow_the_scanner_are_flagged(run):
    def by_cluster(table):
        return table.assign(model=["one"] * 5 + ["two"] * 5)

    run.edit("ingest/series.tsv", by_cluster)
    assert any("clusters go with scanners" in text for text in run.findings("red"))
