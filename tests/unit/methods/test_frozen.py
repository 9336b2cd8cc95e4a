"""A frozen model: what it holds, that it assigns as the study did, scan by scan, and that any change is seen."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from lungtypes.cohort.frozen import TEMPLATE_FILES, check_frozen, read_manifest, write_manifest
from lungtypes.device import set_torch
from lungtypes.errors import InputError, ScanFault
from lungtypes.imaging.hounsfield import OUTSIDE
from lungtypes.methods import frozen_stages
from lungtypes.methods.clam_stages import cluster_stage, pretrain_stage
from lungtypes.methods.dcam_stages import embed_stage, train_stage
from lungtypes.methods.frozen_stages import assign_scans, freeze_model, load_frozen, write_image_reference
from lungtypes.methods.intensity import Intensity
from lungtypes.methods.placement import load_dense, voxel_sums
from lungtypes.methods.training import Checkpoint

ROOT = Path(__file__).resolve().parents[3]
DEFAULTS = yaml.safe_load((ROOT / "config/config.yaml").read_text())
N, N_TEST, SIZE = 24, 4, 16
SUBJECTS = [f"CANARY{i:02d}" for i in range(N)]
SPLITS = ["train"] * (N - N_TEST) + ["test"] * N_TEST
METHODS = ("clam", "dcam", "dcam-encoder", "dcam-supervised")
COMMON = {"window_hu": [-1024.0, -400.0], "background": "lung_mean"}


def scans():
    """Two groups, one denser on one side; no scan like another."""
    rng = np.random.default_rng(0)
    array = rng.normal(-850, 25, (N, SIZE, SIZE, SIZE)) + rng.normal(0, 15, (N, 1, 1, 1))
    array[::2, :, :, : SIZE // 2] += 200
    array[:, :, :, :2] = OUTSIDE
    return array.astype(np.int16)


def fit_clam(folder):
    network = {"filters": [2, 4], "strides": [2, 2], "latent": 4, "slope": 0.1, "output": "linear"}
    pretrain = {"epochs": 15, "learning_rate": 0.003, "held_out": 0.0}
    shared = {"loss": "mean", "batch": 8, "seed": 1, "device": "cpu"}
    shared["checkpoint"] = Checkpoint(folder / "resume.safetensors", "a" * 20)
    cohort = scans(), SUBJECTS, SPLITS
    pretrain_stage(folder / "pretrained", *cohort, network=network, pretrain=pretrain, **COMMON, **shared)
    places = {"pretrained": folder / "pretrained", "choice": folder / "choice.json"}
    cluster_stage(folder, *cohort, cluster=DEFAULTS["clam"]["cluster"] | {"epochs": 3}, **places, **shared)


def fit_dcam(folder, method):
    training = DEFAULTS["dcam"]["training"] | {"epochs": 2, "components": 4}
    network = {"filters": 2, "norm": "batch", "checkpointing": False}
    shared = {"method": method, "network": network, "training": training, "seed": 1, "device": "cpu", **COMMON}
    cohort = scans(), SUBJECTS, SPLITS
    embed_stage(folder / "start.tsv", *cohort, **shared)
    labels = pd.Series([str(i % 2) for i in range(N)], index=SUBJECTS) if method == "dcam-supervised" else None
    places = {"start": folder / "start.tsv", "choice": folder / "choice.json", "reference": labels}
    places["checkpoint"] = Checkpoint(folder / "resume.safetensors", "a" * 20)
    train_stage(folder, *cohort, space="native", **places, **shared)


FIGURES = [{"dice": 0.97 + 0.001 * (i % 7), "lung_ml": 4000.0 + 100 * i} for i in range(N)]


def freeze(fitted, folder):
    """All models of ``fitted`` with an empty template, as freeze_models.py does it."""
    folder.mkdir()
    for name in TEMPLATE_FILES:
        (folder / name).touch()
    options = {"device": "cpu"}
    about = {m: freeze_model(folder / m, fitted / m, scans(), SPLITS, method=m, **options) for m in METHODS}
    write_image_reference(folder / "imaging.json", FIGURES)
    write_manifest(folder, settings={"seed": 1}, methods=about)
    return folder


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Four models of the same scans."""
    set_torch(threads=1)
    study = tmp_path_factory.mktemp("study")
    for method in METHODS:
        (study / method).mkdir()
        (study / method / "choice.json").write_text(json.dumps({"k": 2, "flag": "careful"}))
        fit_clam(study / method) if method == "clam" else fit_dcam(study / method, method)
    return study


