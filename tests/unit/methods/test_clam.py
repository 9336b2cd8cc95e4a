"""CLAM's equations by hand, and its clustering on images with planted groups."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.cluster import KMeans

from lungtypes.device import set_torch
from lungtypes.evaluation.accuracy import matched_accuracy
from lungtypes.methods.clam import (
    _fault,
    assignment_table,
    cluster,
    clustering_loss,
    embed,
    embedding_table,
    explained_variance,
    latent_scale_of,
    order_by_density,
    pretrain,
    reconstruction_loss,
    soft_assignment,
    target_distribution,
)
from lungtypes.methods.intensity import OUTSIDE, NormalisedScans, fit_intensity
from lungtypes.methods.model_files import load_autoencoder, save_model
from lungtypes.methods.training import Checkpoint

NETWORK = {"filters": (4, 8), "strides": (2, 2), "latent": 6, "slope": 0.1, "output": "linear"}
PRETRAINING = {**NETWORK, "loss": "mean", "learning_rate": 1e-3, "batch": 8, "seed": 1, "device": "cpu"}
TRAINING = {
    "loss": "mean",
    "latent_scale": "none",
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
    set_torch(threads=1)
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 12)
    images = rng.normal(0.3, 0.03, (36, 16, 16)).astype(np.float32)
    for number, label in enumerate(labels):
        place = [(2, 2), (2, 10), (10, 5)][label]
        images[number, place[0] : place[0] + 4, place[1] : place[1] + 4] += 0.5
    fitted = pretrain(images, **PRETRAINING, epochs=60)
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


def test_losses_are_the_printed_sums_or_means():
    x, y = torch.tensor([[[1.0, 2.0]], [[0.0, 4.0]]]), torch.zeros(2, 1, 2)
    assert reconstruction_loss(y, x, "sum").item() == pytest.approx(1 + 4 + 16)  # eq. 2
    assert reconstruction_loss(y, x, "mean").item() == pytest.approx(21 / 4)
    p, q = torch.tensor([[0.8, 0.2], [0.5, 0.5]]), torch.tensor([[0.6, 0.4], [0.9, 0.1]])
    first = 0.8 * np.log(0.8 / 0.6) + 0.2 * np.log(0.2 / 0.4)
    second = 0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1)
    assert clustering_loss(p, q, "sum").item() == pytest.approx(first + second, rel=1e-5)  # eq. 6
    assert clustering_loss(p, q, "mean").item() == pytest.approx((first + second) / 2, rel=1e-5)


@pytest.mark.parametrize("loss", ["mean", "sum"])
def test_divergence_is_zero_without_gradient_at_one_hot_q(loss):
    q = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    value = clustering_loss(target_distribution(q.detach()), q, loss)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-6) and q.grad[0, 1].item() == pytest.approx(0, abs=1e-6)


def test_sums_of_history_do_not_depend_on_the_batch(planted):
    images, _, _ = planted
    pixels = 36 * 16 * 16
    first = {loss: pretrain(images, **{**PRETRAINING, "loss": loss}, epochs=1).history for loss in ("mean", "sum")}
    # the first batch is the same for both; later ones differ by Adam's epsilon only
    assert first["sum"].reconstruction[0] / pixels == pytest.approx(first["mean"].reconstruction[0], rel=1e-3)


def test_scale_multiplies_both_sides_of_the_kernel():
    z, centroids = torch.tensor([[0.1, 0.0]]), torch.tensor([[0.0, 0.0], [0.3, 0.0]])
    assert torch.allclose(soft_assignment(z, centroids, 5.0), soft_assignment(5 * z, 5 * centroids))


def test_latent_scale_sharpens_a_flat_start(planted):
    images, labels, _ = planted
    found = {}
    for scale in ("none", "nearest_centroid"):
        model = pretrain(images, **PRETRAINING, epochs=60).model
        with torch.no_grad():  # an embedding so small that the kernel sees one point
            model.embedding.weight.mul_(1e-3)
            model.embedding.bias.mul_(1e-3)
        found[scale] = cluster(model, images, k=3, epochs=1, **{**TRAINING, "latent_scale": scale})
    assert any("flat from the start" in event for event in found["none"].events)
    assert not any("flat" in event for event in found["nearest_centroid"].events)
    assert found["nearest_centroid"].scale > 100
    assert matched_accuracy(found["nearest_centroid"].q.argmax(axis=1), labels).accuracy == 1.0


def test_scans_on_their_centroids_give_no_unit_of_distance():
    z = np.repeat(np.random.default_rng(0).normal(size=(3, 60)), 5, axis=0).astype(np.float32)
    centres = KMeans(3, n_init=3, random_state=0).fit(z.astype(np.float64)).cluster_centers_
    assert 0 < np.linalg.norm(z[0] - centres, axis=1).min() < 1e-12  # rounding, not 0
    assert latent_scale_of(z, centres) == 1.0 and latent_scale_of(1e-5 * z, 1e-5 * centres) == 1.0
    assert latent_scale_of(z, centres + 0.01) == pytest.approx(1 / (0.01 * np.sqrt(60)), rel=1e-6)


def test_killed_clustering_ends_with_the_same_bytes(planted, tmp_path, monkeypatch):
    images, _, _ = planted
    monkeypatch.setattr("lungtypes.methods.training.SECONDS_BETWEEN_FILES", 0.0)
    checkpoint = Checkpoint(tmp_path / "cluster.safetensors", "abc")
    settings = {**TRAINING, "refresh_epochs": 3}  # good states and new targets fall on different epochs
    whole = cluster(pretrain(images, **PRETRAINING, epochs=5).model, images, k=3, epochs=23, **settings)

    class Dying:
        shape, left = images.shape, 5 * 14 + 3 * 5

        def __len__(self):
            return len(images)

        def __getitem__(self, index):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return images[index]

    with pytest.raises(KeyboardInterrupt):
        cluster(
            pretrain(images, **PRETRAINING, epochs=5).model, Dying(), k=3, epochs=23, **settings, checkpoint=checkpoint
        )
    assert checkpoint.file.exists()
    again = cluster(
        pretrain(images, **PRETRAINING, epochs=5).model, images, k=3, epochs=23, **settings, checkpoint=checkpoint
    )
    assert again.q.tobytes() == whole.q.tobytes() and again.centroids.tobytes() == whole.centroids.tobytes()
    pd.testing.assert_frame_equal(again.history, whole.history)


def test_clusters_that_end_empty_are_said_and_kept(planted):
    images, _, fitted = planted
    result = cluster(fitted.model, images[:3].repeat(5, axis=0), k=5, epochs=1, **TRAINING)  # three distinct images
    assert result.q.shape == (15, 5)
    assert any("clusters ended empty" in event for event in result.events)


def test_pretraining_lowers_the_reconstruction_error(planted):
    history = planted[2].history.reconstruction
    assert history.iloc[-1] < 0.2 * history.iloc[0] and len(history) == 60


class Watched:
    """Images that note which of them were asked for while gradients were recorded."""

    def __init__(self, images):
        self.images, self.shape, self.trained = images, images.shape, set()

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        if torch.is_grad_enabled():
            self.trained |= set(index.tolist())
        return self.images[index]


def test_epoch_with_the_lowest_error_of_the_held_out_is_kept_and_they_never_train():
    rng = np.random.default_rng(3)  # noise only: after the mean there is nothing to learn but each image's own
    images = Watched(rng.normal(0.4, 0.1, (20, 16, 16)).astype(np.float32))
    settings = {**PRETRAINING, "filters": (16, 32), "latent": 30, "learning_rate": 3e-3, "epochs": 80}
    fitted = pretrain(images, **settings, held_out=0.2)
    history, out = fitted.history, sorted(set(range(20)) - images.trained)
    assert len(out) == fitted.n_held_out == 4 and len(history) == 80
    assert fitted.kept_epoch == history.epoch[history.held_out.idxmin()] < 60
    assert history.reconstruction.iloc[-1] < history.reconstruction[fitted.kept_epoch - 1]
    x = torch.from_numpy(images.images[out]).unsqueeze(1)
    assert float((fitted.model(x)[0].detach() - x).square().mean()) == pytest.approx(history.held_out.min(), rel=1e-5)
    summed = pretrain(images, **{**settings, "loss": "sum", "epochs": 1}, held_out=0.2).history
    assert summed.held_out[0] / (16 * 16 * 16) == pytest.approx(history.held_out[0], rel=1e-2)


def test_without_a_share_or_with_too_few_scans_all_train_and_the_last_epoch_is_kept():
    images = np.random.default_rng(3).random((12, 16, 16), np.float32)
    for share in (0.0, 0.1):  # one of twelve
        watched = Watched(images)
        fitted = pretrain(watched, **PRETRAINING, epochs=3, held_out=share)
        assert fitted.kept_epoch == 3 and fitted.n_held_out == 0 and watched.trained == set(range(12))
        assert "held_out" not in fitted.history


def test_killed_pretraining_keeps_the_same_epoch_and_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr("lungtypes.methods.training.SECONDS_BETWEEN_FILES", 0.0)
    images = np.random.default_rng(4).normal(0.4, 0.1, (20, 16, 16)).astype(np.float32)
    settings = {**PRETRAINING, "filters": (16, 32), "latent": 30, "learning_rate": 3e-3, "held_out": 0.2}
    settings["epochs"] = 55
    whole = pretrain(images, **settings)
    assert whole.kept_epoch < 40  # it comes back from the checkpoint

    class Dying(Watched):
        def __getitem__(self, index):
            self.count = getattr(self, "count", 0) + 1
            if self.count == 45 * 3:  # two batches that train and one that watches, an epoch
                raise KeyboardInterrupt
            return self.images[index]

    checkpoint = Checkpoint(tmp_path / "pretrain.safetensors", "abc")
    with pytest.raises(KeyboardInterrupt):
        pretrain(Dying(images), **settings, checkpoint=checkpoint)
    again = pretrain(images, **settings, checkpoint=checkpoint)
    assert again.kept_epoch == whole.kept_epoch
    pd.testing.assert_frame_equal(again.history, whole.history)
    for one, other in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_explained_variance_is_that_around_the_mean_image(planted):
    images, _, fitted = planted
    output = torch.cat([fitted.model(torch.from_numpy(images[i : i + 1]).unsqueeze(1))[0] for i in range(36)])
    error = ((output.detach().numpy()[:, 0] - images) ** 2).sum() / ((images - images.mean(axis=0)) ** 2).sum()
    found = explained_variance(fitted.model, images, batch=7, device="cpu")
    assert found == pytest.approx(1 - error, abs=1e-5) and found > 0.5
    untrained = pretrain(images, **PRETRAINING, epochs=1).model
    assert explained_variance(untrained, images, batch=36, device="cpu") < 0.1


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
            pretrain(images, **PRETRAINING, epochs=20).model,
            images,
            k=3,
            epochs=epochs,
            **TRAINING,
        ).centroids
        for epochs in (1, 6)
    )
    assert np.abs(few - more).max() > 1e-5


def test_same_seed_gives_the_same_bytes():
    set_torch(threads=1)
    images = np.random.default_rng(1).random((12, 16, 16), np.float32)
    runs = []
    for _ in range(2):
        fitted = pretrain(images, **PRETRAINING, epochs=3)
        runs.append(cluster(fitted.model, images, k=2, epochs=2, **TRAINING).q.tobytes())
    assert runs[0] == runs[1]


def test_guard_restores_the_weights_and_lowers_a_rate_that_destroys_the_clusters(planted):
    images, labels, _ = planted
    fitted = pretrain(images, **PRETRAINING, epochs=60)
    result = cluster(fitted.model, images, k=3, epochs=4, **{**TRAINING, "learning_rate": 0.3})
    assert result.events and result.learning_rate < 0.3
    assert matched_accuracy(result.q.argmax(axis=1), labels).accuracy == 1.0


@pytest.mark.parametrize(
    ("start", "share", "used", "q", "wrong"),
    [
        ((0.5, 3, 0.9), 0.96, 3, 0.9, "collapse"),
        ((0.5, 3, 0.9), 0.94, 3, 0.9, ""),
        ((0.96, 3, 0.9), 0.97, 3, 0.9, ""),  # so from the start
        ((0.96, 3, 0.9), 1.0, 1, 0.9, "collapse"),
        ((0.949, 3, 0.9), 0.951, 3, 0.9, ""),  # wavers around the limit
        ((0.5, 3, 0.9), 0.5, 3, 0.35, "flat"),
        ((0.5, 3, 0.385), 0.5, 3, 0.38, ""),
        ((0.5, 3, 0.35), 0.5, 3, 0.34, ""),
        ((0.5, 3, 0.9), 0.5, 3, float("nan"), "not finite"),
    ],
)
def test_guard_sees_a_clear_change_for_the_worse(start, share, used, q, wrong):
    at_start = dict(zip(("largest_share", "n_clusters_used", "mean_max_q"), start, strict=True))
    row = {"total": 1.0, "largest_share": share, "n_clusters_used": used, "mean_max_q": q}
    found = _fault(row, at_start, 3)
    assert (wrong in found) if wrong else found == ""


def test_embedding_of_a_scan_does_not_depend_on_the_others(planted):
    images, _, fitted = planted
    together = embed(fitted.model, images, batch=8, device="cpu")
    alone = embed(fitted.model, images[5:6], batch=8, device="cpu")
    assert alone[0] == pytest.approx(together[5], abs=1e-5)


def test_saved_model_gives_the_same_embedding(planted, tmp_path):
    images, _, fitted = planted
    network = {"size": [16, 16], **{k: list(v) if isinstance(v, tuple) else v for k, v in NETWORK.items()}}
    save_model(tmp_path, fitted.model, {"network": network}, centroids=np.eye(3, 6, dtype=np.float32))
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


def test_phases_of_unlike_width_are_filled_up_with_zeros():
    table = embedding_table(["A", "B"], np.ones((2, 3)), np.full((2, 1), 2.0)).set_index(["phase", "subject"])
    assert table.loc[("before", "A")].tolist() == [1, 1, 1] and table.loc[("after", "B")].tolist() == [2, 0, 0]


def test_background_is_the_mean_of_the_training_lungs():
    hu = np.full((2, 2, 2, 2), OUTSIDE, np.int16)
    hu[:, 0] = -800
    hu[0, 0, 0, 0] = 500  # clipped at the window's upper end
    intensity = fit_intensity(hu, window_hu=(-1000.0, 0.0), background="lung_mean")
    assert intensity.background == pytest.approx((7 * 0.2 + 1.0) / 8)
    x = intensity.normalise(hu)
    assert x[0, 1, 0, 0] == pytest.approx(intensity.background) and x[1, 0, 0, 0] == pytest.approx(0.2)
    assert fit_intensity(hu, window_hu=(-1000.0, 0.0), background="zero").background == 0


def test_window_of_the_data_ends_at_its_largest_value():
    hu = np.array([[[-1024, -512]], [[OUTSIDE, 0]], [[300, -900]]], np.int16)
    intensity = fit_intensity(hu, window_hu="data", background="zero", rows=np.array([0, 1]))
    assert (intensity.low_hu, intensity.high_hu) == (-1024, 0)
    scans = NormalisedScans(hu, intensity, np.array([0, 1]))
    assert scans.shape == (2, 1, 2) and scans[np.array([1, 0])].tolist() == [[[0.0, 1.0]], [[0.0, 0.5]]]
