"""The table of metrics and the stability of clusters."""

import numpy as np
import pandas as pd
import pytest

from lungtypes.errors import InputError
from lungtypes.evaluation.evaluate import COLUMNS, evaluate_clustering
from lungtypes.evaluation.stability import cluster_jaccard, stability_grade

DRAWS = {"reference_name": "readers", "n_permutations": 20, "n_bootstrap": 20, "null_p": 0.01, "seed": 1}


def tables(clusters, k, seed=0):
    """Assignment and embedding of subjects whose clusters lie 10 apart."""
    rng = np.random.default_rng(seed)
    clusters = np.asarray(clusters)
    subjects = [f"S{i:02d}" for i in range(len(clusters))]
    q = np.full((len(clusters), k), 0.1 / max(k - 1, 1))
    q[np.arange(len(clusters)), clusters - 1] = 0.9
    assignment = pd.DataFrame({"subject": subjects, "cluster": clusters})
    assignment = assignment.assign(**{f"q_{j + 1}": q[:, j] for j in range(k)}, margin=0.8, split="train")
    parts = []
    for phase in ("before", "after"):
        z = rng.normal(size=(len(clusters), 3)) + 10 * clusters[:, None]
        parts.append(pd.DataFrame(z, columns=["z_1", "z_2", "z_3"]).assign(subject=subjects, phase=phase))
    return assignment, pd.concat(parts).sample(frac=1, random_state=0)


def value(table, metric, **where):
    rows = table[table["metric"] == metric]
    for column, wanted in where.items():
        rows = rows[rows[column] == wanted]
    assert len(rows) == 1
    return rows.iloc[0]


def test_perfect_clusters_have_accuracy_one_and_subjects_without_reference_are_left_out():
    assignment, embedding = tables([1] * 10 + [2] * 10, 2)
    reference = pd.Series(["x"] * 10 + ["y"] * 8, index=[f"S{i:02d}" for i in range(18)])
    table = evaluate_clustering(assignment, embedding, reference=reference, **DRAWS)
    assert list(table.columns) == COLUMNS
    assert (value(table, "accuracy")["value"], value(table, "accuracy")["n"]) == (1.0, 18)
    assert value(table, "majority_share")["value"] == pytest.approx(10 / 18)
    assert value(table, "silhouette", space="after")["note"] == "optimised by the loss; circular"
    assert value(table, "silhouette", space="before")["value"] > 0.5
    assert value(table, "jaccard", cluster="2")["note"] == "highly stable"
    assert value(table, "cluster_size", cluster="1")["value"] == 10
    assert value(table, "mean_max_q")["value"] == pytest.approx(0.9)
    assert value(table, "null_p")["value"] == 0.01


def test_one_used_cluster_leaves_values_empty_with_reasons():
    assignment, embedding = tables([1] * 8, 2)
    table = evaluate_clustering(assignment, embedding, reference=None, **DRAWS)
    for metric in ("silhouette", "davies_bouldin", "calinski_harabasz"):
        row = value(table, metric, space="before")
        assert np.isnan(row["value"]) and row["note"] == "not defined for one cluster"
    assert value(table, "accuracy")["note"] == "no reference"
    assert value(table, "cluster_size", cluster="2")["note"] == "empty cluster"
    assert value(table, "n_clusters_used")["value"] == 1
    assert value(table, "jaccard")["note"] == "not defined"


def test_ordered_reference_also_gets_a_kappa():
    assignment, embedding = tables([1, 1, 2, 2, 3, 3], 3)
    grades = pd.Categorical([0, 0, 1, 1, 2, 2], ordered=True)
    reference = pd.Series(grades, index=assignment["subject"])
    table = evaluate_clustering(assignment, embedding, reference=reference, **DRAWS)
    assert value(table, "weighted_kappa")["value"] == pytest.approx(1)


def test_subject_without_embedding_is_named():
    assignment, embedding = tables([1, 1, 2, 2], 2)
    with pytest.raises(InputError, match="first S03"):
        evaluate_clustering(assignment, embedding[embedding["subject"] != "S03"], reference=None, **DRAWS)


def test_separate_clusters_are_stable_and_a_cut_through_a_cloud_is_not():
    rng = np.random.default_rng(0)
    points = np.vstack([rng.normal(size=(20, 2)) + 20, rng.normal(size=(40, 2))])
    labels = np.repeat([1, 2, 3], 20)  # 2 and 3: one cloud, split at random
    table = cluster_jaccard(points, labels, n_bootstrap=20, seed=0).set_index("cluster")
    assert table.loc[1, "grade"] == "highly stable"
    assert set(table.loc[[2, 3], "grade"]) == {"unstable"}


@pytest.mark.parametrize(
    ("jaccard", "grade"),
    [
        (0.59, "unstable"),
        (0.6, "doubtful"),
        (0.75, "stable"),
        (0.86, "highly stable"),
        (np.nan, "not defined"),
    ],
)
def test_grades_have_the_limits_of_clusterboot(jaccard, grade):
    assert stability_grade(jaccard) == grade
