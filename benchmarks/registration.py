"""Registration settings side by side on two virtual chests: overlap, agreement of HU, and time as a ratio.

The reference is the lung mask alone, off the full resolution. One thread, one seed, one process.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from lungtypes.device import set_itk

set_itk(threads=1, seed=1)

from lungtypes.imaging.geometry import Volume  # noqa: E402 - ITK's threads are fixed above
from lungtypes.imaging.registration import register_to_template  # noqa: E402
from lungtypes.imaging.resample import ResampledScan, resample_scan  # noqa: E402
from lungtypes.phantom.anatomy import draw_person  # noqa: E402
from lungtypes.phantom.scan import virtual_scan  # noqa: E402
from lungtypes.phantom.scanner import SCANNERS  # noqa: E402

SPACING_MM = 4.0
SETTINGS = {
    "mask, half resolution": ("mask", (60, 40, 20, 0)),
    "mask+hu, half resolution (default)": ("mask+hu", (60, 40, 20, 0)),
    "mask+hu, full resolution": ("mask+hu", (60, 40, 20)),
}


def chest(index: int, group: str) -> ResampledScan:
    """A virtual scan on the registration grid, with its true lungs."""
    hu, thorax = virtual_scan(draw_person(1, index, group), SCANNERS[0], in_plane=160, seed=1)
    scan = Volume(hu, thorax.spacing_mm, tuple(thorax.origin_mm[::-1]), np.eye(3))
    lungs = scan.with_array(thorax.lungs)
    return resample_scan(scan, lungs, spacing_mm=SPACING_MM, margin_mm=15.0, max_volume_change_percent=3.0)


fixed, moving = chest(0, "control"), chest(1, "emphysema")
reference_s = None
for name, (representation, iterations) in SETTINGS.items():
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        result = register_to_template(
            moving.ct,
            moving.lungs,
            fixed.ct,
            fixed.lungs,
            representation=representation,
            iterations=iterations,
            mask_sigma_mm=SPACING_MM,
            work_dir=Path(folder),
        )
        seconds = time.perf_counter() - start
    reference_s = reference_s or seconds
    q = result.quality()
    sys.stdout.write(
        f"{name:36s} time x{seconds / reference_s:5.2f} ({seconds:5.1f} s)  Dice {q['dice_right']:.3f} "
        f"{q['dice_left']:.3f}  HU correlation {q['hu_correlation']:.3f}  folded {100 * q['folded_fraction']:.3f} %\n"
    )
