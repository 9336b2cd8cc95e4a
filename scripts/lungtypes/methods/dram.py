"""dRAM (Xie et al. 2021): lesion maps learnt from how much of each lobe is diseased.

A U-Net gives every voxel of a region a logit; the mean of its sigmoid is regressed on the region's percentage, or
into the bounds of its visual grade. An attention over neighbouring voxels refines the map and is trained with it.
``dram-cam`` is the paper's baseline, a classifier's activation map; ``dram-supervised`` the same U-Net on lesion masks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from lungtypes.methods.dram_losses import (
    Interval,
    grade_interval,
    interval_loss,
    overlap_loss,
    percent_interval,
    pseudo_labels,
    refinement_loss,
    region_mean,
)
from lungtypes.methods.dram_networks import DenseRegression, RegionClassifier
from lungtypes.methods.dram_regions import RegionBatch, RegionScans
from lungtypes.methods.dram_targets import Targets, balanced_draw
from lungtypes.methods.training import Checkpoint, State, autocast, train
from lungtypes.networks.unet import statistics_kept
from lungtypes.randomness import stream

ALL_ZERO, ALL_ONE = 0.001, 0.99  # shares beyond which every map of an epoch counts as collapsed
DECAY_EACH_EPOCH, DECAY_EVERY = 15, 10  # the rate falls after every epoch below 15, then after every tenth


@dataclass(frozen=True)
class Training:
    """How to train.

    regions_per_epoch : drawn with a uniform grade each. decay : of the rate (0.9 in the source, 1 for none).
    band : half-width of an exact percentage, and of the candidates' share around which a grade narrows; a share.
    regression_weight, refinement_weight : of dRAM's two losses. precision : ``float32``, or ``bfloat16`` on a CUDA
    device.
    """

    epochs: int
    batch: int
    regions_per_epoch: int
    learning_rate: float
    decay: float
    band: float
    regression_weight: float
    refinement_weight: float
    precision: str


@dataclass(frozen=True)
class Fitted:
    """history : a row an epoch; events : what the guard did; finished : all epochs ran."""

    history: pd.DataFrame
    events: tuple[str, ...]
    finished: bool


@dataclass(frozen=True)
class Known:
    """What is known of a batch, each (n,): the grade with its bounds (low, high, 0-1) and its frequency among the
    training regions; percents 0-100, NaN where only the grade is known."""

    low: Tensor
    high: Tensor
    percents: Tensor
    grades: Tensor
    frequencies: Tensor


Step = Callable[[RegionBatch, Known], dict[str, Tensor]]


def fit(
    network: DenseRegression | RegionClassifier,
    scans: RegionScans,
    targets: Targets,
    *,
    training: Training,
    supervised: bool,
    seed: int,
    device: str,
    checkpoint: Checkpoint | None = None,
) -> Fitted:
    """Train ``network`` in place on ``targets``, the training regions; ``supervised`` learns the lesion masks of scans.

    The guard takes back epochs whose loss is not finite, or in which the maps of all regions are empty or full while
    what is known of them is not.
    """
    network.to(device)
    optimiser = torch.optim.Adam(network.parameters(), lr=training.learning_rate)
    state = State(dict(network.state_dict(keep_vars=True)), optimiser)
    step = _step_of(network, training, supervised)
    low, high = targets.bounds()
    frequencies = targets.frequencies()

    def known(index: np.ndarray) -> Known:
        columns = (low, high, targets.percents, targets.grades, frequencies)
        return Known(*(torch.tensor(values[index], dtype=torch.float32, device=device) for values in columns))

    def pass_over(epoch: int, *, learn: bool) -> dict[str, float]:
        network.train()
        drawn = balanced_draw(targets.grades, training.regions_per_epoch, stream(seed, "dram", "regions", epoch))
        found: dict[str, list[Tensor]] = {}
        for index in np.array_split(drawn, -(-len(drawn) // training.batch)):
            batch = scans.batch([targets.regions[i] for i in index], device)
            with autocast(device, training.precision):
                parts = step(batch, known(index))
            if learn:
                optimiser.zero_grad(set_to_none=True)
                parts["loss"].sum().backward()
                optimiser.step()
            for name, values in parts.items():
                found.setdefault(name, []).append(values.detach().cpu())
        return _epoch_row({name: torch.cat(values) for name, values in found.items()}, low[drawn], high[drawn])

    def fault_of_state(epoch: int) -> str:
        with torch.no_grad(), statistics_kept(network):
            return _fault(pass_over(epoch, learn=False))

    trained = train(
        state,
        epochs=training.epochs,
        learning_rate=training.learning_rate,
        run_epoch=lambda epoch: pass_over(epoch, learn=True),
        fault=_fault,
        fault_of_state=fault_of_state,
        checkpoint=checkpoint,
        name="dRAM",
        rate_factor=lambda epoch: training.decay ** n_decays(epoch),
    )
    return Fitted(trained.history, trained.events, trained.finished)


def n_decays(epoch: int) -> int:
    """How often the rate fell before ``epoch`` (from 1): after each of the first 14, then after 20, 30, ..."""
    done = epoch - 1
    return min(done, DECAY_EACH_EPOCH - 1) + max(done // DECAY_EVERY - 1, 0)


def _step_of(network: DenseRegression | RegionClassifier, training: Training, supervised: bool) -> Step:
    if isinstance(network, RegionClassifier):
        return lambda batch, known: _classification(network, batch, known)
    if supervised:
        return lambda batch, known: _supervision(network, batch)
    return lambda batch, known: _regression(network, batch, known, training)


def _regression(network: DenseRegression, batch: RegionBatch, known: Known, training: Training) -> dict[str, Tensor]:
    """dRAM: 2 x interval regression of D + refinement of R (weights of the source)."""
    dense, refined = network(batch.image)
    share = region_mean(torch.sigmoid(dense), batch.mask)
    exact = percent_interval(known.percents.nan_to_num(), band=training.band)
    graded = grade_interval(region_mean(batch.candidates, batch.mask), known.low, known.high, band=training.band)
    given = known.percents.isnan()
    wanted = Interval(torch.where(given, graded.low, exact.low), torch.where(given, graded.high, exact.high))
    regression = interval_loss(share, wanted, known.frequencies)
    parts = {"regression": regression, "share": share, "loss": training.regression_weight * regression}
    if refined is not None:
        labels = pseudo_labels(dense, batch.mask, batch.candidates, (known.grades > 0).float())
        parts["refinement"] = refinement_loss(refined, labels, batch.mask)
        parts["loss"] = parts["loss"] + training.refinement_weight * parts["refinement"]
    return parts


def _supervision(network: DenseRegression, batch: RegionBatch) -> dict[str, Tensor]:
    dense, _ = network(batch.image)
    share = region_mean(torch.sigmoid(dense), batch.mask)
    return {"loss": overlap_loss(dense, batch.lesions, batch.mask), "share": share}


def _classification(network: RegionClassifier, batch: RegionBatch, known: Known) -> dict[str, Tensor]:
    """Cross-entropy of the grade, or with two classes of whether there is any disease."""
    _, logits = network(batch.image, batch.mask)
    classes = known.grades.long().clamp_max(logits.shape[1] - 1)
    right = (logits.detach().argmax(dim=1) == classes).float()
    return {"loss": functional.cross_entropy(logits, classes, reduction="none"), "accuracy": right}


def _epoch_row(found: Mapping[str, Tensor], low: np.ndarray, high: np.ndarray) -> dict[str, float]:
    row = {name: float(values.mean()) for name, values in found.items() if name != "share"}
    if "share" in found:
        shares = found["share"]
        row |= {"share_mean": float(shares.mean()), "share_low": float(shares.min()), "share_high": float(shares.max())}
        row |= {"given_mean": float((low + high).mean() / 2)}
    return row


def _fault(row: Mapping[str, float]) -> str:
    if not np.isfinite(row["loss"]):
        return "loss not finite"
    if "share_mean" not in row:
        return ""
    if row["share_high"] < ALL_ZERO and row["given_mean"] > 10 * ALL_ZERO:
        return "collapse: the maps of all regions are empty"
    if row["share_low"] > ALL_ONE and row["given_mean"] < ALL_ONE:
        return "collapse: the maps of all regions are full"
    return ""
