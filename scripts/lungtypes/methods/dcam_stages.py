"""dCAM from the cohort array to files: the features before training, and the fitted model with its assignments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from lungtypes.errors import InputError
from lungtypes.methods import dcam
from lungtypes.methods.augmentation import Augmentation
from lungtypes.methods.clam import assignment_table, embedding_table, order_by_density
from lungtypes.methods.deep_cluster import Reduction, fit_reduction
from lungtypes.methods.intensity import OUTSIDE, Intensity, fit_intensity
from lungtypes.methods.lung_scans import LungScans, lung_box
from lungtypes.methods.model_files import keep_assignment, read_model, refit_workspace, save_model
from lungtypes.methods.training import Checkpoint
from lungtypes.networks.unet import UNet, n_parameters
from lungtypes.provenance import write_table

HISTORY = ("phase", "epoch", "attempt", "kept", "learning_rate", "loss", "pseudo_accuracy")
HISTORY += ("labels_changed", "nmi_previous", "size_entropy", "largest_share", "n_clusters_used")


def prepare(
    array: NDArray[np.int16], splits: Sequence[str], *, window_hu: Sequence[float] | str, background: str
) -> tuple[NDArray[np.int64], Intensity, tuple[tuple[int, int], ...]]:
    """The training rows, and what is fitted on them before any network: intensity constants and the lungs' box."""
    train = np.flatnonzero([split == "train" for split in splits])
    intensity = fit_intensity(array, rows=train, window_hu=window_hu, background=background)
    return train, intensity, lung_box(array, train, multiple=16)


def embed_stage(
    table: Path,
    array: NDArray[np.int16],
    subjects: Sequence[str],
    splits: Sequence[str],
    *,
    method: str,
    network: Mapping[str, object],
    window_hu: Sequence[float] | str,
    background: str,
    training: Mapping[str, object],
    seed: int,
    device: str,
) -> None:
    """Features of the network before any training, on which the number of clusters is judged (subject, split, z_1..).

    A random network's features already tell scans apart; DeepCluster starts from them (Caron et al. 2018).
    """
    how = _training(training)
    train, intensity, box = prepare(array, splits, window_hu=window_hu, background=background)
    start = dcam.build_network(method, **network, seed=seed).to(device)
    scans = LungScans(array, intensity, box)
    features = dcam.embed(start, scans, batch=how.batch, device=device)
    # not of length 1, so that one group can look like one
    z = fit_reduction(features[train], components=how.components, whiten=how.whiten).scores(features)
    frame = pd.DataFrame(z, columns=[f"z_{i + 1}" for i in range(z.shape[1])])
    frame.insert(0, "subject", list(subjects))
    frame.insert(1, "split", list(splits))
    write_table(table, frame)


