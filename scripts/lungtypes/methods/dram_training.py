"""dRAM from scans and the lesion table to a trained model, as files. How it is used: ``dram_stages``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from lungtypes.errors import InputError
from lungtypes.methods import dram
from lungtypes.methods.dram_networks import build_network
from lungtypes.methods.dram_regions import RegionScans
from lungtypes.methods.dram_targets import Targets, targets_of
from lungtypes.methods.model_files import save_model
from lungtypes.methods.training import Checkpoint
from lungtypes.networks.unet import n_parameters
from lungtypes.provenance import write_table

logger = logging.getLogger(__name__)

HISTORY = ("epoch", "attempt", "kept", "learning_rate", "loss", "regression", "refinement", "accuracy")
HISTORY += ("share_mean", "share_low", "share_high", "given_mean")

LearnFrom = Literal["percent", "grade"]


def train_stage(
    folder: Path,
    scans: RegionScans,
    subjects: Sequence[str],
    splits: Sequence[str],
    table: pd.DataFrame,
    *,
    method: str,
    names: Mapping[int, str],
    edges: Sequence[float],
    regions: Mapping[str, object],
    network: Mapping[str, object],
    training: Mapping[str, object],
    seed: int,
    device: str,
    checkpoint: Checkpoint,
    learn_from: LearnFrom,
) -> None:
    """Train on the training scans' regions, and write ``model`` and ``history.tsv`` to ``folder``.

    Parameters
    ----------
    scans : all of them, made with ``regions``; ``dram-supervised`` learns from those with a lesion mask.
    table : see :func:`lungtypes.cohort.lesion_table.read_lesion_table`. names : of the regions' labels.
    edges : of the grades, in percent.
    regions : size, window_hu, margin_mm. network : see :func:`build_network`, and cam_target: ``presence`` of disease
        or ``grade``. training : see :class:`dram.Training`.
    learn_from : ``percent`` takes the exact number where there is one, ``grade`` the bounds of its grade alone.

    Raises InputError when no training region is known, or there are no masks to learn from.
    """
    supervised = method == "dram-supervised"
    known = known_regions(scans, targets_of(table, subjects, names, edges=edges), subjects, names)
    trained_on = known.only(np.array([splits[row] == "train" for row, _ in known.regions], bool))
    if not len(trained_on):
        raise InputError(
            "lesion table: found no row about a region that a training scan has, expected many. Scans without lobes "
            "have zones of each lung; the log counts the rows that were passed over. Add rows, or lobe masks."
        )
    if supervised:  # a scan without a mask is no scan without lesions
        trained_on = trained_on.only(np.array([scans.has_lesions(row) for row, _ in trained_on.regions], bool))
        if not len(trained_on):
            raise InputError(
                "dram-supervised: found no lesion masks of training scans with rows in the lesion table, expected "
                "some. Name them in column lesions of the sheet, or take it out of dram.methods."
            )
    if learn_from == "grade":
        trained_on = trained_on.graded()
    n_classes = len(edges) - 1 if network["cam_target"] == "grade" else 2
    built = build_network(method, network, n_classes=n_classes, seed=seed)
    found = dram.fit(
        built,
        scans,
        trained_on,
        training=dram.Training(**training),
        supervised=supervised,
        seed=seed,
        device=device,
        checkpoint=checkpoint,
    )
    settings = {
        "method": method,
        "network": dict(network),
        "n_classes": n_classes,
        "n_parameters": n_parameters(built),
        "regions": dict(regions),
        "names": {str(label): name for label, name in names.items()},
        "edges": list(edges),
        "batch": training["batch"],
        "precision": training["precision"],
        "seed": seed,
        "events": found.events,
        "finished": found.finished,
        "train_regions": len(trained_on),
        "train_percentages": int(np.isfinite(trained_on.percents).sum()),
        "train_grades": np.bincount(trained_on.grades, minlength=len(edges) - 1).tolist(),
    }
    save_model(folder, built, settings)
    write_table(folder / "history.tsv", found.history.reindex(columns=list(HISTORY)))
    checkpoint.remove()


def known_regions(scans: RegionScans, targets: Targets, subjects: Sequence[str], names: Mapping[int, str]) -> Targets:
    """The targets of regions that their scans have; a warning counts the others."""
    has = np.array([region in scans.regions(region[0]) for region in targets.regions], bool)
    if not has.all():
        absent = [targets.regions[i] for i in np.flatnonzero(~has)]
        first = ", ".join(f"{subjects[row]} {names[label]}" for row, label in absent[:5])
        logger.warning("%d regions of the lesion table are not in their scans (%s): see the lobes", len(absent), first)
    return targets.only(has)
