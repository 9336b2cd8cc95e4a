"""Scans for the benchmarks of registration and template: virtual ones, and real ones where somebody has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from lungtypes.imaging.geometry import Volume
from lungtypes.imaging.ingest import ingest_scan
from lungtypes.imaging.lungs import segment_lungs
from lungtypes.imaging.registration_engine import RegistrationSettings, registration_settings
from lungtypes.imaging.resample import ResampledScan, resample_scan
from lungtypes.phantom.anatomy import draw_person
from lungtypes.phantom.scan import virtual_scan
from lungtypes.phantom.scanner import SCANNERS

CONFIG = yaml.safe_load((Path(__file__).resolve().parents[1] / "config/config.yaml").read_text())
SETTINGS: RegistrationSettings = registration_settings(CONFIG["register"])
MARGIN_MM = 15.0


def virtual_chest(index: int, group: str, *, spacing_mm: float, margin_mm: float = MARGIN_MM) -> ResampledScan:
    """A virtual scan with its true lungs, resampled as the pipeline does."""
    hu, thorax = virtual_scan(draw_person(1, index, group), SCANNERS[0], in_plane=224, seed=1)
    scan = Volume(hu, thorax.spacing_mm, tuple(thorax.origin_mm[::-1]), np.eye(3))
    return _resampled(scan, scan.with_array(thorax.lungs), spacing_mm, margin_mm)


def real_chest(path: Path, *, spacing_mm: float) -> ResampledScan:
    """A DICOM folder or an image file, segmented and resampled as the pipeline does."""
    scan = ingest_scan(path, wanted_series=None, **CONFIG["ingest"]).volume
    options = {name: CONFIG["lungs"][name] for name in ("air_threshold_hu", "closing_mm", "checks")}
    return _resampled(scan, segment_lungs(scan, **options).labels, spacing_mm, MARGIN_MM)


def _resampled(scan: Volume, lungs: Volume, spacing_mm: float, margin_mm: float) -> ResampledScan:
    return resample_scan(scan, lungs, spacing_mm=spacing_mm, margin_mm=margin_mm, max_volume_change_percent=3.0)
