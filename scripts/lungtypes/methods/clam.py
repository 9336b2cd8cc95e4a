"""CLAM's deep clustering (Ryan et al. 2020, sections 2.1-2.2): pre-train, embed, cluster, assign.

Phase 1 learns to reconstruct (eq. 2). Phase 2 adds the clustering layer: soft assignment q by a
Student-t kernel (eq. 4), target p computed on the full set (eq. 5), loss = reconstruction + gamma KL (eq. 6).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from lungtypes.networks.cae import ConvolutionalAutoencoder, initialise_like_keras
from lungtypes.randomness import derive_seed

logger = logging.getLogger(__name__)

FLOOR = 1e-7  # inside logarithms, as Keras does
MAX_SHARE, FLAT_MARGIN = 0.95, 0.05  # collapse: one cluster holds 95 %; flat: mean max q below 1/K + 0.05
MAX_RETRIES = 2


@dataclass(frozen=True)
class Pretrained:
    """A trained autoencoder and its history: epoch, phase, reconstruction (mean squared error per voxel)."""

    model: ConvolutionalAutoencoder
    history: pd.DataFrame


@dataclass(frozen=True)
class Clustered:
    """Phase 2's result: model, centroids (K, latent), q (N, K), history, and the learning rate that held."""

    model: ConvolutionalAutoencoder
    centroids: NDArray[np.float32]
    q: NDArray[np.float64]
    history: pd.DataFrame
    learning_rate: float
    events: tuple[str, ...] = field(default=())


def pretrain(
    images: NDArray[np.float32],
    *,
    filters: Sequence[int],
    strides: Sequence[int],
    latent: int,
    slope: float,
    epochs: int,
    learning_rate: float,
    batch: int,
    seed: int,
    device: str,
) -> Pretrained:
    """Phase 1: the autoencoder alone.

    images : (N, *size) float32 in 0-1. Loss: mean squared error over voxels and scans; Adam, shuffled batches.
    """
    size = images.shape[1:]
    model = ConvolutionalAutoencoder(size=size, filters=filters, strides=strides, latent=latent, slope=slope)
    initialise_like_keras(model, seed=derive_seed(seed, "clam", "weights"))
    model.to(device)
    optimiser = torch.optim.Adam(model.parameters(), lr=learning_rate, eps=1e-7)
    shuffle = torch.Generator().manual_seed(derive_seed(seed, "clam", "pretrain", "shuffle"))
    rows = []
    for epoch in range(1, epochs + 1):
        total = 0.0
        for index in torch.randperm(len(images), generator=shuffle).split(batch):
            x = _batch(images, index, device)
            loss = nn.functional.mse_loss(model(x)[0], x)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            total += float(loss.detach()) * len(index)
        rows.append({"phase": "pretrain", "epoch": epoch, "reconstruction": total / len(images)})
        if not np.isfinite(total):
            raise FloatingPointError(f"pre-training: found a loss that is not finite in epoch {epoch}. Lower the rate.")
    logger.info("pre-training: %d epochs, reconstruction %.6f", epochs, rows[-1]["reconstruction"])
    return Pretrained(model, pd.DataFrame(rows))


def embed(
    model: ConvolutionalAutoencoder, images: NDArray[np.float32], *, batch: int, device: str
) -> NDArray[np.float32]:
    """Embeddings (N, latent) of (N, *size) images; one scan's does not depend on the others'."""
    model.eval()
    with torch.inference_mode():
        parts = [model.encode(_batch(images, i, device)).cpu() for i in torch.arange(len(images)).split(batch)]
    return torch.cat(parts).numpy()


def soft_assignment(z: Tensor, centroids: Tensor) -> Tensor:
    """q (N, K) of eq. 4: Student-t kernel with one degree of freedom, rows sum to 1."""
    squared = (z[:, None, :] - centroids[None, :, :]).square().sum(-1)  # (N, K)
    kernel = 1.0 / (1.0 + squared)
    return kernel / kernel.sum(dim=1, keepdim=True)


