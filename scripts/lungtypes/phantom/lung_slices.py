"""The simulated 2D lung slices of the CLAM paper (Ryan et al. 2020, section 4.1): one lung, one planted lesion.

A healthy slice comes from the virtual thorax or from the user's template. What a scenario plants is known in every
pixel, so clusters and maps can be compared with the truth. Values that the paper does not state are in the config.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungtypes.errors import InputError
from lungtypes.imaging.hounsfield import AIR_HU, MAX_HU, OUTSIDE
from lungtypes.phantom.anatomy import neutral_person
from lungtypes.phantom.scanner import SCANNERS, acquire
from lungtypes.phantom.thorax import render_thorax
from lungtypes.randomness import derive_seed, stream

SIDES = {"right": 1, "left": 2}
RIGHT_LUNG_CENTRE_MM, RIGHT_LUNG_BOX_MM = (12.0, 3.0, -63.0), (240.0, 186.0, 120.0)  # z, y, x of the neutral person
FINER = 2  # the thorax is rendered on voxels of half the size: vessels are thinner than 3 mm
LOCAL_MEAN_MM = 15.0  # SD of the Gaussian that takes gravity and the lung's bulk out of a template, not its vessels
FWHM_PER_SD = 2.355
UNBALANCED = (0.67, 0.23, 0.10)


@dataclass(frozen=True)
class LungSlice:
    """The healthy slice that every simulated image starts from.

    mean_hu : (Y, X) float32, OUTSIDE where no lung is. lung : (Y, X) bool. Rows run to the back, columns to the left.
    residuals_hu : (M,) float32, what healthy lung voxels differ by from their mean; the noise is drawn from it.
    spacing_mm : of the square pixels.
    """

    mean_hu: NDArray[np.float32]
    lung: NDArray[np.bool_]
    residuals_hu: NDArray[np.float32]
    spacing_mm: float


@dataclass(frozen=True)
class Scenario:
    """What differs between the true clusters, and how many subjects each has.

    sizes : subjects of each true cluster. noise_fwhm_px : of the Gaussian that smooths the noise, 0 for white noise.
    shift_sd_px : of the random shift of lung and lesion under an unmoved mask, per axis. lesion : False plants none.
    """

    name: str
    factor: Literal["intensity", "location", "size"]
    sizes: tuple[int, ...]
    noise_fwhm_px: float = 0.0
    shift_sd_px: float = 0.0
    lesion: bool = True


@dataclass(frozen=True)
class Lesions:
    """The discs that are planted; of intensities and radii the first K are used.

    intensities_hu : added to the lung. locations : how many places. border_px : their least distance from the border.
    fixed_* : what holds where another factor varies; fixed_location counts from 1, the place nearest the centroid.
    """

    intensities_hu: tuple[float, ...]
    radii_px: tuple[float, ...]
    locations: int
    border_px: float
    fixed_intensity_hu: float
    fixed_radius_px: float
    fixed_location: int


@dataclass(frozen=True)
class SimulatedSlices:
    """Images and their truth, in the order of the labels.

    hu : (N, Y, X) int16, OUTSIDE where no lung is. labels : (N,) int64, true cluster 0 to K-1.
    discs : (N, Y, X) bool, where the lesion is, or would be if it were not of +0 HU; none without a lesion.
    centres : (N, 2) int64, row and column of the disc's centre.
    """

    hu: NDArray[np.int16]
    labels: NDArray[np.int64]
    discs: NDArray[np.bool_]
    centres: NDArray[np.int64]


def synthetic_lung_slice(*, size: int, spacing_mm: float, people: int, seed: int) -> LungSlice:
    """The median axial slice of the right lung of ``people`` healthy virtual persons of one and the same shape.

    Each is rendered at half the spacing, averaged down to ``spacing_mm`` in all three directions, and given the noise
    of scanner A, less as the square root of the larger voxel. Mean and residuals are those over the persons.

    Parameters
    ----------
    size : pixels of the square image; the lung's box is centred in it.
    spacing_mm : 3 mm in the paper. people : at least 2; about 1 s each at 3 mm.

    Raises
    ------
    InputError : fewer than two people, or the lung is larger than the image.
    """
    if people < 2:
        raise InputError(f"simulation.people: found {people}, expected at least 2, since their differences are used.")
    scanner = SCANNERS[0]
    noise_hu = scanner.noise_hu * float(np.sqrt(np.prod(scanner.spacing_mm) / spacing_mm**3))
    scanner = replace(scanner, spacing_mm=(spacing_mm,) * 3, noise_hu=noise_hu)
    own_seed = derive_seed(seed, "simulation", "lung")
    scans = []
    for number in range(people):
        hu, lungs = _right_lung(number, spacing_mm, own_seed)
        middle = _median_slice(lungs)
        noise = stream(own_seed, "noise", number)
        scans.append(acquire(hu[middle : middle + 1], scanner, rng=noise)[0])
    lung = lungs[middle]  # the same in all of them
    scans = np.stack(scans).astype(np.float32)  # (people, Y, X)
    mean = scans.mean(axis=0)
    residuals = (scans - mean)[:, lung].reshape(-1)
    return LungSlice(*_centred(mean, lung, size, spacing_mm, "simulation.size"), residuals, spacing_mm)


def given_lung_slice(
    image: str | Path, lungs: str | Path, *, size: int, spacing_mm: float, side: Literal["right", "left"] = "right"
) -> LungSlice:
    """The median axial slice of one lung of the user's own template.

    There is one image only, so the residuals are those of all voxels of the lung against a smooth local mean:
    vessels and noise. The outermost layer of voxels is left out, since part of it is chest wall.

    Parameters
    ----------
    image, lungs : a template in HU and its lungs (1 right, 2 left), any spacing and orientation.
    size, spacing_mm : as in :func:`synthetic_lung_slice`.

    Raises
    ------
    InputError : the files do not fit together, or the lung is larger than the image or too thin.
    """
    from lungtypes.imaging.given import read_given_template  # SimpleITK, which the rest of this file does without
    from lungtypes.imaging.resample import resample_scan

    hu, labels = read_given_template(image, lungs, keys=("simulation.image", "simulation.lungs"))
    own = resample_scan(hu, labels, spacing_mm=spacing_mm, margin_mm=spacing_mm, max_volume_change_percent=100.0)
    hu, lung = own.ct.array.astype(np.float32), own.lungs.array == SIDES[side]
    inner = ndimage.binary_erosion(lung)
    if not inner.any():
        raise InputError(
            f"simulation.lungs: found a {side} lung thinner than three voxels, expected more at "
            f"{spacing_mm:g} mm. Choose a smaller simulation.spacing_mm, or another template."
        )
    sigma = LOCAL_MEAN_MM / spacing_mm
    local = ndimage.gaussian_filter(hu * inner, sigma)[inner]
    local /= ndimage.gaussian_filter(inner.astype(np.float32), sigma)[inner]
    residuals = hu[inner] - local
    middle = _median_slice(lung)
    placed = _centred(hu[middle], lung[middle], size, spacing_mm, "simulation.image")
    return LungSlice(*placed, residuals - residuals.mean(), spacing_mm)


def paper_scenarios(n: int) -> tuple[Scenario, ...]:
    """The nine of the paper: each factor with 3, 4 and 5 clusters, ``n`` images in clusters as equal as can be."""
    factors = ("intensity", "location", "size")
    return tuple(Scenario(f"{factor}-{k}", factor, _equal_sizes(n, k)) for factor in factors for k in (3, 4, 5))


def extra_scenarios(n: int) -> tuple[Scenario, ...]:
    """Four that the paper leaves out, ``n`` images each.

    no-clusters : no lesion anywhere. unbalanced : three locations with 67, 23 and 10 % of the images.
    correlated : five locations, noise through a Gaussian of 2 pixels, as no reconstruction leaves it white.
    misregistered : five locations, lungs off by 1.5 pixels (SD, 4.5 mm at 3 mm) along each axis.
    """
    last, middle = (round(share * n) for share in (UNBALANCED[2], UNBALANCED[1]))
    return (
        Scenario("no-clusters", "intensity", (n,), lesion=False),
        Scenario("unbalanced", "location", (n - middle - last, middle, last)),
        Scenario("correlated", "location", _equal_sizes(n, 5), noise_fwhm_px=2.0),
        Scenario("misregistered", "location", _equal_sizes(n, 5), shift_sd_px=1.5),
    )


def lesion_centres(lung: NDArray[np.bool_], *, count: int, border_px: float) -> tuple[tuple[int, int], ...]:
    """Places far from each other: farthest-point sampling, the first one nearest the lung's centroid.

    Parameters
    ----------
    lung : (Y, X) bool. border_px : the least distance to a pixel that is no lung.

    Returns
    -------
    Row and column of each place; ties go to the upper left one.

    Raises
    ------
    InputError : fewer than ``count`` pixels lie so deep.
    """
    depth = ndimage.distance_transform_edt(np.pad(lung, 1))[1:-1, 1:-1]  # beyond the image is no lung either
    points = np.argwhere(depth >= border_px)
    if len(points) < count:
        raise InputError(
            f"simulation.lesions.border_px: found {len(points)} pixels at least {border_px:g} from the lung's border, "
            f"expected {count} or more. Choose a smaller border_px, or fewer locations."
        )
    nearest = np.linalg.norm(points - np.argwhere(lung).mean(axis=0), axis=1).argmin()
    chosen = [points[nearest]]
    away = np.full(len(points), np.inf)
    while len(chosen) < count:
        away = np.minimum(away, np.linalg.norm(points - chosen[-1], axis=1))
        chosen.append(points[away.argmax()])
    return tuple((int(row), int(column)) for row, column in chosen)


def simulate(lung_slice: LungSlice, scenario: Scenario, lesions: Lesions, *, seed: int) -> SimulatedSlices:
    """Draw the images of one scenario: healthy mean, disc and noise within the lung.

    Every voxel of the noise is drawn from ``lung_slice.residuals_hu`` with replacement. Correlated noise is the same
    draw through a Gaussian filter, brought back to the pool's SD; it has less of the pool's skewness. Shifts are
    rounded to whole pixels, so that the truth stays exact: what leaves the mask is lost, and what comes into it
    from outside the lung is the lung's mean plus noise.

    Raises
    ------
    InputError : the scenario needs more intensities, radii or locations than there are, or a disc leaves the lung.
    """
    lung, mean = lung_slice.lung, lung_slice.mean_hu
    intensities, centres, discs = _planted(lung, scenario, lesions)
    lung_mean = float(mean[lung].mean())
    clean = np.where(lung, mean, lung_mean) + intensities[:, None, None] * discs  # (K, Y, X)
    labels = np.repeat(np.arange(len(scenario.sizes)), scenario.sizes)

    shape = (len(labels), *lung.shape)
    noise = _noise(lung_slice.residuals_hu, shape, scenario.noise_fwhm_px, stream(seed, "simulation", scenario.name))
    shifts = stream(seed, "simulation", scenario.name, "shift").normal(0, scenario.shift_sd_px, (len(labels), 2))
    steps = np.rint(shifts).astype(np.int64)
    images = np.stack([_moved(clean[k], step, lung_mean) for k, step in zip(labels, steps, strict=True)])
    truth = np.stack([_moved(discs[k], step, False) for k, step in zip(labels, steps, strict=True)]) & lung

    hu = np.clip(np.rint(images + noise), AIR_HU, MAX_HU)
    hu = np.where(lung, hu, OUTSIDE).astype(np.int16)
    return SimulatedSlices(hu, labels, truth, centres[labels] + steps)


def _planted(lung: NDArray[np.bool_], scenario: Scenario, lesions: Lesions) -> tuple[NDArray, NDArray, NDArray]:
    """For each cluster the intensity (K,), the centre (K, 2) and the disc (K, Y, X)."""
    k = len(scenario.sizes)
    available = {
        "intensity": len(lesions.intensities_hu),
        "location": lesions.locations,
        "size": len(lesions.radii_px),
    }[scenario.factor]
    if available < k:
        raise InputError(
            f"simulation.lesions: found {available} values of {scenario.factor}, expected {k} for scenario "
            f"{scenario.name}. Add some."
        )
    if not 1 <= lesions.fixed_location <= lesions.locations:
        text = f"found {lesions.fixed_location}, expected 1 to {lesions.locations}. Choose one of the locations."
        raise InputError(f"simulation.lesions.fixed_location: {text}")
    intensities, radii = [lesions.fixed_intensity_hu] * k, [lesions.fixed_radius_px] * k
    places = [lesions.fixed_location - 1] * k
    if scenario.factor == "intensity":
        intensities = lesions.intensities_hu[:k]
    elif scenario.factor == "size":
        radii = lesions.radii_px[:k]
    else:
        places = list(range(k))
    found = np.array(lesion_centres(lung, count=lesions.locations, border_px=lesions.border_px))
    centres = found[places]
    if not scenario.lesion:
        return np.zeros(k), centres, np.zeros((k, *lung.shape), bool)
    rows, columns = np.indices(lung.shape)
    discs = np.stack([np.hypot(rows - y, columns - x) <= r for (y, x), r in zip(centres, radii, strict=True)])
    if (discs & ~lung).any():
        raise InputError(
            f"simulation.lesions: found a disc of scenario {scenario.name} that leaves the lung, expected all inside. "
            f"Choose smaller radii_px, or a border_px (now {lesions.border_px:g}) larger than all radii."
        )
    return np.asarray(intensities, float), centres, discs


def _noise(
    pool_hu: NDArray[np.float32], shape: tuple[int, int, int], fwhm_px: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    noise = rng.choice(pool_hu, size=shape)
    if fwhm_px <= 0:
        return noise
    sigma = (0, fwhm_px / FWHM_PER_SD, fwhm_px / FWHM_PER_SD)
    noise = ndimage.gaussian_filter(noise, sigma, mode="wrap")  # wrapped, so that the SD is the same up to the edges
    return noise * (pool_hu.std() / noise.std())


def _moved(image: NDArray, step: NDArray[np.int64], fill: float) -> NDArray:
    return ndimage.shift(image, step, order=0, cval=fill)


def _right_lung(number: int, spacing_mm: float, seed: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """HU without noise and lung, (Z, Y, X) in the box of the right lung, of healthy person ``number``.

    All of the lung is rendered, although one slice is used: the vessels spread over what there is.
    """
    # the grid's centre is that of the lung
    person = neutral_person(number, shift_zyx_mm=tuple(-c for c in RIGHT_LUNG_CENTRE_MM))
    shape = [int(np.ceil(length / spacing_mm)) for length in RIGHT_LUNG_BOX_MM]
    fine = tuple(FINER * n for n in shape)
    thorax = render_thorax(person, shape=fine, spacing_mm=(spacing_mm / FINER,) * 3, seed=seed)
    blocks = [part for n in shape for part in (n, FINER)]
    hu, share = (a.reshape(blocks).mean(axis=(1, 3, 5), dtype=np.float32) for a in (thorax.hu, thorax.lungs == 1))
    return hu, share >= 0.5


def _median_slice(lung: NDArray[np.bool_]) -> int:
    return int(np.median(np.flatnonzero(lung.any(axis=(1, 2)))))


def _centred(
    hu: NDArray[np.float32], lung: NDArray[np.bool_], size: int, spacing_mm: float, key: str
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """HU (OUTSIDE where no lung is) and lung, (size, size), the lung's box in the middle."""
    box = ndimage.find_objects(lung.astype(np.uint8))[0]
    height, width = lung[box].shape
    if max(height, width) > size:
        raise InputError(
            f"{key}: found a lung of {height} x {width} pixels at {spacing_mm:g} mm, expected at most {size} x {size}. "
            "Choose a larger simulation.size or simulation.spacing_mm."
        )
    before = [(size - n) // 2 for n in (height, width)]
    padding = [(b, size - n - b) for b, n in zip(before, (height, width), strict=True)]
    inside = np.where(lung, hu, np.float32(OUTSIDE))[box]
    return np.pad(inside, padding, constant_values=OUTSIDE), np.pad(lung[box], padding)


def _equal_sizes(n: int, k: int) -> tuple[int, ...]:
    return tuple(n // k + (i < n % k) for i in range(k))
