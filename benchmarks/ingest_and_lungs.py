"""Ingest and lungs of one 512 x 512 x 300 scan on one core, beside dcm2niix alone: seconds and peak memory.

Each step runs in a process of its own. Usage: PYTHONPATH=scripts python benchmarks/ingest_and_lungs.py
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
STEPS = {
    "dcm2niix": (
        "import subprocess, dcm2niix\n"
        "subprocess.run([dcm2niix.bin, '-z', 'y', '-b', 'n', '-f', 'vol', '-o', out, dicom], check=True)\n"
        "assert [p.name for p in Path(out).iterdir()] == ['vol.nii.gz']"
    ),
    "ingest": (
        "from lungtypes.imaging.ingest import ingest_scan; from lungtypes.imaging.geometry import write_volume\n"
        "scan = ingest_scan(Path(dicom), wanted_series=None, **config['ingest'])\n"
        "write_volume(scan.volume, Path(out) / 'ct.nii.gz')"
    ),
    "lungs": (
        "from lungtypes.device import set_itk; set_itk(threads=1, seed=1)\n"
        "from lungtypes.imaging.lobes import find_lungs\n"
        "from lungtypes.imaging.geometry import read_volume, write_volume\n"
        "scan = read_volume(Path(out) / 'ct.nii.gz')\n"
        "found = find_lungs(scan, given_lungs=None, given_lobes=None, **config['lungs'])\n"
        "write_volume(found.lungs.labels, Path(out) / 'lungs.nii.gz')"
    ),
}


def write_scan(folder: Path) -> None:
    from lungtypes.phantom.anatomy import draw_person
    from lungtypes.phantom.dicom_writer import write_series
    from lungtypes.phantom.scan import virtual_scan
    from lungtypes.phantom.scanner import SCANNERS

    hu, thorax = virtual_scan(draw_person(1, 0, "emphysema"), SCANNERS[0], in_plane=512, seed=1)
    slices = np.linspace(0, len(hu) - 1, 300).round().astype(int)
    spacing = (thorax.spacing_mm[0] * (len(hu) - 1) / 299, *thorax.spacing_mm[1:])
    tags = {"SeriesNumber": 2, "ConvolutionKernel": "STANDARD"}
    write_series(hu[slices], folder, spacing_mm=spacing, origin_mm=thorax.origin_mm, tags=tags, uid_names=("s", "2"))


def measure(code: str, dicom: str, out: str) -> tuple[float, float]:
    start = f"import yaml; from pathlib import Path\ndicom, out = {dicom!r}, {out!r}\n"
    start += f"config = yaml.safe_load(Path({str(ROOT / 'config/config.yaml')!r}).read_text())\n"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-c", start + code], env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"a step failed: {code}")
    return time.monotonic() - began, usage.ru_maxrss / 1024


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        writer = multiprocessing.get_context("spawn").Process(target=write_scan, args=(Path(name) / "dicom",))
        writer.start()  # in a process of its own: a step's peak memory counts what its parent held
        writer.join()
        (Path(name) / "out").mkdir()
        sys.stdout.write("step\tseconds\tpeak_mb\tdcm2niix=1\n")
        base = None
        for step, code in STEPS.items():
            seconds, megabytes = measure(code, f"{name}/dicom", f"{name}/out")
            base = base or seconds
            sys.stdout.write(f"{step}\t{seconds:.1f}\t{megabytes:.0f}\t{seconds / base:.1f}\n")
