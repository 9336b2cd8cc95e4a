"""dRAM on small scans with planted lesions: learning from percentages and grades, guards, resume, files."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from lungtypes.device import set_torch
from lungtypes.errors import InputError
from lungtypes.evaluation.segmentation import overlap
from lungtypes.imaging.geometry import read_volume
from lungtypes.imaging.volumes import CohortGrid
from lungtypes.methods import dram
from lungtypes.methods import training as training_module
from lungtypes.methods.dram_maps import lesion_mask, map_scan
from lungtypes.methods.dram_networks import METHODS, build_network
from lungtypes.methods.dram_regions import RegionScans
from lungtypes.methods.dram_stages import load_dram, map_scans, segment_stage
from lungtypes.methods.dram_targets import targets_of
from lungtypes.methods.dram_training import train_stage
from lungtypes.methods.training import Checkpoint

ROOT = Path(__file__).resolve().parents[3]
N, EDGES, NAMES = 12, [0, 1, 5, 25, 50, 75, 100], {1: "right_upper", 2: "left_upper"}
SUBJECTS, SPLITS = [f"S{i:02d}" for i in range(N)], ["train"] * 9 + ["test"] * 3
NETWORK = {"filters": 2, "norm": "group", "checkpointing": False, "attention_grid": 64, "cam_features": "encoder"}
NETWORK |= {"cam_target": "presence"}
REGIONS = {"size": 16, "window_hu": [-1150.0, 350.0], "margin_mm": 2.0}
TRAINING = {
    "epochs": 3,
    "batch": 4,
    "regions_per_epoch": 12,
    "learning_rate": 3e-3,
    "decay": 0.9,
    "band": 0.01,
    "regression_weight": 2.0,
    "refinement_weight": 1.0,
    "precision": "bfloat16",
}
MASK = {"source": "dense", "rule": "otsu"}


def cohort(seed=0):
    """Two regions a scan; every other region has a block of lesion of its own width, the rest none. Scan 11 is empty.

    HU, labels, lesions (N, 16, 20, 12), and the table of exact percentages.
    """
    rng = np.random.default_rng(seed)
    hu = rng.normal(-850, 20, (N, 16, 20, 12))
    labels, lesions = np.zeros(hu.shape, np.uint8), np.zeros(hu.shape, np.uint8)
    labels[:, 1:15, 1:9, 1:11], labels[:, 1:15, 11:19, 1:11] = 1, 2
    for i in range(N):
        for region, start in ((0, 1), (1, 11)):
            if (i + region) % 2:
                width = 2 + i // 2
                lesions[i, 2 : 2 + width, start : start + 6, 2:10] = 1
    hu[lesions > 0] += 600
    labels[11] = 0
    rows = [(SUBJECTS[i], NAMES[r], 100 * lesions[i][labels[i] == r].mean()) for i in range(N - 1) for r in NAMES]
    table = pd.DataFrame(rows, columns=["subject", "region", "percent"]).assign(grade=np.nan)
    return hu.astype(np.int16), labels, lesions, table


def scans_of(hu, labels, lesions):
    return RegionScans(hu, labels, lesions=lesions, spacing_mm=2.0, **REGIONS)


def graded(table):
    from lungtypes.methods.dram_targets import grade_of

    return table.assign(percent=np.nan, grade=grade_of(table["percent"].to_numpy(), EDGES).astype(float))


def fitted(method, scans, table, **changes):
    set_torch(threads=1)
    rates = {name: changes.pop(name) for name in list(changes) if name in TRAINING}
    network = build_network(method, NETWORK | changes.pop("network", {}), n_classes=2, seed=1)
    targets = targets_of(table, SUBJECTS, NAMES, edges=EDGES)
    targets = targets.only(np.array([SPLITS[row] == "train" for row, _ in targets.regions]))
    how = dram.Training(**(TRAINING | {"precision": "float32"} | rates))
    found = dram.fit(
        network, scans, targets, training=how, supervised=method == "dram-supervised", seed=1, device="cpu", **changes
    )
    return network, found


@pytest.mark.parametrize(
    ("method", "kind", "network"),
    [
        ("dram", "percent", {}),
        ("dram", "grade", {}),
        ("dram", "percent", {"attention_grid": 0}),
        ("dram-supervised", "percent", {}),
    ],
)
def test_lesions_are_found_in_scans_that_were_held_out(method, kind, network):
    hu, labels, lesions, table = cohort()
    scans = scans_of(hu, labels, lesions)
    table = table if kind == "percent" else graded(table)
    trained, _ = fitted(
        method,
        scans,
        table,
        epochs=8,
        regions_per_epoch=48,
        learning_rate=1e-2,
        decay=1.0,
        network={"norm": "batch"} | network,
    )
    dice, errors = [], []
    for row in (9, 10):
        found = map_scan(
            trained, scans, row, free_below=0.01, device="cpu", precision="float32", batch=2, source="dense"
        )
        mask = lesion_mask(found, rule="otsu", with_candidates=True)
        dice.append(overlap(mask, lesions[row] > 0, voxel_ml=1).dice)
        truth = {label: (lesions[row][labels[row] == label] > 0).mean() for label in NAMES}
        errors += [abs(found.shares[label] - truth[label]) for label in NAMES]
    assert np.mean(dice) > 0.8, dice
    assert np.mean(errors) < 0.12, errors  # of shares of 0 to 0.5


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_training_ends_with_the_same_bytes(method, tmp_path, monkeypatch):
    hu, labels, lesions, table = cohort()
    scans = scans_of(hu, labels, lesions)
    monkeypatch.setattr(training_module, "SECONDS_BETWEEN_FILES", 0.0)
    monkeypatch.setattr(training_module, "GOOD_EVERY", 2)
    whole, history = fitted(method, scans, table, epochs=4, network={"norm": "batch"})
    checkpoint = Checkpoint(tmp_path / "a.safetensors", "b" * 20)
    drawn = dram.balanced_draw
    calls = []

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return drawn(*arguments)

    monkeypatch.setattr(dram, "balanced_draw", killed)
    with pytest.raises(KeyboardInterrupt):
        fitted(method, scans, table, epochs=4, network={"norm": "batch"}, checkpoint=checkpoint)
    monkeypatch.setattr(dram, "balanced_draw", drawn)
    resumed, again = fitted(method, scans, table, epochs=4, network={"norm": "batch"}, checkpoint=checkpoint)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    pd.testing.assert_frame_equal(history.history, again.history)


def test_the_rate_falls_as_in_the_source():
    assert [dram.n_decays(epoch) for epoch in (1, 2, 15, 16, 20, 21, 30, 31)] == [0, 1, 14, 14, 14, 15, 15, 16]
    hu, labels, lesions, table = cohort()
    _, found = fitted("dram-cam", scans_of(hu, labels, lesions), table, decay=0.5)
    assert found.history["learning_rate"].tolist() == [3e-3, 1.5e-3, 0.75e-3]


@pytest.mark.parametrize(("bias", "word"), [(-20.0, "empty"), (20.0, "full")])
def test_the_guard_takes_back_maps_that_are_empty_or_full_everywhere(bias, word):
    hu, labels, lesions, table = cohort()
    scans = scans_of(hu, labels, lesions)
    build = dram.train

    def broken(state, **options):
        with torch.no_grad():
            state.parameters["head.weight"].zero_(), state.parameters["head.bias"].fill_(bias)
        return build(state, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dram, "train", broken)
        _, found = fitted("dram", scans, table)
    assert not found.finished and f"collapse: the maps of all regions are {word}" in found.events[0]


def test_a_network_that_the_last_steps_of_an_epoch_ruin_is_taken_back(monkeypatch):
    hu, labels, lesions, table = cohort()
    real, networks, rows = dram._epoch_row, [], []

    def ruining(*args):
        rows.append(args)
        if len(rows) == 3:  # after the last step of the last epoch: its own shares were fine
            with torch.no_grad():
                networks[0].head.weight.zero_(), networks[0].head.bias.fill_(-60.0)
        return real(*args)

    build = dram._step_of
    monkeypatch.setattr(dram, "_step_of", lambda network, *args: networks.append(network) or build(network, *args))
    monkeypatch.setattr(dram, "_epoch_row", ruining)
    _, found = fitted("dram", scans_of(hu, labels, lesions), table)
    assert len(found.events) == 1 and "maps of all regions are empty in epoch 3; back to the start" in found.events[0]
    assert found.finished and float(networks[0].head.bias.detach()) > -20


def test_the_guard_takes_back_losses_that_are_not_finite():
    hu, labels, lesions, table = cohort()
    _, found = fitted("dram", scans_of(hu, labels, lesions), table, learning_rate=float("inf"))
    assert not found.finished and "not finite" in found.events[0]
    assert found.history["kept"].eq(0).all()


def test_no_gradient_outside_of_the_interval_regression_without_attention():
    hu, labels, lesions, table = cohort()
    one = fitted("dram", scans_of(hu, labels, lesions), table, network={"attention_grid": 0})[1].history
    two = fitted("dram", scans_of(hu, labels, lesions), table, network={"attention_grid": 0}, refinement_weight=7.0)[
        1
    ].history
    pd.testing.assert_frame_equal(one, two)
    assert "refinement" not in one and (one["loss"] == 2 * one["regression"]).all()


def settings(**changes):
    return {
        "names": NAMES,
        "edges": EDGES,
        "regions": REGIONS,
        "network": NETWORK,
        "training": TRAINING,
        "learn_from": "percent",
        "seed": 1,
        "device": "cpu",
    } | changes


def trained_files(folder, scans, table, method="dram", **changes):
    set_torch(threads=1)
    checkpoint = Checkpoint(folder / "resume/a.safetensors", "b" * 20)
    train_stage(folder, scans, SUBJECTS, SPLITS, table, method=method, checkpoint=checkpoint, **settings(**changes))
    return folder


@pytest.fixture(scope="module", params=METHODS)
def files(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    hu, labels, lesions, table = cohort()
    scans = scans_of(hu, labels, lesions)
    trained_files(folder, scans, table, request.param)
    network, stored = load_dram(folder, "cpu")
    mixed = pd.concat([table[table["region"] == "right_upper"], graded(table)[table["region"] == "left_upper"]])
    grid = CohortGrid(hu.shape[1:], 2.0, (1.0, 2.0, 3.0), ((1, 0, 0), (0, 1, 0), (0, 0, 1)))
    segment_stage(
        folder, network, stored, scans, SUBJECTS, SPLITS, mixed, mask_from=MASK, grids=[grid] * N, device="cpu"
    )
    return request.param, folder, scans, (hu, labels, lesions, mixed)


def table_of(path):
    return pd.read_csv(path, sep="\t", keep_default_na=False, na_values=[""], dtype={"subject": str})


@pytest.mark.parametrize(
    ("name", "schema"),
    [("phenotype", "phenotype"), ("percentages", "region_percentages"), ("history", "history_dram")],
)
def test_tables_have_the_columns_of_their_schemas(files, name, schema):
    columns = yaml.safe_load((ROOT / f"workflow/schemas/tables/{schema}.yaml").read_text())["columns"]
    assert list(table_of(files[1] / f"{name}.tsv")) == list(columns)


def test_maps_lie_on_the_scans_grids_and_agree_with_the_loaded_model(files):
    method, folder, scans, (_, labels, *_) = files
    network, stored = load_dram(folder, "cpu")
    for row, (found, mask) in zip(
        (0, 10), map_scans(network, stored, scans, (0, 10), mask_from=MASK, device="cpu"), strict=True
    ):
        heat = read_volume(folder / f"maps/{method}/{SUBJECTS[row]}.nii.gz")
        assert heat.spacing_mm == (2.0, 2.0, 2.0) and (heat.array[labels[row] == 0] == 0).all()
        np.testing.assert_allclose(heat.array, found.heat, atol=1e-5)
        written = read_volume(folder / f"maps/{method}-lesions/{SUBJECTS[row]}.nii.gz").array
        np.testing.assert_array_equal(written, mask)


def test_burden_is_the_sum_of_the_regions(files):
    _, folder, scans, (_, labels, *_) = files
    burden, percentages = table_of(folder / "phenotype.tsv"), table_of(folder / "percentages.tsv")
    for row in (0, 9):
        volumes = {NAMES[r]: (labels[row] == r).sum() * 0.008 for r in NAMES}
        own = percentages[percentages["subject"] == SUBJECTS[row]].set_index("region")["predicted"]
        wanted = sum(own[name] / 100 * volume for name, volume in volumes.items())
        assert burden["burden_ml"][row] == pytest.approx(wanted, rel=1e-6)
        assert burden["burden_percent"][row] == pytest.approx(100 * wanted / sum(volumes.values()), rel=1e-6)
    assert burden["split"].tolist() == SPLITS


def test_a_scan_without_regions_has_empty_values_and_a_reason(files):
    last = table_of(files[1] / "phenotype.tsv").iloc[-1]
    assert last["flag"] == "no lobe or zone" and last[["burden_ml", "burden_percent", "segmented_ml"]].isna().all()
    assert SUBJECTS[-1] not in table_of(files[1] / "percentages.tsv")["subject"].tolist()


def test_errors_are_told_against_what_was_given(files):
    table, given = table_of(files[1] / "percentages.tsv"), files[3][3]
    exact = table[table["given_kind"] == "percent"]
    wanted = given.dropna(subset="percent").set_index("subject")["percent"]
    np.testing.assert_allclose(exact["given"], wanted.loc[exact["subject"]])
    np.testing.assert_allclose(exact["error"], exact["predicted"] - exact["given"])
    for row in table[table["given_kind"] == "grade"].itertuples():
        low, high = EDGES[int(row.given)], EDGES[int(row.given) + 1]
        wanted = 0 if low <= row.predicted <= high else row.predicted - (low if row.predicted < low else high)
        assert row.error == pytest.approx(wanted)


def test_held_out_scans_and_their_percentages_influence_nothing(tmp_path):
    hu, labels, lesions, table = cohort()
    folders = []
    for name in ("one", "two"):
        folders.append(trained_files(tmp_path / name, scans_of(hu, labels, lesions), table))
        hu, table = hu.copy(), table.copy()
        hu[9:] = -500
        table.loc[table["subject"].isin(SUBJECTS[9:]), "percent"] = 99.0
    assert (folders[0] / "model.safetensors").read_bytes() == (folders[1] / "model.safetensors").read_bytes()


def test_what_was_given_of_absent_regions_is_passed_over_with_a_warning(tmp_path, caplog):
    hu, labels, lesions, table = cohort()
    labels[0][labels[0] == 2] = 0
    folder = trained_files(tmp_path, scans_of(hu, labels, lesions), table)
    assert json.loads((folder / "model.json").read_text())["train_regions"] == 17
    assert "1 regions of the lesion table are not in their scans (S00 left_upper)" in caplog.text


def test_what_cannot_be_trained_is_told(tmp_path):
    hu, labels, lesions, table = cohort()
    with pytest.raises(InputError, match="found no lesion masks"):
        trained_files(tmp_path, scans_of(hu, labels, None), table, "dram-supervised")
    with pytest.raises(InputError, match="found no row about a region that a training scan has"):
        trained_files(tmp_path, scans_of(hu, labels, None), table[table["subject"] == "S09"])


def test_grades_of_all_regions_are_classes_of_the_baseline_when_wanted(tmp_path):
    hu, labels, lesions, table = cohort()
    changes = {"network": NETWORK | {"cam_target": "grade"}}
    folder = trained_files(tmp_path, scans_of(hu, labels, None), table, "dram-cam", **changes)
    network, stored = load_dram(folder, "cpu")
    assert network.head.out_channels == 6 and stored["n_classes"] == 6


def test_a_scan_without_a_mask_is_no_scan_without_lesions(tmp_path):
    """Of scans 0-5 there is no mask: whatever the array holds there, the supervised network learns nothing from it."""
    hu, labels, lesions, table = cohort()
    masked = [row > 5 for row in range(N)]
    folders = []
    for name, filled in (("empty", 0), ("full", 1)):
        lesions[:6] = filled
        scans = RegionScans(hu, labels, lesions=lesions, with_lesions=masked, spacing_mm=2.0, **REGIONS)
        folders.append(trained_files(tmp_path / name, scans, table, "dram-supervised"))
    assert (folders[0] / "model.safetensors").read_bytes() == (folders[1] / "model.safetensors").read_bytes()
    assert json.loads((folders[0] / "model.json").read_text())["train_regions"] == 2 * 3
    scans = RegionScans(hu, labels, lesions=lesions, with_lesions=[False] * N, spacing_mm=2.0, **REGIONS)
    with pytest.raises(InputError, match="found no lesion masks of training scans"):
        trained_files(tmp_path / "none", scans, table, "dram-supervised")


def test_learning_from_grades_forgets_the_percentages(tmp_path):
    hu, labels, lesions, table = cohort()
    scans = scans_of(hu, labels, lesions)
    told = trained_files(tmp_path / "told", scans, table, learn_from="grade")
    alone = trained_files(tmp_path / "alone", scans, graded(table))
    exact = trained_files(tmp_path / "exact", scans, table)
    one, two, three = ((folder / "model.safetensors").read_bytes() for folder in (told, alone, exact))
    assert one == two != three
    assert json.loads((told / "model.json").read_text())["train_percentages"] == 0
