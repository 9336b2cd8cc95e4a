"""Pictures of lesion maps: the scans of least, median and largest burden, where their lesions are largest."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lungtypes.imaging.geometry import Volume, oriented_lps
from lungtypes.imaging.hounsfield import OUTSIDE
from lungtypes.imaging.volume_files import Cohort, read_cohort_array
from lungtypes.report.blocks import Block, Heading, Picture, number
from lungtypes.report.lesion_figures import LesionSlice, plot_lesions
from lungtypes.report.lesion_numbers import SPLITS
from lungtypes.report.profile_sections import cropped_to
from lungtypes.report.results import Results
from lungtypes.report.slices import CT_WINDOW_HU, Cut
from lungtypes.report.style import draw_png

ENOUGH = 3  # held-out scans: then they are shown, since training scans flatter


def lesion_pictures(results: Results, method: str) -> list[Block]:
    """CT, map and mask of three scans, chosen by a rule and not by eye; nothing where maps or scans are missing."""
    chosen = chosen_scans(results.table(f"{method}/phenotype.tsv"))
    array = results.folder / "cohort/regions.npy"
    if chosen.empty or not array.exists():
        return []
    cohort = read_cohort_array(array, results.folder / "cohort/regions.json")
    rows, scans = [], []
    for row in chosen.itertuples():
        scan = _scan(results, cohort, method, row)
        if scan is None:
            continue
        scans.append(scan)
        lesion = scan.cut.of(scan.mask)
        shown = {"slice_index": scan.cut.index}
        shown["lesion_area_mm2"] = float(lesion.sum() * scan.spacing_mm[1] * scan.spacing_mm[2])
        shown["lesion_mean_hu"] = float(scan.cut.of(scan.ct)[lesion].mean()) if lesion.any() else np.nan
        rows.append(row._asdict() | shown)
    if not scans:
        return []

    def draw(figure: Figure) -> None:
        plot_lesions(figure, scans)

    data = pd.DataFrame(rows).drop(columns="Index")
    words = "; ".join(
        f"{r.subject}, {r.role}: {number(r.burden_percent, 1)} % of the lungs" for r in chosen.itertuples()
    )
    truth = any(scan.truth is not None for scan in scans)
    among = " among the held-out ones" if (chosen["split"] == "test").all() else ""
    low, high = (number(v, 0) for v in CT_WINDOW_HU)
    caption = (
        f"Scans of least, median and largest burden{among}; of each the axial slice with the largest lesion "
        f"area (without lesions: with the strongest map). Lung window ({low} to {high} HU), lungs only; the weaker "
        "the map, the more the CT shines through. The patient's right is on the left of the image."
    )
    caption += " Dashed orange line: the given lesion mask." if truth else ""
    alt = f"CT, lesion map and border of the lesion mask of {len(scans)} scans. {words}."
    png = draw_png(draw, height=0.4 + 2.0 * len(scans))
    return [Heading("Lesion maps"), Picture(f"{method}_maps", png, alt, caption, data, of_scans=True)]


def chosen_scans(table: pd.DataFrame | None) -> pd.DataFrame:
    """Least, median (the lower one of two) and largest burden: subject, split, role, burden_percent, burden_ml.

    Of the held-out scans where there are three, else of all.
    """
    columns = ["subject", "split", "role", "burden_percent", "burden_ml"]
    known = pd.DataFrame(columns=columns) if table is None else table[table["burden_percent"].notna()]
    held_out = known[known["split"] == "test"]
    pool = (held_out if len(held_out) >= ENOUGH else known).sort_values(["burden_percent", "subject"])
    last = len(pool) - 1
    places = {"least": 0, "median": last // 2, "largest": last}
    first = dict(reversed([(place, role) for role, place in places.items()])) if last >= 0 else {}
    return pool.iloc[sorted(first)].assign(role=[first[place] for place in sorted(first)])[columns]


def _scan(results: Results, cohort: Cohort, method: str, row: object) -> LesionSlice | None:
    """The scan cut to its lungs, at its slice; None without a map."""
    heat = results.volume(f"{method}/maps/{method}/{row.subject}.nii.gz")
    mask = results.volume(f"{method}/maps/{method}-lesions/{row.subject}.nii.gz")
    if heat is None or mask is None or row.subject not in cohort.subjects:
        return None
    place = cohort.subjects.index(row.subject)
    ct = oriented_lps(cohort.grids[place].volume(np.asarray(cohort.array[place])))
    lungs = ct.with_array((ct.array != OUTSIDE).astype(np.uint8))
    given = _given_mask(results, cohort, place)
    images = [ct, heat, mask, *([] if given is None else [given])]
    small_ct, small_heat, small_mask, *small_given = cropped_to(lungs, images)
    return LesionSlice(
        title=f"{row.subject}, {SPLITS.get(row.split, row.split)}\n{row.role}: {number(row.burden_percent, 1)} %",
        ct=small_ct.array,
        heat=small_heat.array,
        mask=small_mask.array > 0.5,
        cut=largest_cut(small_mask.array > 0.5, small_heat.array),
        spacing_mm=small_ct.spacing_mm,
        truth=small_given[0].array > 0 if small_given else None,
    )


def _given_mask(results: Results, cohort: Cohort, place: int) -> Volume | None:
    """The lesion mask that came with the scan; None without one, or with an empty one."""
    path, masked = results.folder / "cohort/regions_lesions.npy", results.record("cohort/regions_lesions.json")
    # the array of an earlier sheet may still lie there, so its being there is not enough
    if not masked or not masked["lesions"][place] or not path.exists():
        return None
    mask = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False)[place])
    return oriented_lps(cohort.grids[place].volume(mask)) if mask.any() else None


def largest_cut(mask: NDArray[np.bool_], heat: NDArray) -> Cut:
    """The axial slice (Z, Y, X) with most of the mask; without one, with most heat; without heat, the middle one."""
    for values in (mask, heat):
        areas = values.sum(axis=(1, 2), dtype=float)
        if areas.max() > 0:
            index = int(areas.argmax())
            return Cut("axial", index, index / max(len(areas) - 1, 1))
    return Cut("axial", len(mask) // 2, 0.5)
