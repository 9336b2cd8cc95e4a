"""What the scenarios of the simulation study left behind, read as they stand: tables, embeddings, images, maps."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lungtypes.evaluation.choose_k import structure_flag

logger = logging.getLogger(__name__)

FACTORS = ("intensity", "location", "size")
PAPER = tuple(f"{factor}-{k}" for factor in FACTORS for k in (3, 4, 5))
EXTRA = ("no-clusters", "unbalanced", "correlated", "misregistered")


@dataclass(frozen=True, eq=False)  # the same run is the same object
class Run:
    """One scenario with one seed.

    fits : one row a K, its index; ``accuracy`` and what follows are empty where no clustering phase ran.
    criteria : the scenario's k_selection.tsv. images : its assignment.tsv, clusters numbered as the class they match.
    """

    folder: Path
    scenario: str
    seed: int
    fits: pd.DataFrame
    criteria: pd.DataFrame
    images: pd.DataFrame

    @property
    def true_k(self) -> int:
        """The planted number of clusters; 1 where nothing was planted."""
        return int(self.fits["true_k"].iloc[0])

    @property
    def fitted(self) -> tuple[int, ...]:
        """The K whose clustering phase ran."""
        return tuple(int(k) for k in self.fits.index[self.fits["largest_share"].notna()])

    @property
    def compared(self) -> tuple[int, ...]:
        """The K that were compared before clustering."""
        return tuple(int(k) for k in self.fits.index[self.fits["silhouette_kmeans"].notna()])

    @property
    def is_swept(self) -> bool:
        """Whether all K that were compared before clustering, more than one, were also fitted."""
        return len(self.compared) > 1 and set(self.compared) <= set(self.fitted)

    @property
    def at_truth(self) -> pd.Series | None:
        """The row of the planted K, where that was fitted."""
        return self.fits.loc[self.true_k] if self.true_k in self.fitted else None

    @property
    def flag(self) -> str:
        """That there may be one group only, where one single Gaussian is not rejected."""
        return structure_flag(self.fits["null_p"].iloc[0])

    def array(self, name: str) -> NDArray:
        """hu, lung, discs, before, after_{K} or importance, as ``run_scenario`` documents them."""
        return np.load(self.folder / f"{name}.npy", allow_pickle=False)

    def cluster_maps(self) -> dict[int, NDArray[np.float32]]:
        """The averaged map (Y, X) of each cluster that has one, importance 0-1 (eq. 10 over its size)."""
        maps, used = self._maps()
        clusters = self.images["cluster"].to_numpy()
        return {int(c): maps[used & (clusters == c)].mean(axis=0) for c in np.unique(clusters[used])}

    def population_map(self) -> NDArray[np.float32]:
        """The averaged map (Y, X) of all images, importance 0-1; zero where none has a map."""
        maps, used = self._maps()
        return maps[used].mean(axis=0) if used.any() else np.zeros_like(maps[0])

    @property
    def n_degenerate(self) -> int:
        """Images whose map is zero everywhere: left out of the averages, as in the group maps of a cohort."""
        return int((~self._maps()[1]).sum())

    def _maps(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        maps = self.array("importance")
        return maps, maps.any(axis=(1, 2))

    def true_discs(self) -> dict[int, NDArray[np.bool_]]:
        """Where most images of each true cluster have their disc, (Y, X); one of +0 HU counts, too."""
        discs, classes = self.array("discs"), self.images["true_cluster"].to_numpy()
        return {int(c): discs[classes == c].mean(axis=0) >= 0.5 for c in np.unique(classes)}


Named = Mapping[str, tuple[Run, ...]]  # the seeds of each scenario


def read_runs(
    scenarios: Path, *, names: Sequence[str] | None = None, seeds: Sequence[int] | None = None
) -> tuple[Run, ...]:
    """All runs below ``scenarios/{scenario}/seed{n}``, in the order of the paper, then ours, then by seed.

    names, seeds : only these are read, if given; what an earlier study with other settings left is passed over.
    """
    found = []
    for folder in Path(scenarios).glob("*/seed*"):
        match = re.fullmatch(r"seed(\d+)", folder.name)
        if match is None or not (folder / "fits.tsv").exists():
            continue
        scenario, seed = folder.parent.name, int(match[1])
        if (names is not None and scenario not in names) or (seeds is not None and seed not in seeds):
            logger.warning("simulation: %s, seed %d is not of this study and is left out.", scenario, seed)
            continue
        found.append(_read(folder, scenario, seed))
    order = [*PAPER, *EXTRA]
    return tuple(sorted(found, key=lambda run: (_rank(run.scenario, order), run.scenario, run.seed)))


def fits_table(runs: Sequence[Run]) -> pd.DataFrame:
    """The rows of all runs, one below the other; counts are whole numbers again."""
    table = pd.concat([run.fits for run in runs], ignore_index=True)
    return table.astype({name: "Int64" for name in ("clusters_used", "epochs", "finished")})


def by_scenario(runs: Sequence[Run]) -> Named:
    """The seeds of each scenario."""
    return {name: tuple(r for r in runs if r.scenario == name) for name in dict.fromkeys(r.scenario for r in runs)}


def _read(folder: Path, scenario: str, seed: int) -> Run:
    fits, criteria, images = (_table(folder / f"{name}.tsv") for name in ("fits", "k_selection", "assignment"))
    fits["guard"] = fits["guard"].fillna("").astype(str)
    return Run(folder, scenario, seed, fits.set_index("fitted_k", drop=False).rename_axis(None), criteria, images)


def _table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", float_precision="round_trip")


def _rank(name: str, order: Sequence[str]) -> int:
    return order.index(name) if name in order else len(order)
