"""The maps of a small cohort on a turned grid: files, group maps, tables, and what is kept of each map."""

import json
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
import yaml

from lungtypes.device import set_torch
from lungtypes.imaging.volume_files import Cohort
from lungtypes.imaging.volumes import CohortGrid
from lungtypes.maps.channel_masking import importance_from_sum
from lungtypes.maps.map_parts import read_parts
from lungtypes.maps.official_map import official_raw, official_sum
from lungtypes.methods.clam_maps import MapFolders, explain_with, write_maps
from lungtypes.methods.intensity import OUTSIDE
from lungtypes.networks.cae import ConvolutionalAutoencoder

SCHEMAS = Path(__file__).parents[3] / "workflow/schemas/tables"
SIZE = 12
SUBJECTS = ("A", "B", "C", "D", "E", "F")
SPLITS = ("train", "train", "test", "train", "repeat", "train")
CLUSTERS = np.array([1, 1, 1, 3, 3, 3])  # of 4; cluster 2 and 4 are empty
COUNTED = {1: [0, 1, 2], 3: [3, 5]}
AUTHORS = {"official": True, "emulate_channel_bug": False}


def grid(size=SIZE):
    """Turned by 30 degrees about z and shifted: no axis of the world is one of the grid."""
    c, s = np.cos(np.pi / 6), np.sin(np.pi / 6)
    return CohortGrid((size,) * 3, 2.5, (-20.0, 31.5, -7.25), ((c, -s, 0.0), (s, c, 0.0), (0.0, 0.0, 1.0)))


def cohort(n=None, size=SIZE):
    """The six scans above, or n of another size."""
    names, splits = (SUBJECTS, SPLITS) if n is None else (tuple(f"S{i}" for i in range(n)), ("train",) * n)
    array = np.random.default_rng(1).integers(-900, -500, (len(names), size, size, size)).astype(np.int16)
    array[:, :2] = OUTSIDE
    return Cohort(array, names, splits, grid(size))


def regions(size=SIZE):
    z, _, x = np.indices((size,) * 3)
    lungs = (z > 0) & (x > 0) & (x < size - 1)
    found = {"lungs": lungs, "right": lungs & (x < size / 2), "left": lungs & (x >= size / 2)}
    thirds = np.digitize(z, [size / 3, 2 * size / 3])
    return found | {name: lungs & (thirds == 2 - i) for i, name in enumerate(("upper", "middle", "lower"))}


def model(size=SIZE, k=4, precision="float32"):
    torch.manual_seed(3)
    network = ConvolutionalAutoencoder(size=(size,) * 3, filters=(3, 5), strides=(2, 1), latent=4, slope=0.1)
    settings = {"intensity": {"low_hu": -1024.0, "high_hu": 200.0, "background": 0.3}, "scale": 2.0}
    return explain_with(network, settings, {"centroids": torch.randn(k, 4).numpy()}, device="cpu", precision=precision)


def write(folder, *, of=None, clusters=CLUSTERS, explained=None, size=SIZE, official=False, emulate_channel_bug=False):
    set_torch(threads=1)
    folders = MapFolders(folder / "maps/clam", folder / "group_maps", folder / "map_parts")
    return write_maps(
        folders,
        explained or model(size),
        of or cohort(),
        clusters,
        regions(size),
        chunk_channels=2,
        correct_shift=True,
        official=official,
        emulate_channel_bug=emulate_channel_bug,
    )


def array(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    return folder, write(folder, **AUTHORS)


def published(folder):
    return np.stack([array(folder / f"maps/clam/{subject}.nii.gz") for subject in SUBJECTS])


def test_every_file_lies_where_the_cohorts_grid_lies(done):
    files = sorted(done[0].rglob("*.nii.gz"))
    assert len(files) == 2 * 6 + (3 * 3 + 2) + 3 * 3 + 2 * 3  # maps, clam, clam-official, CT
    for path in files:
        image = sitk.ReadImage(str(path))
        assert image.GetSize() == (SIZE,) * 3 and image.GetPixelID() == sitk.sitkFloat32, path
        assert image.GetSpacing() == pytest.approx((2.5,) * 3, abs=1e-5), path
        assert image.GetOrigin() == pytest.approx(grid().origin_mm, abs=1e-4), path
        assert image.GetDirection() == pytest.approx(np.ravel(grid().direction), abs=1e-5), path


def test_another_reader_finds_every_map_in_the_same_place(done):
    """nibabel has code of its own for the affine, in RAS, and takes the sform; what takes the qform must agree."""
    spacing, direction, origin = 2.5, np.array(grid().direction), np.array(grid().origin_mm)
    lps = np.eye(4)
    lps[:3, :3], lps[:3, 3] = direction * spacing, origin
    for path in sorted(done[0].rglob("*.nii.gz")):
        image = nib.load(path)
        np.testing.assert_allclose(image.affine, np.diag([-1, -1, 1, 1]) @ lps, atol=1e-3, err_msg=str(path))
        assert int(image.header["sform_code"]) > 0 and int(image.header["qform_code"]) > 0
        np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-3)
        values = np.asarray(image.dataobj)
        np.testing.assert_array_equal(values.transpose(2, 1, 0), array(path))


