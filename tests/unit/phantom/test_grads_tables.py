"""The virtual GRADS tables: the counts of the CLAM paper's Table 2, and the planted pattern on average."""

import pandas as pd
import pytest

from lungtypes.phantom.grads_tables import NOT_BEATEN, NOT_GAINED, OUTCOMES, SIGNIFICANT, grads_tables


@pytest.fixture(scope="module")
def cohort():
    clinical, clusters = grads_tables(1)
    return clinical.assign(cluster=clusters.to_numpy())


def test_counts_are_those_of_table_2(cohort):
    assert cohort["cluster"].value_counts().to_dict() == {1: 126, 2: 175}
    assert pd.crosstab(cohort["cluster"], cohort["scadding"]).to_numpy().tolist() == [
        [7, 17, 32, 16, 54],
        [33, 42, 55, 27, 18],
    ]
    assert pd.crosstab(cohort["cluster"], cohort["sex"])["M"].tolist() == [51, 91]
    assert pd.crosstab(cohort["cluster"], cohort["race"])["white"].tolist() == [77, 141]
    assert sorted(cohort["scanner_model"].value_counts()) == [3, 4, 8, 26, 34, 38, 87, 101]


def test_same_seed_same_table_other_seed_another(cohort):
    again = grads_tables(1)[0]
    pd.testing.assert_frame_equal(again, cohort.drop(columns="cluster"))
    assert (grads_tables(2)[0]["crp"] != again["crp"]).all()


def test_planted_differences_of_the_clusters_show_on_average():
    """Mean difference in SDs over 40 cohorts; those of lung function hold what sex, age and height bring."""
    gaps = []
    for seed in range(40):
        clinical, clusters = grads_tables(seed)
        by = clinical.set_index("subject")[list(OUTCOMES)].groupby(clusters)
        gaps.append((by.mean().loc[1] - by.mean().loc[2]) / by.std().mean())
    found = pd.concat(gaps, axis=1).mean(axis=1).abs()
    assert (found[list(NOT_GAINED)] < 0.06).all()
    assert (found[list(SIGNIFICANT)] > 0.5).all()
    weak = [name for name in OUTCOMES if name not in (*NOT_GAINED, *SIGNIFICANT)]
    assert found[weak].between(0.2, 0.35).all()
    assert set(NOT_BEATEN) == {name for name, planted in OUTCOMES.items() if planted.stage}
