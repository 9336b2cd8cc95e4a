"""Sides, scales, labels and numbers of the figures."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from lungtypes.report.blocks import Table, interval, mean_sd, number
from lungtypes.report.findings import cramers_v
from lungtypes.report.method_sections import principal_components
from lungtypes.report.results import Results, without_paths
from lungtypes.report.slices import CT_SCALE, MAP_SCALE, Cut, choose_cuts, plot_panels, plot_slice
from lungtypes.report.style import draw_png

SPACING = (3.0, 2.0, 1.0)


def lungs_from(low, high, shape=(20, 16, 12)):
    lungs = np.zeros(shape, np.uint8)
    lungs[low:high, 4:12, 2:10] = 1
    return lungs


def texts_of(ax):
    return {text.get_text(): text.get_position()[0] for text in ax.texts}


@pytest.mark.parametrize("plane", ["axial", "coronal"])
def test_right_of_the_patient_is_on_the_left_of_the_image(plane):
    ax = Figure().subplots()
    array = np.full((6, 6, 6), -1000.0)
    array[..., :3] = 0.0  # low x is the patient's right
    image = plot_slice(ax, array, Cut(plane, 3, 0.5), spacing_mm=(1, 1, 1), scale=CT_SCALE)
    shown = np.asarray(image.get_array())
    assert (shown[:, :3] == 0).all() and (shown[:, 3:] == -1000).all()
    sides = texts_of(ax)
    assert sides["R"] < 0.5 < sides["L"]


def test_coronal_slice_has_the_head_on_top_and_axial_the_front():
    array = np.zeros((4, 5, 6))
    array[3] = 1.0  # head
    assert (Cut("coronal", 2, 0.5).of(array)[0] == 1).all()
    array = np.zeros((4, 5, 6))
    array[:, 0] = 1.0  # front
    assert (Cut("axial", 2, 0.5).of(array)[0] == 1).all()


def test_pixels_keep_the_proportions_of_the_body():
    assert Cut("axial", 0, 0).aspect(SPACING) == 2.0  # y over x
    assert Cut("coronal", 0, 0).aspect(SPACING) == 3.0  # z over x


def test_cuts_move_with_the_lungs():
    first, second = choose_cuts(lungs_from(4, 13)), choose_cuts(lungs_from(6, 15))
    assert [c.index for c in first] == [10, 8, 6, 8]
    assert [b.index - a.index for a, b in zip(first, second, strict=True)] == [2, 2, 2, 0]


def test_cuts_without_lungs_are_of_the_whole_image():
    assert all(0 <= cut.index < 16 for cut in choose_cuts(np.zeros((16, 16, 16))))


def test_map_is_hidden_outside_the_lungs_and_ct_is_not():
    lungs, array = lungs_from(4, 13), np.full((20, 16, 12), 0.5)
    for scale, hidden in ((MAP_SCALE, True), (CT_SCALE, False)):
        image = plot_slice(
            Figure().subplots(), array, Cut("axial", 8, 0.5), spacing_mm=SPACING, scale=scale, lungs=lungs
        )
        assert bool(np.ma.getmaskarray(image.get_array())[0, 0]) == hidden


def test_panels_share_one_scale():
    figure = Figure()
    arrays = {"low": np.full((20, 16, 12), 0.1), "high": np.full((20, 16, 12), 0.9)}
    plot_panels(figure, arrays, choose_cuts(lungs_from(4, 13)), spacing_mm=SPACING, scale=MAP_SCALE)
    limits = {image.get_clim() for ax in figure.axes for image in ax.images}
    assert limits == {(0.0, 1.0)}


def test_dollar_signs_are_no_formula():
    png = draw_png(lambda figure: figure.subplots().set_title("costs $x^{2$ and \\frac{$"), height=1.0)
    assert png.startswith(b"\x89PNG")


def test_png_has_no_text_chunks():
    png = draw_png(lambda figure: figure.subplots(), height=1.0)
    assert b"tEXt" not in png and b"iTXt" not in png and b"tIME" not in png


def test_cramers_v_by_hand():
    assert cramers_v(pd.DataFrame([[5, 0], [0, 5]])) == pytest.approx(1.0)
    assert cramers_v(pd.DataFrame([[4, 2], [4, 2]])) == pytest.approx(0.0)
    # chi2 = 4 * (1.5**2 / 2.5 ... ) of [[4, 1], [1, 4]]: expected 2.5 everywhere, chi2 = 4 * 2.25 / 2.5 = 3.6
    assert cramers_v(pd.DataFrame([[4, 1], [1, 4]])) == pytest.approx((3.6 / 10) ** 0.5)
    assert cramers_v(pd.DataFrame([[4, 1]])) is None


def test_principal_components_of_a_line_are_the_line():
    scores, percent = principal_components(np.array([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]]))
    assert scores[:, 0] == pytest.approx([-5, 0, 5])
    assert percent == pytest.approx((100.0, 0.0))


def test_principal_components_of_one_scan_are_zero():
    scores, percent = principal_components(np.array([[1.0, 2.0, 3.0]]))
    assert scores.shape == (1, 2) and not scores.any() and percent == (0.0, 0.0)


def test_numbers_as_people_read_them():
    assert number(-0.001) == "0.00"
    assert number(-1.5, 1) == "\N{MINUS SIGN}1.5"
    assert number(np.nan) == "\N{EN DASH}"
    assert interval(0.1, 0.2) == "0.10 to 0.20" and interval(np.nan, 1) == ""
    assert mean_sd([1.0, 3.0, np.nan], 1) == "2.0 \N{PLUS-MINUS SIGN} 1.4"


def test_columns_of_numbers_are_known_for_numbers():
    table = Table("t", ("a", "b", "c"), (("x", "1.0", "S1"), ("y", "<0.001", "2")))
    assert table.numeric == (False, True, False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/data/John Smith/ct.nii.gz: not readable", "[path]: not readable"),
        ("found '/a/b c/d.dcm' twice", "found '[path]' twice"),
        ("raw/John/ct: not readable", "[path]: not readable"),
        ("C:\\scans\\x.dcm is empty", "[path] is empty"),
        ("2 / 3 of mL/min/mmHg", "2 / 3 of mL/min/mmHg"),
    ],
)
def test_paths_are_taken_out_of_messages(text, expected):
    assert without_paths(text) == expected


def test_a_missing_file_is_none(tmp_path):
    results = Results(tmp_path)
    assert results.table("x.tsv") is None and results.volume("x.nii.gz") is None and results.record("x.json") == {}
