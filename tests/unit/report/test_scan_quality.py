"""The picture of a scan, and the numbers in it."""

from dataclasses import replace

import numpy as np
import pytest

from lungtypes.errors import GeometryError
from lungtypes.imaging.geometry import Volume
from lungtypes.report.scan_quality import area_by_slice, draw_scan, hu_histogram, write_scan_quality
from lungtypes.report.slices import Cut


def scan_and_lungs():
    hu = np.full((12, 20, 30), 40, np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    labels[2:10, 5:15, 3:12], labels[4:10, 5:15, 18:27] = 1, 2
    hu[labels == 1], hu[labels == 2] = -850, -700
    scan = Volume(hu, (5.0, 2.0, 3.0), (0.0, 0.0, 0.0), np.eye(3))
    return scan, scan.with_array(labels)


def test_area_of_each_slice_is_counted_in_square_millimetres():
    table = area_by_slice(scan_and_lungs()[1])
    assert table.right_mm2.tolist() == [0, 0, *[10 * 9 * 6.0] * 8, 0, 0]
    assert table.left_mm2[3] == 0 and table.left_mm2[4] == 540


def test_histogram_adds_up_for_each_lung_and_holds_the_values():
    scan, lungs = scan_and_lungs()
    table = hu_histogram(scan.array, lungs.array)
    assert table.right_percent.sum() == pytest.approx(100) and table.left_percent.sum() == pytest.approx(100)
    assert table.hu[table.right_percent.idxmax()] <= -850 < table.hu[table.right_percent.idxmax()] + 24
    assert hu_histogram(np.full((2, 2, 2), -3000), np.ones((2, 2, 2), np.uint8)).right_percent[0] == 100


def test_sagittal_cut_shows_front_on_the_left_and_head_on_top():
    array = np.arange(24).reshape(2, 3, 4)  # (Z, Y, X)
    assert Cut("sagittal", 1, 0.5).of(array).tolist() == [[13, 17, 21], [1, 5, 9]]
    assert Cut("sagittal", 1, 0.5).sides == ("A", "P") and Cut("sagittal", 1, 0.5).aspect((6.0, 2.0, 1.0)) == 3.0


def test_picture_is_the_same_every_time_and_differs_with_the_lungs():
    scan, lungs = scan_and_lungs()
    assert draw_scan(scan, lungs, title="S1") == draw_scan(scan, lungs, title="S1")
    assert draw_scan(scan, lungs, title="S1") != draw_scan(scan, None, title="S1")


def test_scan_without_lungs_has_a_picture_and_no_tables(tmp_path):
    scan, lungs = scan_and_lungs()
    write_scan_quality(tmp_path, scan, None, title="S1: SEG-NONE")
    assert [p.name for p in tmp_path.iterdir()] == ["lungs.png"]
    write_scan_quality(tmp_path, scan, lungs, title="S1")
    assert {p.name for p in tmp_path.iterdir()} == {"lungs.png", "slices.tsv", "histogram.tsv"}
    with pytest.raises(GeometryError):
        write_scan_quality(tmp_path, scan, replace(lungs, spacing_mm=(4.0, 2.0, 3.0)), title="S1")
