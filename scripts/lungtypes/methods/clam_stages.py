"""CLAM's two training phases from the cohort array to files; fitted on the training split only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from lungtypes.methods import clam
from lungtypes.methods.intensity import OUTSIDE, Intensity, fit_intensity
from lungtypes.methods.model_files import keep_assignment, load_autoencoder, refit_workspace, save_model
from lungtypes.methods.resident_scans import normalised, to_device
from lungtypes.methods.training import Checkpoint
from lungtypes.provenance import whole_folder, write_table

HISTORY = ("phase", "epoch", "attempt", "kept", "learning_rate", "reconstruction", "held_out", "clustering")
HISTORY += ("total", "labels_changed", "mean_max_q", "largest_share", "n_clusters_used")


def pretrain_stage(
    folder: Path,
    array: NDArray[np.int16],
    subjects: Sequence[str],
    splits: Sequence[str],
    *,
    window_hu: Sequence[float] | str,
    background: str,
    network: Mapping[str, object],
    loss: clam.Loss,
    batch: int,
    pretrain: Mapping[str, float],
    seed: int,
    device: str,
    checkpoint: Checkpoint,
) -> None:
    """Phase 1 into ``folder``: weights, settings, history.tsv, embedding.tsv (subject, split, z_1..).

    network : filters, strides, latent, slope, output of the autoencoder.
    """
    train = _training(splits)
    intensity = fit_intensity(array, rows=train, window_hu=window_hu, background=background)
    stored = to_device(array, device)
    training = normalised(stored, intensity, train)
    fitted = clam.pretrain(
        training,
        **network,
        loss=loss,
        batch=batch,
        epochs=int(pretrain["epochs"]),
        learning_rate=pretrain["learning_rate"],
        held_out=pretrain["held_out"],
        seed=seed,
        device=device,
        checkpoint=checkpoint,
    )
    explained = clam.explained_variance(fitted.model, training, batch=batch, device=device)
    z = clam.embed(fitted.model, normalised(stored, intensity), batch=batch, device=device)
    table = pd.DataFrame(z, columns=[f"z_{i + 1}" for i in range(z.shape[1])])
    table.insert(0, "subject", list(subjects))
    table.insert(1, "split", list(splits))
    settings = {"network": {"size": list(array.shape[1:]), **network}, "intensity": asdict(intensity)}
    settings |= {"loss": loss, "seed": seed, "events": list(fitted.events), "explained_variance": explained}
    settings["pretrained"] = {"kept_epoch": fitted.kept_epoch, "n_held_out": fitted.n_held_out}
    with whole_folder(folder) as building:
        save_model(building, fitted.model, settings)
        write_table(building / "history.tsv", fitted.history)
        write_table(building / "embedding.tsv", table)
    checkpoint.remove()


def cluster_stage(
    folder: Path,
    array: NDArray[np.int16],
    subjects: Sequence[str],
    splits: Sequence[str],
    *,
    pretrained: Path,
    choice: Path,
    loss: clam.Loss,
    cluster: Mapping[str, float],
    batch: int,
    seed: int,
    device: str,
    checkpoint: Checkpoint,
) -> None:
    """Phase 2 into ``folder``: model, assignment.tsv, embedding.tsv, history.tsv.

    Test scans are assigned by the fitted model and never influence it. Clusters are ordered by the
    mean lung density of their training members.
    """
    model, settings, _ = load_autoencoder(pretrained)
    model.to(device)
    chosen = json.loads(choice.read_text())
    k = int(chosen["k"])
    train, intensity = _training(splits), Intensity(**settings["intensity"])
    stored = to_device(array, device)
    everyone = normalised(stored, intensity)
    before = clam.embed(model, everyone, batch=batch, device=device)
    fitted = clam.cluster(
        model,
        normalised(stored, intensity, train),
        k=k,
        loss=loss,
        batch=batch,
        seed=seed,
        device=device,
        checkpoint=checkpoint,
        **cluster,
    )
    mean_hu = np.array([scan[scan != OUTSIDE].mean() for scan in (array[row] for row in train)])
    order = clam.order_by_density(fitted.q, mean_hu)
    centroids = fitted.centroids[order]
    after = clam.embed(model, everyone, batch=batch, device=device)
    q = clam.soft_assignment(torch.from_numpy(after).double(), torch.from_numpy(centroids).double(), fitted.scale)
    flag = chosen["flag"]
    settings |= {"k": k, "flag": flag, "scale": fitted.scale, "learning_rate": fitted.learning_rate, "loss": loss}
    settings |= {"events": [*settings["events"], *fitted.events], "finished": fitted.finished}
    settings |= {"label_order": [int(i) for i in order], "train_subjects": len(train)}
    save_model(folder, fitted.model, settings, centroids=centroids)
    history = pd.read_csv(pretrained / "history.tsv", sep="\t")
    history = pd.concat([history, fitted.history], ignore_index=True).reindex(columns=list(HISTORY))
    write_table(folder / "history.tsv", history)
    write_table(folder / "embedding.tsv", clam.embedding_table(subjects, before, after).assign(flag=flag))
    write_table(folder / "assignment.tsv", clam.assignment_table(subjects, splits, q.numpy()).assign(flag=flag))
    checkpoint.remove()


def refit_stage(
    table: Path,
    array: NDArray[np.int16],
    subjects: Sequence[str],
    splits: Sequence[str],
    *,
    choice: Path,
    training: Mapping[str, object],
    clustering: Mapping[str, object],
    seed: int,
    device: str,
    checkpoint: Checkpoint,
) -> None:
    """Both phases once more from another seed at the K of ``choice``: only subject, cluster and split are kept.

    training, clustering : the settings of :func:`pretrain_stage` and :func:`cluster_stage`. What is half done lies
    beside the checkpoint; the finished first phase is taken up again after a kill.
    """
    workspace = refit_workspace(checkpoint)
    pretrained = workspace / "pretrained"
    common = {"seed": seed, "device": device}
    first, second = checkpoint.of_phase("pretrain"), checkpoint.of_phase("cluster")
    if not pretrained.exists():
        pretrain_stage(pretrained, array, subjects, splits, **training, **common, checkpoint=first)
    places = {"pretrained": pretrained, "choice": choice}
    cluster_stage(workspace, array, subjects, splits, **places, **clustering, **common, checkpoint=second)
    first.remove()  # a kill between the two lines of phase 1's end leaves it
    keep_assignment(workspace, table)


def _training(splits: Sequence[str]) -> NDArray[np.int64]:
    return np.flatnonzero([split == "train" for split in splits])
