"""dcm2niix, the published studies' converter, with its output verified against the headers of the series.

It returns success on series with missing, repeated or unevenly spaced slices, and leaves several files then; here
only files of one stack are handed to it, and anything but one volume of the expected grid is a fault.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import numpy as np

from lungtypes.errors import GeometryError, ScanFault
from lungtypes.imaging.dicom_index import read_header
from lungtypes.imaging.geometry import Volume, oriented_lps, read_volume
from lungtypes.imaging.hounsfield import AIR_HU, MAX_HU
from lungtypes.imaging.series_rules import Series

SPACING_TOLERANCE = 0.005  # relative
ORIGIN_TOLERANCE_MM = 1.0


def convert_with_dcm2niix(series: Series) -> Volume:
    """Convert a chosen series into one int16 volume in HU.

    Raises
    ------
    ScanFault : DCM-CONVERTER when dcm2niix fails, leaves more or less than one volume, or one of another grid.
    """
    import dcm2niix  # optional at run time: only this converter needs it

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        for number, file in enumerate(series.files):
            (folder / "in" / f"{number:05d}.dcm").symlink_to(Path(file).resolve())
        command = [dcm2niix.bin, "-z", "n", "-b", "n", "-f", "vol", "-w", "1", "-i", "n", "-o", str(folder), "in"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        volumes = sorted(folder.glob("*.nii"))
        if done.returncode != 0 or len(volumes) != 1:
            text = f"dcm2niix ended with {done.returncode} and left {len(volumes)} volumes, expected 0 and one."
            raise ScanFault("DCM-CONVERTER", f"{text} Use converter: lungtypes, or export the series again.")
        try:
            volume = read_volume(volumes[0])
        except GeometryError as error:
            raise ScanFault("DCM-CONVERTER", f"dcm2niix: {error} Use converter: lungtypes.") from error
    hu = np.rint(np.clip(volume.array.astype(np.float32), AIR_HU, MAX_HU)).astype(np.int16)
    _require_grid(volume, series)
    return volume.with_array(hu)


def _require_grid(volume: Volume, series: Series) -> None:
    """Compare size, spacing and place with what the headers say."""
    first, last = (read_header(series.files[i]) for i in (0, -1))
    expected = (len(series.files), int(first.Rows), int(first.Columns))
    spacing = (float(series.gap_mm), float(first.PixelSpacing[0]), float(first.PixelSpacing[1]))
    ends = np.array([first.ImagePositionPatient, last.ImagePositionPatient], float)
    found = oriented_lps(volume)
    reach = np.array(found.direction) @ (np.array(found.array.shape[::-1]) - 1) * np.array(found.spacing_mm[::-1])
    low, high = np.array(found.origin_mm), np.array(found.origin_mm) + reach
    inside = all((end > low - ORIGIN_TOLERANCE_MM).all() and (end < high + ORIGIN_TOLERANCE_MM).all() for end in ends)
    same = volume.array.shape == expected and np.allclose(volume.spacing_mm, spacing, rtol=SPACING_TOLERANCE)
    if not (same and inside):
        text = f"dcm2niix left {volume.array.shape} voxels of {tuple(round(s, 3) for s in volume.spacing_mm)} mm"
        wanted = f"{expected} of {tuple(round(s, 3) for s in spacing)} mm where the headers say"
        raise ScanFault("DCM-CONVERTER", f"{text}, expected {wanted}. Use converter: lungtypes.")
