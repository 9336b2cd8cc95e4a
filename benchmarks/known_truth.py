"""Registration against the truth: virtual scans deformed by known fields, at 2 mm.

    PYTHONPATH=scripts python benchmarks/known_truth.py 1 3     # threads, people

A field of 8 mm standard deviation in each direction on top of a scaling by 4-5 %. The landmark error is the distance
between where a point of the lungs is sent and where it belongs, over 5,000 points; ``before`` is without registration.
"""

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from lungtypes.device import set_itk

THREADS, PEOPLE = (int(text) for text in (sys.argv[1:] + ["1", "3"][len(sys.argv) - 1 :]))
set_itk(threads=THREADS, seed=1)

import SimpleITK as sitk  # noqa: E402 - ITK's threads are fixed above
from chests import SETTINGS, virtual_chest  # noqa: E402

from lungtypes.imaging.registration import register_to_template  # noqa: E402
from lungtypes.imaging.transforms import displacement_field, point_map  # noqa: E402
from lungtypes.phantom.deformation import deformed, known_displacement  # noqa: E402

SPACING_MM, SD_MM, WIDTH_MM = 2.0, 8.0, 40.0

sys.stdout.write(
    f"{SPACING_MM:g} mm, {THREADS} threads\n\n| person | drives | s | Dice right, left | HD95 (mm) | landmark error "
    "(mm): before, mean, 95 % | in voxels | folded (%) |\n|---|---|---|---|---|---|---|---|\n"
)
for index, group in enumerate(("control", "emphysema", "fibrosis")[:PEOPLE]):
    scan = virtual_chest(index, group, spacing_mm=SPACING_MM, margin_mm=25.0)
    rng = np.random.default_rng(index)
    shape = scan.ct.array.shape
    field = known_displacement(shape, SPACING_MM, sd_mm=SD_MM, width_mm=WIDTH_MM, scale=(1.04, 0.95, 1.05), rng=rng)
    hu, labels = deformed(scan.ct.array, scan.lungs.array, field, SPACING_MM)
    fixed = scan.ct.with_array(hu), scan.lungs.with_array(labels)
    for drives in ("mask+hu", "mask"):
        with tempfile.TemporaryDirectory() as scratch:
            start = time.perf_counter()
            settings = replace(SETTINGS, representation=drives)
            result = register_to_template(scan.ct, scan.lungs, *fixed, settings=settings, folder=Path(scratch))
            seconds = time.perf_counter() - start
            found = sitk.GetArrayFromImage(displacement_field(point_map(result.transforms, to="scan"), fixed[1]))
        points = tuple(rng.permutation(np.argwhere(labels > 0))[:5000].T)
        truth = np.moveaxis(field[::-1], 0, -1)[points]
        miss, before = np.linalg.norm(found[points] - truth, axis=1), np.linalg.norm(truth, axis=1)
        q = result.figures
        sys.stdout.write(
            f"| {group} | {drives} | {seconds:.0f} | {q['dice_right']:.3f}, {q['dice_left']:.3f} | "
            f"{max(q['hd95_right_mm'], q['hd95_left_mm']):.1f} | {before.mean():.1f}, {miss.mean():.2f}, "
            f"{np.percentile(miss, 95):.2f} | {miss.mean() / SPACING_MM:.2f} | {q['folded_percent']:.4f} |\n"
        )
        sys.stdout.flush()
