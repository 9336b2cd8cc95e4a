"""The cohort array on disk: N x Z x Y x X int16 and its description, in subject order."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lungtypes.errors import InputError
from lungtypes.imaging.geometry import Volume, read_volume
from lungtypes.imaging.resample import resample_labels
from lungtypes.imaging.volumes import OUTSIDE, CohortGrid, grid_around, lung_hu_on_grid, share_inside
from lungtypes.imaging.zones import ZONES, lung_zones
from lungtypes.provenance import write_json

logger = logging.getLogger(__name__)

MIN_SHARE = 0.9  # of a scan's lungs that its cube in native space must hold


@dataclass(frozen=True)
class Cohort:
    """array (N, Z, Y, X) int16 HU, OUTSIDE where no lung is; subjects and splits in the same order; the grid.

    grids : of a cohort in native space, each scan's own.
    """

    array: NDArray[np.int16]
    subjects: tuple[str, ...]
    splits: tuple[str, ...]
    grid: CohortGrid
    grids: tuple[CohortGrid, ...] = ()

    def regions(self, mask_file: str | Path) -> dict[str, NDArray[np.bool_]]:
        """Lungs, sides and zones of the template's mask on the cohort grid."""
        labels = resample_labels(read_volume(Path(mask_file)), self.grid.reference())
        zones = lung_zones(labels)
        regions = {"lungs": labels > 0, "right": labels == 1, "left": labels == 2}
        return regions | {name: zones == number for number, name in ZONES.items()}


def write_cohort_array(
    array_file: str | Path,
    description_file: str | Path,
    *,
    scans: Mapping[str, Path],
    splits: Mapping[str, str],
    mask: Volume,
    size: int,
    spacing_mm: float,
) -> None:
    """Write the array scan by scan (memory of one scan), then its description.

    mask : the template's lungs; a cube of ``size`` voxels is centred on them, and the description says
    which share of them it holds.

    Raises InputError when fewer than three scans are left.
    """
    require_scans(scans)
    grid = grid_around(mask, size=size, spacing_mm=spacing_mm)
    share = share_inside(mask, grid)
    if share < 0.99:
        logger.warning("the cube holds %.0f %% of the template's lungs; raise volumes.size", 100 * share)
    with whole_array(array_file, dtype=np.int16, shape=(len(scans), *grid.shape)) as array:
        for number, folder in enumerate(scans.values()):
            ct, lungs = read_volume(folder / "ct.nii.gz"), read_volume(folder / "lungs.nii.gz")
            array[number] = lung_hu_on_grid(ct, lungs, grid)
    description = {"subjects": list(scans), "splits": [splits[s] for s in scans], "outside": OUTSIDE, **asdict(grid)}
    description["lung_share_in_box"] = round(share, 4)
    write_json(description_file, description)


def write_native_array(
    array_file: str | Path,
    description_file: str | Path,
    *,
    scans: Mapping[str, Path],
    splits: Mapping[str, str],
    size: int,
    spacing_mm: float,
) -> None:
    """Write every scan as it is, without registration: a cube of ``size`` voxels around its own lungs.

    scans : folders with ct.nii.gz and lungs.nii.gz. The description has each scan's origin and direction, and the
    share of its lungs that the cube holds.

    Raises InputError when fewer than three scans are left, or a cube holds less than 90 % of a scan's lungs.
    """
    require_scans(scans)
    grids, shares = [], []
    with whole_array(array_file, dtype=np.int16, shape=(len(scans), size, size, size)) as array:
        for number, folder in enumerate(scans.values()):
            ct, lungs = read_volume(folder / "ct.nii.gz"), read_volume(folder / "lungs.nii.gz")
            grid = grid_around(lungs, size=size, spacing_mm=spacing_mm)
            array[number] = lung_hu_on_grid(ct, lungs, grid)
            grids.append(grid), shares.append(round(share_inside(lungs, grid), 4))
        require_held(scans, shares, size=size, spacing_mm=spacing_mm, key="volumes.native")
    description = {"subjects": list(scans), "splits": [splits[s] for s in scans], "outside": OUTSIDE, "space": "native"}
    write_json(description_file, description | {"grids": [asdict(g) for g in grids], "lung_share_in_box": shares})


def read_cohort_array(array_file: str | Path, description_file: str | Path) -> Cohort:
    """Read both files, of either space; the array is a read-only memory map. ``grid`` is the first of ``grids``."""
    text = json.loads(Path(description_file).read_text())
    grids = tuple(_grid(entry) for entry in text.get("grids", ()))
    array = np.load(array_file, mmap_mode="r", allow_pickle=False)
    return Cohort(array, tuple(text["subjects"]), tuple(text["splits"]), grids[0] if grids else _grid(text), grids)


@contextmanager
def whole_array(file: str | Path, *, dtype: DTypeLike, shape: tuple[int, ...]) -> Iterator[NDArray]:
    """A new array on disk to be filled scan by scan; ``file`` appears whole at the end, and not at all on an error."""
    temporary = Path(file).with_name(f".part-{os.getpid()}-{Path(file).name}")
    try:
        array = np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
        yield array
        array.flush()
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def require_scans(scans: Mapping[str, object]) -> None:
    """Raise InputError when fewer than three scans are left."""
    if len(scans) < 3:
        raise InputError(f"cohort: found {len(scans)} usable scans, expected at least 3. See cohort/attrition.tsv.")


def require_held(
    scans: Mapping[str, object], shares: Sequence[float], *, size: int, spacing_mm: float, key: str
) -> None:
    """Raise InputError when cubes hold less than 90 % of the lungs of some scans; ``key`` of the config is to blame."""
    cut = [f"{s} ({100 * share:.0f} %)" for s, share in zip(scans, shares, strict=True) if share < MIN_SHARE]
    if cut:
        raise InputError(
            f"{key}: a cube of {size} voxels of {spacing_mm:g} mm holds less than {100 * MIN_SHARE:.0f} % of "
            f"the lungs of {len(cut)} scan(s): {', '.join(cut[:10])}. Raise {key}.size or spacing_mm."
        )


def _grid(text: Mapping[str, object]) -> CohortGrid:
    return CohortGrid(
        tuple(text["shape"]), text["spacing_mm"], tuple(text["origin_mm"]), tuple(map(tuple, text["direction"]))
    )
