"""Two virtual scanners: what kernel, noise and slice thickness make of a clean thorax."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungtypes.imaging.hounsfield import AIR_HU, MAX_HU


@dataclass(frozen=True)
class Scanner:
    """Protocol of one scanner; spacing in mm (z, y, x), noise as SD in HU after the kernel."""

    name: str
    manufacturer: str
    model: str
    kernel: str
    spacing_mm: tuple[float, float, float]
    blur_mm: float
    sharpening: float
    noise_hu: float
    kvp: int


SCANNERS = (
    Scanner("A", "GE MEDICAL SYSTEMS", "LightSpeed VCT", "STANDARD", (4.0, 2.4, 2.4), 2.0, 0.0, 16.0, 120),
    Scanner("B", "SIEMENS", "SOMATOM Definition", "B50f", (5.0, 2.3, 2.3), 1.2, 0.35, 30.0, 120),
)
COVERAGE_MM = (320.0, 384.0, 384.0)  # of scanner A; B covers the same length and 368 mm in plane


def scan_shape(scanner: Scanner, in_plane: int | None = None) -> tuple[int, int, int]:
    """Grid (Z, Y, X) that covers the chest with this scanner's spacing."""
    slices = round(COVERAGE_MM[0] / scanner.spacing_mm[0])
    rows = in_plane or 160
    return slices, rows, rows


def acquire(hu: NDArray[np.float32], scanner: Scanner, *, rng: np.random.Generator) -> NDArray[np.int16]:
    """Blur or sharpen in plane, add noise of the kernel's grain, round to int16 HU."""
    _, sy, sx = scanner.spacing_mm
    image = ndimage.gaussian_filter(hu, (0, scanner.blur_mm / 2.355 / sy, scanner.blur_mm / 2.355 / sx))
    if scanner.sharpening:
        image = image + scanner.sharpening * (image - ndimage.gaussian_filter(image, (0, 1.2, 1.2)))
    noise = rng.standard_normal(hu.shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, (0, 0.55, 0.55))
    if scanner.sharpening:
        noise = noise - 0.5 * ndimage.gaussian_filter(noise, (0, 1.5, 1.5))
    image = image + noise * (scanner.noise_hu / max(float(noise.std()), 1e-6))
    return np.clip(np.rint(image), AIR_HU, MAX_HU).astype(np.int16)
