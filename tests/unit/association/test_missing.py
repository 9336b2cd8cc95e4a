"""Missing values by cluster, against hand counts and scipy."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lungtypes.association.description_print import print_missing
from lungtypes.association.missing import MISSING_COLUMNS, missing_table

OPTIONS = {"covariates": ["age", "sex"], "n_permutations": 0, "seed": 0}


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    n = 80
    clinical = pd.DataFrame(
        {"age": rng.normal(50, 9, n), "sex": np.tile(["F", "M"], n // 2), "dlco": rng.normal(20, 4, n), "full": 1.0},
        index=[f"S{i:02d}" for i in range(n)],
    )
    clinical.iloc[:24, 2] = np.nan  # 24 of the first cluster's 40
    clinical.iloc[40:46, 2] = np.nan
    clinical.loc[clinical["dlco"].isna(), "age"] += 30  # who lacks it is older
    clusters = pd.Series([1] * 40 + [2] * 40, index=clinical.index)
    columns = {"dlco": "DLCO", "full": "Full", "age": "Age"}
    return clinical, missing_table(clinical, clusters, columns, **OPTIONS)


def test_counts_percentages_and_test_are_those_of_the_table(table):
    _, found = table
    assert list(found.columns) == MISSING_COLUMNS
    rows = found[found["variable"] == "dlco"].set_index("group")
    assert rows["n"].to_dict() == {"overall": 80, "1": 40, "2": 40}
    assert rows["n_missing"].to_dict() == {"overall": 30, "1": 24, "2": 6}
    assert rows["percent"].to_dict() == {"overall": 37.5, "1": 60.0, "2": 15.0}
    expected = stats.chi2_contingency([[16, 34], [24, 6]], correction=False).pvalue
    assert rows.loc["overall", "p_value"] == pytest.approx(expected)
    assert rows["p_value"].notna().sum() == 1


def test_the_covariate_in_which_those_without_the_value_differ_is_named(table):
    clinical, found = table
    row = found[found["variable"] == "dlco"].iloc[0]
    absent = clinical["dlco"].isna()
    a, b = clinical.loc[absent, "age"], clinical.loc[~absent, "age"]
    assert row["smd_covariate"] == "age"
    assert row["smd"] == pytest.approx(abs(a.mean() - b.mean()) / np.sqrt((a.var() + b.var()) / 2))


def test_nothing_missing_one_cluster_and_everything_missing_are_not_tested():
    clinical = pd.DataFrame({"age": range(12), "sex": ["F"] * 12, "gone": np.nan}, index=[str(i) for i in range(12)])
    clinical = clinical.assign(half=[1.0, np.nan] * 6)
    columns = {name: name for name in clinical}
    one = missing_table(clinical, pd.Series(1, index=clinical.index), columns, **OPTIONS)
    assert one["p_value"].isna().all()
    first = one[one["group"] == "overall"].set_index("variable")
    assert first.loc["age", "test"] == "not tested: nothing is missing"
    assert first.loc["gone", "test"] == "not tested: everything is missing"
    assert first.loc["half", "test"] == "not tested: fewer than two clusters"
    assert first.loc["gone", "note"].startswith("fewer than 5 subjects")


def test_print_names_the_test_and_the_complete_variables(table):
    printed = print_missing(table[1])
    assert [line.cells[0] for line in printed.lines] == ["DLCO"]
    assert printed.lines[0].cells[1:4] == ("30 (37.5 %)", "24 (60.0 %)", "6 (15.0 %)")
    assert printed.lines[0].cells[4].endswith("[a]") and printed.footnotes[0] == "[a] chi-square test"
    assert printed.footnotes[-1] == "Nothing is missing in: Full, Age."
