"""CLAM's two training phases from the cohort array to files; fitted on the training split only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from lungtypes.methods import clam
from lungtypes.methods.intensity import OUTSIDE, Intensity, fit_intensity
from lungtypes.methods.model_files import load_autoencoder, save_autoencoder
from lungtypes.provenance import whole_folder, write_table


def pretrain_stage(
    folder: Path,
    array: NDArray[np.int16],
    subjects: Sequence[str],
    splits: Sequence[str],
    *,
    window_hu: Sequence[float],
    background: str,
    filters: Sequence[int],
    strides: Sequence[int],
    latent: int,
    slope: float,
    batch: int,
    pretrain: dict[str, float],
    seed: int,
    device: str,
) -> None:
    """Phase 1 into ``folder``: weights, settings, history.tsv, embedding.tsv (subject, split, z_1..)."""
    train = np.array([split == "train" for split in splits])
    intensity = fit_intensity(array[train], window_hu=tuple(window_hu), background=background)
    images = intensity.normalise(np.asarray(array))
    fitted = clam.pretrain(
        images[train],
        filters=filters,
        strides=strides,
        latent=latent,
        slope=slope,
        batch=batch,
        epochs=int(pretrain["epochs"]),
        learning_rate=pretrain["learning_rate"],
        seed=seed,
        device=device,
    )
    network = {"size": list(images.shape[1:]), "filters": list(filters), "strides": list(strides)}
    network |= {"latent": latent, "slope": slope}
    z = clam.embed(fitted.model, images, batch=batch, device=device)
    table = pd.DataFrame(z, columns=[f"z_{i + 1}" for i in range(z.shape[1])])
    table.insert(0, "subject", list(subjects))
    table.insert(1, "split", list(splits))
    with whole_folder(folder) as building:
        save_autoencoder(building, fitted.model, {"network": network, "intensity": asdict(intensity), "seed": seed})
        write_table(building / "history.tsv", fitted.history)
        write_table(building / "embedding.tsv", table)


def cluster_stage(
    folder: Path,
    array: NDArray[np.int16],
    subjects: Sequence[str],
    splits: Sequence[str],
    *,
    pretrained: Path,
    choice: Path,
    cluster: dict[str, float],
    batch: int,
    seed: int,
    device: str,
) -> None:
    """Phase 2 into ``folder``: model, assignment.tsv, embedding.tsv, history.tsv.

    Test scans are assigned by the fitted model and never influence it. Clusters are ordered by the
    mean lung density of their training members.
    """
    model, settings, _ = load_autoencoder(pretrained)
    model.to(device)
    k = int(json.loads(choice.read_text())["k"])
    train = np.array([split == "train" for split in splits])
    images = Intensity(**settings["intensity"]).normalise(np.asarray(array))
    before = clam.embed(model, images, batch=batch, device=device)
    fitted = clam.cluster(model, images[train], k=k, batch=batch, seed=seed, device=device, **cluster)
    mean_hu = np.array([scan[scan != OUTSIDE].mean() for scan in array])
    order = clam.order_by_density(fitted.q, mean_hu[train])
    centroids = fitted.centroids[order]
    after = clam.embed(fitted.model, images, batch=batch, device=device)
    q = clam.soft_assignment(torch.from_numpy(after).double(), torch.from_numpy(centroids).double()).numpy()
    settings |= {"k": k, "learning_rate": fitted.learning_rate, "events": list(fitted.events)}
    settings |= {"label_order": [int(i) for i in order], "train_subjects": int(train.sum())}
    save_autoencoder(folder, fitted.model, settings, centroids=centroids)
    history = pd.read_csv(pretrained / "history.tsv", sep="\t")
    write_table(folder / "history.tsv", pd.concat([history, fitted.history], ignore_index=True))
    write_table(folder / "embedding.tsv", clam.embedding_table(subjects, before, after))
    write_table(folder / "assignment.tsv", clam.assignment_table(subjects, splits, q))
