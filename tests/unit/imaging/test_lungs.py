"""Lungs of virtual and of one real chest CT, in every orientation; faults instead of wrong masks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import slicerio
import yaml

from lungtypes.errors import ScanFault
from lungtypes.imaging.geometry import Volume, from_sitk, oriented_lps, read_volume, to_sitk
from lungtypes.imaging.lungs import check_given_lungs, segment_lungs
from lungtypes.imaging.registration import dice
from lungtypes.phantom.anatomy import draw_person
from lungtypes.phantom.scan import virtual_scan
from lungtypes.phantom.scanner import SCANNERS

CONFIG = yaml.safe_load((Path(__file__).resolve().parents[3] / "config/config.yaml").read_text())["lungs"]
CHECKS = CONFIG["checks"]
LIMITS = {name: CONFIG[name] for name in ("air_threshold_hu", "closing_mm", "checks")}


def scan_of(group, index, scanner):
    hu, thorax = virtual_scan(draw_person(5, index, group), SCANNERS[scanner], in_plane=128, seed=5)
    origin = tuple(thorax.origin_mm[::-1])
    return Volume(hu, thorax.spacing_mm, origin, np.eye(3)), thorax


@pytest.mark.parametrize(("group", "scanner"), [("control", 0), ("emphysema", 1), ("fibrosis", 0), ("sarcoid", 1)])
def test_dice_against_the_planted_lungs_is_at_least_095(group, scanner):
    scan, thorax = scan_of(group, 7, scanner)
    labels = segment_lungs(scan, **LIMITS).labels.array
    assert min(dice(labels == side, thorax.lungs == side) for side in (1, 2)) >= 0.95


def test_right_lung_stays_right_when_array_and_affine_are_flipped():
    scan, thorax = scan_of("control", 3, 0)
    flipped = oriented_lps(from_sitk(sitk.Flip(to_sitk(scan), [True, True, False])))
    labels = segment_lungs(flipped, **LIMITS).labels.array
    assert min(dice(labels == side, thorax.lungs == side) for side in (1, 2)) >= 0.95


def test_lungs_that_touch_are_split():
    scan, thorax = scan_of("control", 3, 0)
    bridge = scan.array.copy()
    edge = [np.argwhere(thorax.lungs == side) for side in (1, 2)]
    z, y = int(edge[0][:, 0].mean()), int(edge[0][:, 1].mean()) - 16
    bridge[z - 2 : z + 2, y - 2 : y + 2, 40:88] = -860
    labels = segment_lungs(replace(scan, array=bridge), **LIMITS).labels.array
    assert min(dice(labels == side, thorax.lungs == side) for side in (1, 2)) >= 0.94


def test_large_nodule_within_the_lung_belongs_to_it_and_the_diaphragm_does_not():
    scan, thorax = scan_of("control", 3, 0)
    centre = np.argwhere(thorax.lungs == 1).mean(axis=0)
    away = [(np.arange(n) - c) * s for n, c, s in zip(scan.array.shape, centre, scan.spacing_mm, strict=True)]
    nodule = sum(np.meshgrid(*[a**2 for a in away], indexing="ij")) < 17**2  # 34 mm
    hu = np.where(nodule, 40, scan.array).astype(np.int16)
    labels = segment_lungs(replace(scan, array=hu), **LIMITS).labels.array
    assert (labels[nodule] == 1).mean() > 0.95
    dome = (labels > 0) & (thorax.lungs == 0) & (scan.array > -200)
    assert dome.sum() < 0.01 * (labels > 0).sum()


def test_real_chest_ct_is_segmented():
    data = Path(slicerio.__file__).parent / "data"
    ct = oriented_lps(read_volume(data / "CTChest4.nrrd"))
    truth = oriented_lps(read_volume(data / "Segmentation.seg.nrrd")).array  # 5 right lung, 6 left lung
    labels = segment_lungs(ct, **LIMITS).labels.array
    assert dice(labels == 1, truth == 5) >= 0.95
    assert dice(labels == 2, truth == 6) >= 0.95


def test_no_lung_and_one_lung_are_faults():
    scan, thorax = scan_of("control", 3, 0)
    with pytest.raises(ScanFault, match="SEG-NONE"):
        segment_lungs(replace(scan, array=np.where(thorax.lungs > 0, 40, scan.array).astype(np.int16)), **LIMITS)
    one = replace(scan, array=np.where(thorax.lungs == 2, 40, scan.array).astype(np.int16))
    with pytest.raises(ScanFault, match="SEG-"):
        segment_lungs(one, **LIMITS)


def test_given_mask_passes_the_same_gate():
    scan, thorax = scan_of("control", 3, 0)
    given = scan.with_array(thorax.lungs)
    assert check_given_lungs(scan, given, checks=CHECKS).split_by == "given"
    with pytest.raises(ScanFault, match="SEG-LABELS"):
        check_given_lungs(scan, scan.with_array((thorax.lungs > 0).astype(np.uint8)), checks=CHECKS)
    swapped = np.choose(thorax.lungs, [0, 2, 1]).astype(np.uint8)
    with pytest.raises(ScanFault, match="label 1 lies on the patient's left"):
        check_given_lungs(scan, scan.with_array(swapped), checks=CHECKS)
    with pytest.raises(ScanFault, match="SEG-RATIO: right/left volume ratio"):
        half = np.where((thorax.lungs == 1) & (np.arange(128) > 40), 0, thorax.lungs)
        check_given_lungs(scan, scan.with_array(half.astype(np.uint8)), checks=CHECKS)
