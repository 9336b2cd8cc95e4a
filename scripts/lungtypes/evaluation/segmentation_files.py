"""Dice of a method's lesion masks with the masks that the user brought."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from lungtypes.evaluation.segmentation import overlap
from lungtypes.imaging.geometry import read_volume
from lungtypes.imaging.region_files import RegionCohort

COLUMNS = ("subject", "split", "dice", "found_ml", "truth_ml", "note")


def dice_table(folder: str | Path, cohort: RegionCohort) -> pd.DataFrame:
    """A row for each scan with a lesion mask; none where no scan has one.

    folder : with a mask {subject}.nii.gz of each scan on the cohort's grids, as ``segment_stage`` writes them.

    Returns
    -------
    DataFrame : subject, split, then as :class:`lungtypes.evaluation.segmentation.Overlap`. Lesions that lie outside of
        the regions count as missed.
    """
    rows = []
    for row, subject in enumerate(cohort.subjects):
        if not cohort.with_lesions[row]:
            continue
        found = read_volume(Path(folder) / f"{subject}.nii.gz").array > 0
        result = overlap(found, np.asarray(cohort.lesions[row]) > 0, voxel_ml=cohort.spacing_mm**3 / 1000)
        rows.append({"subject": subject, "split": cohort.splits[row], **vars(result)})
    return pd.DataFrame(rows, columns=list(COLUMNS))
