"""The lungs of a virtual person with every planted condition: overlap with the truth, flags, time and memory.

One thread, one seed. A scan at 2 x 1.2 x 1.2 mm by default; another spacing (z, y and x in mm) as two numbers.
"""

import resource
import sys
import time
from pathlib import Path

import yaml

from lungtypes.device import set_itk

set_itk(threads=1, seed=1)

from lungtypes.errors import ScanFault  # noqa: E402 - ITK's threads are fixed above
from lungtypes.imaging.checks import judge  # noqa: E402
from lungtypes.imaging.geometry import oriented_lps  # noqa: E402
from lungtypes.imaging.lung_checks import CHECKS  # noqa: E402
from lungtypes.imaging.lungs import segment_lungs  # noqa: E402
from lungtypes.imaging.registration import dice  # noqa: E402
from lungtypes.phantom.anatomy import draw_person  # noqa: E402
from lungtypes.phantom.conditions import ANATOMY, GEOMETRY, sick_scan  # noqa: E402
from lungtypes.phantom.scanner import SCANNERS  # noqa: E402

CONFIG = yaml.safe_load((Path(__file__).resolve().parents[1] / "config/config.yaml").read_text())["lungs"]
LIMITS = CONFIG["checks"]
NO_FAIL = {name: {**limits, "fail": None} for name, limits in LIMITS.items()}
SETTINGS = {name: CONFIG[name] for name in ("air_threshold_hu", "closing_mm")}
PEOPLE = [(0, "control", "none"), (1, "emphysema", "none"), (2, "fibrosis", "none"), (3, "sarcoid", "none")]

z_mm, xy_mm = map(float, sys.argv[1:3] or (2.0, 1.2))
sys.stdout.write("| person | condition | voxels | Dice right, left | flags | s |\n|---|---|---|---|---|---|\n")
for index, group, condition in PEOPLE + [(0, "control", name) for name in [*ANATOMY, *GEOMETRY]]:
    scan = sick_scan(draw_person(1, index, group), SCANNERS[0], condition, seed=1, spacing_mm=(z_mm, xy_mm, xy_mm))
    ct, truth = oriented_lps(scan.ct), oriented_lps(scan.lungs).array
    start = time.perf_counter()
    try:
        found = segment_lungs(ct, **SETTINGS, checks=NO_FAIL)
        seconds = time.perf_counter() - start
        right, left = (dice(found.labels.array == side, truth == side) for side in (1, 2))
        judged = judge({check.name: check.value for check in found.checks}, LIMITS, CHECKS)
        flags = ", ".join(f"{c.name} {c.value:.3g} ({c.verdict})" for c in judged if c.verdict in ("warn", "fail"))
        result = f"{right:.3f}, {left:.3f} | {flags or 'none'}"
    except ScanFault as fault:
        seconds, result = time.perf_counter() - start, f"- | {fault.code} (fail)"
    shape = "x".join(map(str, ct.array.shape[::-1]))
    sys.stdout.write(f"| {group} | {condition} | {shape} | {result} | {seconds:.1f} |\n")
    sys.stdout.flush()
peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
sys.stdout.write(f"\nlargest process, the phantom included: {peak_gb:.1f} GB\n")
