"""The table of metrics and the stability of clusters."""

from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import silhouette_score

from lungtypes.errors import InputError
from lungtypes.evaluation.evaluate import evaluate_clustering
from lungtypes.evaluation.evaluate_files import evaluate_stage, read_reference
from lungtypes.evaluation.metric_rows import COLUMNS
from lungtypes.evaluation.refits import NO_REFITS
from lungtypes.evaluation.spaces import SPACES
from lungtypes.evaluation.stability import cluster_jaccard, stability_grade

SCHEMAS = Path(__file__).parents[3] / "workflow/schemas/tables"
DRAWS = {
    "reference_name": "readers",
    "common": None,
    "refits": [],
    "n_permutations": 20,
    "n_bootstrap": 20,
    "n_resamples": 10,
    "n_null": 3,
    "null_p": 0.01,
    "seed": 1,
}


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
    for column, wanted in ({"cluster": ""} | where).items():
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
    assert value(table, "share_unsure_q")["value"] == 0
    assert value(table, "null_p")["value"] == 0.01


def test_one_used_cluster_leaves_values_empty_with_reasons():
    assignment, embedding = tables([1] * 8, 2)
    table = evaluate_clustering(assignment, embedding, reference=None, **DRAWS)
    for metric in ("silhouette", "davies_bouldin", "calinski_harabasz"):
        row = value(table, metric, space="after_labels_in_before")
        assert np.isnan(row["value"]) and row["note"] == "not defined for one cluster"
    assert value(table, "accuracy")["note"] == "no reference"
    assert value(table, "cluster_size", cluster="2")["note"] == "empty cluster"
    assert value(table, "n_clusters_used")["value"] == 1
    assert value(table, "jaccard", cluster="1")["note"] == "not defined"


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


def test_every_space_has_its_own_points_and_an_empty_one_its_reason():
    assignment, embedding = tables([1] * 12 + [2] * 12, 2)
    plain = evaluate_clustering(assignment, embedding, reference=None, **DRAWS)
    assert "held out" in value(plain, "silhouette", space="held_out")["note"]
    assert value(plain, "silhouette", space="common")["note"] == "no common space"

    # held-out scans of cluster 2 lie among cluster 1, and the common space knows nothing of the clusters
    assignment["split"] = ["test" if i % 3 == 0 else "train" for i in range(24)]
    lost = assignment["subject"][(assignment["split"] == "test") & (assignment["cluster"] == 2)]
    moved = embedding["subject"].isin(lost) & (embedding["phase"] == "after")
    embedding.loc[moved, ["z_1", "z_2", "z_3"]] -= 10
    noise = np.random.default_rng(3).normal(size=(24, 2))
    common = pd.DataFrame(noise, columns=["c_1", "c_2"]).assign(subject=assignment["subject"])
    table = evaluate_clustering(assignment, embedding, reference=None, **DRAWS | {"common": common.iloc[::-1]})
    assert set(SPACES) <= set(table["space"])
    held = value(table, "silhouette", space="held_out")
    assert held["n"] == 8 and held["value"] < 0.2
    rows = embedding[embedding["phase"] == "after"].set_index("subject").loc[assignment["subject"]]
    truth = silhouette_score(rows[["z_1", "z_2", "z_3"]], assignment["cluster"])
    assert value(table, "silhouette", space="after")["value"] == pytest.approx(truth)
    assert value(table, "silhouette", space="common")["value"] == pytest.approx(
        silhouette_score(noise, assignment["cluster"])
    )
    assert value(table, "silhouette", space="before")["value"] > 0.8
    # all moved scans, and no other, lie nearer to another cluster
    assert value(table, "share_below_0", space="after", cluster="2")["value"] == pytest.approx(len(lost) / 12)
    assert value(table, "cluster_silhouette", space="after", cluster="2")["n"] == 12


def test_final_clusters_are_judged_in_the_embedding_before_apart_from_its_own_k_means():
    assignment, embedding = tables([1] * 12 + [2] * 12, 2)
    assignment["cluster"] = [1, 2] * 12  # final clusters that ignore the two groups
    table = evaluate_clustering(assignment, embedding, reference=None, **DRAWS)
    assert value(table, "silhouette", space="before")["value"] > 0.8
    assert value(table, "silhouette", space="after_labels_in_before")["value"] < 0.1


def test_sizes_and_memberships_are_flagged():
    assignment, embedding = tables([1] * 20 + [2] * 4, 3)
    assignment.loc[:5, ["q_1", "q_2", "q_3"]] = [0.5, 0.4, 0.1]
    table = evaluate_clustering(assignment, embedding, reference=None, **DRAWS)
    assert value(table, "cluster_size", cluster="1")["note"] == ""
    assert value(table, "cluster_size", cluster="2")["note"] == "small: fewer than 5 scans"
    assert value(table, "cluster_size", cluster="3")["note"] == "empty cluster"
    assert value(table, "share_unsure_q")["value"] == pytest.approx(6 / 24)


def test_without_refits_their_rows_are_empty_with_the_reason():
    assignment, embedding = tables([1] * 8 + [2] * 8, 2)
    table = evaluate_clustering(assignment, embedding, reference=None, **DRAWS)
    rows = table[table["metric"].str.startswith("refit_")]
    assert len(rows) == 5 and rows["value"].isna().all() and set(rows["note"]) == {NO_REFITS}