def test_maps_of_the_scans_are_scaled_each_by_itself(done):
    maps = published(done[0])
    assert (maps.min(axis=(1, 2, 3)) == 0).all() and (maps.max(axis=(1, 2, 3)) == 1).all()


def test_parts_give_each_map_again(done):
    parts = read_parts(done[0] / "map_parts")
    assert parts.subjects == SUBJECTS and parts.clusters == tuple(CLUSTERS) and parts.offset == 1.0
    assert parts.weights.shape == (6, 5) and parts.sums.shape == parts.uniform.shape == (6, 6, 6, 6)
    assert all(part.dtype == np.float32 for part in (parts.weights, parts.sums, parts.uniform))
    for total, importance in zip(parts.sums, published(done[0]), strict=True):
        assert importance_from_sum(total, parts.size, parts.offset) == pytest.approx(importance, abs=1e-6)


def test_group_maps_are_means_of_the_written_maps_without_repeats(done):
    maps, folder = published(done[0]), done[0] / "group_maps"
    groups = {f"cluster{k}": maps[members] for k, members in COUNTED.items()}
    groups["population_subject"] = maps[[0, 1, 2, 3, 5]]
    for name, members in groups.items():
        assert array(folder / f"clam_{name}_mean.nii.gz") == pytest.approx(members.mean(axis=0), abs=1e-6)
        assert array(folder / f"clam_{name}_sd.nii.gz") == pytest.approx(members.std(axis=0, ddof=1), abs=1e-6)
        assert np.array_equal(array(folder / f"clam_{name}_count.nii.gz"), (members > 0.5).sum(axis=0))
    means = [groups["cluster1"].mean(axis=0), groups["cluster3"].mean(axis=0)]
    assert array(folder / "clam_population_balanced_mean.nii.gz") == pytest.approx(np.mean(means, axis=0), abs=1e-6)
    assert not list(folder.glob("*cluster2*")) and not list(folder.glob("*cluster4*"))


def test_mean_ct_is_of_the_scans_that_have_lung_there(done):
    scans = cohort().array[COUNTED[3]]
    found = array(done[0] / "group_maps/ct_mean_cluster3.nii.gz")
    assert found[2:] == pytest.approx(scans[:, 2:].mean(axis=0)) and (found[:2] == -1024).all()
    assert (array(done[0] / "group_maps/ct_count_population.nii.gz")[2:] == 5).all()


def test_official_maps_share_one_maximum_and_their_groups_are_means(done):
    folder, explained = done[0], model()
    raw = []
    for scan, k in zip(cohort().array, CLUSTERS, strict=True):
        found = official_sum(
            explained.image(scan),
            activations=explained.model.activations,
            score=explained.score(k),
            chunk_channels=5,
            emulate_channel_bug=False,
        )
        raw.append(official_raw(found.weighted_sum, (SIZE,) * 3))
    expected = np.stack(raw) / np.max(raw)
    written = np.stack([array(folder / f"maps/clam-official/{subject}.nii.gz") for subject in SUBJECTS])
    assert written == pytest.approx(expected, abs=1e-6) and written.max() == 1.0
    assert sorted(written.max(axis=(1, 2, 3)))[0] < 1.0
    assert abs(written - published(folder)).max() > 0.05
    mean = array(folder / "group_maps/clam-official_population_subject_mean.nii.gz")
    assert mean == pytest.approx(expected[[0, 1, 2, 3, 5]].mean(axis=0), abs=1e-6)
    assert not (folder / "group_maps/clam-official_population_balanced_mean.nii.gz").exists()


def test_official_maps_are_made_only_when_asked_for_and_old_ones_go(tmp_path):
    write(tmp_path, official=True, emulate_channel_bug=True)
    first = array(tmp_path / "maps/clam/A.nii.gz")
    assert len(list((tmp_path / "maps/clam-official").glob("*.nii.gz"))) == 6
    write(tmp_path)
    assert {p.name for p in (tmp_path / "maps").iterdir()} == {"clam"}
    assert not list((tmp_path / "group_maps").glob("clam-official*"))
    assert np.array_equal(array(tmp_path / "maps/clam/A.nii.gz"), first)


