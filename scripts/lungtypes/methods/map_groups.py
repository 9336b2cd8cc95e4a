"""What maps of all clustering methods share: running group maps, mean CT, tables, and their files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lungtypes.errors import InputError
from lungtypes.imaging.hounsfield import OUTSIDE
from lungtypes.imaging.zones import REGIONS
from lungtypes.maps.coverage import ACTIVE, describe_map, describe_regions
from lungtypes.maps.group_maps import DensityAccumulator, GroupAccumulator, balanced_population

if TYPE_CHECKING:
    from lungtypes.imaging.volume_files import Cohort
    from lungtypes.imaging.volumes import CohortGrid

SUBJECT, BALANCED = "population_subject", "population_balanced"
ToTemplate = Callable[[str, NDArray[np.float32], "CohortGrid"], NDArray[np.float32]]  # a subject's map from its grid
COLUMNS = ("group", "n", "n_maps", "n_degenerate", "n_repeats", "mean_importance", "mean_sd", "active_ml")


@dataclass(frozen=True)
class MapTables:
    """summary, one row a scan; regions, one row a scan and region; groups, one row a group map."""

    summary: pd.DataFrame
    regions: pd.DataFrame
    groups: pd.DataFrame


@dataclass
class MapGroups:
    """Maps of ``kind`` for clusters 1..k, added scan by scan. Further scans of one person are counted and left out.

    keep_degenerate : maps of zeros count in the means (the authors' code); balanced : also the mean of cluster means.
    """

    kind: str
    k: int
    shape: tuple[int, ...]
    keep_degenerate: bool
    balanced: bool

    def __post_init__(self) -> None:
        names = [*(f"cluster{k}" for k in range(1, self.k + 1)), SUBJECT]
        self._maps = {name: GroupAccumulator(self.shape) for name in names}
        self._tally = {name: Counter() for name in names}
        self._tally[BALANCED] = self._tally[SUBJECT]

    def add(self, cluster: int, importance: NDArray[np.float32], *, repeat: bool) -> None:
        """Take in the map of a scan of ``cluster``."""
        degenerate = not importance.any()
        used = not repeat and (self.keep_degenerate or not degenerate)
        for name in (f"cluster{cluster}", SUBJECT):
            self._tally[name].update(
                n=not repeat, n_maps=used, n_degenerate=degenerate and not repeat, n_repeats=repeat
            )
            if used:
                self._maps[name].add(importance)

    def write(self, folder: Path, grid: CohortGrid, lungs: NDArray[np.bool_]) -> pd.DataFrame:
        """Write {kind}_{group}_mean, _sd and _count where they are defined; return the rows of group_maps.tsv."""
        rows = []
        for name, images in self._images():
            row = {"group": f"{self.kind}_{name}", **{c: int(self._tally[name][c]) for c in COLUMNS[1:5]}}
            for statistic, image in images.items():
                if np.isfinite(image).all():
                    grid.write_image(folder / f"{self.kind}_{name}_{statistic}.nii.gz", image)
            if row["n_maps"]:
                mean, sd = images["mean"][lungs], images["sd"][lungs]
                row |= {"mean_importance": mean.mean(dtype=np.float64), "mean_sd": sd.mean(dtype=np.float64)}
                row["active_ml"] = (mean > ACTIVE).sum() * grid.spacing_mm**3 / 1000
            rows.append(row)
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def _images(self) -> Iterator[tuple[str, dict[str, NDArray]]]:
        """Each group with its images; an empty group has none."""
        for name, group in self._maps.items():
            images = {"mean": group.mean, "sd": group.sd, "count": group.count_active}
            yield name, images if group.n else {}
        if self.balanced:
            clusters = [group for name, group in self._maps.items() if name != SUBJECT and group.n]
            found = balanced_population(clusters) if clusters else None
            yield BALANCED, {"mean": found.mean, "sd": found.sd} if found else {}


def read_clusters(path: str | Path, subjects: Sequence[str]) -> NDArray[np.int64]:
    """Clusters (1..K) of assignment.tsv in the order of ``subjects``; raises InputError when they differ."""
    table = pd.read_csv(path, sep="\t", dtype={"subject": str}, keep_default_na=False)
    if table.subject.tolist() != list(subjects):
        raise InputError(
            f"assignment: found {len(table)} other subjects than the cohort's {len(subjects)}. Run the method again."
        )
    return table.cluster.to_numpy(np.int64)


def with_zones_of_each_lung(regions: Mapping[str, NDArray[np.bool_]]) -> dict[str, NDArray[np.bool_]]:
    """Regions of the template and, beside them, each zone of each lung (right_upper_zone and so on)."""
    both = {name: name.split("_")[:2] for name in REGIONS.values()}  # right_upper_zone: right, upper
    return {**regions, **{name: regions[side] & regions[zone] for name, (side, zone) in both.items()}}


def describe_scan(
    importance: NDArray[np.float32],
    hu: NDArray[np.int16],
    regions: Mapping[str, NDArray[np.bool_]],
    *,
    name: Mapping[str, object],
    voxel_ml: float,
) -> tuple[dict[str, object], list[dict[str, object]]]:
    """A scan's row of map_summary.tsv and its rows of map_regions.tsv, each opened by ``name``; inside its lungs."""
    lungs = {region: mask & (hu != OUTSIDE) for region, mask in regions.items()}
    summary = {**name, **describe_map(importance, hu, lungs, voxel_ml=voxel_ml)}
    return summary, [{**name, **row} for row in describe_regions(importance, hu, lungs, voxel_ml=voxel_ml)]


def write_mean_ct(folder: Path, cohort: Cohort, clusters: NDArray[np.int64], k: int) -> None:
    """Mean HU of the scans, and how many have lung there, by cluster and over the population."""
    names = [*(f"cluster{number}" for number in range(1, k + 1)), "population"]
    means = {name: DensityAccumulator(tuple(cohort.grid.shape), OUTSIDE) for name in names}
    used = set()
    for scan, split, cluster in zip(cohort.array, cohort.splits, clusters.tolist(), strict=True):
        if split == "repeat":
            continue
        for name in (f"cluster{cluster}", "population"):
            means[name].add(np.asarray(scan))
            used.add(name)
    for name in sorted(used):
        cohort.grid.write_image(folder / f"ct_mean_{name}.nii.gz", means[name].mean)
        cohort.grid.write_image(folder / f"ct_count_{name}.nii.gz", means[name].count)
