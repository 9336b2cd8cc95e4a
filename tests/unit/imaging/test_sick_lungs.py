"""Lungs that are hard to segment: right where the shape can tell, flagged where it cannot, and no false alarm."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml

from lungtypes.errors import ScanFault
from lungtypes.imaging.checks import judge, raise_failures
from lungtypes.imaging.geometry import Volume, oriented_lps
from lungtypes.imaging.lung_checks import CHECKS, measure_lungs
from lungtypes.imaging.lung_split import two_lungs
from lungtypes.imaging.lungs import check_given_lungs, segment_lungs
from lungtypes.imaging.registration import dice
from lungtypes.phantom.anatomy import GROUPS, draw_person
from lungtypes.phantom.conditions import sick_scan
from lungtypes.phantom.scan import virtual_scan
from lungtypes.phantom.scanner import SCANNERS

ROOT = Path(__file__).resolve().parents[3]
CONFIG = yaml.safe_load((ROOT / "config/config.yaml").read_text())["lungs"]
SETTINGS = {name: CONFIG[name] for name in ("air_threshold_hu", "closing_mm")}
LIMITS = CONFIG["checks"]
NO_FAIL = {name: {"warn": limits["warn"], "fail": None} for name, limits in LIMITS.items()}
SPACING_MM = (4.0, 3.0, 3.0)


@cache
def scan_with(condition, index=3, group="control"):
    """A planted scan as a reader of files would give it, and its truth."""
    scan = sick_scan(draw_person(5, index, group), SCANNERS[index % 2], condition, seed=5, spacing_mm=SPACING_MM)
    return oriented_lps(scan.ct), oriented_lps(scan.lungs).array


@cache
def segmented(condition, index=3, group="control"):
    return segment_lungs(scan_with(condition, index, group)[0], **SETTINGS, checks=NO_FAIL)


def overlap(condition, **who):
    labels, truth = segmented(condition, **who).labels.array, scan_with(condition, **who)[1]
    return min(dice(labels == side, truth == side) for side in (1, 2))


def flags(condition, **who):
    """check -> verdict with the limits of the config, for all that do not pass."""
    found = segmented(condition, **who)
    judged = judge({check.name: check.value for check in found.checks}, LIMITS, CHECKS)
    return {check.name: check.verdict for check in judged if check.verdict in ("warn", "fail")}


@pytest.mark.parametrize("index", range(8))
def test_clean_scans_raise_no_flag(index):
    who = {"index": index, "group": GROUPS[index % 4]}
    assert overlap("none", **who) >= 0.97
    assert flags("none", **who) == {}


@pytest.mark.parametrize(("index", "group"), [(7, "control"), (25, "sarcoid")])  # whose noise opens the wall
def test_airway_stops_at_its_wall_and_does_not_eat_the_lung(index, group):
    person, scanner = draw_person(1, index, group), SCANNERS[1]
    hu, thorax = virtual_scan(person, scanner, in_plane=160, seed=1)
    scan = Volume(hu, thorax.spacing_mm, tuple(thorax.origin_mm[::-1]), np.eye(3))
    airway = segment_lungs(scan, **SETTINGS, checks=NO_FAIL).airway
    assert airway.sum() < 1.3 * thorax.airway.sum() and dice(airway, thorax.airway) > 0.8


@pytest.mark.parametrize(
    "condition", ["touching_lungs", "severe_emphysema", "bowel_gas", "arms_down", "tight_field", "effusion"]
)
def test_air_that_is_no_lung_stays_out_and_lungs_that_touch_are_told_apart(condition):
    assert overlap(condition) >= 0.97
    assert set(flags(condition)) == ({"side_ratio", "wall_gap_percent"} if condition == "effusion" else set())


@pytest.mark.parametrize("condition", ["prone", "flipped", "oblique"])
def test_sides_are_the_patients_in_every_position_and_orientation(condition):
    assert overlap(condition) >= 0.97
    assert flags(condition) == {}


@pytest.mark.parametrize("index", [3, 4])
def test_consolidation_at_the_chest_wall_is_taken_in_and_a_human_is_asked(index):
    assert overlap("consolidation", index=index) >= 0.95
    assert flags("consolidation", index=index) == {"restored_percent": "warn"}


@pytest.mark.parametrize(
    ("condition", "check", "verdict"),
    [
        ("lobar_consolidation", "wall_gap_percent", "warn"),
        ("lobar_consolidation", "side_ratio", "warn"),
        ("effusion", "wall_gap_percent", "warn"),
        ("collapsed_lung", "side_ratio", "fail"),
        ("cropped_in_plane", "border_mm2", "fail"),
        ("cropped_base", "end_slice_percent", "fail"),
        ("cropped_apex", "end_slice_percent", "fail"),
    ],
)
def test_what_no_shape_can_mend_is_flagged(condition, check, verdict):
    assert flags(condition)[check] == verdict


def test_failed_check_is_a_fault_with_every_number_in_words():
    scan, _ = scan_with("cropped_base")
    with pytest.raises(ScanFault, match="SEG-TRUNCATED: the first or last slice shows 9. % .* expected at most 25"):
        segment_lungs(scan, **SETTINGS, checks=LIMITS)
    tight = {**LIMITS, "total_ml": {"warn": None, "fail": [5000, 6000]}}
    with pytest.raises(ScanFault, match=r"SEG-TRUNCATED: .*; lungs of 2\d{3} mL, expected 5000 to 6000\. Look at"):
        segment_lungs(scan, **SETTINGS, checks=tight)


def test_record_holds_value_limits_and_verdict_of_every_check():
    record = segmented("effusion").record()
    assert list(record["checks"]) == list(CHECKS) and record["split_by"] == "components"
    gap = record["checks"]["wall_gap_percent"]
    assert gap["verdict"] == "warn" and gap["warn"] == (0, 20) and gap["fail"] is None and gap["value"] > 25
    assert "back lie more than 25 mm from the ribs" in "; ".join(record["warnings"])


def test_given_masks_pass_the_same_checks_and_say_what_nobody_measured():
    scan, truth = scan_with("effusion")
    given = check_given_lungs(scan, scan.with_array(truth), checks=LIMITS).record()["checks"]
    assert given["wall_gap_percent"]["verdict"] == "warn"
    for name in ("airway_ml", "restored_percent"):
        assert given[name]["verdict"] == "not measured" and given[name]["value"] is None
    scan, truth = scan_with("cropped_apex")
    with pytest.raises(ScanFault, match="SEG-TRUNCATED"):
        check_given_lungs(scan, scan.with_array(truth), checks=LIMITS)


def test_piece_of_a_lung_is_no_lung_where_both_are_fused():
    air = np.zeros((60, 60, 130), bool)
    air[5:55, 5:55, 5:55] = air[5:55, 5:55, 65:115] = True
    air[28:32, 28:32, 55:65] = True  # the bridge
    air[5:55, 5:45, 120:128] = True  # a piece of the left lung
    work = Volume(np.zeros(air.shape, np.float32), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), np.eye(3))
    labels, how = two_lungs(air, work)
    assert how.startswith("erosion") and (labels[5:55, 5:55, 5:55] == 1).all()
    assert (labels[5:55, 5:55, 66:115] == 2).all() and (labels[5:55, 5:45, 120:128] == 2).all()


def boxes():
    """Two lungs of 40x40x20 mm, 20 mm apart, in 2 mm voxels with ribs 4 mm behind them."""
    labels = np.zeros((24, 26, 40), np.uint8)
    labels[2:22, 2:22, 4:14], labels[2:22, 2:22, 24:34] = 1, 2
    hu = np.where(labels > 0, -850, 40).astype(np.int16)
    hu[:, 24] = 400
    return Volume(hu, (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), np.eye(3)), labels


def test_numbers_of_two_boxes_equal_those_by_hand():
    scan, labels = boxes()
    scan.array[2:22, 2:22, 4] = 0  # a tenth of the right lung is dense
    found = measure_lungs(scan, labels, airway_ml=float("nan"), restored_ml=1.6)
    assert found["total_ml"] == pytest.approx(64) and found["side_ratio"] == 1 and found["pieces"] == 1
    assert found["mean_hu"] == pytest.approx(-850 * 0.95) and found["dense_percent"] == pytest.approx(5)
    assert found["solidity"] == pytest.approx(1) and found["restored_percent"] == pytest.approx(2.5)
    assert found["border_mm2"] == found["end_slice_percent"] == found["midline_percent"] == 0
    assert found["wall_gap_percent"] == 0 and np.isnan(found["airway_ml"])


def test_each_fault_of_a_mask_moves_the_number_that_names_it():
    scan, labels = boxes()
    wide = np.where(np.arange(40) < 30, np.minimum(labels, 1), labels).astype(np.uint8)  # right takes most of left
    assert measure_lungs(scan, wide, airway_ml=0, restored_ml=0)["midline_percent"] > 15
    stacked = np.where(labels > 0, np.where(np.arange(24)[:, None, None] < 12, 1, 2), 0).astype(np.uint8)
    assert measure_lungs(scan, stacked, airway_ml=0, restored_ml=0)["midline_percent"] == 100
    shell = labels.copy()
    shell[4:, 4:20, 6:12] = 0
    assert measure_lungs(scan, shell, airway_ml=0, restored_ml=0)["solidity"] < 0.65
    cut = labels.copy()
    cut[11:13, :, :20] = 0
    assert measure_lungs(scan, cut, airway_ml=0, restored_ml=0)["pieces"] == 2
    edge = np.roll(labels, -4, axis=2)
    assert measure_lungs(scan, edge, airway_ml=0, restored_ml=0)["border_mm2"] == pytest.approx(1600)
    front = np.where(np.arange(26)[:, None] < 9, labels, 0).astype(np.uint8)  # 30 mm to the ribs
    assert measure_lungs(scan, front, airway_ml=0, restored_ml=0)["wall_gap_percent"] == 100


def test_limits_themselves_pass_and_what_has_no_limit_cannot_fail():
    values = dict.fromkeys(CHECKS, 5.0)
    limits = {name: {"warn": [5, 6], "fail": [5, 7]} for name in CHECKS} | {"pieces": {"warn": None, "fail": None}}
    assert {check.verdict for check in judge(values, limits, CHECKS)} == {"pass"}
    judged = {check.name: check.verdict for check in judge({**values, "total_ml": 6.5, "pieces": 99}, limits, CHECKS)}
    assert judged["total_ml"] == "warn" and judged["pieces"] == "pass"
    raise_failures(judge({**values, "total_ml": 6.5}, limits, CHECKS), remedy="")
    with pytest.raises(ScanFault, match="SEG-VOLUME: lungs of 8 mL, expected 5 to 7"):
        raise_failures(judge({**values, "total_ml": 8}, limits, CHECKS), remedy="")
