"""dRAM on the page: percentages, burden, pictures, Dice, words and what is flagged."""

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from lungtypes.imaging.geometry import Volume, write_volume
from lungtypes.report.association_sections import association_section
from lungtypes.report.blocks import Heading, Paragraph, Picture, Table
from lungtypes.report.lesion_figures import LesionSlice, plot_graded, plot_lesions, plot_predicted
from lungtypes.report.lesion_numbers import SPLITS, agreement, region_rows
from lungtypes.report.lesion_pictures import chosen_scans, largest_cut, lesion_pictures
from lungtypes.report.lesion_section import lesion_section
from lungtypes.report.methods_text import limitations_section, methods_section
from lungtypes.report.page import BUDGET_BYTES
from lungtypes.report.results import Results
from lungtypes.report.slices import Cut
from lungtypes.report.style import ACCENT, CLUSTER_COLOURS

CANARY = "<script>alert(1)</script>"
MASK = {"dram": {"mask": {"source": "dense", "rule": "otsu"}}}


def section(run, method="dram", config=MASK):
    return lesion_section(Results(run.results), method, config).blocks


def of_kind(blocks, kind):
    return [block for block in blocks if isinstance(block, kind)]


def texts(blocks):
    return " ".join(block.text for block in of_kind(blocks, Paragraph))


def predict(run, change):
    run.edit("dram/percentages.tsv", change)


