"""CLAM's deep clustering (Ryan et al. 2020, sections 2.1-2.2): pre-train, embed, cluster, assign.

Phase 1 learns to reconstruct (eq. 2). Phase 2 adds the clustering layer: soft assignment q by a Student-t kernel
(eq. 4), target p computed on the full set (eq. 7), loss = reconstruction + gamma KL (eq. 5 and 6).

Each loss is printed as a sum over voxels and scans, and is a mean in the authors' code; ``loss`` says which. It does
not change phase 1 (Adam does not see the scale of a loss), but in phase 2 the sum gives the reconstruction as many
times more weight as an image has voxels.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lungtypes.evaluation.kmeans import kmeans, one_thread
from lungtypes.methods.training import GOOD_EVERY, Checkpoint, State, train
from lungtypes.networks.cae import ConvolutionalAutoencoder, initialise_like_keras
from lungtypes.randomness import derive_seed

logger = logging.getLogger(__name__)

FLOOR = 1e-7  # inside logarithms, as Keras does
MAX_SHARE, FLAT_MARGIN = 0.95, 0.05  # collapse: one cluster holds 95 %; flat: mean max q below 1/K + 0.05
ON_CENTRE = 1e-6  # share of the scans' spread; what rounding leaves of a distance that is zero
CLEAR_CHANGE = 0.02  # since the start; a cohort that begins near a limit may waver around it
ADAM = {"betas": (0.9, 0.999), "eps": 1e-7}  # the defaults of Keras, on which the authors' code runs
MIN_HELD_OUT = 3  # scans: the error of fewer says little of others

Loss = Literal["mean", "sum"]


class Images(Protocol):
    """Network inputs: ``images[index]`` is (n, *size) float32 in 0-1, an array or a tensor; or made batch by batch."""

    shape: tuple[int, ...]

    def __len__(self) -> int: ...

    def __getitem__(self, index: NDArray[np.int64]) -> NDArray[np.float32] | Tensor: ...


@dataclass(frozen=True)
class Pretrained:
    """A trained autoencoder and its history (see :func:`lungtypes.methods.training.train`).

    kept_epoch : the one after which it had these weights. n_held_out : scans that did not train.
    """

    model: ConvolutionalAutoencoder
    history: pd.DataFrame
    events: tuple[str, ...]
    kept_epoch: int
    n_held_out: int


@dataclass(frozen=True)
class Clustered:
    """Phase 2's result: model, centroids (K, latent), q (N, K), scale of the kernel, history, what the guard did."""

    model: ConvolutionalAutoencoder
    centroids: NDArray[np.float32]
    q: NDArray[np.float64]
    scale: float
    history: pd.DataFrame
    learning_rate: float
    events: tuple[str, ...]
    finished: bool


def reconstruction_loss(output: Tensor, images: Tensor, loss: Loss) -> Tensor:
    """Squared error of a batch (n, 1, *size): ``sum`` over voxels and scans (eq. 2), or their ``mean``."""
    return nn.functional.mse_loss(output, images, reduction=loss)


def clustering_loss(p: Tensor, q: Tensor, loss: Loss) -> Tensor:
    """KL(P||Q) of a batch (n, K), summed over clusters; over scans the ``sum`` (eq. 6) or the ``mean``."""
    p, q = p.clamp_min(FLOOR), q.clamp_min(FLOOR)
    divergence = (p * (p.log() - q.log())).sum(dim=1)
    return divergence.sum() if loss == "sum" else divergence.mean()


