"""Saves and loads a fitted model: safetensors for weights, JSON for everything else. Nothing is pickled."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.numpy import load_file, save_file
from torch import nn

from lungtypes.errors import InputError
from lungtypes.methods.training import Checkpoint
from lungtypes.networks.cae import ConvolutionalAutoencoder
from lungtypes.provenance import write_json, write_table


def save_model(folder: Path, network: nn.Module, settings: Mapping[str, object], **arrays: np.ndarray) -> None:
    """Write ``model.safetensors`` (weights and further arrays) and ``model.json`` (settings) into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"net.{k}": v.detach().cpu().contiguous().numpy() for k, v in sorted(network.state_dict().items())}
    tensors |= {name: np.ascontiguousarray(value) for name, value in sorted(arrays.items())}
    temporary = folder / f".part-{os.getpid()}.safetensors"
    save_file(tensors, str(temporary))
    os.replace(temporary, folder / "model.safetensors")
    write_json(folder / "model.json", settings)


def read_model(folder: Path) -> tuple[dict[str, object], dict[str, torch.Tensor], dict[str, np.ndarray]]:
    """Settings, weights of the network, and the further arrays, as :func:`save_model` wrote them.

    Raises InputError when a file is missing.
    """
    for name in ("model.safetensors", "model.json"):
        if not (Path(folder) / name).exists():
            raise InputError(f"{folder}: found no {name}, expected a fitted model. Run the training rule first.")
    settings = json.loads((Path(folder) / "model.json").read_text())
    tensors = load_file(str(Path(folder) / "model.safetensors"))
    weights = {name[4:]: torch.from_numpy(value) for name, value in tensors.items() if name.startswith("net.")}
    return settings, weights, {name: value for name, value in tensors.items() if not name.startswith("net.")}


def refit_workspace(checkpoint: Checkpoint) -> Path:
    """A folder beside the checkpoint for a fit of which only the assignments are kept."""
    return checkpoint.file.with_name(f"{checkpoint.file.stem}-{checkpoint.fingerprint[:16]}")


def keep_assignment(workspace: Path, table: Path) -> None:
    """Write subject, cluster and split of the fit in ``workspace`` to ``table``, and delete the rest."""
    assigned = pd.read_csv(workspace / "assignment.tsv", sep="\t", dtype={"subject": str})
    write_table(table, assigned[["subject", "cluster", "split"]])
    shutil.rmtree(workspace)


def load_autoencoder(folder: Path) -> tuple[ConvolutionalAutoencoder, dict[str, object], dict[str, np.ndarray]]:
    """CLAM's autoencoder on the CPU, its settings, and the further arrays."""
    settings, weights, arrays = read_model(folder)
    model = ConvolutionalAutoencoder(**settings["network"])
    model.load_state_dict(weights)
    return model, settings, arrays