def target_distribution(q: Tensor) -> Tensor:
    """p (N, K) of eq. 5 from q of the full set: q squared over cluster frequency, rows sum to 1."""
    weight = q.square() / q.sum(dim=0).clamp_min(FLOOR)
    return weight / weight.sum(dim=1, keepdim=True)


def cluster(
    pretrained: ConvolutionalAutoencoder,
    images: NDArray[np.float32],
    *,
    k: int,
    gamma: float,
    epochs: int,
    learning_rate: float,
    refresh_epochs: int,
    n_init: int,
    batch: int,
    seed: int,
    device: str,
) -> Clustered:
    """Phase 2: k-means start, then autoencoder and centroids are trained together.

    KL is the sum over clusters, mean over scans; reconstruction the mean over voxels and scans.
    On collapse, flat q or a loss that is not finite the pre-trained weights come back and the rate
    is divided by 10, twice at the most; ``events`` says so. Empty clusters stay (labels keep their meaning).
    """
    start = {name: tensor.detach().clone() for name, tensor in pretrained.state_dict().items()}
    z = embed(pretrained, images, batch=batch, device=device)
    with threadpool_limits(1):
        kmeans = KMeans(k, n_init=n_init, random_state=derive_seed(seed, "clam", "kmeans", k)).fit(z.astype(np.float64))
    rate, events = learning_rate, []
    q_start = soft_assignment(torch.from_numpy(z), torch.from_numpy(kmeans.cluster_centers_).float())
    flat_start = _is_flat(q_start)
    if flat_start:  # small latent distances: the kernel cannot tell clusters apart, training changes little
        events.append(f"q is flat from the start (mean largest q {float(q_start.max(dim=1).values.mean()):.2f})")
    for attempt in range(MAX_RETRIES + 1):
        pretrained.load_state_dict(start)
        schedule = (gamma, epochs, rate, refresh_epochs, batch, seed, device)
        result = _train_clusters(pretrained, images, kmeans.cluster_centers_, *schedule, flat_start)
        if isinstance(result, Clustered):
            return Clustered(result.model, result.centroids, result.q, result.history, rate, tuple(events))
        events.append(f"rate {rate:g}: {result}; pre-trained weights restored")
        logger.warning("clustering, attempt %d: %s", attempt + 1, events[-1])
        rate /= 10
    raise FloatingPointError(f"clustering with K = {k} failed: {'; '.join(events)}. Look at clam/k_selection.tsv.")


def _train_clusters(
    model: ConvolutionalAutoencoder,
    images: NDArray[np.float32],
    centres: NDArray[np.float64],
    gamma: float,
    epochs: int,
    rate: float,
    refresh: int,
    batch: int,
    seed: int,
    device: str,
    flat_start: bool,
) -> Clustered | str:
    centroids = nn.Parameter(torch.tensor(centres, dtype=torch.float32, device=device))
    optimiser = torch.optim.Adam([*model.parameters(), centroids], lr=rate, eps=1e-7)
    shuffle = torch.Generator().manual_seed(derive_seed(seed, "clam", "cluster", "shuffle"))
    everything, rows, labels, p = torch.arange(len(images)), [], None, None
    for epoch in range(1, epochs + 1):
        if p is None or (epoch - 1) % refresh == 0:
            p = target_distribution(_q_of(model, images, centroids, batch, device)).to(device)
        model.train()
        sums = {"reconstruction": 0.0, "clustering": 0.0}
        for index in torch.randperm(len(images), generator=shuffle).split(batch):
            x = _batch(images, index, device)
            reconstruction, z = model(x)
            q = soft_assignment(z.float(), centroids).clamp_min(FLOOR)
            target = p[index.to(p.device)].clamp_min(FLOOR)
            divergence = (target * (target.log() - q.log())).sum(dim=1).mean()
            error = nn.functional.mse_loss(reconstruction, x)
            optimiser.zero_grad(set_to_none=True)
            (error + gamma * divergence).backward()
            optimiser.step()
            sums["reconstruction"] += float(error.detach()) * len(index)
            sums["clustering"] += float(divergence.detach()) * len(index)
        q_all = _q_of(model, images, centroids, batch, device)
        new_labels = q_all.argmax(dim=1)
        changed = 0.0 if labels is None else float((new_labels != labels).float().mean())
        labels = new_labels
        row = {"phase": "cluster", "epoch": epoch, **{n: v / len(everything) for n, v in sums.items()}}
        row |= {"total": row["reconstruction"] + gamma * row["clustering"], "labels_changed": changed}
        row |= {"mean_max_q": float(q_all.max(dim=1).values.mean()), "learning_rate": rate}
        rows.append(row)
        fault = _fault(q_all, labels, row["total"], flat_start)
        if fault:
            return f"{fault} in epoch {epoch}"
    q_final = _q_of(model, images, centroids, batch, device).double().cpu().numpy()
    return Clustered(model, centroids.detach().cpu().numpy(), q_final, pd.DataFrame(rows), rate)


