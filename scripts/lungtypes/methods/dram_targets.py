"""What is known of each region: an exact lesion percentage, or a visual grade with bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lungtypes.evaluation.segmentation import grade_of
from lungtypes.methods.dram_regions import Region


@dataclass(frozen=True)
class Targets:
    """regions: one (row, label) each; grades (n,) int64; percents (n,) float64, NaN where only the grade is known.

    edges : of the grades in percent; grade g reaches from ``edges[g]`` to ``edges[g + 1]``.
    """

    regions: tuple[Region, ...]
    grades: NDArray[np.int64]
    percents: NDArray[np.float64]
    edges: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.regions)

    def only(self, keep: NDArray[np.bool_]) -> Targets:
        """Those of ``keep`` (n,)."""
        regions = tuple(region for region, kept in zip(self.regions, keep.tolist(), strict=True) if kept)
        return Targets(regions, self.grades[keep], self.percents[keep], self.edges)

    def graded(self) -> Targets:
        """The same without exact percentages: grades are all that is known."""
        return Targets(self.regions, self.grades, np.full(len(self), np.nan), self.edges)

    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper bounds (n,) of the grades, as shares 0-1."""
        edges = np.asarray(self.edges) / 100
        return edges[self.grades], edges[self.grades + 1]

    def frequencies(self) -> NDArray[np.float64]:
        """Share (n,) of each region's grade among all of them."""
        counts = np.bincount(self.grades, minlength=len(self.edges) - 1)
        return counts[self.grades] / len(self)


def targets_of(
    table: pd.DataFrame, subjects: Sequence[str], names: Mapping[int, str], *, edges: Sequence[float]
) -> Targets:
    """The targets of ``subjects``, by row and label; rows of other subjects are passed over.

    Parameters
    ----------
    table : subject, region, percent, grade (:func:`lungtypes.cohort.lesion_table.read_lesion_table`); a row without a
        grade has that of its percentage. names : of the labels. edges : see :class:`Targets`.
    """
    row_of = {subject: row for row, subject in enumerate(subjects)}
    label_of = {name: label for label, name in names.items()}
    known = table[table["subject"].isin(row_of)]
    places = [
        (row_of[s], label_of[r]) for s, r in zip(known["subject"].tolist(), known["region"].tolist(), strict=True)
    ]
    order = sorted(range(len(places)), key=places.__getitem__)
    percents = known["percent"].to_numpy(float)[order]
    given = known["grade"].to_numpy(float)[order]
    grades = np.where(np.isnan(given), grade_of(np.nan_to_num(percents), edges), given).astype(np.int64)
    return Targets(tuple(places[i] for i in order), grades, percents, tuple(float(e) for e in edges))


def balanced_draw(grades: NDArray[np.int64], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """``n`` indices: a grade uniformly among those that occur, then one of its regions uniformly."""
    present = np.unique(grades)
    members = {grade: np.flatnonzero(grades == grade) for grade in present.tolist()}
    drawn = present[rng.integers(0, len(present), n)]
    return np.array([members[g][rng.integers(0, len(members[g]))] for g in drawn.tolist()], np.int64)
