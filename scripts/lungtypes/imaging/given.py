"""What a study may bring with it: a template, volumes that are registered to it already, lesion masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungtypes.errors import GeometryError, InputError, ScanFault
from lungtypes.imaging.geometry import Volume, oriented_lps, read_volume, require_same_grid, same_grid
from lungtypes.imaging.hounsfield import AIR_HU, MAX_HU
from lungtypes.imaging.lung_split import LEFT, RIGHT, require_right_on_the_right
from lungtypes.imaging.registration import measure_overlap

OF_THE_DEFORMATION = ("folded_percent", "jacobian_p01", "jacobian_p99", "inverse_mm", "volume_ratio")
LUNG_HU = (-980.0, -200.0)  # the median of any lung, sick ones included, lies between


@dataclass(frozen=True)
class GivenRegistration:
    """A volume that came registered: ct int16 HU and lungs (1 right, 2 left) on the template's grid; its figures."""

    ct: Volume
    lungs: Volume
    figures: dict[str, float | None]


def read_given_template(
    image: str | Path, lungs: str | Path, *, keys: tuple[str, str] = ("template.image", "template.lungs")
) -> tuple[Volume, Volume]:
    """The user's template, int16 HU, and its lungs (1 right, 2 left), index axes along LPS.

    keys : of the config, where the two stand.
    Raises InputError when they do not fit together, have other labels, or are not in HU.
    """
    try:
        hu, mask = (oriented_lps(read_volume(Path(path))) for path in (image, lungs))
        require_same_grid(hu, mask, " and ".join(keys))
    except GeometryError as error:
        raise InputError(f"{', '.join(keys)}: {error}") from error
    found = set(np.unique(mask.array).tolist())
    if found != {0, RIGHT, LEFT}:
        raise InputError(f"{keys[1]}: found labels {sorted(found)[:12]}, expected 0, 1 (right) and 2 (left).")
    labels = mask.array.astype(np.uint8)
    try:
        require_right_on_the_right(labels)
        ct = _as_hu(hu, labels)
    except ScanFault as fault:
        raise InputError(f"{keys[0]}: {fault.message}") from fault
    return ct, mask.with_array(labels)


def check_given_registration(ct: Volume, lungs: Volume | None, *, template: Volume, mask: Volume) -> GivenRegistration:
    """A volume that the user registered, on the grid of the template.

    Parameters
    ----------
    ct : HU in template space; what lies outside the lungs does not matter.
    lungs : its lung mask in template space, or None where the template's own mask holds for it.
    template, mask : the template's HU and lungs.

    Raises
    ------
    ScanFault : REG-GRID, IMG-NAN, HU-IMPLAUSIBLE, SEG-LABELS.
    """
    ct = oriented_lps(ct)
    lungs = mask if lungs is None else oriented_lps(lungs)
    for name, image in (("volume", ct), ("lung mask", lungs)):
        if not same_grid(image, mask):
            found = f"{image.array.shape} voxels of {image.spacing_mm} mm"
            expected = f"{mask.array.shape} of {mask.spacing_mm} mm at the same place"
            raise ScanFault("REG-GRID", f"registered {name} has {found}, expected {expected}. Resample it.")
    found = set(np.unique(lungs.array).tolist())
    if found != {0, RIGHT, LEFT}:
        raise ScanFault("SEG-LABELS", f"given mask has labels {sorted(found)[:12]}, expected 1 (right) and 2 (left).")
    labels = lungs.array.astype(np.uint8)
    hu = _as_hu(ct, labels)
    measured = measure_overlap(hu, hu.with_array(labels), template, mask)
    figures = measured | dict.fromkeys(OF_THE_DEFORMATION)  # which was not brought along
    return GivenRegistration(hu, hu.with_array(labels), figures)


def check_given_lesions(scan: Volume, given: Volume) -> Volume:
    """The user's lesion mask as uint8 of 0 and 1, index axes along LPS: whatever is above 0 is lesion.

    Raises GeometryError when the mask lies on another grid than the scan.
    """
    given = oriented_lps(given)
    require_same_grid(scan, given, "scan and given lesion mask")
    return scan.with_array((given.array > 0).astype(np.uint8))


def _as_hu(volume: Volume, lungs: NDArray[np.uint8]) -> Volume:
    """int16 HU; raises ScanFault when the lungs hold NaN or do not look like lungs in HU."""
    inside = volume.array[lungs > 0]
    if not np.isfinite(inside).all():
        raise ScanFault("IMG-NAN", "found NaN or infinite values in the lungs, expected HU. Convert the image again.")
    median = float(np.median(inside))
    if not LUNG_HU[0] <= median <= LUNG_HU[1]:
        text = f"median of the lungs is {median:.4g}, expected {LUNG_HU[0]:g} to {LUNG_HU[1]:g} HU. Undo the scaling."
        raise ScanFault("HU-IMPLAUSIBLE", text)
    clean = np.nan_to_num(volume.array.astype(np.float32), nan=AIR_HU, posinf=MAX_HU, neginf=AIR_HU)
    return volume.with_array(np.rint(np.clip(clean, AIR_HU, MAX_HU)).astype(np.int16))
