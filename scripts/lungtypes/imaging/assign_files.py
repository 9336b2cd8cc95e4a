"""Puts one new scan on the grid that a frozen model's network sees, as the training scans were put there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lungtypes.errors import ScanFault
from lungtypes.imaging.geometry import read_volume
from lungtypes.imaging.volumes import grid_around, lung_hu_on_grid, share_inside

ReadScan = Callable[[str], tuple[NDArray[np.int16], float]]


def scan_reader(
    space: Literal["template", "native"],
    *,
    volumes: Mapping[str, object],
    mask: str | Path,
    registered: Mapping[str, str | Path],
    resampled: Mapping[str, str | Path],
) -> ReadScan:
    """A function of the subject: lung HU (Z, Y, X), OUTSIDE where no lung is, and the share of the lungs on the grid.

    volumes : the section of the config. mask : the template's lungs. registered, resampled : folders by subject, with
    ct.nii.gz and lungs.nii.gz; a volume that came registered has no resampled scan.

    The function raises ScanFault SCAN-NONE when the method needs the scan in its own space and there is none.
    """
    native = space == "native"
    grid = volumes["native"] if native else {name: volumes[name] for name in ("size", "spacing_mm")}
    of_template = None if native else grid_around(read_volume(Path(mask)), **grid)

    def read(subject: str) -> tuple[NDArray[np.int16], float]:
        if native and subject not in resampled:
            raise ScanFault("SCAN-NONE", "a registered volume has no scan of its own space. Give the scan itself.")
        folder = Path(resampled[subject] if native else registered[subject])
        ct, lungs = read_volume(folder / "ct.nii.gz"), read_volume(folder / "lungs.nii.gz")
        own = grid_around(lungs, **grid) if native else of_template
        return lung_hu_on_grid(ct, lungs, own), share_inside(lungs, own)

    return read