@pytest.fixture(scope="module")
def frozen(fitted, tmp_path_factory):
    return freeze(fitted, tmp_path_factory.mktemp("frozen") / "frozen")


def statuses(subjects, failed=()):
    verdicts = {True: ("excluded", "REG-DICE", "no overlap"), False: ("analysed", "", "")}
    rows = [(s, "register", *verdicts[s in failed]) for s in subjects]
    return pd.DataFrame(rows, columns=["subject", "stage", "status", "code", "message"])


def assign(frozen, method, chosen, *, figures=None, failed=()):
    """chosen : subject -> lung HU."""
    read = lambda subject: (chosen[subject], 1.0)  # noqa: E731
    return assign_scans(frozen, method, statuses(list(chosen), failed), read, figures or {}, device="cpu")


def numbers(table):
    return table.filter(regex=r"^(q_\d+|margin|distance|deviation|reconstruction)").to_numpy(float)


@pytest.mark.parametrize("method", METHODS)
def test_training_scans_get_their_cluster_and_q_again(fitted, frozen, method):
    table = assign(frozen, method, dict(zip(SUBJECTS, scans(), strict=True)))
    before = pd.read_csv(fitted / method / "assignment.tsv", sep="\t")
    assert table["subject"].tolist() == SUBJECTS and table["cluster"].tolist() == before["cluster"].tolist()
    np.testing.assert_allclose(table[["q_1", "q_2"]].astype(float), before[["q_1", "q_2"]], atol=1e-5)
    np.testing.assert_allclose(table["margin"].astype(float), before["margin"], atol=1e-5)
    assert set(table["flag"]) == {"careful"} and set(table["status"]) == {"assigned"}


@pytest.mark.parametrize("method", METHODS)
def test_a_scan_depends_on_no_other_and_on_no_order(frozen, method):
    array = scans()
    together = assign(frozen, method, dict(zip(SUBJECTS, array, strict=True))).set_index("subject")
    turned = assign(frozen, method, dict(zip(SUBJECTS[::-1], array[::-1], strict=True))).set_index("subject")
    alone = assign(frozen, method, {SUBJECTS[5]: array[5]}).set_index("subject")
    np.testing.assert_array_equal(numbers(together), numbers(turned.loc[SUBJECTS]))
    np.testing.assert_array_equal(numbers(together.loc[[SUBJECTS[5]]]), numbers(alone))


@pytest.mark.parametrize("method", METHODS)
def test_another_kind_of_image_is_flagged_with_the_reason_and_training_scans_are_not(frozen, method):
    array = scans()
    strange = np.where(array[0] == OUTSIDE, OUTSIDE, np.random.default_rng(1).choice([-1000, 100], array[0].shape))
    chosen = {"strange": strange.astype(np.int16), **dict(zip(SUBJECTS, array, strict=True))}
    table = assign(frozen, method, chosen).set_index("subject")
    assert table["out_of_distribution"]["strange"] == 1 and "deviation" in table["why"]["strange"]
    assert table["deviation_percentile"]["strange"] == 100
    assert table["out_of_distribution"][SUBJECTS].mean() <= 0.1


def test_a_registration_or_lungs_unlike_those_of_the_study_are_flagged(frozen):
    array = scans()
    figures = {"bad": {"dice": 0.91, "lung_ml": 900.0}, "good": {"dice": 0.972, "lung_ml": 5000.0}}
    table = assign(frozen, "clam", {"bad": array[0], "good": array[0]}, figures=figures).set_index("subject")
    assert table["out_of_distribution"].to_dict() == {"bad": 1, "good": 0}
    assert "(Dice) of 0.910" in table["why"]["bad"] and "lungs of 900 mL" in table["why"]["bad"]


def test_lungs_outside_of_the_networks_box_are_flagged_or_refused(frozen, fitted, tmp_path):
    settings = json.loads((fitted / "dcam/model.json").read_text())
    shutil.copytree(fitted / "dcam", tmp_path / "dcam")
    (tmp_path / "dcam/model.json").write_text(json.dumps(settings | {"box": [[0, 16], [0, 16], [0, 8]]}))
    place, scan = load_dense(tmp_path / "dcam", "cpu"), scans()[0]
    assert place(scan).held == pytest.approx(6 / 14)
    scan[:, :, :8] = OUTSIDE
    with pytest.raises(ScanFault, match="BOX-NONE"):
        place(scan)