class Text(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.text = ""
        self.feed(html)

    def handle_data(self, data):
        self.text += data


def test_page_of_dram_alone_has_its_sections_and_no_word_of_clusters(lesions):
    html = lesions.write()
    text = Text(html).text
    for anchor in ("dram-lesions", "dram-association", "methods", "limitations"):
        assert f'<section id="{anchor}">' in html
    assert "Lung lesions: report of this run" in text
    assert "Silhouette [3]" not in text and "Clustering always returns clusters" not in text
    assert CANARY not in html and "someone" not in html and str(lesions.results) not in html
    assert len(html.encode()) < BUDGET_BYTES
    names = {path.name for path in (lesions.page.parent / "data").iterdir()}
    assert {"dram_training.tsv", "dram_percentages.tsv", "dram_burden.tsv", "dram_maps.tsv"} <= names


def test_same_lesions_give_the_same_bytes(lesions):
    assert lesions.write() == lesions.write()


def test_page_without_dram_says_nothing_of_lesions(shared):
    _, html = shared
    assert "dram-" not in html and "Lung subtypes: report of this run" in html
    assert "A dRAM map is learnt" not in html


def test_clusters_and_lesions_stand_on_one_page_each_with_its_association(run, add_lesions):
    add_lesions(run.results, "dram")
    shutil.copytree(run.results / "association/clam", run.results / "association/dram")
    html = run.write()
    anchors = re.findall(r'<section id="([^"]+)">', html)
    assert anchors.index("clam-association") < anchors.index("dram-lesions") < anchors.index("dram-association")
    assert "data/clam_effects.tsv" in html and "data/dram_effects.tsv" in html
    assert "Association (dRAM)" in html and "Association (CLAM)" in html
    assert any("outcomes go with the burden of lesions at q" in text for text in run.findings("finding"))
    limitations = limitations_section({}, ("clam", "dram")).blocks[0].items
    assert any("Clustering always" in item for item in limitations) and any("dRAM map" in item for item in limitations)


def test_headings_stand_in_the_order_of_a_paper(lesions):
    assert [block.text for block in of_kind(section(lesions), Heading)] == [
        "Training",
        "Predicted and given percentages",
        "Burden",
        "Lesion maps",
        "Agreement with lesion masks",
    ]


def test_held_out_scans_judge_and_training_scans_only_without_them(lesions):
    def wrong_in_training(table):
        return table.assign(predicted=np.where(table["subject"] < "L5", 90.0, table["predicted"]))

    predict(lesions, wrong_in_training)
    judged = agreement(region_rows(Results(lesions.results), "dram"))
    assert (judged.scans, judged.n, judged.mean_absolute_error) == ("held-out", 2, 0.0)
    assert (judged.n_graded, judged.inside) == (2, 1.0)
    for name in ("dram/phenotype.tsv",):
        lesions.edit(name, lambda table: table.assign(split="train"))
    judged = agreement(region_rows(Results(lesions.results), "dram"))
    assert (judged.scans, judged.n, judged.n_graded) == ("training", 10, 2)
    assert "Training scans flatter" in texts(section(lesions))


def test_r2_is_that_of_a_sum_by_hand():
    given, predicted = [10.0, 20.0, 60.0], [20.0, 20.0, 40.0]
    rows = pd.DataFrame({"given": given, "predicted": predicted, "error": 0.0, "given_kind": "percent"})
    judged = agreement(rows.assign(split="test"))
    # mean 30: 400 + 100 + 900 of deviations, 100 + 0 + 400 of errors
    assert judged.r2 == pytest.approx(1 - 500 / 1400)
    assert not judged.no_better
    assert agreement(rows.assign(split="test", predicted=30.0)).no_better  # the mean itself


def test_two_regions_or_like_ones_are_not_judged():
    rows = pd.DataFrame({"given": [10.0, 20.0], "predicted": [90.0, 0.0], "given_kind": "percent", "split": "test"})
    assert np.isnan(agreement(rows.assign(error=0.0)).r2) and not agreement(rows.assign(error=0.0)).no_better
    alike = pd.concat([rows.assign(given=5.0, error=0.0)] * 2)
    assert np.isnan(agreement(alike).r2)


def test_predictions_no_better_than_the_mean_are_a_red_flag(lesions):
    lesions.edit("dram/phenotype.tsv", lambda table: table.assign(split="test"))
    assert not lesions.findings("red")
    predict(lesions, lambda table: table.assign(predicted=30.0))
    assert [text for text in lesions.findings("red") if "no better than one guess" in text and "R\u00b2 0.00" in text]
    tones = [block.tone for block in of_kind(section(lesions), Paragraph) if block.text.startswith("Beside")]
    assert tones == ["warning"]


def test_baseline_that_misses_percentages_is_a_caution(tmp_path, lesions, add_lesions):
    add_lesions(lesions.results, "dram-cam")
    lesions.edit("dram-cam/phenotype.tsv", lambda table: table.assign(split="test"))
    lesions.edit("dram-cam/percentages.tsv", lambda table: table.assign(predicted=30.0))
    assert not lesions.findings("red")
    assert any("never learnt percentages" in text for text in lesions.findings("amber"))


@pytest.mark.parametrize(("inside", "red"), [(1, True), (2, True), (3, False)])
def test_grades_alone_are_judged_by_the_commonest_one(lesions, inside, red):
    """Of four regions two have the same grade, so that one guess for all is inside the bounds of two."""

    def graded(table):
        rows = table.iloc[8:12].assign(given=[1.0, 1.0, 2.0, 3.0], given_kind="grade", predicted=3.0)
        return rows.assign(error=[0.0] * inside + [-9.0] * (4 - inside))

    predict(lesions, graded)
    assert any("no better than one guess" in text for text in lesions.findings("red")) == red
    assert (f"{25 * inside} % of 4 graded regions within their bounds (one guess: 50 %)") in texts(section(lesions))


def test_nothing_given_is_said_and_breaks_nothing(lesions):
    predict(lesions, lambda table: table.assign(given="", given_kind="", error=""))
    assert any("of no scan a percentage is given" in text for text in lesions.findings("amber"))
    assert "14 of which nothing is given" in texts(section(lesions))
    assert "dram_percentages" not in [picture.name for picture in of_kind(section(lesions), Picture)]


def test_given_counts_add_up(lesions):
    counts = "14 regions: 10 with a given percentage, 2 with a grade alone, 2 of which nothing is given."
    assert counts in texts(section(lesions))


def test_scan_without_region_is_named_and_counted(lesions):
    words = texts(section(lesions))
    assert "8 scans: 5 training, 3 held out; read 1 by lobes, 7 by zones." in words
    assert f"Without a value: L8 (no lobe or zone {CANARY})" in words
    assert any("1 scan has no burden (1 with no lobe or zone" in text for text in lesions.findings("amber"))
    assert any("10.0 to 70.0 % of the lungs (median 40.0 %, 7 scans)" in text for text in lesions.findings("finding"))


def test_cohort_in_which_no_scan_has_a_region_has_a_page(lesions):
    lesions.edit("dram/phenotype.tsv", lambda t: t.assign(burden_percent="", burden_ml="", segmented_ml="", flag="x"))
    predict(lesions, lambda table: table.iloc[:0])
    lesions.edit("evaluation/dram_dice.tsv", lambda table: table.iloc[:0])
    lesions.edit("evaluation/dram_percentages.tsv", lambda table: table.iloc[:0])
    assert "8 scans have no burden (8 with x)" in lesions.write()


def test_errors_are_by_scans_and_grade(lesions):
    (table,) = [t for t in of_kind(section(lesions), Table) if t.caption.startswith("Errors")]
    assert table.rows[0] == ("Training", "Percentages, all", "8", "2.5", "2.5", "1.00")
    assert [row[:2] for row in table.rows[1:]] == [
        ("Training", "Percentage of 5 to 25"),
        ("Training", "Percentage of 25 to 50"),
        ("Held out", "Percentages, all"),
        ("Held out", "Percentage of 50 to 75"),
        ("Held out", "Grades alone, all"),
        ("Held out", "Grade 4 alone (50 to 75 %)"),
    ]


def test_dice_stands_beside_the_published_one_which_says_that_it_is_of_other_data(lesions):
    blocks = section(lesions)
    (table,) = [t for t in of_kind(blocks, Table) if t.caption.startswith("Dice")]
    assert table.rows[0] == ("Held out", "2", "1", "55.0", "7.1", "55.0")
    assert table.rows[1][:4] == ("Training", "4", "0", "90.0")
    assert table.rows[-1][0] == "Published, dRAM: other data" and table.rows[-1][3] == "70.2"
    assert "70.2 (dRAM), 48.6 (CAM baseline), 77.1 (nnU-Net, fully supervised)" in texts(blocks)


def test_without_lesion_masks_no_dice_is_shown_and_no_truth_drawn(tmp_path, add_lesions, lesions):
    add_lesions(lesions.results, "dram", masks=False)
    (lesions.results / "cohort/regions_lesions.npy").unlink()
    blocks = section(lesions)
    assert "70.2" not in texts(blocks) and not [t for t in of_kind(blocks, Table) if t.caption.startswith("Dice")]
    (maps,) = [picture for picture in of_kind(blocks, Picture) if picture.name == "dram_maps"]
    assert "Dashed" not in maps.caption


def test_events_of_the_guard_are_marked_and_epochs_that_it_took_back_left_out(lesions):
    def retried(table):
        first = table.assign(kept=[1, 0, 0])
        return pd.concat([first, table.iloc[1:].assign(attempt=1)])

    lesions.edit("dram/history.tsv", retried)
    path = lesions.results / "dram/model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"events": ["rate 0.001: collapse: maps are empty"]}))
    blocks = section(lesions)
    (said,) = [block for block in of_kind(blocks, Paragraph) if block.text.startswith("Trained for")]
    assert said.tone == "warning" and said.text.startswith("Trained for 3 epochs on 41 regions.")
    (curves,) = [picture for picture in of_kind(blocks, Picture) if picture.name == "dram_training"]
    assert "Dashed: here the guard took epochs back" in curves.caption and len(curves.data) == 5
    assert any("rate 0.001: collapse" in text for text in lesions.findings("amber"))


def test_training_of_which_every_epoch_was_taken_back_is_a_warning(lesions):
    lesions.edit("dram/history.tsv", lambda table: table.assign(kept=0))
    (said,) = [block for block in of_kind(section(lesions), Paragraph) if "every epoch back" in block.text]
    assert said.tone == "warning"


def test_only_losses_that_were_there_are_drawn(lesions):
    lesions.edit("dram/history.tsv", lambda table: table.drop(columns="refinement").assign(regression=""))
    (curves,) = [picture for picture in of_kind(section(lesions), Picture) if picture.name == "dram_training"]
    assert "Total loss" in curves.alt and "Refinement" not in curves.alt and "regression" not in curves.alt


def test_pictures_are_of_held_out_scans_at_the_slice_of_the_largest_lesion(lesions):
    _, picture = lesion_pictures(Results(lesions.results), "dram")
    data = picture.data.set_index("subject")
    assert data["role"].to_dict() == {"L5": "least", "L6": "median", "L7": "largest"}
    # lungs from slice 2, and no margin of the picture can be wider than a voxel: slice 1 is its first
    assert data["slice_index"].to_dict() == {"L5": 5, "L6": 6, "L7": 7}
    assert data["lesion_area_mm2"].tolist() == [1000.0] * 3  # 5 x 2 voxels of 10 mm
    assert data["lesion_mean_hu"].tolist() == [-300.0] * 3
    assert "among the held-out ones" in picture.caption and "Dashed orange line" in picture.caption


@pytest.mark.parametrize(("n", "roles"), [(0, []), (1, ["least"]), (2, ["least", "largest"]), (4, ["least", "median"])])
def test_scans_are_chosen_by_rank_and_each_once(n, roles):
    burden = [30.0, 10.0, 40.0, 20.0][:n]
    table = pd.DataFrame({"subject": list("abcd")[:n], "split": "train", "burden_percent": burden, "burden_ml": 1.0})
    chosen = chosen_scans(table)
    assert chosen["role"].tolist()[: len(roles)] == roles and chosen["subject"].is_unique
    assert chosen["burden_percent"].tolist() == ([10.0, 20.0, 40.0] if n == 4 else sorted(burden))


def test_scan_without_lesions_is_shown_where_its_map_is_strongest():
    heat, mask = np.zeros((5, 4, 4)), np.zeros((5, 4, 4), bool)
    assert largest_cut(mask, heat).index == 2
    heat[3] = 0.1
    assert largest_cut(mask, heat).index == 3
    mask[1, 0, 0] = True
    assert largest_cut(mask, heat).index == 1


def test_scan_that_lies_the_other_way_round_is_turned_with_its_map(lesions):
    """The cube of one scan runs from feet to head and left to right the other way; picture and map must agree."""
    direction = np.diag([-1.0, 1.0, -1.0])
    path = lesions.results / "cohort/regions.json"
    cohort = json.loads(path.read_text())
    cohort["grids"][6] = cohort["grids"][6] | {"direction": direction.tolist()}
    path.write_text(json.dumps(cohort))
    lesion = np.load(lesions.results / "cohort/regions_lesions.npy")[6].astype(np.float32)
    for name in ("dram", "dram-lesions"):
        write_volume(
            Volume(lesion, (10.0,) * 3, (0.0,) * 3, direction), lesions.results / f"dram/maps/{name}/L7.nii.gz"
        )
    _, picture = lesion_pictures(Results(lesions.results), "dram")
    # lesion in slice 8 of 12, turned slice 3; lungs in slices 2-9, the picture begins at slice 1
    turned = picture.data.set_index("subject").loc["L7"]
    assert turned["slice_index"] == 2 and turned["lesion_mean_hu"] == -300  # as planted, and so CT and mask agree


def test_missing_maps_leave_the_picture_out(lesions):
    for path in (lesions.results / "dram/maps/dram").iterdir():
        path.unlink()
    assert lesion_pictures(Results(lesions.results), "dram") == []


def test_held_out_regions_are_marked_apart_on_one_scale():
    rows = pd.DataFrame({"given": [1.0, 50.0, 3.0], "predicted": [2.0, 80.0, 3.0], "split": ["train", "test", "train"]})
    ax = Figure().subplots()
    plot_predicted(ax, rows, names=SPLITS)
    lines = {line.get_label(): line for line in ax.lines}
    assert lines["held out (n = 1)"].get_markerfacecolor() == CLUSTER_COLOURS[0]
    assert lines["training (n = 2)"].get_markerfacecolor() == "none"
    assert ax.get_xlim() == ax.get_ylim() and ax.get_xlim()[1] > 80
    assert list(lines["equal"].get_xdata()) == list(lines["equal"].get_ydata())


def test_boxes_are_the_bounds_of_the_grades():
    rows = pd.DataFrame({"given": [0.0, 2.0], "predicted": [0.5, 30.0], "split": ["test", "train"]})
    ax = Figure().subplots()
    plot_graded(ax, rows, edges=[0, 1, 5, 100], names=SPLITS)
    assert [(box.get_y(), box.get_y() + box.get_height()) for box in ax.patches] == [(0, 1), (1, 5), (5, 100)]
    for line, grade in zip(sorted(ax.lines, key=lambda line: line.get_label()), (0, 2), strict=True):
        assert abs(line.get_xdata()[0] - grade) < 0.42  # inside its box


def test_picture_has_the_heat_over_ct_and_the_borders_of_mask_and_truth():
    mask, truth = np.zeros((3, 6, 6), bool), np.zeros((3, 6, 6), bool)
    mask[1, 1:3, 1:3], truth[1, 2:5, 2:5] = True, True
    heat = np.where(mask, 1.0, 0.0)
    scan = LesionSlice("a", np.full((3, 6, 6), -800.0), heat, mask, Cut("axial", 1, 0.5), (1.0, 1.0, 1.0), truth)
    figure = Figure()
    plot_lesions(figure, [scan])
    ct, overlay, borders = figure.axes[:3]
    assert [len(ax.images) for ax in (ct, overlay, borders)] == [1, 2, 1]
    opacity = np.asarray(overlay.images[1].get_array())[..., 3]
    assert (opacity[mask[1]] == 0.75).all() and (opacity[~mask[1]] == 0).all()
    colours = [to_hex(line.get_edgecolor()[0]).upper() for line in borders.collections]
    assert colours == ["#56B4E9", ACCENT]


def test_methods_have_the_numbers_of_model_and_config(lesions):
    config = {"dram": {"volumes": {"size": 96}, "training": {"epochs": 77}, **MASK["dram"]}}
    models = {"dram": Results(lesions.results).record("dram/model.json")}
    text = texts(methods_section(config, ("dram",), dram_models=models).blocks)
    for words in (
        "cubes of 96 voxels",
        "first width 4, batch normalisation",
        "trained on 41 regions, 8 of them with an exact percentage",
        "77 epochs",
        "(grid 24)",
        "the dense map above Otsu's threshold [11]",
        "predicted below 1 % count as free",
    ):
        assert words in text
    assert "Template and registration" not in text and "Silhouette [3]" not in text
    without = models | {"dram": models["dram"] | {"network": {"attention_grid": 0}}}
    assert "attention" not in texts(methods_section(config, ("dram",), dram_models=without).blocks)


def test_cited_references_are_those_of_dram_and_otsu():
    items = methods_section({}, ("dram",)).blocks[-1].items
    assert items[9].startswith("[10] Xie W") and "Regression Activation" in items[9]
    assert items[10].startswith("[11] Otsu")


@pytest.mark.parametrize(
    ("method", "mask", "words"),
    [
        ("dram", {"source": "refined", "rule": "half"}, "of the refined map above 0.5"),
        ("dram", {"source": "dense", "rule": "otsu"}, "voxels above Otsu's threshold"),
        ("dram-supervised", {"source": "dense", "rule": "otsu"}, "Lesion mask: voxels above 0.5."),
    ],
)
def test_rule_of_the_mask_is_said(lesions, add_lesions, method, mask, words):
    add_lesions(lesions.results, method)
    assert words in texts(section(lesions, method, {"dram": {"mask": mask}}))


def test_without_a_clinical_table_the_burden_was_not_compared(lesions):
    (said,) = association_section(Results(lesions.results), "dram", has_outcomes=False).blocks
    assert "the burden of lesions was not compared" in said.text


def test_mask_that_the_sheet_no_longer_names_is_not_drawn(lesions):
    path = lesions.results / "cohort/regions_lesions.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"lesions": [False] * 8}))
    _, picture = lesion_pictures(Results(lesions.results), "dram")
    assert "Dashed" not in picture.caption


def test_refused_lesion_masks_are_named_with_their_reason(lesions):
    assert "refused" not in texts(section(lesions))
    path = lesions.results / "cohort/regions_lesions.json"
    refused = {"L2": "/data/DOE^JOHN/m.nii.gz: found 3 voxels along x, expected 4."}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"refused": refused}))
    (said,) = [p for p in of_kind(section(lesions), Paragraph) if "refused" in p.text]
    assert said.tone == "warning" and "L2 (" in said.text and "found 3 voxels along x" in said.text
    assert "DOE" not in said.text