def test_same_seed_same_table_whatever_the_order_of_the_embedding():
    assignment, embedding = tables([1] * 12 + [2] * 12, 2)
    reference = pd.Series(["x", "y", "y"] * 8, index=assignment["subject"])
    one = evaluate_clustering(assignment, embedding, reference=reference, **DRAWS)
    two = evaluate_clustering(assignment, embedding.iloc[::-1], reference=reference[::-1], **DRAWS)
    pd.testing.assert_frame_equal(one, two)


def test_stage_leaves_repeats_out_and_writes_both_tables(tmp_path):
    assignment, embedding = tables([1] * 10 + [2] * 10, 2)
    assignment.loc[19, "split"] = "repeat"
    assignment.assign(flag="").to_csv(tmp_path / "assignment.tsv", sep="\t", index=False)
    embedding.assign(flag="").to_csv(tmp_path / "embedding.tsv", sep="\t", index=False)
    assignment[["subject", "cluster"]].to_csv(tmp_path / "1.tsv", sep="\t", index=False)
    (tmp_path / "choice.json").write_text('{"null_p": 0.01, "flag": "one group"}')
    levels = pd.DataFrame({"subject": assignment["subject"], "stage": ["0"] * 10 + ["2"] * 10})
    levels.to_csv(tmp_path / "readers.tsv", sep="\t", index=False)
    draws = {name: DRAWS[name] for name in ("n_permutations", "n_bootstrap", "n_resamples", "n_null", "seed")}
    evaluate_stage(
        assignment=tmp_path / "assignment.tsv",
        embedding=tmp_path / "embedding.tsv",
        choice=tmp_path / "choice.json",
        common="",
        refits=[tmp_path / "1.tsv"],
        table=tmp_path / "out.tsv",
        confusion=tmp_path / "confusion.tsv",
        reference_table=str(tmp_path / "readers.tsv"),
        reference_column="stage",
        reference_order=["0", "1", "2"],
        **draws,
    )
    table = pd.read_csv(tmp_path / "out.tsv", sep="\t", keep_default_na=False, dtype={"value": str})
    schema = yaml.safe_load((SCHEMAS / "evaluation.yaml").read_text())
    assert list(table) == list(schema["columns"]) and set(table["flag"]) == {"one group"}
    assert value(table, "accuracy")["n"] == 19 and float(value(table, "weighted_kappa")["value"]) == 1
    assert float(value(table, "refit_ari_mean")["value"]) == 1
    confusion = pd.read_csv(tmp_path / "confusion.tsv", sep="\t")
    assert confusion["n"].tolist() == [10, 0, 0, 0, 0, 9]
    assert list(confusion) == list(yaml.safe_load((SCHEMAS / "confusion.yaml").read_text())["columns"])


def test_labels_that_r_wrote_as_missing_are_no_class(tmp_path):
    (tmp_path / "readers.tsv").write_text("subject\tstage\nS1\t0\nS2\tNA\nS3\t\nS4\tNaN\nS5\t1\n")
    assert read_reference(str(tmp_path / "readers.tsv"), "stage").to_dict() == {"S1": "0", "S5": "1"}


def test_agreement_of_a_method_that_learnt_the_labels_is_that_of_held_out_scans():
    """Forty labels by heart and ten new scans all wrong are an accuracy of 0.5 at best, not of 0.8."""
    assignment, embedding = tables([1, 2] * 25, 2)
    assignment["split"] = ["train"] * 40 + ["test"] * 10
    truth = pd.Series(["a", "b"] * 20 + ["a"] * 10, index=assignment["subject"])
    learnt = evaluate_clustering(assignment, embedding, reference=truth, learnt=True, **DRAWS)
    (row,) = learnt[learnt["metric"] == "accuracy"].to_dict("records")
    assert row["space"] == "held_out" and row["n"] == 10 and row["value"] == 0.5
    assert "of held-out scans" in row["note"]
    both = evaluate_clustering(assignment, embedding, reference=truth, **DRAWS)
    rows = both[both["metric"] == "accuracy"].set_index("space")
    assert rows["n"].to_dict() == {"": 50, "held_out": 10} and rows["value"].to_dict() == {"": 0.9, "held_out": 0.5}
    none = evaluate_clustering(assignment, embedding, reference=truth[:40], learnt=True, **DRAWS)
    (row,) = none[none["metric"] == "accuracy"].to_dict("records")
    assert row["n"] == 40 and "which it learnt from these scans" in row["note"]


def test_label_that_the_order_lacks_is_named(tmp_path):
    (tmp_path / "readers.tsv").write_text("subject\tstage\nS1\t0\nS2\t4\n")
    with pytest.raises(InputError, match="column stage: found 4, expected one of 0, 1"):
        read_reference(str(tmp_path / "readers.tsv"), "stage", order=["0", "1"])


def test_the_schema_of_the_metrics_names_no_other_table_of_the_folder():
    path = yaml.safe_load((SCHEMAS / "evaluation.yaml").read_text())["path"]
    methods = ("clam", "dcam", "dcam-encoder", "dcam-supervised")
    assert all(fnmatch(f"evaluation/{method}.tsv", path) for method in methods)
    others = [f"evaluation/{m}_{name}.tsv" for m in methods for name in ("confusion", "confounders")]
    others += [f"evaluation/{m}_{name}.tsv" for m in ("dram", "dram-cam") for name in ("percentages", "dice")]
    assert not any(fnmatch(other, path) for other in others)
