"""Saves and loads a fitted model: safetensors for weights, JSON for everything else. Nothing is pickled."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from lungtypes.errors import InputError
from lungtypes.networks.cae import ConvolutionalAutoencoder
from lungtypes.provenance import write_json


def save_autoencoder(
    folder: Path, model: ConvolutionalAutoencoder, settings: Mapping[str, object], **arrays: np.ndarray
) -> None:
    """Write ``model.safetensors`` (weights and further arrays) and ``model.json`` (settings) into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"net.{k}": v.detach().cpu().numpy() for k, v in sorted(model.state_dict().items())}
    tensors |= {name: np.ascontiguousarray(value) for name, value in sorted(arrays.items())}
    temporary = folder / f".part-{os.getpid()}.safetensors"
    save_file(tensors, str(temporary))
    os.replace(temporary, folder / "model.safetensors")
    write_json(folder / "model.json", settings)


def load_autoencoder(folder: Path) -> tuple[ConvolutionalAutoencoder, dict[str, object], dict[str, np.ndarray]]:
    """The model on the CPU, its settings, and the further arrays.

    Raises InputError when a file is missing.
    """
    for name in ("model.safetensors", "model.json"):
        if not (Path(folder) / name).exists():
            raise InputError(f"{folder}: found no {name}, expected a fitted model. Run the training rule first.")
    settings = json.loads((Path(folder) / "model.json").read_text())
    tensors = load_file(str(Path(folder) / "model.safetensors"))
    network = settings["network"]
    model = ConvolutionalAutoencoder(**network)
    weights = {k[4:]: torch.from_numpy(v) for k, v in tensors.items() if k.startswith("net.")}
    model.load_state_dict(weights)
    return model, settings, {k: v for k, v in tensors.items() if not k.startswith("net.")}