def pretrain(
    images: Images,
    *,
    filters: Sequence[int],
    strides: Sequence[int],
    latent: int,
    slope: float,
    output: Literal["linear", "leaky_relu"],
    loss: Loss,
    epochs: int,
    learning_rate: float,
    held_out: float = 0.0,
    batch: int,
    seed: int,
    device: str,
    checkpoint: Checkpoint | None = None,
) -> Pretrained:
    """Phase 1: the autoencoder alone, with Adam on shuffled batches.

    images : (N, *size) float32 in 0-1. held_out : share of them that does not train; all epochs run, and the weights
    after the one at which their error is lowest are kept, since a long training memorises each scan's noise (not in
    the paper). 0, or fewer than MIN_HELD_OUT scans: all train, and the last epoch is kept. The rest: see
    :class:`ConvolutionalAutoencoder`, :func:`reconstruction_loss` and :func:`lungtypes.methods.training.train`.

    Raises FloatingPointError when no rate gives finite losses.
    """
    learning, watching = held_out_split(len(images), held_out, seed)
    size = images.shape[1:]
    model = ConvolutionalAutoencoder(
        size=size, filters=filters, strides=strides, latent=latent, slope=slope, output=output
    )
    initialise_like_keras(model, seed=derive_seed(seed, "clam", "weights"))
    model.to(device)
    optimiser = torch.optim.Adam(model.parameters(), lr=learning_rate, **ADAM)
    state = State(dict(model.named_parameters()), optimiser)

    def run_epoch(epoch: int) -> dict[str, float]:
        model.train()
        total = torch.zeros((), device=device, dtype=torch.float64)
        for index in shuffled(len(learning), batch, seed, "clam", "pretrain", epoch):
            x = _batch(images, learning[index], device)
            error = reconstruction_loss(model(x)[0], x, loss)
            optimiser.zero_grad(set_to_none=True)
            error.backward()
            optimiser.step()
            total += _of_epoch(error, len(index), len(learning), loss)
        row = {"phase": "pretrain", "reconstruction": float(total)}
        if len(watching):
            row["held_out"] = error_of_held_out()
            if row["held_out"] < float(state.memory.get("best_error", torch.inf)):
                best = {"best_error": torch.tensor(row["held_out"], dtype=torch.float64)}
                state.memory |= best | {"best_epoch": torch.tensor(epoch)}
                state.memory |= {f"best.{name}": tensor.detach().clone() for name, tensor in model.named_parameters()}
        return row

    def error_of_held_out() -> float:
        """On the scale of the trained scans' loss."""
        model.eval()
        total = torch.zeros((), device=device, dtype=torch.float64)
        with torch.inference_mode():
            for index in watching.split(batch):
                x = _batch(images, index, device)
                total += _of_epoch(reconstruction_loss(model(x)[0], x, loss), len(index), len(watching), loss)
        return float(total) * (len(learning) / len(watching) if loss == "sum" else 1.0)

    trained = train(
        state,
        epochs=epochs,
        learning_rate=learning_rate,
        run_epoch=run_epoch,
        fault=lambda row: (
            "" if np.isfinite([row["reconstruction"], row.get("held_out", 0)]).all() else "loss not finite"
        ),
        checkpoint=checkpoint,
        name="pre-training",
    )
    if not trained.finished:
        raise FloatingPointError(
            f"pre-training failed: {'; '.join(trained.events)}. Lower clam.pretrain.learning_rate."
        )
    logger.info("pre-training: %d epochs, reconstruction %.6f", epochs, trained.history.reconstruction.iloc[-1])
    if len(watching) == 0:
        return Pretrained(model, trained.history, trained.events, epochs, 0)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            tensor.copy_(state.memory[f"best.{name}"])
    kept = int(state.memory["best_epoch"])
    logger.info("the error of %d scans held out is lowest after epoch %d, which is kept", len(watching), kept)
    return Pretrained(model, trained.history, trained.events, kept, len(watching))


