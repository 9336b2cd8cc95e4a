"""The volumes that the page embeds for its viewer, and what may run on the page."""

import base64
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from lungtypes.imaging.geometry import Volume
from lungtypes.report.results import Results
from lungtypes.report.viewer import LIBRARY, SCRIPT, Layer, coarser, embed_map, viewer_section

HOSTILE = "<script>alert(1)</script>"


def opened(text):
    """A volume of the page as an independent program reads it."""
    return nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(text)))


def data_of(run, **options):
    return viewer_section(Results(run.results), {}, **options).blocks[1].data


def world_of(image):
    """World coordinates (RAS, mm) of all voxel centres, rows in the order of the flattened values."""
    places = np.indices(image.shape).reshape(3, -1).T
    return nib.affines.apply_affine(image.affine, places)


def values_at(image, world):
    places = nib.affines.apply_affine(np.linalg.inv(image.affine), world)
    assert np.abs(places - np.rint(places)).max() < 1e-3
    return np.asarray(image.dataobj)[tuple(np.rint(places).astype(int).T)]


def save_further(run, values, *, kind="margin"):
    """A further map, most faithful of all, whose file has its axes the other way round and in another order."""
    folder = run.results / "clam/further_group_maps"
    affine = np.array([[0, 0, -10.0, 0], [0, 10.0, 0, -110], [10.0, 0, 0, 0], [0, 0, 0, 1]])
    path = folder / f"{kind}_cluster2_mean.nii.gz"
    path.parent.mkdir(parents=True)
    nib.save(nib.Nifti1Image(values.astype(np.float32), affine), path)
    rows = [{"map": name, "n": 5, "gain": gain} for name, gain in (("clam", 1.0), (kind, 2.0))]
    same = {"passes": 1, "recommended": 0, "control": "uniform", "control_gain": 1.0, "difference": 0.0}
    same |= {"ci_low": -1.0, "ci_high": 1.0, "better": 0, "reference": "controls"}
    table = pd.DataFrame(rows).assign(**same)
    table.to_csv(run.results / "clam/faithfulness_summary.tsv", sep="\t", index=False)
    groups = pd.DataFrame({"group": [f"{kind}_cluster1", f"{kind}_cluster2"], "n_maps": [0, 5]})
    groups.to_csv(run.results / "clam/further_group_maps.tsv", sep="\t", index=False)
    return path


def check_map(text, path, lungs_path):
    """Each embedded voxel has the file's value at its place in the world, and 0 outside the lungs."""
    image, truth, lungs = opened(text), nib.load(path), nib.load(lungs_path)
    world, values = world_of(image), image.get_fdata().reshape(-1)
    inside = values_at(lungs, world) > 0
    assert inside.any() and not inside.all()
    assert np.abs(values - values_at(truth, world))[inside].max() <= 1 / 255
    assert (values[inside] != 0).all() and (values[~inside] == 0).all()
    return values[inside]


def test_published_maps_keep_their_values_and_their_place_in_the_world(run):
    (kind,) = data_of(run)["kinds"]
    names = ["population_subject", "cluster1", "cluster2"]
    assert [layer["name"] for layer in kind["layers"]] == ["all (n = 10)", "cluster 1 (n = 5)", "cluster 2 (n = 5)"]
    for layer, name in zip(kind["layers"], names, strict=True):
        path = run.results / f"clam/group_maps/clam_{name}_mean.nii.gz"
        check_map(layer["volume"], path, run.results / "template/mask.nii.gz")


def test_most_faithful_map_keeps_sign_and_place_from_a_file_with_other_axes(run):
    path = save_further(run, np.random.default_rng(0).uniform(-1, 1, (12, 12, 12)))
    _, kind = data_of(run)["kinds"]
    (layer,) = kind["layers"]  # cluster 1 has no map
    inside = check_map(layer["volume"], path, run.results / "template/mask.nii.gz")
    assert layer["name"] == "cluster 2 (n = 5)" and inside.min() < -0.9 and inside.max() > 0.9
    assert kind["high"] == 0.5 and kind["colours_below"][0] == kind["colours"][0]


def test_zero_inside_the_lungs_is_not_taken_for_outside(run):
    path = save_further(run, np.zeros((12, 12, 12)))
    check_map(data_of(run)["kinds"][1]["layers"][0]["volume"], path, run.results / "template/mask.nii.gz")


def test_ct_keeps_its_density_within_the_lung_window(run):
    image, truth = opened(data_of(run)["ct"]), nib.load(run.results / "template/template.nii.gz")
    expected = np.clip(values_at(truth, world_of(image)), -1350, 150)
    assert np.abs(image.get_fdata().reshape(-1) - expected).max() <= 1500 / 255 / 2 + 1e-3


def test_without_a_template_the_mean_ct_is_the_background(run):
    (run.results / "template/template.nii.gz").unlink()
    section = viewer_section(Results(run.results), {})
    truth = nib.load(run.results / "clam/group_maps/ct_mean_population.nii.gz")
    image = opened(section.blocks[1].data["ct"])
    assert np.abs(image.get_fdata().reshape(-1) - values_at(truth, world_of(image))).max() < 3
    assert "mean CT of all scans" in section.blocks[1].caption


def test_cross_starts_where_the_population_map_is_highest_inside_the_lungs(run):
    data = data_of(run)
    image = opened(data["kinds"][0]["layers"][0]["volume"])
    assert values_at(image, np.array([data["start_ras_mm"]]))[0] == image.get_fdata().max()


