"""What each map was made of, so that other norms and group maps need no network: weights and low-resolution sums."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungtypes.provenance import write_json

ARRAYS = ("weights", "sums", "uniform")


@dataclass(frozen=True)
class MapParts:
    """Maps of N scans before ReLU, upsampling and scaling.

    subjects, clusters : N each. weights : (N, H) alpha. sums : (N, *small) sum of alpha_h A_h; uniform : of A_h.
    constant_channels : subject -> its channels (from 0) without contrast. size, offset : the maps' shape, and the
    shift in voxels that ``importance_from_sum`` takes.
    """

    subjects: tuple[str, ...]
    clusters: tuple[int, ...]
    weights: NDArray[np.float32]
    sums: NDArray[np.float32]
    uniform: NDArray[np.float32]
    constant_channels: dict[str, list[int]]
    size: tuple[int, ...]
    offset: float


def write_parts(folder: Path, parts: MapParts) -> None:
    """Write weights.npy, sums.npy, uniform.npy (float32) and parts.json."""
    for name in ARRAYS:
        np.save(folder / f"{name}.npy", getattr(parts, name).astype(np.float32, copy=False), allow_pickle=False)
    others = ("subjects", "clusters", "constant_channels", "size", "offset")
    write_json(folder / "parts.json", {name: getattr(parts, name) for name in others})


def read_parts(folder: Path) -> MapParts:
    """Read what :func:`write_parts` wrote; the arrays are read-only memory maps."""
    text = json.loads((Path(folder) / "parts.json").read_text())
    arrays = {name: np.load(Path(folder) / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ARRAYS}
    lists = {name: tuple(text[name]) for name in ("subjects", "clusters", "size")}
    return MapParts(**arrays, **lists, constant_channels=text["constant_channels"], offset=text["offset"])