def held_out_split(n: int, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Indices, ascending, of the scans of n that train in phase 1, and of those that only watch."""
    count = round(share * n)
    if count < MIN_HELD_OUT:
        if share > 0:
            logger.info("%d scans are too few to hold %g of them out: all train", n, share)
        return torch.arange(n), torch.arange(0)
    generator = torch.Generator().manual_seed(derive_seed(seed, "clam", "held out"))
    order = torch.randperm(n, generator=generator)
    return order[count:].sort().values, order[:count].sort().values


def embed(model: ConvolutionalAutoencoder, images: Images, *, batch: int, device: str) -> NDArray[np.float32]:
    """Embeddings (N, latent) of (N, *size) images; one scan's does not depend on the others'."""
    model.eval()
    with torch.inference_mode():
        parts = [model.encode(_batch(images, i, device)).cpu() for i in torch.arange(len(images)).split(batch)]
    return torch.cat(parts).numpy()


def explained_variance(model: ConvolutionalAutoencoder, images: Images, *, batch: int, device: str) -> float:
    """Share of the variance around the mean image that the reconstructions explain; 0 or less: they know nothing of it.

    Most of a scan is noise and vessels that no 60 numbers hold, so a tenth is much.
    """
    pieces = torch.arange(len(images)).split(batch)
    mean = sum(_batch(images, i, "cpu").sum(dim=0, dtype=torch.float64) for i in pieces) / len(images)
    total = error = 0.0
    model.eval()
    with torch.inference_mode():
        for index in pieces:
            x = _batch(images, index, device)
            total += float((x.cpu() - mean).square().sum(dtype=torch.float64))
            error += float((x - model(x)[0]).square().sum(dtype=torch.float64))
    return 1 - error / total if total > 0 else 0.0


def soft_assignment(z: Tensor, centroids: Tensor, scale: float = 1.0) -> Tensor:
    """q (N, K) of eq. 4: Student-t kernel with one degree of freedom, rows sum to 1.

    z (N, latent), centroids (K, latent); ``scale`` multiplies both (1 in the paper).
    """
    kernel = 1.0 / (1.0 + _squared_distances(z, centroids, scale))
    return kernel / kernel.sum(dim=1, keepdim=True)


def log_assignment(z: Tensor, centroids: Tensor, scale: float = 1.0) -> Tensor:
    """Logarithm of :func:`soft_assignment`, also where q itself is 1 to the last digit."""
    return torch.log_softmax(-torch.log1p(_squared_distances(z, centroids, scale)), dim=1)


def _squared_distances(z: Tensor, centroids: Tensor, scale: float) -> Tensor:
    """(N, K), in units of the kernel."""
    return (z[:, None, :] - centroids[None, :, :]).square().sum(-1) * scale**2


def target_distribution(q: Tensor) -> Tensor:
    """p (N, K) of eq. 7 from q of the full set: q squared over cluster frequency, rows sum to 1."""
    weight = q.square() / q.sum(dim=0).clamp_min(FLOOR)
    return weight / weight.sum(dim=1, keepdim=True)


def cluster(
    model: ConvolutionalAutoencoder,
    images: Images,
    *,
    k: int,
    loss: Loss,
    gamma: float,
    epochs: int,
    learning_rate: float,
    refresh_epochs: int,
    n_init: int,
    latent_scale: Literal["none", "nearest_centroid"],
    batch: int,
    seed: int,
    device: str,
    checkpoint: Checkpoint | None = None,
) -> Clustered:
    """Phase 2: k-means start, then autoencoder and centroids are trained together; ``model`` is changed in place.

    latent_scale : ``nearest_centroid`` divides all distances by the start's mean distance to the nearest centroid, so
    that the kernel, which has a width of 1, tells clusters of any embedding apart; ``none`` is the paper.

    The guard takes back a collapse (one cluster holds over 95 % of the scans), a flat q (near 1/K for all) and losses
    that are not finite. What is so from the start is no fault of the training. A cluster that loses all of its scans
    stays, empty, so that labels keep their meaning; ``events`` say so.
    """
    z = embed(model, images, batch=batch, device=device)
    with one_thread():
        start = kmeans(z.astype(np.float64), k, n_init=n_init, seed=derive_seed(seed, "clam", "kmeans", k))
    scale = latent_scale_of(z, start.centres) if latent_scale == "nearest_centroid" else 1.0
    centroids = nn.Parameter(torch.tensor(start.centres, dtype=torch.float32, device=device))
    optimiser = torch.optim.Adam([*model.parameters(), centroids], lr=learning_rate, **ADAM)
    state = State({**dict(model.named_parameters()), "centroids": centroids}, optimiser)

    def q_of(embedding: NDArray[np.float32]) -> Tensor:
        return soft_assignment(torch.from_numpy(embedding), centroids.detach().cpu(), scale)  # (N, K)

    def q_of_all() -> Tensor:
        return q_of(embed(model, images, batch=batch, device=device))

    q = q_of(z)
    state.memory |= {"p": target_distribution(q), "labels": q.argmax(dim=1)}
    at_start = _health(q)
    events = _start_events(at_start, k)

    def run_epoch(epoch: int) -> dict[str, float]:
        model.train()
        sums = torch.zeros(2, device=device, dtype=torch.float64)
        p, q_seen = state.memory["p"].to(device), torch.zeros(len(images), k, device=device)
        for index in shuffled(len(images), batch, seed, "clam", "cluster", epoch):
            x = _batch(images, index, device)
            output, z = model(x)
            q = soft_assignment(z.float(), centroids, scale)
            error = reconstruction_loss(output, x, loss)
            divergence = clustering_loss(p[index.to(device)], q, loss)
            optimiser.zero_grad(set_to_none=True)
            (error + gamma * divergence).backward()
            optimiser.step()
            q_seen[index.to(device)] = q.detach()
            sums += torch.stack([_of_epoch(part, len(index), len(images), loss) for part in (error, divergence)])
        checked = epoch in (1, epochs) or epoch % GOOD_EVERY == 0
        refreshed = epoch % refresh_epochs == 0
        q = q_of_all() if checked or refreshed else q_seen.cpu()  # else as each scan's batch saw it
        labels = q.argmax(dim=1)
        changed = float((labels != state.memory["labels"]).float().mean())
        state.memory["labels"] = labels
        if refreshed:
            state.memory["p"] = target_distribution(q)
        reconstruction, clustering = sums.tolist()
        row = {"phase": "cluster", "reconstruction": reconstruction, "clustering": clustering}
        return row | {"total": reconstruction + gamma * clustering, "labels_changed": changed, **_health(q)}

    trained = train(
        state,
        epochs=epochs,
        learning_rate=learning_rate,
        run_epoch=run_epoch,
        fault=lambda row: _fault(row, at_start, k),
        checkpoint=checkpoint,
        name=f"clustering with K = {k}",
    )
    q = q_of_all().double().numpy()
    events += [*trained.events, *_empty_events(q)]
    found = centroids.detach().cpu().numpy()
    return Clustered(model, found, q, scale, trained.history, trained.learning_rate, tuple(events), trained.finished)


def shuffled(n: int, batch: int, seed: int, *names: str | int) -> Sequence[Tensor]:
    """Indices of n scans in random order, cut into batches; ``names`` (phase, epoch) say which order."""
    generator = torch.Generator().manual_seed(derive_seed(seed, *names, "shuffle"))
    return torch.randperm(n, generator=generator).split(batch)


def _of_epoch(value: Tensor, n: int, of: int, loss: Loss) -> Tensor:
    """What a batch of n scans adds to its epoch's loss: sums add up, means by their share of the scans."""
    return value.detach().double() * (1.0 if loss == "sum" else n / of)


def latent_scale_of(z: NDArray, centres: NDArray) -> float:
    """What makes the mean distance of z (N, D) to the nearest of the centres (K, D) one.

    1 where every scan lies on its centre (as many clusters as different scans): a mean of k-means is then off by
    rounding only, which is no unit to measure in.
    """
    points = z.astype(np.float64)
    nearest = np.linalg.norm(points[:, None] - centres[None], axis=2).min(axis=1).mean()
    spread = np.linalg.norm(points - points.mean(axis=0), axis=1).mean()
    return float(1.0 / nearest) if nearest > ON_CENTRE * spread else 1.0


def _health(q: Tensor) -> dict[str, float]:
    sizes = torch.bincount(q.argmax(dim=1), minlength=q.shape[1])
    return {
        "mean_max_q": float(q.max(dim=1).values.mean()),
        "largest_share": float(sizes.max()) / len(q),
        "n_clusters_used": int((sizes > 0).sum()),
    }


def _fault(row: Mapping[str, float], at_start: Mapping[str, float], k: int) -> str:
    if not np.isfinite(row["total"]) or not np.isfinite(row["mean_max_q"]):
        return "loss not finite"
    grown = row["largest_share"] - at_start["largest_share"]
    all_in_one = row["n_clusters_used"] == 1 < at_start["n_clusters_used"]
    if k > 1 and row["largest_share"] > MAX_SHARE and (grown > CLEAR_CHANGE or all_in_one):
        return f"collapse: one cluster holds {100 * row['largest_share']:.0f} %"
    if k > 1 and _is_flat(row, k) and at_start["mean_max_q"] - row["mean_max_q"] > CLEAR_CHANGE:
        return f"flat assignment: q near 1/{k} for every scan"
    return ""


def _is_flat(health: Mapping[str, float], k: int) -> bool:
    return health["mean_max_q"] < 1 / k + FLAT_MARGIN


def _start_events(at_start: Mapping[str, float], k: int) -> list[str]:
    events = []
    if k > 1 and _is_flat(at_start, k):  # the kernel cannot tell clusters apart: training changes little
        events.append(f"q is flat from the start (mean largest q {at_start['mean_max_q']:.2f})")
    if k > 1 and at_start["largest_share"] > MAX_SHARE:
        events.append(f"one cluster holds {100 * at_start['largest_share']:.0f} % from the start")
    return events


def _empty_events(q: NDArray) -> list[str]:
    k = q.shape[1]
    empty = k - len(np.unique(q.argmax(axis=1)))
    return [f"{empty} of {k} clusters ended empty"] if empty else []


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
    """embedding.tsv: subject, phase (before or after the clustering phase), z_1..z_D.

    The narrower phase is filled up with zeros, which change no distance.
    """
    parts, width = [], max(before.shape[1], after.shape[1])
    for phase, z in (("before", before), ("after", after)):
        z = np.pad(z, ((0, 0), (0, width - z.shape[1])))
        values = pd.DataFrame(z, columns=[f"z_{i + 1}" for i in range(z.shape[1])])
        parts.append(pd.concat([pd.DataFrame({"subject": list(subjects), "phase": phase}), values], axis=1))
    return pd.concat(parts, ignore_index=True)


def _batch(images: Images, index: Tensor, device: str) -> Tensor:
    x = images[index.numpy()]
    return (x if isinstance(x, Tensor) else torch.from_numpy(x)).unsqueeze(1).to(device)  # (n, 1, *size)
