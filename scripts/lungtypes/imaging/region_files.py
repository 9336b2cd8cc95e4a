"""Scans with the regions that lesion percentages are about, as arrays on disk: HU and labels; lesion masks apart."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from lungtypes.imaging.geometry import Volume, from_sitk, read_volume, to_sitk
from lungtypes.imaging.hounsfield import OUTSIDE
from lungtypes.imaging.lesion_masks import LESIONS_FILE
from lungtypes.imaging.resample import resample_labels
from lungtypes.imaging.volume_files import Cohort, read_cohort_array, require_held, require_scans, whole_array
from lungtypes.imaging.volumes import CohortGrid, grid_around, lung_hu_on_grid, share_inside
from lungtypes.imaging.zones import LOBES, lung_regions
from lungtypes.provenance import write_json

logger = logging.getLogger(__name__)

LOBES_FILE = "lobes.nii.gz"


@dataclass(frozen=True)
class RegionSource:
    """Where a scan lies: a folder with ct.nii.gz and lungs.nii.gz; the file of its lobes (1-5), or None."""

    folder: Path
    lobes: Path | None


@dataclass(frozen=True)
class RegionCohort:
    """Scans with regions, in the order of ``subjects``; arrays are (N, Z, Y, X).

    array : int16 HU, OUTSIDE where no lung is. labels : uint8, see LOBES_AND_ZONES. lesions : uint8, 1 where a lesion
    is, or None; it says nothing of scans whose ``with_lesions`` is False. grids : each scan's own.
    """

    array: NDArray[np.int16]
    labels: NDArray[np.uint8]
    lesions: NDArray[np.uint8] | None
    with_lesions: tuple[bool, ...]
    subjects: tuple[str, ...]
    splits: tuple[str, ...]
    grids: tuple[CohortGrid, ...]

    @property
    def spacing_mm(self) -> float:
        """Of all grids."""
        return self.grids[0].spacing_mm


def write_region_arrays(
    array_file: str | Path,
    labels_file: str | Path,
    description_file: str | Path,
    *,
    scans: Mapping[str, RegionSource],
    splits: Mapping[str, str],
    size: int,
    spacing_mm: float,
) -> None:
    """Write every scan in a cube of ``size`` voxels around its lungs, scan by scan (memory of one scan).

    Regions are the lobes where the scan has them, else the upper, middle and lower zone of each lung. The description
    says for each scan which regions it has; its grid, and the share of its lungs that the cube holds.

    Raises InputError when fewer than three scans are left, or a cube holds less than 90 % of a scan's lungs.
    """
    require_scans(scans)
    grids, shares, shape = [], [], (len(scans), size, size, size)
    with (
        whole_array(array_file, dtype=np.int16, shape=shape) as array,
        whole_array(labels_file, dtype=np.uint8, shape=shape) as labels,
    ):
        for number, source in enumerate(scans.values()):
            ct, lungs = (read_volume(source.folder / f"{name}.nii.gz") for name in ("ct", "lungs"))
            grid = grid_around(lungs, size=size, spacing_mm=spacing_mm)
            array[number] = lung_hu_on_grid(ct, lungs, grid)
            regions = resample_labels(_regions(source, lungs), grid.reference(), min_share=1e-3)
            labels[number] = np.where(array[number] != OUTSIDE, regions, 0)
            grids.append(grid), shares.append(round(share_inside(lungs, grid), 4))
        require_held(scans, shares, size=size, spacing_mm=spacing_mm, key="dram.volumes")
    labelling = ["lobes" if source.lobes else "zones" for source in scans.values()]
    description = {
        "subjects": list(scans),
        "splits": [splits[s] for s in scans],
        "outside": OUTSIDE,
        "space": "native",
        "grids": [asdict(grid) for grid in grids],
        "lung_share_in_box": shares,
        "labelling": labelling,
    }
    write_json(description_file, description)
    logger.info("%d scans with lobes, %d with zones of each lung", labelling.count("lobes"), labelling.count("zones"))


def write_region_lesions(
    lesions_file: str | Path | None, masked_file: str | Path, *, cohort: Cohort, folders: Iterable[Path]
) -> None:
    """Write the user's lesion masks on the grids of a cohort in native space, scan by scan, and which scans have one.

    lesions_file : uint8 (N, Z, Y, X), 1 where a lesion is; None when no scan of the sheet has a mask. masked_file : for
    each scan whether it has a mask (``lesions``), and why the masks of others were refused (``refused``).
    folders : named by subject, with lesions.nii.gz; a mask that was refused left its status.json alone.
    """
    named = {folder.name: folder for folder in folders}
    own = [named.get(subject) for subject in cohort.subjects]
    given = [folder is not None and (folder / LESIONS_FILE).exists() for folder in own]
    refused = {folder.name: _message(folder) for folder, has in zip(own, given, strict=True) if folder and not has}
    for subject, reason in refused.items():
        logger.warning("subject %s goes on without lesion mask: %s", subject, reason)
    if lesions_file:
        with whole_array(lesions_file, dtype=np.uint8, shape=cohort.array.shape) as array:
            for row in np.flatnonzero(given):
                array[row] = nearest_on_grid(read_volume(own[row] / LESIONS_FILE), cohort.grids[row])
    write_json(masked_file, {"subjects": list(cohort.subjects), "lesions": given, "refused": refused})


def sources_of(subjects: Iterable[str], *, resampled: Iterable[Path], lobes: Iterable[Path]) -> dict[str, RegionSource]:
    """Where the scans of ``subjects`` lie, from folders named by subject, of some or of all of them.

    resampled : has lobes.nii.gz too where the user gave lobes. lobes : those that were warped from a template. Lobes
    that could not be warped leave no file: the scan counts as one without, and a warning says so.
    """
    folders = [{folder.name: folder for folder in kind} for kind in (resampled, lobes)]
    found = {}
    for subject in subjects:
        own, warped = (kind.get(subject) for kind in folders)
        files = [own / LOBES_FILE, warped and warped / LOBES_FILE]
        given, from_template = (file if file and file.exists() else None for file in files)
        if warped and not from_template:
            logger.warning("subject %s goes on without lobes: %s", subject, _message(warped))
        found[subject] = RegionSource(own, given or from_template)
    return found


def read_region_arrays(
    array_file: str | Path,
    labels_file: str | Path,
    description_file: str | Path,
    lesions_file: str | Path | None = None,
    masked_file: str | Path | None = None,
) -> RegionCohort:
    """Read what :func:`write_region_arrays` wrote, and :func:`write_region_lesions`; arrays are read-only memory maps.

    Without ``masked_file`` no scan has a lesion mask.
    """
    cohort = read_cohort_array(array_file, description_file)
    labels, lesions = (
        np.load(file, mmap_mode="r", allow_pickle=False) if file else None for file in (labels_file, lesions_file)
    )
    masked = json.loads(Path(masked_file).read_text())["lesions"] if masked_file else [False] * len(cohort.subjects)
    return RegionCohort(cohort.array, labels, lesions, tuple(masked), cohort.subjects, cohort.splits, cohort.grids)


def nearest_on_grid(mask: Volume, grid: CohortGrid) -> NDArray[np.uint8]:
    """A mask of 0 and 1 on a grid: of each voxel the nearest one of the mask, 0 beyond it."""
    image = to_sitk(mask.with_array((mask.array > 0).astype(np.uint8)))
    return from_sitk(sitk.Resample(image, grid.reference(), sitk.Transform(), sitk.sitkNearestNeighbor, 0)).array


def _message(folder: Path) -> str:
    return json.loads((folder / "status.json").read_text())["message"]


def _regions(source: RegionSource, lungs: Volume) -> Volume:
    """Lobes as they are, else zones with the labels after those of the lobes."""
    if source.lobes:
        return read_volume(source.lobes)
    zones = lung_regions(lungs.array)
    return lungs.with_array(np.where(zones > 0, zones + len(LOBES), 0).astype(np.uint8))
