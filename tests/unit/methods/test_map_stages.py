"""Further maps and their tables from a small CLAM and a small dCAM, as files."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from lungtypes.device import set_torch
from lungtypes.imaging.geometry import read_volume
from lungtypes.imaging.volume_files import Cohort
from lungtypes.imaging.volumes import CohortGrid
from lungtypes.maps.attribution import log_odds
from lungtypes.methods import dcam
from lungtypes.methods.clam_maps import ClamExplainer, explain_with
from lungtypes.methods.dcam_maps import DcamExplainer
from lungtypes.methods.deep_cluster import fit_reduction
from lungtypes.methods.intensity import OUTSIDE, Intensity
from lungtypes.methods.map_kinds import KINDS, Way, control_rows, further_maps, mean_lung, mean_scan, runner_up
from lungtypes.methods.map_stages import Plan, chosen_scans, compare_stage, summarise
from lungtypes.networks.cae import ConvolutionalAutoencoder

SCHEMAS = Path(__file__).parents[3] / "workflow/schemas/tables"
SIZE, K = 16, 3
SUBJECTS = tuple(f"S{i}" for i in range(8))
SPLITS = ("train",) * 6 + ("test", "repeat")
CLUSTERS = np.array([1, 1, 1, 3, 3, 3, 1, 3])
GRID = CohortGrid((SIZE,) * 3, 6.0, (0.0, 0.0, 0.0), ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))
PLAN = Plan(
    KINDS,
    path={"points": 4, "smooth_mm": 3.0},
    occlusion={"scans": 1, "window_mm": 36.0, "stride_mm": 36.0},
    faithfulness={"scans": 2, "steps": 4},
    seed=1,
)
INTENSITY = Intensity(-1024.0, 200.0, 0.3)
BOX = ((0, 16), (0, 16), (0, 8))


def cohort():
    array = np.random.default_rng(1).integers(-900, -500, (8, *(SIZE,) * 3)).astype(np.int16)
    array[3:6, 8:] += 300
    array[:, :2], array[..., 8:] = OUTSIDE, OUTSIDE
    return Cohort(array, SUBJECTS, SPLITS, GRID)


def clam_explainer(k=K):
    torch.manual_seed(3)
    network = ConvolutionalAutoencoder(size=(SIZE,) * 3, filters=(3, 5), strides=(2, 2), latent=4, slope=0.1)
    settings = {"intensity": vars(INTENSITY), "scale": 2.0}
    explained = explain_with(network, settings, {"centroids": torch.randn(k, 4).numpy()}, device="cpu")
    return ClamExplainer(explained, mean_scan(cohort().array, np.arange(3), INTENSITY), chunk=2, correct_shift=True)


def dcam_explainer():
    network = dcam.build_network("dcam", filters=2, norm="batch", checkpointing=False, seed=1)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(9, network.n_features))
    reduction = fit_reduction(features, components=3, whiten=False)
    labels = np.arange(9) % K
    z = reduction(features)
    centroids = np.stack([z[labels == c].mean(axis=0) for c in range(K)])
    model = dcam.DcamModel(network, dcam.fit_head(features, labels, K), reduction, centroids, 1.0, False)
    return DcamExplainer(model, INTENSITY, BOX, mean_lung(cohort().array, np.arange(3), INTENSITY), "cpu", "dcam")


EXPLAINERS = {"clam": clam_explainer, "dcam": dcam_explainer}


def assignment(k=K):
    q = np.full((8, k), 0.1)
    q[np.arange(8), CLUSTERS - 1] = 0.8
    table = pd.DataFrame(q, columns=[f"q_{i + 1}" for i in range(k)])
    table.insert(0, "subject", SUBJECTS)
    return table.assign(cluster=CLUSTERS)


def no_mask(subject, grid):
    return None


def masks(subject, grid):
    """Of the scans of cluster 3, what makes it; an empty one of S0."""
    lesion = np.zeros(grid.shape, bool)
    lesion[8:] = CLUSTERS[SUBJECTS.index(subject)] == 3
    return lesion if subject == "S0" or lesion.any() else None


def compare(folder, explainer, *, to_template=None, plan=PLAN):
    set_torch(threads=1)
    scans = cohort()
    embedding = np.random.default_rng(2).normal(size=(8, 4))
    lungs = (scans.array != OUTSIDE).any(axis=0)
    more = {"weights": None, "to_template": to_template, "lesions": masks, "reference": "controls", "flag": "careful"}
    compare_stage(folder, explainer, scans, scans, assignment(), embedding, lungs, plan, **more)
    return folder


@pytest.fixture(scope="module", params=EXPLAINERS)
def compared(request, tmp_path_factory):
    explainer = EXPLAINERS[request.param]()
    return explainer, compare(tmp_path_factory.mktemp(request.param), explainer)


def table(path):
    return pd.read_csv(path, sep="\t", keep_default_na=False, na_values=[""])


@pytest.mark.parametrize(
    "name", ["faithfulness", "faithfulness_summary", "map_randomisation", "localisation", "localisation_summary"]
)
def test_tables_have_the_columns_of_their_schemas(compared, name):
    schema = yaml.safe_load((SCHEMAS / f"{name}.yaml").read_text())
    assert set(table(compared[1] / f"{name}.tsv").columns) == set(schema["columns"])


def test_every_scan_has_a_map_of_each_kind_between_minus_one_and_one(compared):
    for kind in KINDS:
        files = sorted((compared[1] / "maps" / kind).glob("*.nii.gz"))
        assert [f.name for f in files] == [f"{s}.nii.gz" for s in SUBJECTS]
        values = read_volume(files[0]).array
        assert np.isfinite(values).all() and np.abs(values).max() in (0.0, 1.0)


def test_dear_maps_are_of_the_medoids_alone(compared):
    assert len(list((compared[1] / "maps/occlusion").iterdir())) == 2  # of two used clusters


def test_group_maps_leave_out_repeats_and_empty_clusters(compared):
    groups = table(compared[1] / "further_group_maps.tsv").set_index("group")
    assert groups.loc["margin_cluster1", ["n", "n_repeats"]].tolist() == [4, 0]
    assert groups.loc["margin_cluster3", ["n", "n_repeats"]].tolist() == [3, 1]
    assert (compared[1] / "further_group_maps/margin_cluster1_mean.nii.gz").exists()
    assert not (compared[1] / "further_group_maps/margin_cluster2_mean.nii.gz").exists()


def test_each_map_is_compared_with_each_control(compared):
    explainer, folder = compared
    summary = table(folder / "faithfulness_summary.tsv")
    assert set(summary["map"]) == {explainer.name, *KINDS, "occlusion"}
    assert (summary.groupby("map").size() == 5).all() and summary.groupby("map")["recommended"].first().sum() == 1
    assert summary.set_index("map").loc["occlusion", "n"].max() == 2


def test_every_scan_with_a_mask_says_where_each_map_lies_against_each_control(compared):
    _, folder = compared
    rows = table(folder / "localisation.tsv")
    assert set(rows["subject"]) == {"S0", "S3", "S4", "S5", "S7"}  # held-out scans and repeats, too
    told = rows[rows["subject"] != "S0"]
    assert told["lesion_share"].round(3).eq(round(8 / 14, 3)).all()  # the first two layers are no lung
    assert rows.loc[rows["subject"] == "S0", ["energy", "pointing"]].isna().all(axis=None)
    summary = table(folder / "localisation_summary.tsv")
    assert (summary.groupby("map").size() == 5).all() and "uniform" not in set(summary["map"])
    own = summary[(summary["map"] == "margin") & (summary["control"] == "uniform")].iloc[0]
    told = told[told["subject"] != "S7"]  # a person counts once
    told = told.pivot(index="subject", columns="map", values="energy")[["margin", "uniform"]].dropna()
    assert own["n"] == len(told) and own["difference"] == pytest.approx((told["margin"] - told["uniform"]).mean())


def test_only_training_scans_are_examined_however_many_are_asked_for(tmp_path):
    plan = Plan((), PLAN.path, {**PLAN.occlusion, "scans": 20}, {"scans": 20, "steps": 4}, 1)
    folder = compare(tmp_path, EXPLAINERS["clam"](), plan=plan)
    train = {subject for subject, split in zip(SUBJECTS, SPLITS, strict=True) if split == "train"}
    assert set(table(folder / "faithfulness.tsv")["subject"]) == train
    assert {file.name.removesuffix(".nii.gz") for file in (folder / "maps/occlusion").iterdir()} == train


def test_no_scan_is_examined_when_none_is_asked_for(tmp_path):
    plan = Plan((), PLAN.path, PLAN.occlusion, {"scans": 0, "steps": 4}, 1)
    folder = compare(tmp_path, EXPLAINERS["clam"](), plan=plan)
    assert table(folder / "faithfulness.tsv").empty and table(folder / "map_randomisation.tsv").empty
    assert len(list((folder / "maps/occlusion").iterdir())) == 2
    assert set(table(folder / "localisation.tsv")["map"]) >= {"clam", "departure"}


def test_every_layer_is_drawn_anew_once_for_each_medoid(compared):
    explainer, folder = compared
    rows = table(folder / "map_randomisation.tsv")
    layers = {"clam": 3, "dcam": 8}[explainer.name]
    assert len(rows) == 2 * layers * (1 + len(KINDS)) and rows["correlation"].abs().max() <= 1 + 1e-9


def test_same_seed_same_bytes(compared, tmp_path):
    explainer, folder = compared
    again = compare(tmp_path, EXPLAINERS[explainer.name]())
    for file in [*folder.glob("*.tsv"), *folder.glob("maps/margin/*")]:
        assert (again / file.relative_to(folder)).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("make", EXPLAINERS.values(), ids=EXPLAINERS)
def test_margin_adds_up_to_the_log_odds_gained(make):
    explainer = make()
    scan = explainer.scan(cohort().array[4])
    found = further_maps(scan, explainer.weights(scan, 2), 2, 0, ["margin"], Way(64, 0.0))["margin"]
    score = log_odds(2)
    with torch.no_grad():
        ends = [float(score(scan.view.log_q_of(image))) for image in (scan.image, scan.reference)]
    assert found.sum() == pytest.approx(ends[0] - ends[1], rel=0.02, abs=1e-3)


def test_dcam_q_is_that_of_its_assignment():
    explainer = dcam_explainer()
    scan = explainer.scan(cohort().array[0])
    with torch.no_grad():
        found = scan.view.log_q_of(scan.image).exp()
        features = dcam.pool_features(
            scan.view.activations(scan.image), torch.from_numpy(scan.inside)[None, None].float()
        )
    expected = dcam.assign(explainer.model, features.double().numpy())
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_stored_weights_of_the_published_map_give_the_same_difference(tmp_path):
    explainer, scans = clam_explainer(), cohort()
    clusters = CLUSTERS - 1
    stored = np.stack(
        [explainer.weights(explainer.scan(hu), int(c)).numpy() for hu, c in zip(scans.array, clusters, strict=True)]
    )
    lungs = (scans.array != OUTSIDE).any(axis=0)
    embedding = np.random.default_rng(2).normal(size=(8, 4))
    plan = Plan(("difference",), PLAN.path, {**PLAN.occlusion, "scans": 0}, {"scans": 0, "steps": 4}, 1)
    for name, weights in (("a", stored), ("b", None)):
        more = {"weights": weights, "to_template": None, "lesions": no_mask, "reference": "cohort", "flag": ""}
        compare_stage(tmp_path / name, explainer, scans, scans, assignment(), embedding, lungs, plan, **more)
    a, b = ((tmp_path / n / "maps/difference/S4.nii.gz").read_bytes() for n in ("a", "b"))
    assert a == b and table(tmp_path / "a/faithfulness.tsv").empty


def test_one_cluster_gives_empty_tables_and_no_error(tmp_path):
    one = pd.DataFrame({"subject": SUBJECTS, "cluster": 1, "q_1": 1.0})
    scans, explainer = cohort(), clam_explainer(k=1)
    more = {"weights": None, "to_template": None, "lesions": no_mask, "reference": "cohort", "flag": ""}
    lungs = (scans.array != OUTSIDE).any(axis=0)
    compare_stage(tmp_path, explainer, scans, scans, one, np.zeros((8, 4)), lungs, PLAN, **more)
    assert table(tmp_path / "faithfulness_summary.tsv").empty and (tmp_path / "maps/margin").is_dir()


def test_maps_in_native_space_are_brought_to_the_template_for_their_means(tmp_path):
    brought = []
    scans = cohort()
    native = Cohort(scans.array, scans.subjects, scans.splits, GRID, (GRID,) * 8)

    def to_template(subject, values, grid):
        brought.append(subject)
        return values * 0 + 1

    lungs = (scans.array != OUTSIDE).any(axis=0)
    plan = Plan(("gradcam",), PLAN.path, {**PLAN.occlusion, "scans": 0}, {"scans": 0, "steps": 4}, 1)
    more = {"weights": None, "to_template": to_template, "lesions": no_mask, "reference": "cohort", "flag": ""}
    compare_stage(tmp_path, dcam_explainer(), native, scans, assignment(), np.zeros((8, 4)), lungs, plan, **more)
    assert brought == list(SUBJECTS)
    assert (read_volume(tmp_path / "further_group_maps/gradcam_cluster1_mean.nii.gz").array == 1).all()


def test_reference_is_of_training_controls_and_else_of_the_training_scans():
    controls = [False, True, False, False, False, False, True, True]  # one trains, one tests, one is a repeat
    rows, name = control_rows(SPLITS, controls)
    assert rows.tolist() == [1] and name == "controls"
    assert control_rows(SPLITS, [False] * 8)[0].tolist() == [0, 1, 2, 3, 4, 5]


def test_medoid_comes_first_and_held_out_scans_are_not_chosen():
    points = np.zeros((8, 2))
    points[:3, 0] = [0.0, 1.0, 3.0]
    chosen = chosen_scans(CLUSTERS - 1, points, SPLITS, PLAN)
    assert chosen[1] == 0 and sorted(chosen.values()) == [0, 0, 1, 1] and max(chosen) < 6


def test_runner_up_is_the_next_best():
    assert runner_up(np.array([0.2, 0.5, 0.3]), 1) == 2 and runner_up(np.array([0.2, 0.5, 0.3]), 0) == 1


def test_map_that_is_no_better_than_a_control_is_said_to_be_so():
    rows = [
        {"subject": s, "map": name, "kind": kind, "gain": gain + noise}
        for s, noise in zip("abcdef", np.linspace(0, 5, 6), strict=True)
        for name, kind, gain in [("clam", "map", 1.0), ("margin", "map", 3.0)]
        + [(c, "control", 1.0) for c in ("uniform", "random_weights", "wrong_cluster", "brightness", "departure")]
    ]
    found = summarise(pd.DataFrame(rows), {"clam": 10, "margin": 20}, "clam", np.random.default_rng(0))
    better = found.groupby("map")["better"].sum()
    assert better["clam"] == 0 and better["margin"] == 5
    assert found.loc[found["recommended"] == 1, "map"].unique().tolist() == ["margin"]