def test_failed_scans_are_listed_in_the_order_of_the_sheet(frozen):
    array = scans()
    table = assign(frozen, "clam", {"a": array[0], "b": array[1], "c": array[2]}, failed=("b",))
    assert table["subject"].tolist() == ["a", "b", "c"] and table["status"].tolist() == [
        "assigned",
        "failed",
        "assigned",
    ]
    row = table.iloc[1]
    assert row["code"] == "REG-DICE" and row["why"] == "no overlap"
    assert row[["cluster", "q_1", "distance", "out_of_distribution"]].isna().all()


@pytest.mark.parametrize("method", METHODS)
def test_the_table_has_the_columns_of_its_schema(frozen, method):
    schema = yaml.safe_load((ROOT / "workflow/schemas/tables/assigned.yaml").read_text())
    columns = list(assign(frozen, method, {"a": scans()[0]}))
    assert [c for c in columns if not c.startswith("q_")] == list(schema["columns"])


def test_the_folder_holds_no_ids_and_nothing_but_plain_data(frozen):
    files = [p for p in frozen.rglob("*") if p.is_file()]
    assert {"".join(p.suffixes) for p in files} == {".json", ".safetensors", ".nii.gz"}
    assert not [p for p in files if b"CANARY" in p.read_bytes()]


def test_freezing_twice_gives_the_same_bytes(fitted, frozen, tmp_path):
    again = freeze(fitted, tmp_path / "again")
    assert read_manifest(again) == read_manifest(frozen)


def test_any_changed_byte_is_seen_before_the_model_is_used(frozen, tmp_path):
    for name in sorted(str(p.relative_to(frozen)) for p in frozen.rglob("*") if p.is_file()):
        copy = tmp_path / name.replace("/", "-") / "frozen"
        shutil.copytree(frozen, copy)
        data = bytearray((copy / name).read_bytes() or b"\0")
        data[len(data) // 2] ^= 1
        (copy / name).write_bytes(bytes(data))
        with pytest.raises(InputError, match=Path(name).name):
            check_frozen(copy)
        if name.startswith("dcam/"):
            with pytest.raises(InputError, match=Path(name).name):
                load_frozen(copy, "dcam", "cpu")
            load_frozen(copy, "clam", "cpu")
    (copy / name).unlink()
    with pytest.raises(InputError, match="found no file"):
        check_frozen(copy)


def test_enough_held_out_scans_are_the_reference(fitted, tmp_path, monkeypatch):
    monkeypatch.setattr(frozen_stages, "MIN_HELD_OUT", N_TEST)
    folder = freeze(fitted, tmp_path / "frozen")
    reference = json.loads((folder / "clam/reference.json").read_text())
    assert reference["reference"] == "held-out" and len(reference["distance"]) == N_TEST
    assert reference["largest_q_difference"] < 1e-6 and reference["clusters_changed"] == 0


def test_a_training_scan_is_compared_with_the_others(fitted):
    array, intensity = scans(), Intensity(-1024.0, -400.0, 0.2)
    rows = np.arange(N - N_TEST)
    others = voxel_sums(array, rows[1:], intensity).typical()
    without = voxel_sums(array, rows, intensity).without(array[0], intensity).typical()
    np.testing.assert_allclose(without.mean, others.mean, atol=1e-6)
    np.testing.assert_allclose(without.sd, others.sd, atol=1e-6)
    # features: mean and SD of the others by brute force
    settings = json.loads((fitted / "dcam/model.json").read_text())
    from lungtypes.methods import dcam
    from lungtypes.methods.dcam_stages import load_dcam
    from lungtypes.methods.lung_scans import LungScans

    model, _ = load_dcam(fitted / "dcam", "cpu")
    images = LungScans(array, Intensity(**settings["intensity"]), tuple(map(tuple, settings["box"])), rows)
    features = dcam.embed(model.network, images, batch=1, device="cpu")
    z = (features[3] - np.delete(features, 3, 0).mean(0)) / np.delete(features, 3, 0).std(0)
    found = load_dense(fitted / "dcam", "cpu", left_out=True)(array[3]).deviation
    assert found == pytest.approx(np.sqrt(np.mean(z**2)), rel=1e-4)
