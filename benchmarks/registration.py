"""Our registration beside two presets of ANTs on the same pairs: overlap, surface, folding, time and memory.

    PYTHONPATH=scripts python benchmarks/registration.py --real FOLDER --threads 2 --spacing 3

Every registration runs in a process of its own, with its own count of threads and peak of memory. Times are ratios to
the plain ``SyN`` of ANTs in the same run. All engines get the same images, cropped to the lungs; the presets of ANTs
get HU, as they are used. FOLDER holds scans (DICOM folders, or folders with one image file).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import combinations
from pathlib import Path

ENGINES = ("lungtypes mask+hu", "lungtypes mask", "SyN", "antsRegistrationSyN[s]")
REFERENCE = "SyN"


def one(fixed: Path, moving: Path, engine: str, threads: int) -> dict[str, float]:
    """Register one pair in this process."""
    from lungtypes.device import set_itk

    set_itk(threads=threads, seed=1)
    import ants
    from chests import SETTINGS

    from lungtypes.imaging.geometry import read_volume, to_ants
    from lungtypes.imaging.registration import cropped_to_lungs, register_to_template, registration_of
    from lungtypes.imaging.transforms import TransformFiles

    template, scan = [
        [read_volume(folder / f"{name}.nii.gz") for name in ("ct", "lungs")] for folder in (fixed, moving)
    ]
    with tempfile.TemporaryDirectory() as scratch:
        start = time.perf_counter()
        if engine.startswith("lungtypes"):
            settings = replace(SETTINGS, representation=engine.split()[1])
            result = register_to_template(*scan, *template, settings=settings, folder=Path(scratch))
            seconds = time.perf_counter() - start
        else:
            pair = []
            for images in (template, scan):
                hu = cropped_to_lungs(*images).hu
                pair.append(to_ants(hu.with_array(hu.array.clip(-1000, 400) + 1000.0)))
            found = ants.registration(*pair, type_of_transform=engine, outprefix=f"{scratch}/r_")
            files = TransformFiles(
                *(Path(next(f for f in found[key] if f.endswith(end) and ("Inverse" in f) == (key == "invtransforms")))
                  for key, end in (("fwdtransforms", ".mat"), ("fwdtransforms", "Warp.nii.gz"),
                                   ("invtransforms", "InverseWarp.nii.gz")))
            )  # fmt: skip
            result = registration_of(files, *scan, *template)  # part of ours, so of theirs
            seconds = time.perf_counter() - start
    return {"s": seconds, "gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, **result.figures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--spacing", type=float, default=3.0)
    parser.add_argument("--pairs", type=int, default=99, help="only the first so many")
    parser.add_argument("--engines", nargs="+", default=list(ENGINES))
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        fixed, moving, engine = options.one
        sys.stdout.write(json.dumps(one(Path(fixed), Path(moving), engine, options.threads)) + "\n")
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), options)


def compare(folder: Path, options: argparse.Namespace) -> None:
    """Write the scans into ``folder``, register every pair with every engine, print a table."""
    from chests import real_chest, virtual_chest

    from lungtypes.imaging.geometry import write_volume

    groups = {}
    if options.real:
        places = sorted(path for path in options.real.iterdir() if path.is_dir())
        images = [next(iter(sorted(place.glob("*.nii.gz"))), place) for place in places]
        groups["real"] = {f"real{i}": real_chest(p, spacing_mm=options.spacing) for i, p in enumerate(images, start=1)}
    people = ("control", "emphysema", "fibrosis")[: 3 if not options.real else 2]
    groups["virtual"] = {name: virtual_chest(i, name, spacing_mm=options.spacing) for i, name in enumerate(people)}
    pairs = []
    for scans in groups.values():
        for name, scan in scans.items():
            write_volume(scan.ct, folder / name / "ct.nii.gz")
            write_volume(scan.lungs, folder / name / "lungs.nii.gz")
        pairs += combinations(scans, 2)
    sys.stdout.write(
        f"{options.spacing:g} mm, {options.threads} threads\n\n| pair | engine | time | Dice right, left | "
        "HD95 (mm) | folded (%) | inverse (mm) | HU correlation | GB |\n|---|---|---|---|---|---|---|---|---|\n"
    )
    for fixed, moving in pairs[: options.pairs]:
        found = {}
        for engine in options.engines:
            command = [sys.executable, __file__, "--threads", str(options.threads)]
            command += ["--one", str(folder / fixed), str(folder / moving), engine]
            found[engine] = json.loads(
                subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1]
            )
        for engine, q in found.items():
            ratio = q["s"] / found[REFERENCE]["s"] if REFERENCE in found else float("nan")
            hd95_mm = max(q["hd95_right_mm"], q["hd95_left_mm"])
            sys.stdout.write(
                f"| {moving} to {fixed} | {engine} | x {ratio:.2f} ({q['s']:.1f} s) | {q['dice_right']:.3f}, "
                f"{q['dice_left']:.3f} | {hd95_mm:.1f} | {q['folded_percent']:.3f} | "
                f"{q['inverse_mm']:.2f} | {q['hu_correlation']:.2f} | {q['gb']:.2f} |\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
