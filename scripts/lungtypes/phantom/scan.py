"""One virtual scan as arrays, without files: the fast way to large virtual cohorts, and its lesion truth."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lungtypes.imaging.zones import ZONES, lung_zones
from lungtypes.phantom.anatomy import Person
from lungtypes.phantom.lesions import LESION_LABELS, OPACITIES
from lungtypes.phantom.scanner import Scanner, acquire, scan_shape
from lungtypes.phantom.thorax import LOBES, Thorax, render_thorax
from lungtypes.randomness import stream


def virtual_scan(person: Person, scanner: Scanner, *, in_plane: int, seed: int) -> tuple[np.ndarray, Thorax]:
    """HU (int16) as the scanner sees the person, and the clean thorax with its masks."""
    shape = scan_shape(scanner)
    spacing = scanner.spacing_mm
    if in_plane != shape[1]:  # smaller matrices for fast tests: coarser pixels, same field of view
        factor = shape[1] / in_plane
        spacing = (spacing[0], spacing[1] * factor, spacing[2] * factor)
        shape = (shape[0], in_plane, in_plane)
    thorax = render_thorax(person, shape=shape, spacing_mm=spacing, seed=seed)
    hu = acquire(thorax.hu, scanner, rng=stream(seed, "phantom", "noise", person.index))
    return hu, thorax


def lesion_table(thorax: Thorax, subject: str) -> pd.DataFrame:
    """Lesion percentage by region (lobe, zone, whole) and kind; ``any`` is all kinds together."""
    zones = lung_zones(thorax.lungs)
    regions = {LOBES[k].replace(" ", "_"): thorax.lobes == k for k in LOBES}
    regions |= {f"zone_{name}": zones == k for k, name in ZONES.items()}
    regions["lungs"] = thorax.lungs > 0
    rows = []
    for region, mask in regions.items():
        size = max(int(mask.sum()), 1)
        for kind, label in LESION_LABELS.items():
            percent = 100.0 * float(((thorax.lesions == label) & mask).sum()) / size
            rows.append({"subject": subject, "region": region, "kind": kind, "percent": round(percent, 4)})
        percent = 100.0 * float(((thorax.lesions > 0) & mask).sum()) / size
        rows.append({"subject": subject, "region": region, "kind": "any", "percent": round(percent, 4)})
    return pd.DataFrame(rows)


def opacity_percents(thorax: Thorax, labels: np.ndarray, names: Mapping[int, str]) -> dict[str, float]:
    """Percentage (0-100) of opacities, all kinds of lesion but emphysema, in each labelled region that is there."""
    opaque = np.isin(thorax.lesions, OPACITIES)
    regions = {name: labels == label for label, name in names.items()}
    return {name: 100 * float(opaque[inside].mean()) for name, inside in regions.items() if inside.any()}
