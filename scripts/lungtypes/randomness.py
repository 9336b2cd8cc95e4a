"""Random streams derived by name, so that a new draw never shifts the results of an old one."""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(seed: int, *names: str | int) -> int:
    """A 31-bit seed for the stream called ``names``, from the one seed of the config.

    Parameters
    ----------
    seed : the seed in ``config.yaml``.
    names : what is drawn, for example ``("clam", "pretrain")`` or ``("phantom", 17)``.
    """
    text = "/".join([str(int(seed)), *[str(name) for name in names]])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") & 0x7FFF_FFFF


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """A numpy generator of its own for the stream called ``names``; see :func:`derive_seed`."""
    return np.random.default_rng(derive_seed(seed, *names))
