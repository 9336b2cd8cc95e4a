"""Every table and figure in one folder: numbered, named by the README, without images of scans or names of subjects."""

import re

import pandas as pd
import pytest
from matplotlib.image import imread

from lungtypes.report.paper import write_paper

from .conftest import CANARY, CONFIG


@pytest.fixture(scope="module")
def paper(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("paper") / "paper"
    write_paper(folder, results=shared[0].results, run_config=CONFIG, has_outcomes=True, dpi=150)
    return folder


def files(paper, kind):
    return {f"{kind}s/{path.stem}" for path in (paper / f"{kind}s").iterdir()}


@pytest.mark.parametrize("kind", ["table", "figure"])
def test_readme_names_every_file_once_and_no_other(paper, kind):
    named = re.findall(rf"\| {kind.capitalize()} (\d+) \| `({kind}s/[^`]+)` \|", (paper / "README.md").read_text())
    assert {name for _, name in named} == files(paper, kind) and len(named) == len(files(paper, kind)) > 5
    assert [int(number) for number, _ in named] == list(range(1, len(named) + 1))


def test_no_image_of_a_scan_and_no_subject_in_the_data(paper):
    names = " ".join(files(paper, "figure"))
    assert "clam_mean_map" in names and "members" not in names and "quality_" not in names
    for file in (paper / "figures").glob("*.tsv"):
        assert "subject" not in pd.read_csv(file, sep="\t", nrows=1).columns, file
    assert not [name for name in files(paper, "table") if "excluded" in name]


def test_figures_have_the_resolution_of_the_config(paper):
    (file,) = (paper / "figures").glob("*_clam_mean_ct.png")
    assert imread(file).shape[1] == 9 * 150


def test_printed_tables_have_every_number_beside_them(paper):
    (table,) = (paper / "tables").glob("*_table_one.tsv")
    assert {"mean", "count", "p_value"} & set(pd.read_csv(table, sep="\t").columns)
    assert table.with_suffix(".html").exists()


def test_hostile_texts_run_nowhere(paper):
    readme = (paper / "README.md").read_text()
    assert CANARY not in readme and "<script" not in readme
    for file in (paper / "tables").glob("*.tsv"):
        assert not re.search(r"(^|\t)[=+@]", file.read_text(), re.M), file
