"""Image quantities by cluster: effect sizes, and no p value anywhere."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lungtypes.association.description_print import print_descriptive
from lungtypes.association.descriptive import DESCRIPTIVE_COLUMNS, describe_image_quantities, image_quantities

SUBJECTS = [f"S{i}" for i in range(30)]
CLUSTERS = pd.Series([1] * 10 + [2] * 12 + [3] * 8, index=SUBJECTS)


def tables():
    rng = np.random.default_rng(0)
    density = pd.DataFrame({"subject": SUBJECTS, "region": "lungs", "mean_hu": rng.normal(-800, 30, 30)})
    density = pd.concat([density, density.assign(region="left", mean_hu=0.0)])
    maps = pd.DataFrame({"subject": SUBJECTS[:28], "cluster": 1, "active_ml": rng.normal(900, 90, 28), "flag": ""})
    return density, maps


def test_eta_squared_follows_from_the_f_statistic_and_smd_from_its_definition():
    quantities = image_quantities(*tables())
    assert list(quantities) == ["mean_hu", "active_ml"]
    found = describe_image_quantities(quantities, CLUSTERS)
    assert list(found.columns) == DESCRIPTIVE_COLUMNS and not any(name.startswith("p_") for name in found)
    row = found[found["quantity"] == "mean_hu"].iloc[0]
    parts = [quantities["mean_hu"][CLUSTERS.index[c == CLUSTERS]].to_numpy() for c in (1, 2, 3)]
    f = stats.f_oneway(*parts).statistic
    assert row["eta2"] == pytest.approx(2 * f / (2 * f + 27))
    pairs = {f"SMD of {i + 1} v {j + 1}": (parts[i], parts[j]) for i in range(3) for j in range(i + 1, 3)}
    smd = {k: abs(a.mean() - b.mean()) / np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2) for k, (a, b) in pairs.items()}
    assert row["smd"] == pytest.approx(max(smd.values())) and row["note"] == max(smd, key=smd.get)


def test_scans_without_a_map_are_missing_not_zero():
    found = describe_image_quantities(image_quantities(*tables()), CLUSTERS)
    rows = found[found["quantity"] == "active_ml"].set_index("group")
    assert rows["n"].to_dict() == {"overall": 28, "1": 10, "2": 12, "3": 6}
    assert rows.loc["overall", "mean"] == pytest.approx(tables()[1]["active_ml"].mean())


def test_constant_and_empty_quantities_have_a_reason():
    quantities = pd.DataFrame({"same": 1.0, "none": np.nan}, index=SUBJECTS)
    found = describe_image_quantities(quantities, CLUSTERS).set_index(["quantity", "group"])
    assert found.loc[("same", "overall"), "note"] == "no variation"
    assert found.loc[("none", "overall"), "note"] == "fewer than two clusters with two values"
    assert found["smd"].isna().all() and found["eta2"].isna().all()


def test_without_image_tables_there_are_no_rows_and_the_print_still_works():
    found = describe_image_quantities(image_quantities(None, None), CLUSTERS)
    assert found.empty and print_descriptive(found).lines == ()


def test_the_footnote_says_why_there_are_no_p_values():
    printed = print_descriptive(describe_image_quantities(image_quantities(*tables()), CLUSTERS))
    assert "No p values, on purpose" in printed.footnotes[0] and "double dipping" in printed.footnotes[0]
    assert "p" not in printed.header
