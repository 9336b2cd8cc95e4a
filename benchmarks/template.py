"""The template of 12 virtual people: how it converges, and whether draw, order or start make a difference.

    PYTHONPATH=scripts python benchmarks/template.py 2     # threads

1. all twelve, from the most average one: the convergence curve.
2. two halves of six, split by rank of lung volume (ABBA), each from its own most average scan: Dice of the two
   templates, centre on centre, and after an affine, which takes out how large and how broad the people of a half are.
3. the first iteration with the subjects in reverse order.
4. all twelve once more, started from the smallest person.
5. symmetric data: one chest deformed by three known fields and by their opposites, started from that chest. The mean
   shape is the start, so whatever the template moves is drift.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from lungtypes.device import set_itk

THREADS = int(sys.argv[1]) if len(sys.argv) > 1 else 1
set_itk(threads=THREADS, seed=1)

from chests import CONFIG, SETTINGS, virtual_chest  # noqa: E402 - ITK's threads are fixed above
from scipy import ndimage  # noqa: E402

from lungtypes.cohort.sampling import nearest_to_medians  # noqa: E402
from lungtypes.imaging.registration import dice, register_to_template  # noqa: E402
from lungtypes.imaging.resample import ResampledScan  # noqa: E402
from lungtypes.imaging.template import (  # noqa: E402
    Convergence,
    Template,
    WarpedSubject,
    start_template,
    update_template,
)
from lungtypes.imaging.transforms import displacement_field, point_map  # noqa: E402
from lungtypes.phantom.deformation import deformed, known_displacement  # noqa: E402

SPACING_MM = 5.0
OPTIONS = CONFIG["template"]
HOW = replace(SETTINGS, distance_mm=4 * SPACING_MM)
LIMITS = {name: OPTIONS[name] for name in ("min_dice", "max_update_mm", "max_volume_percent")}
START = time.perf_counter()
GROUPS = ("control", "emphysema", "fibrosis", "sarcoid")


def register_all(template: Template, scans: Sequence[ResampledScan]) -> list[WarpedSubject]:
    """Every scan on the template's grid."""
    warped = []
    for scan in scans:
        with tempfile.TemporaryDirectory() as scratch:
            result = register_to_template(
                scan.ct, scan.lungs, template.hu, template.lungs, settings=HOW, folder=Path(scratch)
            )
            field = displacement_field(point_map(result.transforms, to="scan"), template.hu)
        warped.append(WarpedSubject(result.ct, result.lungs, field))
    return warped


def iterate(name: str, template: Template, scans: Sequence[ResampledScan], iterations: int) -> Template:
    """The template after convergence or so many iterations; prints how it moved in each."""
    moves: list[Convergence] = []
    while len(moves) < iterations and not (moves and moves[-1].within(**LIMITS)):
        warped = register_all(template, scans)
        template, move = update_template(template, warped, step=OPTIONS["step"], applications=OPTIONS["applications"])
        moves.append(move)
        say(
            f"| {name} | {len(moves)} | {move.dice:.4f} | {move.mean_update_mm:.2f}, {move.net_update_mm:.2f} | "
            f"{move.volume_change_percent:+.2f} | {time.perf_counter() - START:.0f} |"
        )
    return template


def started(scans: Sequence[ResampledScan]) -> Template:
    """The first template: the scan nearest to the medians of lung volume."""
    ml = [[float((s.lungs.array == side).sum()) * s.lungs.voxel_ml for side in (1, 2)] for s in scans]
    table = pd.DataFrame(ml, columns=["right_ml", "left_ml"]).assign(subject=[str(i) for i in range(len(scans))])
    first = scans[int(nearest_to_medians(table))]
    return start_template(first.ct, first.lungs, padding_mm=OPTIONS["padding_mm"])


