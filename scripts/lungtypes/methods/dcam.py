"""dCAM (Xie et al. 2021): DeepCluster on dense features of a 3D U-Net, pooled over the lungs.

Each epoch clusters the features of the frozen network, takes the clusters as labels, starts a new head and trains both
(section 2). After the last epoch the network stays as it is: features, reduction, centroids and head of one and the
same network make the model. ``dcam-encoder`` is the paper's baseline, ``dcam-supervised`` our reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lungtypes.errors import InputError
from lungtypes.evaluation.kmeans import one_thread
from lungtypes.methods.augmentation import Augmentation, augment
from lungtypes.methods.clam import latent_scale_of, soft_assignment
from lungtypes.methods.clam import log_assignment as log_soft_assignment
from lungtypes.methods.deep_cluster import (
    Reduction,
    balanced_indices,
    cluster_sizes,
    compare_labels,
    fit_reduction,
    kmeans_reseeded,
)
from lungtypes.methods.lung_scans import LungScans
from lungtypes.methods.training import Checkpoint, State, autocast, train
from lungtypes.networks.unet import Norm, UNet, encoder_filters, pool_features
from lungtypes.randomness import derive_seed, stream

MAX_SHARE, CLEAR_CHANGE = 0.95, 0.2
NOT_APART = "features not finite, or alike in all scans"
HEAD_SD = 0.01  # of a fresh head's weights, as in DeepCluster's code
DECAY = 1e-4  # keeps the closing head finite where clusters are far apart
N_INIT = 10

METHODS = ("dcam", "dcam-encoder", "dcam-supervised")


@dataclass(frozen=True)
class Training:
    """How to train. Rates of network and head (Adam); components, whiten: of the reduction.

    passes : over as many scans as there are, between two clusterings (``reassign`` of DeepCluster's code).
    precision : ``float32``, or ``bfloat16`` for the network's passes in training on a CUDA device.
    """

    epochs: int
    passes: int
    batch: int
    learning_rate: float
    head_learning_rate: float
    components: int
    whiten: bool
    augmentation: Augmentation
    precision: str


@dataclass(frozen=True)
class Head:
    """The 1x1x1 convolution g_W: weight (K, C), bias (K)."""

    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Logits (n, K) of pooled features (n, C), or maps (n, K, ...) of dense ones (n, C, ...)."""
        return torch.einsum("nc...,kc->nk...", features, self.weight) + self.bias.view(
            1, -1, *[1] * (features.ndim - 2)
        )


@dataclass(frozen=True)
class DcamModel:
    """Everything fitted, of one network: its features' reduction, centroids (K, r) in that space, and the head.

    scale multiplies distances in the kernel of q. by_head : the head's largest logit assigns (``dcam-supervised``);
    else the nearest centroid does.
    """

    network: UNet
    head: Head
    reduction: Reduction
    centroids: NDArray[np.float64]
    scale: float
    by_head: bool


@dataclass(frozen=True)
class Fitted:
    """model; labels (n,) 0..K-1 of the training scans; history and events of the training; finished: all epochs ran."""

    model: DcamModel
    labels: NDArray[np.int64]
    history: pd.DataFrame
    events: tuple[str, ...]
    finished: bool


def build_network(method: str, *, filters: int, norm: Norm, checkpointing: bool, seed: int) -> UNet:
    """The network of ``dcam`` or ``dcam-supervised``, or the baseline's encoder with as many parameters; from the seed.

    ``filters`` is the dense network's first width.
    """
    dense = method != "dcam-encoder"
    width = filters if dense else encoder_filters(filters)
    torch.manual_seed(derive_seed(seed, "dcam", "network"))
    return UNet(filters=width, dense=dense, norm=norm, checkpointing=checkpointing)


def embed(
    network: UNet, scans: LungScans, *, batch: int, device: str, precision: str = "float32"
) -> NDArray[np.float64]:
    """Features pooled over the lungs (n, C) of the frozen network.

    precision : lower ones are for the epochs of a training. What is told of a model is float32 on every device, as its
    maps are: their lung means are its logits, and a scan by itself has the q of the cohort's run.
    """
    network.eval()
    found = []
    with torch.inference_mode(), autocast(device, precision):
        for index in torch.arange(len(scans)).split(batch):
            x, lungs = scans.batch(index.numpy(), device)
            found.append(pool_features(network(x).float(), lungs).cpu().double())
    return torch.cat(found).numpy()


def fit(
    network: UNet,
    scans: LungScans,
    *,
    k: int,
    training: Training,
    seed: int,
    device: str,
    checkpoint: Checkpoint | None = None,
    reference: NDArray[np.int64] | None = None,
) -> Fitted:
    """Train ``network`` in place by DeepCluster, or on ``reference`` labels (n,) 0..K-1 (``dcam-supervised``).

    The guard takes back epochs whose loss or features are not finite, or after which one cluster holds nearly all.
    """
    network.to(device)
    optimiser = torch.optim.Adam(network.parameters(), lr=training.learning_rate)
    state = State(dict(network.state_dict(keep_vars=True)), optimiser)
    if reference is None:
        lasting = None
        first = _cluster(_features(network, scans, training, device), k, training, seed, 0).labels
        state.memory["labels"] = torch.from_numpy(first)
        largest_at_start = cluster_sizes(first, k)["largest_share"]
    else:  # its labels stay what they are, and so does its head; they have no start to be compared with
        largest_at_start = 1.0
        lasting = _fresh_head(network.n_features, k, derive_seed(seed, "dcam", "head")).to(device)
        factor = training.head_learning_rate / training.learning_rate
        optimiser.add_param_group({"params": list(lasting.parameters()), "rate_factor": factor})
        state = State({**state.parameters, "head.weight": lasting.weight, "head.bias": lasting.bias}, optimiser)
        state.set_rate(training.learning_rate)

    def run_epoch(epoch: int) -> dict[str, float]:
        labels, row = reference, {"phase": "supervised"}
        if reference is None:
            features = _features(network, scans, training, device)
            if not _tell_scans_apart(features):
                return {"phase": "cluster", "loss": np.nan, "pseudo_accuracy": np.nan}
            labels = _cluster(features, k, training, seed, epoch).labels
            row = {"phase": "cluster", **compare_labels(state.memory["labels"].numpy(), labels, k)}
            state.memory["labels"] = torch.from_numpy(labels)
        row |= cluster_sizes(labels, k)
        head, optimisers = lasting, (optimiser,)
        if head is None:
            head = _fresh_head(network.n_features, k, derive_seed(seed, "dcam", "head", epoch)).to(device)
            optimisers = (optimiser, torch.optim.Adam(head.parameters(), lr=training.head_learning_rate))
        return row | _train_epoch(network, head, optimisers, scans, labels, training, seed, epoch, device)

    def fault_of_state(epoch: int) -> str:
        features = _features(network, scans, training, device)
        if not _tell_scans_apart(features):
            return NOT_APART
        if reference is not None:
            return ""
        sizes = cluster_sizes(_cluster(features, k, training, seed, epoch + 1).labels, k)
        return _fault({"loss": 0.0, **sizes}, largest_at_start)

    trained = train(
        state,
        epochs=training.epochs,
        learning_rate=training.learning_rate,
        run_epoch=run_epoch,
        fault=lambda row: _fault(row, largest_at_start),
        fault_of_state=fault_of_state,
        checkpoint=checkpoint,
        name="DeepCluster" if reference is None else "supervised training",
    )
    model, labels = _close(network, scans, k, training, seed, device, reference)
    return Fitted(model, labels, trained.history, trained.events, trained.finished)


def assign(model: DcamModel, features: NDArray) -> NDArray[np.float64]:
    """q (n, K) of pooled features (n, C): rows sum to 1, the largest says the cluster.

    Student's t kernel of the distances to the centroids in the reduced space; of ``dcam-supervised`` the softmax of
    the logits.
    """
    if model.by_head:
        return torch.softmax(logits(model, features), dim=1).numpy()
    z = torch.from_numpy(model.reduction(features))
    return soft_assignment(z, torch.from_numpy(model.centroids), model.scale).numpy()


def log_assignment(model: DcamModel, pooled: Tensor) -> Tensor:
    """Logarithm of :func:`assign`'s q (n, K) of pooled features (n, C), on their device and differentiable."""
    if model.by_head:
        return torch.log_softmax(Head(model.head.weight.to(pooled), model.head.bias.to(pooled))(pooled), dim=1)
    mean, scale, components, spread = (torch.from_numpy(v).to(pooled) for v in vars(model.reduction).values())
    scores = (pooled - mean) / scale @ components.T / spread
    z = scores / scores.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return log_soft_assignment(z, torch.from_numpy(model.centroids).to(pooled), model.scale)


def logits(model: DcamModel, features: NDArray) -> Tensor:
    """(n, K) of pooled features; each is the lung mean of its map."""
    head = Head(model.head.weight.double().cpu(), model.head.bias.double().cpu())
    return head(torch.from_numpy(features))


def dense_maps(model: DcamModel, x: Tensor) -> Tensor:
    """dCAM (n, K, ...) of scans (n, 1, Z, Y, X): the head on the dense features, without pooling (section 2).

    Float32 on the features' grid: the scan's, or 1/16 of it for the baseline. The lung mean of map k is logit k.
    """
    features = dense_features(model, x)
    with torch.inference_mode():
        return Head(model.head.weight.to(features), model.head.bias.to(features))(features)


def dense_features(model: DcamModel, x: Tensor) -> Tensor:
    """Features (n, C, ...) before pooling, float32, of scans (n, 1, Z, Y, X)."""
    with torch.inference_mode():
        return model.network.eval()(x).float()


def with_order(model: DcamModel, order: NDArray[np.int64]) -> DcamModel:
    """The same model with its clusters renumbered: new cluster i is the old ``order[i]``."""
    rows = torch.from_numpy(np.asarray(order))
    head = Head(model.head.weight[rows.to(model.head.weight.device)], model.head.bias[rows.to(model.head.bias.device)])
    return replace(model, head=head, centroids=model.centroids[order])


def _features(network: UNet, scans: LungScans, training: Training, device: str) -> NDArray[np.float64]:
    return embed(network, scans, batch=training.batch, device=device, precision=training.precision)


@dataclass(frozen=True)
class _Clustering:
    reduction: Reduction
    labels: NDArray[np.int64]
    centres: NDArray[np.float64]


def _reduce(features: NDArray, training: Training) -> Reduction:
    with one_thread():
        return fit_reduction(features, components=training.components, whiten=training.whiten)


def _cluster(features: NDArray, k: int, training: Training, seed: int, epoch: int) -> _Clustering:
    """Scale, reduce, k-means with a seed of its own for each epoch."""
    reduction = _reduce(features, training)
    with one_thread():
        found = kmeans_reseeded(reduction(features), k, n_init=N_INIT, seed=derive_seed(seed, "dcam", "kmeans", epoch))
    return _Clustering(reduction, found.labels, found.centres)


def _train_epoch(
    network: UNet,
    head: nn.Linear,
    optimisers: Sequence[torch.optim.Optimizer],
    scans: LungScans,
    labels: NDArray[np.int64],
    training: Training,
    seed: int,
    epoch: int,
    device: str,
) -> dict[str, float]:
    """An epoch's passes over as many scans as there are, every label alike often.

    Scans differ by little in pooled features. A head by gradient descent alone, as in DeepCluster's code, would hardly
    leave its start within an epoch of a small cohort, and the network would learn nothing, not even true labels.
    """
    network.train()
    order = balanced_indices(labels, training.passes * len(scans), stream(seed, "dcam", "batches", epoch))
    total, right = 0.0, 0
    for step, index in enumerate(np.array_split(order, -(-len(order) // training.batch))):
        x, lungs = scans.batch(index, device)
        x, lungs = augment(x, lungs, training.augmentation, seed=derive_seed(seed, "dcam", "augment", epoch, step))
        target = torch.from_numpy(labels[index]).to(device)
        with autocast(device, training.precision):
            features = network(x)
        outputs = head(pool_features(features.float(), lungs))
        loss = functional.cross_entropy(outputs, target)
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()
        total += float(loss.detach()) * len(index)
        right += int((outputs.detach().argmax(dim=1) == target).sum())
    return {"loss": total / len(order), "pseudo_accuracy": right / len(order)}


def _tell_scans_apart(features: NDArray) -> bool:
    return bool(np.isfinite(features).all() and (features != features[0]).any())


def _fresh_head(n_features: int, k: int, seed: int) -> nn.Linear:
    head = nn.Linear(n_features, k)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head.weight.copy_(HEAD_SD * torch.randn(head.weight.shape, generator=generator))
        head.bias.zero_()
    return head


def _close(
    network: UNet,
    scans: LungScans,
    k: int,
    training: Training,
    seed: int,
    device: str,
    reference: NDArray[np.int64] | None,
) -> tuple[DcamModel, NDArray[np.int64]]:
    """Cluster the final features once more, and fit the head on them: all of one frozen network."""
    features = embed(network, scans, batch=training.batch, device=device)
    if not _tell_scans_apart(features):
        raise InputError(
            "dcam: the features of the trained network are not finite, or alike in all scans. Lower "
            "dcam.training.learning_rate, or train for fewer epochs."
        )
    if reference is None:
        found = _cluster(features, k, training, seed, training.epochs + 1)
        reduction, labels, centroids = found.reduction, found.labels, found.centres
        z = reduction(features)
    else:
        reduction, labels = _reduce(features, training), reference
        z = reduction(features)
        centroids = np.stack([z[labels == c].mean(axis=0) for c in range(k)])
    scale = latent_scale_of(z, centroids)
    return DcamModel(network, fit_head(features, labels, k), reduction, centroids, scale, reference is not None), labels


def fit_head(features: NDArray, labels: NDArray[np.int64], k: int) -> Head:
    """Multinomial logistic regression of the labels on pooled features (n, C), as a head for the features themselves.

    It is fitted on standardised features with a small penalty, by L-BFGS in float64 from zero: no draws, one optimum.
    """
    x = torch.from_numpy(np.asarray(features, np.float64))
    mean, sd = x.mean(dim=0), x.std(dim=0)
    sd = torch.where(sd > 1e-12 * mean.abs().clamp_min(1e-300), sd, torch.ones_like(sd))
    target = torch.from_numpy(labels)
    weight = torch.zeros(k, x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(k, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=500, line_search_fn="strong_wolfe", tolerance_grad=1e-8)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = functional.cross_entropy(((x - mean) / sd) @ weight.T + bias, target) + DECAY * weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    with torch.no_grad():
        folded = weight / sd
        return Head(folded.float(), (bias - folded @ mean).float())


def _fault(row: Mapping[str, float], largest_at_start: float) -> str:
    if not np.isfinite(row["loss"]):
        return f"loss not finite, or {NOT_APART}"
    if row["largest_share"] > MAX_SHARE and row["largest_share"] - largest_at_start > CLEAR_CHANGE:
        return f"collapse: one cluster holds {100 * row['largest_share']:.0f} %"
    return ""
