"""Pages of single scans: who has one, what stands on it, and that they lie where the report's links lead."""

import io
import re
from dataclasses import asdict

import numpy as np
from matplotlib.image import imread

from lungtypes.imaging.hounsfield import OUTSIDE
from lungtypes.imaging.volumes import CohortGrid
from lungtypes.provenance import write_json
from lungtypes.report.cohort_sections import pages_section
from lungtypes.report.results import Results
from lungtypes.report.slices import CT_SCALE, MAP_SCALE, choose_cuts, strips_png
from lungtypes.report.subject_pages import Study, subject_sections, write_subject_pages

GRID = CohortGrid((12, 12, 12), 6.0, (0.0, 0.0, 0.0), ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))


def subjects_of(run):
    return Results(run.results).table("cohort/attrition.tsv")["subject"].tolist()


def with_scans(run):
    """The array that the network saw, and a published map of the first scan."""
    names = subjects_of(run)[:3]
    array = np.full((3, *GRID.shape), OUTSIDE, np.int16)
    array[:, 2:10, 2:10, 2:10] = -800
    np.save(run.results / "cohort/template.npy", array)
    described = {"subjects": names, "splits": ["train"] * 3, "outside": OUTSIDE}
    described |= asdict(GRID)
    write_json(run.results / "cohort/template.json", described)
    (run.results / "clam/maps/clam").mkdir(parents=True, exist_ok=True)
    GRID.write_image(run.results / f"clam/maps/clam/{names[0]}.nii.gz", np.full(GRID.shape, 0.5, np.float32))
    return names


def words(html):
    return re.sub(r"<[^>]+>", " ", html)


def test_every_scan_of_the_sheet_has_a_page_that_the_report_leads_to(run, tmp_path):
    write_subject_pages(tmp_path / "report/subjects", run.results, workers=1)
    pages = {page.name for page in (tmp_path / "report/subjects").iterdir()}
    assert pages == {f"{s}.html" for s in subjects_of(run)}
    section = pages_section(Results(run.results))
    hrefs = [link.href for block in section.blocks if block.kind == "links" for link in block.items]
    assert sorted(hrefs) == sorted(f"subjects/{page}" for page in pages)


def test_excluded_scan_says_why_and_what_to_do(run):
    table = Results(run.results).table("cohort/attrition.tsv")
    gone = table[table["status"] != "analysed"].iloc[0]
    (section, *rest) = subject_sections(Study(Results(run.results)), gone["subject"])
    text = " ".join(block.text for block in section.blocks if block.kind == "paragraph")
    assert gone["code"] in text and gone["remedy"] in text
    assert not any(s.anchor == "clam-cluster" for s in rest)


def test_pages_lead_to_the_ones_before_and_after(run):
    study, names = Study(Results(run.results)), subjects_of(run)
    first, second = (subject_sections(study, s)[0].blocks[0] for s in names[:2])
    assert [link.href for link in first.items] == ["../index.html", f"{names[1]}.html"]
    assert [link.href for link in second.items] == ["../index.html", f"{names[0]}.html", f"{names[2]}.html"]


def test_cluster_of_a_scan_stands_with_its_maps(run):
    names = with_scans(run)
    study = Study(Results(run.results))
    (section,) = [s for s in subject_sections(study, names[0]) if s.anchor == "clam-cluster"]
    row = study.rows("clam/assignment.tsv", names[0]).iloc[0]
    assert section.blocks[0].text.startswith(f"Cluster {row['cluster']:.0f}")
    (picture,) = [block for block in section.blocks if block.kind == "picture"]
    assert picture.png.startswith(b"\x89PNG") and "CLAM (published)" in picture.alt


def test_hostile_texts_stay_texts(run, tmp_path):
    write_subject_pages(tmp_path / "subjects", run.results, workers=1)
    for page in (tmp_path / "subjects").iterdir():
        html = page.read_text()
        assert "<script" not in html and "https://" not in html and "http://" not in words(html)


def test_same_bytes_with_any_number_of_processes(run, tmp_path):
    with_scans(run)
    for workers in (1, 2):
        write_subject_pages(tmp_path / str(workers), run.results, workers=workers)
    for page in (tmp_path / "1").iterdir():
        assert page.read_bytes() == (tmp_path / "2" / page.name).read_bytes()


def test_strips_show_values_beyond_the_scale_at_its_end_and_outside_as_grey():
    lungs = np.zeros((8, 8, 8), np.uint8)
    lungs[:, 2:6, 2:6] = 1
    cuts = choose_cuts(lungs)
    beyond = strips_png({"map": (np.full(lungs.shape, 7.0), MAP_SCALE)}, cuts, lungs=lungs)
    at_end = strips_png({"map": (np.ones(lungs.shape), MAP_SCALE)}, cuts, lungs=lungs)
    assert beyond == at_end
    two = strips_png({"CT": (np.full(lungs.shape, -600.0), CT_SCALE), "map": (lungs, MAP_SCALE)}, cuts, lungs=lungs)
    picture = imread(io.BytesIO(two))
    assert picture.shape[1] == 1080 and picture.shape[0] > 2 * 200
