"""dCAM on small scans with planted groups: the additive identity, one consistent model, held-out scans, resume."""

import numpy as np
import pytest
import torch

from lungtypes.device import set_torch
from lungtypes.evaluation.accuracy import matched_accuracy
from lungtypes.methods import training as training_module
from lungtypes.methods.augmentation import Augmentation
from lungtypes.methods.dcam import Training, assign, build_network, dense_maps, embed, fit, logits, with_order
from lungtypes.methods.intensity import OUTSIDE, Intensity
from lungtypes.methods.lung_scans import LungScans, lung_box
from lungtypes.methods.training import Checkpoint
from lungtypes.networks.unet import weights_on

QUICK = Training(
    epochs=4,
    passes=2,
    batch=6,
    learning_rate=0.003,
    head_learning_rate=0.05,
    components=8,
    whiten=False,
    augmentation=Augmentation(),
    precision="float32",
)
ON = {"device": "cpu", "batch": 6, "precision": "float32"}
INTENSITY = Intensity(-1024.0, -400.0, 0.3)


def cohort(n=24, size=16, seed=0):
    """Balls of lung; half of the scans have holes of -1000 HU in the upper half, the others in the lower."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices((size,) * 3) - (size - 1) / 2
    lung = z**2 + y**2 + x**2 < (size / 2.6) ** 2
    labels = np.arange(n) % 2
    hu = rng.normal(-800, 20, (n, size, size, size))
    holes = rng.random(hu.shape) < 0.6
    upper = (z < 0) == (labels == 0)[:, None, None, None]
    hu[holes & upper] = -1000
    return np.where(lung, hu, OUTSIDE).astype(np.int16), labels


@pytest.fixture(scope="module")
def scans():
    hu, labels = cohort()
    box = lung_box(hu, np.arange(18), multiple=8)
    return {
        name: LungScans(hu, INTENSITY, box, rows) for name, rows in (("train", np.arange(18)), ("all", None))
    }, labels


def fitted(method, scans, labels, **changes):
    set_torch(threads=1)
    network = build_network(method, filters=4, norm="batch", checkpointing=False, seed=1)
    reference = labels[:18] if method == "dcam-supervised" else None
    return fit(network, scans["train"], k=2, training=QUICK, seed=1, device="cpu", reference=reference, **changes)


@pytest.fixture(scope="module", params=["dcam", "dcam-encoder", "dcam-supervised"])
def model(request, scans):
    found = fitted(request.param, *scans)
    return request.param, found


def test_box_holds_the_training_lungs_and_no_more_than_needed():
    hu = np.full((3, 32, 32, 32), OUTSIDE, np.int16)
    hu[0, 10:15, 8:20, 4:30] = -800
    hu[2] = -800  # not for training
    assert lung_box(hu, np.array([0, 1]), multiple=8) == ((9, 17), (6, 22), (0, 32))


def test_lung_mean_of_each_map_is_its_logit(model, scans):
    _, found = model
    x, lungs = scans[0]["all"].batch(np.arange(4), "cpu")
    maps = dense_maps(found.model, x)
    weights = weights_on(lungs, maps.shape[2:])
    means = (maps * weights).sum(dim=(2, 3, 4)) / weights.sum(dim=(2, 3, 4))
    wanted = logits(found.model, embed(found.model.network, scans[0]["all"], **ON)[:4]).float()
    torch.testing.assert_close(means, wanted, rtol=1e-5, atol=1e-5)


def test_dense_maps_have_the_grid_of_the_scan_and_the_baseline_a_sixteenth(model, scans):
    method, found = model
    x, _ = scans[0]["all"].batch([0], "cpu")
    grid = tuple(-(-n // 16) for n in x.shape[2:]) if method == "dcam-encoder" else tuple(x.shape[2:])
    assert dense_maps(found.model, x).shape == (1, 2, *grid)


def test_planted_groups_are_found_also_in_scans_held_out(model, scans):
    method, found = model
    q = assign(found.model, embed(found.model.network, scans[0]["all"], **ON))
    np.testing.assert_allclose(q.sum(axis=1), 1)
    if method != "dcam-encoder":  # 16 voxels are one voxel of its grid: it cannot see where
        assert matched_accuracy(q[18:].argmax(axis=1).tolist(), scans[1][18:].tolist()).accuracy == 1.0


def test_model_assigns_its_training_scans_as_it_clustered_them(model, scans):
    method, found = model
    q = assign(found.model, embed(found.model.network, scans[0]["train"], **ON))
    assert (q.argmax(axis=1) == found.labels).mean() == 1.0
    by_head = logits(found.model, embed(found.model.network, scans[0]["train"], **ON)).argmax(dim=1).numpy()
    assert (by_head == found.labels).all()


def test_renumbering_changes_numbers_only(model, scans):
    _, found = model
    features = embed(found.model.network, scans[0]["all"], **ON)
    turned = with_order(found.model, np.array([1, 0]))
    np.testing.assert_allclose(assign(turned, features), assign(found.model, features)[:, ::-1])
    torch.testing.assert_close(logits(turned, features), logits(found.model, features).flip(1))


def test_history_tells_of_labels_and_sizes(model):
    method, found = model
    assert found.finished and found.history["epoch"].tolist() == list(range(1, 5))
    if method == "dcam-supervised":  # else labels change on the way
        assert found.history["loss"].iloc[-1] < found.history["loss"].iloc[0]
    else:
        assert found.history["nmi_previous"].between(0, 1).all() and found.history["n_clusters_used"].eq(2).all()


def test_a_killed_training_ends_with_the_same_bytes(scans, tmp_path, monkeypatch):
    whole = fitted("dcam", *scans)
    monkeypatch.setattr(training_module, "GOOD_EVERY", 2)
    monkeypatch.setattr(training_module, "SECONDS_BETWEEN_FILES", 0.0)
    checkpoint = Checkpoint(tmp_path / "dcam.safetensors", "a")
    written = training_module._write

    def write_and_die(*args):
        written(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training_module, "_write", write_and_die)
        with pytest.raises(KeyboardInterrupt):
            fitted("dcam", *scans, checkpoint=checkpoint)
    again = fitted("dcam", *scans, checkpoint=checkpoint)
    for name, tensor in whole.model.network.state_dict().items():
        assert torch.equal(tensor, again.model.network.state_dict()[name]), name
    assert torch.equal(whole.model.head.weight, again.model.head.weight)
    np.testing.assert_array_equal(whole.model.centroids, again.model.centroids)


def test_values_that_are_not_finite_bring_the_last_good_state_back(scans, monkeypatch):
    from lungtypes.methods import dcam

    real, calls = dcam._train_epoch, []

    def broken_once(network, *args):
        row = real(network, *args)
        calls.append(1)
        if len(calls) == 2:
            with torch.no_grad():
                next(network.parameters()).fill_(float("nan"))
            row["loss"] = float("nan")
        return row

    monkeypatch.setattr(dcam, "_train_epoch", broken_once)
    found = fitted("dcam", *scans)
    assert "not finite" in found.events[0] and found.finished
    assert all(torch.isfinite(p).all() for p in found.model.network.parameters())


def test_a_network_that_the_last_epoch_ruins_is_taken_back(scans, monkeypatch):
    from lungtypes.methods import dcam

    real, ruined = dcam._train_epoch, []

    def ruining(network, head, optimisers, some, labels, training, seed, epoch, device):
        row = real(network, head, optimisers, some, labels, training, seed, epoch, device)
        if epoch == QUICK.epochs and not ruined:  # its clusters were made before it trained
            ruined.append(epoch)
            with torch.no_grad():
                for p in network.parameters():
                    p.zero_()
        return row

    monkeypatch.setattr(dcam, "_train_epoch", ruining)
    found = fitted("dcam", *scans)
    assert len(found.events) == 1 and "features not finite, or alike in all scans in epoch" in found.events[0]
    assert found.finished and matched_accuracy(found.labels.tolist(), scans[1][:18].tolist()).accuracy > 0.9


def test_a_scan_without_lung_in_the_box_is_named():
    hu, _ = cohort(4)
    hu[2] = OUTSIDE
    scans = LungScans(hu, INTENSITY, ((0, 16),) * 3)
    with pytest.raises(Exception, match="without lung in the network's box"):
        scans.batch([1, 2], "cpu")