def _is_flat(q: Tensor) -> bool:
    return q.shape[1] > 1 and float(q.max(dim=1).values.mean()) < 1 / q.shape[1] + FLAT_MARGIN


def _fault(q: Tensor, labels: Tensor, total: float, flat_start: bool) -> str:
    k = q.shape[1]
    if not np.isfinite(total) or not bool(torch.isfinite(q).all()):
        return "loss not finite"
    if k == 1:
        return ""
    share = float(torch.bincount(labels, minlength=k).max()) / len(labels)
    if share > MAX_SHARE:
        return f"collapse: one cluster holds {100 * share:.0f} %"
    if not flat_start and _is_flat(q):
        return "flat assignment: q near 1/K for every scan"
    return ""


def _q_of(model: ConvolutionalAutoencoder, images: NDArray, centroids: Tensor, batch: int, device: str) -> Tensor:
    z = torch.from_numpy(embed(model, images, batch=batch, device=device))
    with torch.no_grad():
        return soft_assignment(z, centroids.detach().cpu())


def order_by_density(q: NDArray, mean_hu: NDArray) -> NDArray[np.int64]:
    """Order of the clusters by the mean lung HU of their members, darkest first; empty ones last.

    Image-only, so that cluster 1 means the same from seed to seed. q (N, K), mean_hu (N,).
    """
    labels = q.argmax(axis=1)
    means = [mean_hu[labels == k].mean() if (labels == k).any() else np.inf for k in range(q.shape[1])]
    return np.argsort(means, kind="stable")


def assignment_table(subjects: Sequence[str], splits: Sequence[str], q: NDArray) -> pd.DataFrame:
    """assignment.tsv: subject, cluster (1..K), q_1..q_K, margin (largest minus second q), split."""
    ordered = np.sort(q, axis=1)
    table = pd.DataFrame({"subject": list(subjects), "cluster": q.argmax(axis=1) + 1})
    for k in range(q.shape[1]):
        table[f"q_{k + 1}"] = q[:, k]
    table["margin"] = ordered[:, -1] - (ordered[:, -2] if q.shape[1] > 1 else 0.0)
    table["split"] = list(splits)
    return table


def embedding_table(subjects: Sequence[str], before: NDArray, after: NDArray) -> pd.DataFrame:
    """embedding.tsv: subject, phase (before or after the clustering phase), z_1..z_D."""
    parts = []
    for phase, z in (("before", before), ("after", after)):
        values = pd.DataFrame(z, columns=[f"z_{i + 1}" for i in range(z.shape[1])])
        parts.append(pd.concat([pd.DataFrame({"subject": list(subjects), "phase": phase}), values], axis=1))
    return pd.concat(parts, ignore_index=True)


def _batch(images: NDArray[np.float32], index: Tensor, device: str) -> Tensor:
    return torch.from_numpy(images[index.numpy()]).unsqueeze(1).to(device)  # (n, 1, *size)
