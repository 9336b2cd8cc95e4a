"""What three ways of converting do with faulty series: the right volume, a refusal, or a wrong volume in silence.

Every series is a small virtual chest with one planted defect. A way is right when it gives the true volume, or refuses
where the files do not hold it. Usage: PYTHONPATH=scripts python benchmarks/converter_faults.py
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import dcm2niix
import numpy as np
import pydicom
import yaml

from lungtypes.errors import ScanFault
from lungtypes.imaging.geometry import Volume, oriented_lps, read_volume
from lungtypes.imaging.ingest import ingest_scan
from lungtypes.phantom.dicom_writer import truncate_file, write_series

SPACING_MM = (2.0, 5.0, 5.0)
LIMITS = {"min_slices": 10, "min_coverage_mm": 20.0}
CONFIG = yaml.safe_load((Path(__file__).resolve().parents[1] / "config/config.yaml").read_text())["ingest"] | LIMITS


def chest() -> np.ndarray:
    hu = np.full((24, 64, 64), -1000, np.int16)
    hu[:, 14:50, 8:56] = 40
    hu[4:20, 20:44, 14:28] = hu[4:20, 20:44, 36:50] = -850
    hu[:, 46, 30] = 10 * np.arange(24)
    return hu


def write(folder: Path, hu: np.ndarray | None = None, **tags: object) -> list[Path]:
    tags = {"SeriesNumber": 2, "ConvolutionKernel": "STANDARD", **tags}
    options = {"spacing_mm": SPACING_MM, "origin_mm": (-24.0, -160.0, -160.0), "uid_names": ("b", "2")}
    return write_series(chest() if hu is None else hu, folder, tags=tags, **options)


def change(path: Path, **values: object) -> None:
    data = pydicom.dcmread(path)
    for keyword, value in values.items():
        setattr(data, keyword, value)
    data.save_as(path)


def move(path: Path, dx: float = 0.0, dy: float = 0.0, dz: float = 0.0) -> None:
    x, y, z = pydicom.dcmread(path).ImagePositionPatient
    change(path, ImagePositionPatient=[x + dx, y + dy, z + dz])


def shuffled(folder: Path) -> None:
    for number, path in enumerate(write(folder)):
        change(path, InstanceNumber=(number * 7) % 24 + 1)
        path.rename(path.with_name(f"{(number * 11) % 24:03d}"))


def rescaled(folder: Path) -> None:
    data = pydicom.dcmread(path := write(folder)[5])
    data.PixelData = (data.pixel_array.astype("<u2") // 2).tobytes()
    data.RescaleSlope = 2
    data.save_as(path)


def jitter(folder: Path) -> None:
    rng = np.random.default_rng(1)
    for path in write(folder):
        move(path, dz=rng.uniform(-0.08, 0.08))


def sent_twice(folder: Path) -> None:
    (folder / "again").mkdir(parents=True)
    for path in write(folder)[3:9]:
        shutil.copy(path, folder / "again")


def conflicting(folder: Path) -> None:
    paths = write(folder)
    change(paths[5], ImagePositionPatient=pydicom.dcmread(paths[6]).ImagePositionPatient)


def two_kernels(folder: Path) -> None:
    write(folder / "a")
    for number, path in enumerate(write(folder / "b", np.clip(chest() * 2, -1024, 3000), ConvolutionKernel="LUNG")):
        change(path, SOPInstanceUID=f"1.2.3.{number}", InstanceNumber=number + 101)


def uneven(folder: Path) -> None:
    for number, path in enumerate(write(folder)):
        move(path, dz=-3.0 * max(0, number - 12))


def tilted(folder: Path) -> None:
    for number, path in enumerate(write(folder)):
        move(path, dy=0.5 * number)


def no_preamble(folder: Path) -> None:
    for path in write(folder):
        path.write_bytes(path.read_bytes()[132:])


# name: how to make it, and whether the files hold the true volume
DEFECTS: dict[str, tuple[Callable[[Path], object], bool]] = {
    "none": (write, True),
    "file names and instance numbers shuffled": (shuffled, True),
    "rescale differs by slice": (rescaled, True),
    "0.08 mm position jitter": (jitter, True),
    "slices sent twice": (sent_twice, True),
    "two kernels in one series": (two_kernels, True),
    "no preamble": (no_preamble, True),
    "3 middle slices missing": (lambda f: [p.unlink() for p in write(f)[9:12]], False),
    "2 mm, then 5 mm spacing": (uneven, False),
    "two different slices at one position": (conflicting, False),
    "gantry tilt": (tilted, False),
    "a slice cut off": (lambda f: truncate_file(write(f)[7], 0.6), False),
    "an empty file": (lambda f: write(f)[0].write_bytes(b""), False),
    "a reformat (MPR)": (lambda f: write(f, ImageType=["DERIVED", "SECONDARY", "MPR"]), False),
    "MR": (lambda f: write(f, Modality="MR"), False),
    "a spectral map, not HU": (lambda f: [change(p, RescaleType="Z_EFF") for p in write(f)], False),
}


def ours(folder: Path, converter: str) -> Volume | None:
    try:
        return ingest_scan(folder, wanted_series=None, **{**CONFIG, "converter": converter}).volume
    except ScanFault:
        return None


def dcm2niix_alone(folder: Path) -> Volume | None:
    """As published studies use it: a folder in, success out, the first volume taken."""
    with tempfile.TemporaryDirectory() as out:
        command = [dcm2niix.bin, "-z", "n", "-b", "n", "-f", "vol", "-o", out, str(folder)]
        done = subprocess.run(command, capture_output=True, check=False)
        volumes = sorted(Path(out).glob("*.nii"))
        if done.returncode != 0 or not volumes:
            return None
        try:
            return oriented_lps(read_volume(volumes[0]))
        except Exception:  # more than three dimensions: nobody would notice before the next stage
            return Volume(np.zeros((1, 1, 1)), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3))


def verdict(volume: Volume | None, possible: bool) -> str:
    if volume is None:
        return "refused (could be read)" if possible else "refused"
    same = volume.array.shape == chest().shape and np.abs(volume.array - chest()).max() <= 1
    spaced = np.allclose(volume.spacing_mm, SPACING_MM, rtol=0.005)
    return "right" if possible and same and spaced else "WRONG, silently"


ways = {
    "lungtypes": lambda folder: ours(folder, "lungtypes"),
    "dcm2niix, verified": lambda folder: ours(folder, "dcm2niix"),
    "dcm2niix alone": dcm2niix_alone,
}
score = dict.fromkeys(ways, 0)
sys.stdout.write(f"| defect | {' | '.join(ways)} |\n|---|---|---|---|\n")
for name, (make, possible) in DEFECTS.items():
    with tempfile.TemporaryDirectory() as place:
        make(Path(place))
        found = {way: verdict(convert(Path(place)), possible) for way, convert in ways.items()}
    for way, text in found.items():
        score[way] += text in ("right", "refused")
    sys.stdout.write(f"| {name} | {' | '.join(found.values())} |\n")
sys.stdout.write(f"| **as it should be, of {len(DEFECTS)}** | {' | '.join(map(str, score.values()))} |\n")
