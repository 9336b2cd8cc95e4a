"""The page in Chromium, opened from disk without a network: nothing fails, nothing is fetched, the viewer obeys."""

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from lungtypes.imaging.geometry import Volume, write_volume

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on the PATH")
SCRIPT, FORMULA, MATHS = "<script>alert(1)</script>", '=HYPERLINK("http://x")', "$x^"
WAIT_MS = 30_000  # software rendering on a busy machine


def launch(playwright, *further):
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    return playwright.chromium.launch(executable_path=CHROMIUM, args=[*sandbox, *further])


@pytest.fixture(scope="module")
def playwright():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test installs it")
    with api.sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser(playwright):
    found = launch(playwright, "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
    yield found
    found.close()


class Visit:
    """A page of the browser without a network, and all that went on in it."""

    def __init__(self, browser, path, *, width=1280, scripts=True):
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, offline=True, java_script_enabled=scripts
        )
        self.page, self.faults, self.requests = self.context.new_page(), [], []
        self.page.on("console", lambda message: self.faults.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("dialog", self.refuse)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def refuse(self, dialog):
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def part(self, name):
        return self.page.locator(f'[data-part="{name}"]')

    def open_viewer(self):
        self.page.get_by_role("button", name="Open the viewer").click()
        self.part("place").filter(has_text="LPS").wait_for(timeout=WAIT_MS)
        self.part("open").wait_for(state="hidden", timeout=WAIT_MS)
        return self

    def picture(self):
        return self.page.locator("canvas").screenshot()

    def change(self, label, *keys):
        """Focus a control and press keys; give back the picture after it, once it differs from that before."""
        before = self.picture()
        self.page.get_by_label(label, exact=True).focus()
        for key in keys:
            self.page.keyboard.press(key)
        for _ in range(WAIT_MS // 100):
            if self.picture() != before:
                return self.picture()
            self.page.wait_for_timeout(100)
        pytest.fail(f"the picture is the same after {label}: {', '.join(keys)}")


@pytest.fixture
def visit(browser):
    """``visit(path, width=...)``: opens a page; asserts at the end that nothing went wrong and nothing was fetched."""
    visits = []

    def make(path, **options):
        visits.append(Visit(browser, path, **options))
        return visits[-1]

    yield make
    for made in visits:
        made.context.close()
        assert made.faults == []
        outside = [url for url in made.requests[1:] if not url.startswith(("data:", "blob:"))]
        assert made.requests[0].startswith("file://") and outside == []


@pytest.fixture(scope="module")
def page(shared, tmp_path_factory):
    """A page of hostile texts whose cluster 1 lights the right lung at 0.9, cluster 2 the left one at 0.4."""
    results = tmp_path_factory.mktemp("browser") / "results"
    shutil.copytree(shared[0].results, results)
    run = replace(shared[0], results=results, page=results / "report/index.html")
    right, left = np.zeros((2, 12, 12, 12), np.float32)
    right[2:10, 2:10, 1:5], left[2:10, 2:10, 7:11] = 0.9, 0.4
    for name, values in {"cluster1": right, "cluster2": left, "population_subject": right + left}.items():
        grid = Volume(values, (10.0, 10.0, 10.0), (0.0, 0.0, 0.0), np.eye(3))
        write_volume(grid, results / f"clam/group_maps/clam_{name}_mean.nii.gz")
    texts = [SCRIPT, FORMULA, MATHS]
    run.edit("ingest/series.tsv", lambda t: t.assign(model=[texts[i % 3] for i in range(len(t))]))
    run.write()
    return run.page


def test_page_opens_without_a_network_and_hostile_texts_stay_text(visit, page):
    seen = visit(page).page.locator("main").inner_text()
    assert all(text in seen for text in (SCRIPT, FORMULA, MATHS))


def test_every_control_changes_the_picture_by_keyboard(visit, page):
    viewer = visit(page).open_viewer()
    pictures = [
        viewer.picture(),
        viewer.change("Cluster", "ArrowDown"),
        viewer.change("Opacity", "End"),
        viewer.change("View", "ArrowDown"),
        viewer.change("View", "End"),
        viewer.change("Threshold", "End"),  # 0.95: above all values, nothing is left
    ]
    assert len(set(pictures)) == len(pictures)
    assert viewer.page.get_by_label("Cluster", exact=True).input_value() == "cluster 1 (n = 5)"


def test_threshold_above_a_cluster_s_values_hides_its_map(visit, page):
    viewer = visit(page).open_viewer()
    viewer.change("Cluster", "End")  # cluster 2: 0.4 in the left lung
    shown = viewer.picture()
    hidden = viewer.change("Threshold", *["ArrowRight"] * 8)  # 0.45
    viewer.page.get_by_label("Threshold", exact=True).focus()
    viewer.page.keyboard.press("End")
    viewer.page.wait_for_timeout(300)
    assert viewer.picture() == hidden != shown  # below the threshold nothing is faint, all is gone
    assert (
        viewer.change("Threshold", "Home", *["ArrowRight"] * 3) == shown
    )  # and 0.4 has one colour, wherever the threshold lies below it


def test_arrow_keys_move_the_cross_and_the_live_text_follows(visit, page):
    viewer = visit(page).open_viewer()
    place = viewer.part("place")
    assert place.get_attribute("aria-live") == "polite"
    assert "0.90" in place.inner_text() and "CT \u2212800 HU" in place.inner_text()
    x = int(place.inner_text().split()[1].rstrip(",").replace("\u2212", "-"))
    viewer.page.locator("canvas").focus()
    viewer.page.keyboard.press("ArrowLeft")  # to the patient's right, which is low x in LPS
    assert f"LPS {x - 4}," in place.inner_text()
    for _ in range(30):
        viewer.page.keyboard.press("ArrowRight")
    assert "outside the lungs" in place.inner_text()


def test_patient_s_right_is_on_the_left_of_the_picture(visit, page):
    viewer = visit(page).open_viewer()
    viewer.change("View", "ArrowDown")  # axial
    viewer.change("Cluster", "ArrowDown")  # cluster 1: the right lung alone
    box = viewer.page.locator("canvas").bounding_box()
    viewer.page.mouse.click(box["x"] + 0.45 * box["width"], box["y"] + 0.5 * box["height"])
    on_the_left = viewer.part("place").inner_text()
    viewer.page.mouse.click(box["x"] + 0.55 * box["width"], box["y"] + 0.5 * box["height"])
    x = [
        int(text.split()[1].rstrip(",").replace("\u2212", "-"))
        for text in (on_the_left, viewer.part("place").inner_text())
    ]
    assert x[0] < x[1]


def test_right_button_and_double_click_leave_the_window_of_the_ct(visit, page):
    viewer = visit(page).open_viewer()
    canvas, mouse = viewer.page.locator("canvas"), viewer.page.mouse
    canvas.click()
    viewer.page.wait_for_timeout(300)
    before, box = viewer.picture(), canvas.bounding_box()
    canvas.dblclick()
    mouse.down(button="right")
    mouse.move(box["x"] + 0.62 * box["width"], box["y"] + 0.65 * box["height"], steps=5)  # across the left lung
    mouse.up(button="right")
    viewer.page.wait_for_timeout(300)
    assert viewer.picture() == before


def test_phone_does_not_scroll_sideways(visit, page):
    viewer = visit(page, width=390).open_viewer()
    assert viewer.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert viewer.page.locator("canvas").bounding_box()["width"] <= 390


def test_without_scripts_a_sentence_points_to_the_static_pictures(visit, page):
    viewer = visit(page, scripts=False)
    assert "static pictures below show the same maps" in viewer.part("without").inner_text()
    assert viewer.part("without").is_visible() and not viewer.part("open").is_visible()


def test_without_webgl_the_sentence_comes_back(playwright, page):
    with_none = launch(playwright, "--disable-3d-apis")
    try:
        viewer = Visit(with_none, page)
        viewer.page.get_by_role("button", name="Open the viewer").click()
        viewer.part("without").wait_for(timeout=WAIT_MS)
        assert not viewer.part("opened").is_visible() and not viewer.part("open").is_visible()
    finally:
        with_none.close()


def test_viewer_is_not_printed(visit, page):
    viewer = visit(page)
    viewer.page.emulate_media(media="print")
    assert not viewer.page.locator("#viewer").is_visible()