def train_stage(
    folder: Path,
    array: NDArray[np.int16],
    subjects: Sequence[str],
    splits: Sequence[str],
    *,
    method: str,
    start: Path,
    choice: Path,
    reference: pd.Series | None,
    network: Mapping[str, object],
    window_hu: Sequence[float] | str,
    background: str,
    training: Mapping[str, object],
    space: str,
    seed: int,
    device: str,
    checkpoint: Checkpoint,
) -> None:
    """Train, assign every scan, and write model, assignment.tsv, embedding.tsv, logits.tsv, history.tsv to ``folder``.

    start, choice : what :func:`embed_stage` and the choice of K wrote; the former is the embedding before training.
    reference : labels by subject, for ``dcam-supervised`` only. Scans for testing are assigned by the fitted model
    and never influence it. Clusters are ordered by the mean lung density of their training members; classes of the
    reference keep their order.
    """
    how, chosen = _training(training), json.loads(choice.read_text())
    train, intensity, box = prepare(array, splits, window_hu=window_hu, background=background)
    everyone, fitted_on = LungScans(array, intensity, box), LungScans(array, intensity, box, train)
    classes, labels = (None, None) if reference is None else classes_of(reference, [subjects[i] for i in train])
    k = int(chosen["k"]) if classes is None else len(classes)
    built = dcam.build_network(method, **network, seed=seed)
    found = dcam.fit(
        built, fitted_on, k=k, training=how, seed=seed, device=device, checkpoint=checkpoint, reference=labels
    )
    model, order = found.model, np.arange(k)
    if classes is None:
        mean_hu = np.array([scan[scan != OUTSIDE].mean() for scan in (array[row] for row in train)])
        order = order_by_density(np.eye(k)[found.labels], mean_hu)
        model = dcam.with_order(model, order)
    features = dcam.embed(model.network, everyone, batch=how.batch, device=device)
    q, outputs = dcam.assign(model, features), dcam.logits(model, features).numpy()
    agreement = outputs.argmax(axis=1) == q.argmax(axis=1)
    flag = chosen["flag"]
    settings = {
        "method": method,
        "network": {"filters": model.network.filters, "dense": model.network.dense, "norm": network["norm"]},
        "n_parameters": n_parameters(model.network),
        "k": k,
        "classes": classes,
        "space": space,
        "box": box,
        "intensity": asdict(intensity),
        "scale": model.scale,
        "by_head": model.by_head,
        "flag": flag,
        "seed": seed,
        "events": found.events,
        "finished": found.finished,
        "label_order": [int(i) for i in order],
        "train_subjects": len(train),
        "head_agreement": float(agreement.mean()),
    }
    save_model(folder, model.network, settings, **_arrays(model))
    columns = [name for name in HISTORY if name in found.history]
    write_table(folder / "history.tsv", found.history[columns].reindex(columns=list(HISTORY)))
    before = pd.read_csv(start, sep="\t", float_precision="round_trip").filter(regex=r"^z_\d+$").to_numpy()
    after = model.reduction(features)
    write_table(folder / "embedding.tsv", embedding_table(subjects, before, after).assign(flag=flag))
    write_table(folder / "assignment.tsv", assignment_table(subjects, splits, q).assign(flag=flag))
    table = pd.DataFrame(outputs, columns=[f"logit_{i + 1}" for i in range(k)])
    table.insert(0, "subject", list(subjects))
    write_table(folder / "logits.tsv", table.assign(agrees=agreement.astype(int), flag=flag))
    checkpoint.remove()


def refit_stage(
    table: Path,
    array: NDArray[np.int16],
    subjects: Sequence[str],
    splits: Sequence[str],
    *,
    checkpoint: Checkpoint,
    **settings: object,
) -> None:
    """Train once more; only subject, cluster and split are kept. ``settings`` as for :func:`train_stage`."""
    workspace = refit_workspace(checkpoint)
    train_stage(workspace, array, subjects, splits, checkpoint=checkpoint, **settings)
    keep_assignment(workspace, table)


def load_dcam(folder: Path, device: str) -> tuple[dcam.DcamModel, dict[str, object]]:
    """The fitted model on ``device`` and its settings. Raises InputError when a file is missing."""
    settings, weights, arrays = read_model(folder)
    network = UNet(**settings["network"])
    network.load_state_dict(weights)
    head = dcam.Head(torch.from_numpy(arrays["head_weight"]), torch.from_numpy(arrays["head_bias"]))
    reduction = Reduction(*(arrays[f"reduction_{name}"] for name in ("mean", "scale", "components", "spread")))
    model = dcam.DcamModel(
        network.to(device).eval(), head, reduction, arrays["centroids"], settings["scale"], settings["by_head"]
    )
    return model, settings


def classes_of(reference: pd.Series, subjects: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """The reference's classes in order, and the class (0..K-1) of each of ``subjects``.

    Raises InputError that lists training scans without a label, or fewer than two classes.
    """
    absent = [s for s in subjects if s not in reference.index]
    if absent:
        raise InputError(
            f"evaluate.reference_table: found no label for {len(absent)} training scans, first "
            f"{', '.join(absent[:5])}. Give them one, set their split to test, or take dcam-supervised out of "
            "dcam.methods."
        )
    labels = reference.loc[list(subjects)].astype(str)
    classes = sorted(set(labels), key=lambda c: (not c.isdigit(), int(c) if c.isdigit() else 0, c))
    if len(classes) < 2:
        raise InputError(f"evaluate.reference_column: found one class ({classes[0]}), expected two or more.")
    rank = {name: i for i, name in enumerate(classes)}
    return classes, np.array([rank[label] for label in labels])


def _training(settings: Mapping[str, object]) -> dcam.Training:
    return dcam.Training(**{**settings, "augmentation": Augmentation(**settings["augmentation"])})


def _arrays(model: dcam.DcamModel) -> dict[str, NDArray]:
    arrays = {"head_weight": model.head.weight.cpu().numpy(), "head_bias": model.head.bias.cpu().numpy()}
    arrays |= {f"reduction_{name}": value for name, value in vars(model.reduction).items()}
    return arrays | {"centroids": model.centroids}
