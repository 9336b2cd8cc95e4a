"""Which population map the profiles show, how many scans stand behind a map, and the table of what maps cover."""

import pytest

from lungtypes.report.blocks import Picture, Table
from lungtypes.report.profile_sections import profile_section
from lungtypes.report.results import Results


def blocks(run, kind, population=None):
    config = {"seed": 1, "clam": {"map": {"population": population}} if population else {}}
    return [b for b in profile_section(Results(run.results), "clam", config).blocks if isinstance(b, kind)]


@pytest.mark.parametrize(
    ("population", "file", "words"),
    [
        (None, "population_subject", "the mean over scans"),
        ("subject", "population_subject", "the mean over scans"),
        ("balanced", "population_balanced", "the mean of the clusters' maps"),
    ],
)
def test_population_map_is_the_one_of_the_config_and_named(run, population, file, words):
    pictures = {picture.name: picture for picture in blocks(run, Picture, population)}
    shown, difference = pictures["clam_mean_map"], pictures["clam_map_difference"]
    assert f"clam/group_maps/clam_{file}_mean.nii.gz" in set(shown.data["file"])
    assert set(difference.data["less"]) == {f"clam/group_maps/clam_{file}_mean.nii.gz"}
    assert words in shown.caption and words in difference.caption


def test_number_under_a_mean_map_leaves_degenerate_maps_out(run):
    run.edit("clam/group_maps.tsv", lambda table: table.assign(n_maps=[3, 5]))
    pictures = {picture.name: picture for picture in blocks(run, Picture)}
    assert pictures["clam_mean_map"].data.groupby("group").n.first().to_dict() == {
        "all": 8,
        "cluster 1": 3,
        "cluster 2": 5,
    }
    assert pictures["clam_mean_ct"].data.groupby("group").n.first()["all"] == 10


def test_shares_come_from_the_table_of_regions(run):
    (table,) = [t for t in blocks(run, Table) if "Upper zone (%)" in t.header]
    cells = dict(zip(table.header, table.rows[0], strict=True))
    assert cells["Upper zone (%)"].startswith("50.0") and cells["Right (%)"].startswith("60.0")
    assert cells["Activated (% of the lungs)"].startswith("25.0")


def test_undefined_figures_are_left_out_of_the_means(run):
    def undefined(table):
        return table.assign(active_mean_hu=[""] * 5 + ["-700"] * 5)

    run.edit("clam/map_summary.tsv", undefined)
    (table,) = [t for t in blocks(run, Table) if "Upper zone (%)" in t.header]
    column = table.header.index("Mean density there (HU)")
    assert [row[column] for row in table.rows][1:] == [table.rows[1][column]] * 2
    assert "700" in table.rows[1][column] and "700" not in table.rows[0][column]
