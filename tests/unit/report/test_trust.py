"""Which map the page recommends, and what it says of a published map that is no better than its controls."""

import numpy as np
import pandas as pd
import pytest

from lungtypes.maps.faithfulness import paired_interval
from lungtypes.methods.map_stages import CONTROLS
from lungtypes.report.blocks import Heading, Paragraph, Picture, Table
from lungtypes.report.results import Results
from lungtypes.report.trust_section import CONTROL_NAMES, KIND_NAMES, trust_findings, trust_section


def summary(*, better, best="margin"):
    rows = [
        {"map": kind, "passes": n, "recommended": int(kind == best), "control": c, "n": 6, "gain": gain}
        | {"control_gain": 1.0, "difference": gain - 1, "ci_low": gain - 1.5, "ci_high": gain - 0.5}
        | {"better": int(kind != "clam" or c in better), "reference": "controls", "flag": ""}
        for kind, n, gain in (("clam", 33, 1.25), ("margin", 48, 3.5))
        for c in CONTROLS
    ]
    return pd.DataFrame(rows)


def layers(last):
    values = {"clam": [1.0, last], "margin": [0.1, 0.0]}
    rows = [
        {"subject": "S001", "cluster": 1, "map": kind, "layer": layer, "correlation": value}
        for kind, both in values.items()
        for layer, value in zip(("embedding", "convolution_1"), both, strict=True)
    ]
    return pd.DataFrame(rows)


def place(run, *, better=(), best="margin", last=0.9):
    for name, table in (
        ("faithfulness_summary", summary(better=better, best=best)),
        ("map_randomisation", layers(last)),
    ):
        table.to_csv(run.results / f"clam/{name}.tsv", sep="\t", index=False)
    return Results(run.results)


def test_without_further_maps_there_is_no_section(run):
    assert trust_section(Results(run.results), "clam") is None and not trust_findings(Results(run.results), "clam")


def test_map_no_better_than_its_controls_is_a_caution_that_names_them(run):
    (found,) = trust_findings(place(run, better=("wrong_cluster",)), "clam")
    assert found.level == "amber" and "no better than 4 controls of 5" in found.text and "6 scans" in found.text
    assert CONTROL_NAMES["uniform"] in found.text and CONTROL_NAMES["wrong_cluster"] not in found.text
    assert KIND_NAMES["margin"] in found.text and "3.5" in found.text


def test_most_faithful_map_is_named_with_its_cost_when_that_is_above_the_limit(run):
    (found,) = trust_findings(place(run, best="clam"), "clam")
    assert KIND_NAMES["margin"] in found.text and "more than twice its cost" in found.text
    assert "cost" not in trust_findings(place(run), "clam")[0].text


def test_map_that_beats_all_controls_is_a_finding(run):
    (found,) = trust_findings(place(run, better=CONTROLS, best="clam"), "clam")
    assert found.level == "finding"


def test_table_has_a_row_a_map_and_a_column_a_control(run):
    section = trust_section(place(run), "clam")
    table = next(b for b in section.blocks if isinstance(b, Table))
    assert len(table.rows) == 2 and len(table.header) == 4 + len(CONTROLS)
    assert table.rows[1][0].endswith("recommended") and table.rows[1][4].startswith("2.50 (2.00 to 3.00)")


@pytest.mark.parametrize(("last", "tone"), [(0.9, "warning"), (0.1, "")])
def test_map_that_outlives_random_layers_is_said_to_show_the_image(run, last, tone):
    section = trust_section(place(run, last=last), "clam")
    words = [b for b in section.blocks if isinstance(b, Paragraph) and "drawn anew" in b.text]
    assert [b.tone for b in words] == [tone] and ("CLAM (published)" in words[0].text) == (tone == "warning")


def test_mean_of_the_most_faithful_map_is_drawn_when_it_is_not_the_published_one(run):
    results = place(run)
    pd.DataFrame({"group": ["margin_cluster1", "margin_cluster2"], "n_maps": [4, 0]}).to_csv(
        run.results / "clam/further_group_maps.tsv", sep="\t", index=False
    )
    folder = run.results / "clam/further_group_maps"
    folder.mkdir()
    published = run.results / "clam/group_maps/clam_cluster1_mean.nii.gz"
    (folder / "margin_cluster1_mean.nii.gz").write_bytes(published.read_bytes())
    (picture,) = [b for b in trust_section(results, "clam").blocks if isinstance(b, Picture)]
    assert picture.name == "clam_margin_mean" and set(picture.data["n"]) == {4}


def test_page_has_the_section_and_the_warning_about_normal_regions(run):
    place(run)
    assert "need not be an abnormal one" in run.write()


def test_interval_of_equal_scans_has_no_width():
    assert paired_interval([2.0, 3.0], [1.0, 2.0], rng=np.random.default_rng(0)) == (1.0, 1.0, 1.0)


def test_lesion_masks_say_where_the_maps_lie(run):
    results = place(run)
    assert "Against lesion masks" not in words_of(trust_section(results, "clam"))
    rows = [
        {"map": kind, "pointing": 0.5, "voxel_auc": 0.7, "lesion_share": 0.04, "control": control, "n": 4}
        | {"energy": energy, "control_energy": 0.05, "difference": energy - 0.05}
        | {"ci_low": energy - 0.1, "ci_high": energy + 0.1, "better": 0, "reference": "controls", "flag": ""}
        for kind, energy in (("clam", 0.06), ("margin", 0.8))
        for control in CONTROLS
    ]
    pd.DataFrame(rows).to_csv(run.results / "clam/localisation_summary.tsv", sep="\t", index=False)
    section = trust_section(results, "clam")
    (found,) = [b for b in section.blocks if isinstance(b, Table) and "lesion masks" in b.caption]
    assert found.header[1:4] == ("Scans", "Energy", "Even map") and found.rows[1][:4] == (
        KIND_NAMES["margin"],
        "4",
        "0.80",
        "0.04",
    )
    assert found.rows[1][6] == "0.75 (0.70 to 0.90)"


def words_of(section):
    return " ".join(block.text for block in section.blocks if isinstance(block, Heading))