def test_tables_have_the_columns_of_their_schemas(done):
    tables = done[1]
    for name, table in (
        ("map_summary", tables.summary),
        ("map_regions", tables.regions),
        ("group_maps", tables.groups),
    ):
        schema = yaml.safe_load((SCHEMAS / f"{name}.yaml").read_text())
        assert [*table.columns, "flag"] == list(schema["columns"]), name  # the rule adds the flag
    assert tables.summary.subject.tolist() == list(SUBJECTS) and len(tables.regions) == 6 * (2 + 3 + 6)


def test_regions_that_divide_the_lungs_add_up(done):
    rows = done[1].regions.pivot(index="subject", columns="region", values=["share", "active_ml", "region_ml"])
    summary = done[1].summary.set_index("subject")
    for parts in (["right", "left"], ["upper", "middle", "lower"], [r for r in rows["share"] if r.endswith("_zone")]):
        assert rows["share"][parts].sum(axis=1).to_numpy() == pytest.approx(1)
        assert rows["active_ml"][parts].sum(axis=1).to_numpy() == pytest.approx(summary.active_ml.to_numpy())
    assert rows["region_ml"].right.tolist() == pytest.approx([5 * SIZE * (SIZE - 2) * 2.5**3 / 1000] * 6)


def test_group_table_counts_repeats_and_names_empty_clusters(done):
    table = done[1].groups.set_index("group")
    assert table.loc["clam_cluster3", ["n", "n_maps", "n_degenerate", "n_repeats"]].tolist() == [2, 2, 0, 1]
    assert table.loc["clam_population_balanced", ["n", "n_maps", "n_repeats"]].tolist() == [5, 5, 1]
    assert table.loc["clam_cluster2", "n"] == 0 and np.isnan(table.loc["clam_cluster2", "mean_importance"])
    assert "clam-official_cluster1" in table.index and "clam-official_population_balanced" not in table.index


def test_degenerate_maps_are_left_out_counted_and_described_as_empty(tmp_path):
    explained, scans = model(), cohort()
    scans.array[1, 2:] = -1000
    activations = explained.model.activations
    explained.model.activations = lambda x: activations(x) - 1e4 * (x.mean() < 0.15)  # all negative for that scan
    tables = write(tmp_path, of=scans, explained=explained)
    row = tables.summary.set_index("subject").loc["B"]
    assert row.degenerate == 1 and tables.summary.degenerate.sum() == 1
    assert np.isnan([row.active_ml, row.mean_importance, row.inside_share, row.uniform_correlation]).all()
    group = tables.groups.set_index("group").loc["clam_cluster1"]
    assert (group.n, group.n_maps, group.n_degenerate) == (3, 2, 1)
    assert not array(tmp_path / "maps/clam/B.nii.gz").any()
    members = [array(tmp_path / f"maps/clam/{subject}.nii.gz") for subject in "AC"]
    mean = array(tmp_path / "group_maps/clam_cluster1_mean.nii.gz")
    assert mean == pytest.approx(np.mean(members, axis=0), abs=1e-6)


def test_constant_channels_are_named_by_scan(tmp_path):
    explained = model()
    activations = explained.model.activations
    explained.model.activations = lambda x: activations(x) * torch.tensor([1.0, 1, 0, 1, 1]).reshape(1, -1, 1, 1, 1)
    write(tmp_path, explained=explained)
    text = json.loads((tmp_path / "map_parts/parts.json").read_text())
    assert text["constant_channels"] == {subject: [2] for subject in SUBJECTS}
    assert (read_parts(tmp_path / "map_parts").weights[:, 2] == 0).all()


def test_memory_does_not_grow_with_the_number_of_maps(tmp_path):
    explained, peaks, size = model(32, k=1), [], 32
    for n in (3, 3, 23):  # the first call loads what stays
        scans = cohort(n, size)
        tracemalloc.start()
        write(tmp_path, of=scans, clusters=np.ones(n, int), explained=explained, size=size)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    one_map = 4 * size**3
    assert peaks[2] - peaks[1] < 20 * one_map / 2


def test_a_model_without_a_scale_is_read_as_the_papers():
    explained = model()
    plain = explain_with(
        explained.model,
        {"intensity": {"low_hu": -1024.0, "high_hu": 200.0, "background": 0.3}},
        {"centroids": explained.centroids.numpy()},
        device="cpu",
    )
    image = explained.image(cohort().array[0])
    with torch.no_grad():
        scores = [float(e.score(1)(image)) for e in (plain, explained)]
    assert plain.scale == 1.0 and scores[0] != pytest.approx(scores[1])


def test_precision_of_a_gpu_changes_nothing_on_a_cpu(done, tmp_path):
    write(tmp_path, explained=model(precision="bfloat16"), **AUTHORS)
    np.testing.assert_array_equal(published(tmp_path), published(done[0]))
