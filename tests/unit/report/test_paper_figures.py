"""Figures 7 to 9 of the CLAM paper: which images they show, of whom, and on which slices."""

import numpy as np
import pandas as pd
import pytest

from lungtypes.imaging.geometry import Volume, write_volume
from lungtypes.report.blocks import Picture
from lungtypes.report.paper_figures import SLICES, paper_figures_section
from lungtypes.report.results import Results


def pictures(run, **config):
    section = paper_figures_section(Results(run.results), {"seed": 1, **config})
    return {block.name: block for block in section.blocks if isinstance(block, Picture)}


@pytest.fixture
def mapped(run):
    """The run with the map of every scan, on a coarser grid than the scans."""
    for subject in "abcdefghij":
        image = Volume(np.ones((6, 6, 6), np.float32), (20.0,) * 3, (5.0,) * 3, np.eye(3))
        write_volume(image, run.results / f"clam/maps/clam/{subject}.nii.gz")
    return run


def test_means_stand_for_all_and_for_each_cluster_from_the_top_of_the_lung(run):
    data = pictures(run)["clam_figure_7a"].data
    assert data["group"].unique().tolist() == ["all", "cluster 1", "cluster 2"]
    assert data.loc[data["group"] == "all", "fraction"].tolist() == list(SLICES) == sorted(SLICES, reverse=True)
    volume = Results(run.results).volume("clam/group_maps/ct_mean_cluster2.nii.gz").array
    height = round(2 + SLICES[0] * 7)  # lungs from 2 to 9
    lungs = Results(run.results).volume("template/mask.nii.gz").array[height] > 0
    row = data[(data["group"] == "cluster 2") & (data["fraction"] == SLICES[0])].iloc[0]
    assert row["lung_mean"] == pytest.approx(volume[height][lungs].mean())


def test_population_map_of_the_config_is_shown(run):
    balanced = pictures(run, clam={"map": {"population": "balanced"}})["clam_figure_7b"]
    plain = pictures(run)["clam_figure_7b"]
    first = [picture.data["lung_mean"].iloc[0] for picture in (balanced, plain)]
    assert first[0] != first[1] and "the mean of the clusters' maps" in balanced.caption


def test_three_random_members_of_each_cluster_are_shown_with_their_maps(mapped):
    data = pictures(mapped)["clam_figures_8_9"].data
    assert data["cluster"].tolist() == [1, 1, 1, 2, 2, 2] and set(data["role"]) == {"random"}
    assert set(data.loc[data["cluster"] == 1, "subject"]) <= set("abcde")
    assert set(pictures(mapped, seed=2)["clam_figures_8_9"].data["subject"]) != set(data["subject"])


def test_a_second_scan_of_a_person_is_no_further_member(mapped):
    table = pd.read_csv(mapped.results / "clam/assignment.tsv", sep="\t")
    table.loc[table["subject"].isin(["a", "b", "c"]), "split"] = "repeat"
    table.to_csv(mapped.results / "clam/assignment.tsv", sep="\t", index=False)
    data = pictures(mapped)["clam_figures_8_9"].data
    assert set(data.loc[data["cluster"] == 1, "subject"]) == {"d", "e"}


def test_members_without_maps_make_no_figure(run):
    assert "clam_figures_8_9" not in pictures(run)