def test_without_group_maps_there_is_no_viewer_and_no_script(run):
    for path in (run.results / "clam/group_maps").glob("clam_*"):
        path.unlink()
    assert viewer_section(Results(run.results), {}) is None
    assert "<script" not in run.write() and "script-src" not in run.page.read_text()


def test_coarser_voxel_is_the_mean_of_its_lung_voxels_at_the_middle_of_its_block():
    values = np.arange(5 * 4 * 4, dtype=np.float32).reshape(5, 4, 4) / 100
    lungs = np.ones((5, 4, 4), np.uint8)
    lungs[:2, :2, 0] = 0
    grid = Volume(values, (2.0, 2.0, 2.0), (10.0, 20.0, 30.0), np.diag([1.0, 1.0, 1.0]))
    layer = Layer("", grid, grid.with_array(lungs))
    half = coarser(layer, 4.0, within_lungs=True)
    assert half.values.array.shape == (3, 2, 2) and half.values.spacing_mm == (4.0, 4.0, 4.0)
    assert half.values.origin_mm == (11.0, 21.0, 31.0)
    assert half.values.array[0, 0, 0] == pytest.approx(values[:2, :2, 1].mean())  # four of eight are lung
    assert half.values.array[0, 1, 1] == pytest.approx(values[:2, 2:, 2:].mean())
    assert half.lungs.array[0, 0, 0] == 1
    ct = coarser(layer, 4.0, within_lungs=False).values  # of a CT the chest wall counts, too
    assert ct.array[0, 0, 0] == pytest.approx(values[:2, :2, :2].mean())


def test_block_that_is_mostly_outside_is_outside():
    lungs = np.zeros((2, 2, 2), np.uint8)
    lungs[0, 0, 0] = 1
    grid = Volume(np.full((2, 2, 2), 0.5, np.float32), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), np.eye(3))
    half = coarser(Layer("", grid, grid.with_array(lungs)), 4.0, within_lungs=True)
    assert opened(embed_map(half, two_sided=False)).get_fdata() == 0


def test_volumes_above_the_budget_become_coarser_and_the_caption_says_so(run):
    data = data_of(run)
    whole = sum(len(layer["volume"]) for layer in data["kinds"][0]["layers"]) + len(data["ct"])
    section = viewer_section(Results(run.results), {}, budget=whole - 1)
    data = section.blocks[1].data
    image = opened(data["kinds"][0]["layers"][0]["volume"])
    assert sum(len(layer["volume"]) for layer in data["kinds"][0]["layers"]) + len(data["ct"]) < whole
    assert image.header.get_zooms() == (20.0, 20.0, 20.0)
    assert "maps 20.0 mm (made coarser" in section.blocks[1].caption
    truth = nib.load(run.results / "clam/group_maps/clam_population_subject_mean.nii.gz")
    lungs = np.asarray(nib.load(run.results / "template/mask.nii.gz").dataobj) > 0
    corner = nib.affines.apply_affine(image.affine, [1, 1, 1])  # the middle of eight voxels
    first = np.rint(nib.affines.apply_affine(np.linalg.inv(truth.affine), corner) - 0.5).astype(int)
    block = tuple(slice(i, i + 2) for i in first)
    assert image.get_fdata()[1, 1, 1] == pytest.approx(truth.get_fdata()[block][lungs[block]].mean(), abs=1 / 255)


class Scripts(HTMLParser):
    """The text of each script, with its type."""

    def __init__(self, html):
        super().__init__()
        self.found, self.inside = [], False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag == "script":
            self.inside = True
            self.found.append([dict(attrs).get("type", ""), ""])

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "script"

    def handle_data(self, data):
        if self.inside:
            self.found[-1][1] += data


def hash_of(text):
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_policy_names_the_page_s_one_script_and_the_library_that_it_unpacks(shared):
    _, html = shared
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    (kind, data), (_, script) = Scripts(html).found
    library = gzip.decompress(base64.b64decode(json.loads(data)["library"])).decode()
    assert kind == "application/json" and script == SCRIPT.read_text() and library == LIBRARY.read_text()
    assert re.findall(r"'(sha256-[^']*)'", policy) == [hash_of(script), hash_of(library)]
    assert "eval" not in policy and policy.split("script-src")[1].count("unsafe") == 0


def test_hostile_name_of_a_map_stays_text_in_the_data(run):
    save_further(run, np.zeros((12, 12, 12)), kind=HOSTILE)
    html = run.write()
    data = json.loads(Scripts(html).found[0][1])
    assert HOSTILE in data["kinds"][1]["name"] and HOSTILE not in html and len(Scripts(html).found) == 2


def test_same_results_give_the_same_data_at_any_time(run):
    data = data_of(run)
    assert json.dumps(data) == json.dumps(data_of(run))
    for text in (data["ct"], data["library"], data["kinds"][0]["layers"][0]["volume"]):
        assert base64.b64decode(text)[4:8] == bytes(4)  # the time in a gzip header


def test_vendored_library_is_the_one_whose_hash_the_readme_states():
    found = hashlib.sha256(LIBRARY.read_bytes()).hexdigest()
    assert found == "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"
    assert f"`{found}`" in (LIBRARY.parent / "README.md").read_text()
