"""CLAM's equations by hand, and its clustering on images with planted groups."""

import numpy as np
import pytest
import torch

from lungtypes.device import make_deterministic
from lungtypes.evaluation.accuracy import matched_accuracy
from lungtypes.methods.clam import (
    assignment_table,
    cluster,
    embed,
    order_by_density,
    pretrain,
    soft_assignment,
    target_distribution,
)
from lungtypes.methods.intensity import OUTSIDE, fit_intensity
from lungtypes.methods.model_files import load_autoencoder, save_autoencoder

NETWORK = {"filters": (4, 8), "strides": (2, 2), "latent": 6, "slope": 0.1}
TRAINING = {
    "gamma": 0.1,
    "learning_rate": 1e-4,
    "refresh_epochs": 5,
    "n_init": 10,
    "batch": 8,
    "seed": 1,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def planted():
    make_deterministic(torch_threads=1)
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 12)
    images = rng.normal(0.3, 0.03, (36, 16, 16)).astype(np.float32)
    for number, label in enumerate(labels):
        place = [(2, 2), (2, 10), (10, 5)][label]
        images[number, place[0] : place[0] + 4, place[1] : place[1] + 4] += 0.5
    fitted = pretrain(images, **NETWORK, epochs=60, learning_rate=1e-3, batch=8, seed=1, device="cpu")
    return images, labels, fitted


def test_soft_assignment_equals_the_kernel_by_hand():
    q = soft_assignment(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 1.0], [2.0, 0.0]]))
    assert q.tolist()[0] == pytest.approx([(1 / 2) / (1 / 2 + 1 / 5), (1 / 5) / (1 / 2 + 1 / 5)])


def test_target_sharpens_and_does_not_depend_on_the_order():
    q = torch.tensor([[0.6, 0.4], [0.3, 0.7], [0.9, 0.1], [0.2, 0.8]])
    p = target_distribution(q)
    assert torch.allclose(p.sum(dim=1), torch.ones(4)) and torch.allclose(target_distribution(q.flip(0)).flip(0), p)
    f = q.sum(dim=0)
    assert p[0, 0].item() == pytest.approx((0.36 / f[0] / (0.36 / f[0] + 0.16 / f[1])).item())
    assert (p.max(dim=1).values >= q.max(dim=1).values).all()


def test_pretraining_lowers_the_reconstruction_error(planted):
    history = planted[2].history.reconstruction
    assert history.iloc[-1] < 0.2 * history.iloc[0] and len(history) == 60


def test_planted_groups_are_found_and_every_loss_term_is_kept(planted):
    images, labels, fitted = planted
    result = cluster(fitted.model, images, k=3, epochs=8, **TRAINING)
    assert matched_accuracy(result.q.argmax(axis=1), labels).accuracy == 1.0
    assert result.q.sum(axis=1) == pytest.approx(np.ones(36))
    assert {"reconstruction", "clustering", "total", "labels_changed", "mean_max_q"} <= set(result.history)
    expected = result.history.reconstruction + 0.1 * result.history.clustering
    assert result.history.total.to_numpy() == pytest.approx(expected.to_numpy())


def test_centroids_are_trained(planted):
    images, _, _ = planted
    few, more = (
        cluster(
            pretrain(images, **NETWORK, epochs=20, learning_rate=1e-3, batch=8, seed=1, device="cpu").model,
            images,
            k=3,
            epochs=epochs,
            **TRAINING,
        ).centroids
        for epochs in (1, 6)
    )
    assert np.abs(few - more).max() > 1e-5


def test_same_seed_gives_the_same_bytes():
    make_deterministic(torch_threads=1)
    images = np.random.default_rng(1).random((12, 16, 16), np.float32)
    runs = []
    for _ in range(2):
        fitted = pretrain(images, **NETWORK, epochs=3, learning_rate=1e-3, batch=8, seed=1, device="cpu")
        runs.append(cluster(fitted.model, images, k=2, epochs=2, **TRAINING).q.tobytes())
    assert runs[0] == runs[1]


def test_guard_restores_the_weights_and_lowers_a_rate_that_destroys_the_clusters(planted):
    images, labels, _ = planted
    fitted = pretrain(images, **NETWORK, epochs=60, learning_rate=1e-3, batch=8, seed=1, device="cpu")
    result = cluster(fitted.model, images, k=3, epochs=4, **{**TRAINING, "learning_rate": 0.3})
    assert result.events and result.learning_rate < 0.3
    assert matched_accuracy(result.q.argmax(axis=1), labels).accuracy == 1.0


def test_embedding_of_a_scan_does_not_depend_on_the_others(planted):
    images, _, fitted = planted
    together = embed(fitted.model, images, batch=8, device="cpu")
    alone = embed(fitted.model, images[5:6], batch=8, device="cpu")
    assert alone[0] == pytest.approx(together[5], abs=1e-5)


def test_saved_model_gives_the_same_embedding(planted, tmp_path):
    images, _, fitted = planted
    network = {"size": [16, 16], **{k: list(v) if isinstance(v, tuple) else v for k, v in NETWORK.items()}}
    save_autoencoder(tmp_path, fitted.model, {"network": network}, centroids=np.eye(3, 6, dtype=np.float32))
    model, settings, arrays = load_autoencoder(tmp_path)
    assert settings["network"] == network and arrays["centroids"].shape == (3, 6)
    expected = embed(fitted.model, images, batch=8, device="cpu")
    assert (embed(model, images, batch=8, device="cpu") == expected).all()


def test_clusters_are_ordered_by_density_with_empty_ones_last():
    q = np.array([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.7, 0.2, 0.1]])
    assert order_by_density(q, np.array([-700.0, -850.0, -710.0])).tolist() == [2, 0, 1]


def test_assignment_table_has_margin_and_labels_from_one():
    table = assignment_table(["a"], ["train"], np.array([[0.2, 0.7, 0.1]]))
    assert table.cluster.tolist() == [2] and table.margin[0] == pytest.approx(0.5)


def test_background_is_the_mean_of_the_training_lungs():
    hu = np.full((2, 2, 2, 2), OUTSIDE, np.int16)
    hu[:, 0] = -800
    hu[0, 0, 0, 0] = 500  # clipped at the window's upper end
    intensity = fit_intensity(hu, window_hu=(-1000.0, 0.0), background="lung_mean")
    assert intensity.background == pytest.approx((7 * 0.2 + 1.0) / 8)
    x = intensity.normalise(hu)
    assert x[0, 1, 0, 0] == pytest.approx(intensity.background) and x[1, 0, 0, 0] == pytest.approx(0.2)
    assert fit_intensity(hu, window_hu=(-1000.0, 0.0), background="zero").background == 0