def centred_dice(first: Template, second: Template) -> float:
    """Dice of two templates' lungs with their centres of mass on one another."""
    masks = [template.lungs.array > 0 for template in (first, second)]
    size = np.max([mask.shape for mask in masks], axis=0) + 8
    placed = []
    for mask in masks:
        shift = (size - 1) / 2 - np.array(ndimage.center_of_mass(mask))
        big = np.zeros(size, np.float32)
        big[tuple(slice(0, n) for n in mask.shape)] = mask
        placed.append(ndimage.shift(big, shift, order=1) >= 0.5)
    return dice(*placed)


def affine_dice(first: Template, second: Template) -> float:
    """Dice of the worse lung of two templates after the affine of the registration, without any deformation."""
    with tempfile.TemporaryDirectory() as scratch:
        figures = register_to_template(
            second.hu,
            second.lungs,
            first.hu,
            first.lungs,
            settings=replace(HOW, representation="mask", iterations=(0,)),
            folder=Path(scratch),
        ).figures
    return min(figures["dice_right"], figures["dice_left"])


def say(text: str) -> None:
    """One line, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


scans = [virtual_chest(i, GROUPS[i % 4], spacing_mm=SPACING_MM) for i in range(12)]
say(f"{SPACING_MM:g} mm, {THREADS} threads\n")
say("| sample | iteration | Dice with the last | update, net (mm) | volume change (%) | s |")
say("|---|---|---|---|---|---|")
whole = iterate("all 12", started(scans), scans, OPTIONS["max_iterations"])

ranked = np.argsort([int((scan.lungs.array > 0).sum()) for scan in scans])
parts = {"half A": ranked[[0, 3, 4, 7, 8, 11]], "half B": ranked[[1, 2, 5, 6, 9, 10]]}
halves = []
for name, members in parts.items():
    part = [scans[i] for i in members]
    halves.append(iterate(name, started(part), part, OPTIONS["max_iterations"]))

base = virtual_chest(0, "control", spacing_mm=SPACING_MM, margin_mm=30.0)
around = []
for n in range(3):
    field = known_displacement(
        base.ct.array.shape, SPACING_MM, sd_mm=6.0, width_mm=40.0, scale=(1, 1, 1), rng=np.random.default_rng(n)
    )
    for sign in (1, -1):
        hu, labels = deformed(base.ct.array, base.lungs.array, sign * field, SPACING_MM)
        around.append(ResampledScan(base.ct.with_array(hu), base.lungs.with_array(labels)))
begun = start_template(base.ct, base.lungs, padding_mm=OPTIONS["padding_mm"])
drifted = iterate("symmetric", begun, around, 5)
smallest = scans[int(ranked[0])]
other = start_template(smallest.ct, smallest.lungs, padding_mm=OPTIONS["padding_mm"] + 40)  # room for the others
other = iterate("all 12, other start", other, scans, OPTIONS["max_iterations"])
say(f"\nhalves: Dice {centred_dice(*halves):.4f}, after an affine {affine_dice(*halves):.4f}")
say(f"other start: Dice {centred_dice(whole, other):.4f}, after an affine {affine_dice(whole, other):.4f}")
say(f"each half with the whole: {', '.join(f'{centred_dice(half, whole):.4f}' for half in halves)}")
before, after = (template.lungs.array > 0 for template in (begun, drifted))
shift = np.subtract(ndimage.center_of_mass(after), ndimage.center_of_mass(before)) * SPACING_MM
say(
    f"symmetric data: Dice with the start {dice(before, after):.4f}, volume "
    f"{100 * (after.sum() / before.sum() - 1):+.2f} %, centre moved by {np.linalg.norm(shift):.2f} mm"
)

first = started(scans)
warped = register_all(first, scans[:6])
ordered, turned = (update_template(first, part, step=0.25, applications=4)[0] for part in (warped, warped[::-1]))
say(
    f"reverse order: {int((ordered.lungs.array != turned.lungs.array).sum())} voxels of the mask differ, HU by at most "
    f"{int(np.abs(ordered.hu.array.astype(int) - turned.hu.array).max())}"
)
