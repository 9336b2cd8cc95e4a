"""dCAM's stages and maps as files: held-out scans, the reference, the frozen model, two spaces, group maps."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import torch
import yaml

from lungtypes.device import set_torch
from lungtypes.errors import InputError
from lungtypes.imaging.geometry import read_volume
from lungtypes.imaging.transforms import TransformFiles, warp_image
from lungtypes.imaging.volume_files import Cohort, read_cohort_array, write_native_array
from lungtypes.imaging.volumes import CohortGrid
from lungtypes.methods import dcam
from lungtypes.methods.dcam_maps import write_dense_maps
from lungtypes.methods.dcam_stages import classes_of, embed_stage, load_dcam, refit_stage, train_stage
from lungtypes.methods.intensity import OUTSIDE, Intensity
from lungtypes.methods.lung_scans import LungScans
from lungtypes.methods.training import Checkpoint

ROOT = Path(__file__).resolve().parents[3]
N, SIZE = 14, 16
SUBJECTS = [f"S{i:02d}" for i in range(N)]
SPLITS = ["train"] * 10 + ["test"] * 3 + ["repeat"]
SETTINGS = {
    "network": {"filters": 2, "norm": "batch", "checkpointing": False},
    "window_hu": [-1024.0, -400.0],
    "background": "lung_mean",
    "training": {
        "epochs": 3,
        "passes": 2,
        "batch": 5,
        "learning_rate": 0.003,
        "head_learning_rate": 0.05,
        "components": 4,
        "whiten": False,
        "augmentation": {"scale": 0.05, "noise": 0.02, "flip": False},
        "precision": "bfloat16",
    },
    "device": "cpu",
}


def scans():
    rng = np.random.default_rng(0)
    hu = rng.normal(-800, 20, (N, SIZE, SIZE, SIZE))
    hu[::2, : SIZE // 2] -= 150
    hu[:, :, :, :3] = OUTSIDE
    return hu.astype(np.int16)


def train(folder, array, *, method="dcam", reference=None, seed=1):
    set_torch(threads=1)
    folder.mkdir(exist_ok=True)
    (folder / "choice.json").write_text(json.dumps({"k": 3, "flag": "careful"}))
    checkpoint = Checkpoint(folder / "resume/a.safetensors", "b" * 20)
    embed_stage(folder / "start.tsv", array, SUBJECTS, SPLITS, method=method, seed=seed, **SETTINGS)
    places = {"start": folder / "start.tsv", "choice": folder / "choice.json"}
    places |= {"reference": reference, "checkpoint": checkpoint}
    train_stage(folder, array, SUBJECTS, SPLITS, method=method, space="template", seed=seed, **places, **SETTINGS)
    return folder


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    return train(tmp_path_factory.mktemp("dcam"), scans())


def table(path):
    return pd.read_csv(path, sep="\t", keep_default_na=False, na_values=[""])


@pytest.mark.parametrize("name", ["assignment", "embedding", "history_dcam", "logits"])
def test_tables_have_the_columns_of_their_schemas(fitted, name):
    schema = yaml.safe_load((ROOT / f"workflow/schemas/tables/{name}.yaml").read_text())
    found = list(table(fitted / f"{name.removesuffix('_dcam')}.tsv"))
    patterns = "|".join(schema.get("patterns", {"(?!)": ""}))
    assert [c for c in found if not pd.Series([c]).str.fullmatch(patterns).item()] == list(schema["columns"])


def test_a_loaded_model_assigns_every_scan_as_it_was_assigned(fitted):
    model, settings = load_dcam(fitted, "cpu")
    everyone = LungScans(scans(), Intensity(**settings["intensity"]), tuple(map(tuple, settings["box"])))
    features = dcam.embed(model.network, everyone, batch=3, device="cpu", precision="float32")
    q = table(fitted / "assignment.tsv").filter(regex="^q_").to_numpy()
    np.testing.assert_allclose(dcam.assign(model, features), q, atol=1e-5)
    written = table(fitted / "logits.tsv").filter(regex="^logit_").to_numpy()
    np.testing.assert_allclose(dcam.logits(model, features), written, atol=1e-4)


def test_held_out_scans_influence_nothing(fitted, tmp_path):
    array = scans()
    rows = [i for i, split in enumerate(SPLITS) if split != "train"]
    array[rows] = np.where(array[rows] == OUTSIDE, OUTSIDE, -500)
    again = train(tmp_path / "other", array)
    assert (again / "model.safetensors").read_bytes() == (fitted / "model.safetensors").read_bytes()


def test_clusters_are_ordered_by_density(fitted):
    array, assigned = scans(), table(fitted / "assignment.tsv")
    means = np.array([scan[scan != OUTSIDE].mean() for scan in array])
    trained = (assigned["split"] == "train").to_numpy()
    by_cluster = pd.Series(means[trained]).groupby(assigned["cluster"][trained].to_numpy()).mean()
    assert by_cluster.is_monotonic_increasing and len(by_cluster) == 3


def test_start_is_of_the_untrained_network_and_needs_no_labels(tmp_path, fitted):
    embed_stage(tmp_path / "start.tsv", scans(), SUBJECTS, SPLITS, method="dcam", seed=1, **SETTINGS)
    start, before = table(tmp_path / "start.tsv"), table(fitted / "embedding.tsv").query("phase == 'before'")
    np.testing.assert_allclose(start.filter(regex="^z_"), before.filter(regex="^z_"), atol=1e-6)
    assert start["split"].tolist() == SPLITS


def test_the_supervised_reference_learns_the_labels_and_keeps_their_order(tmp_path):
    labels = pd.Series(["10" if i % 2 else "2" for i in range(N)], index=SUBJECTS)
    folder = train(tmp_path, scans(), method="dcam-supervised", reference=labels)
    settings = json.loads((folder / "model.json").read_text())
    assert settings["classes"] == ["2", "10"] and settings["by_head"] and settings["k"] == 2
    assigned = table(folder / "assignment.tsv")
    assert (assigned["cluster"].to_numpy() == [1 + i % 2 for i in range(N)]).mean() > 0.9
    with pytest.raises(InputError, match="no label for 1 training scans, first S00"):
        classes_of(labels.drop("S00"), SUBJECTS[:10])


def test_a_refit_keeps_assignments_only(tmp_path, fitted):
    set_torch(threads=1)
    (tmp_path / "choice.json").write_text(json.dumps({"k": 3, "flag": ""}))
    checkpoint = Checkpoint(tmp_path / "resume/refit.safetensors", "c" * 20)
    options = {
        "method": "dcam",
        "start": fitted / "start.tsv",
        "choice": tmp_path / "choice.json",
        "reference": None,
        "space": "template",
        "seed": 2,
    }
    refit_stage(tmp_path / "1.tsv", scans(), SUBJECTS, SPLITS, checkpoint=checkpoint, **options, **SETTINGS)
    assert list(table(tmp_path / "1.tsv")) == ["subject", "cluster", "split"]
    assert list((tmp_path / "resume").iterdir()) == []


def cohort(array, place=0.0):
    grid = CohortGrid((SIZE,) * 3, 3.0, (place, 0.0, 0.0), ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))
    return Cohort(array, tuple(SUBJECTS), tuple(SPLITS), grid)


def regions():
    z, _, x = np.indices((SIZE,) * 3)
    lungs = x >= 3
    found = {"lungs": lungs, "right": lungs & (x < SIZE / 2), "left": lungs & (x >= SIZE / 2)}
    thirds = np.digitize(z, [SIZE / 3, 2 * SIZE / 3])
    return found | {name: lungs & (thirds == 2 - i) for i, name in enumerate(("upper", "middle", "lower"))}


@pytest.mark.parametrize("native", [False, True])
def test_maps_group_maps_and_tables(fitted, tmp_path, native):
    model, settings = load_dcam(fitted, "cpu")
    array, assigned = scans(), table(fitted / "assignment.tsv")
    clusters, whole = assigned["cluster"].to_numpy(), cohort(array)
    shifted = []

    def to_template(subject, importance, grid):
        shifted.append(subject)
        return np.roll(importance, 2, axis=1)

    own = Cohort(array, whole.subjects, whole.splits, whole.grid, (cohort(array, 7.0).grid,) * N) if native else whole
    found = write_dense_maps(
        tmp_path,
        model,
        settings,
        own,
        whole,
        clusters,
        regions(),
        to_template=to_template if native else None,
        device="cpu",
    )
    raw, published = (
        [sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"maps/{name}/{s}.nii.gz"))) for s in SUBJECTS]
        for name in ("dcam-raw", "dcam")
    )
    logits = table(fitted / "logits.tsv").filter(regex="^logit_").to_numpy()
    for number, cluster in enumerate(clusters):
        lungs = array[number] != OUTSIDE
        assert raw[number][lungs].mean() == pytest.approx(logits[number, cluster - 1], rel=1e-4, abs=1e-4)
        assert not raw[number][~lungs].any() and published[number].max() <= 1
        assert ((published[number] > 0) == (raw[number] > 0)).all()
    ratios = np.concatenate([p[(p > 0) & (p < 1)] / r[(p > 0) & (p < 1)] for p, r in zip(published, raw, strict=True)])
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-4)  # one scale for all

    counted = [i for i in range(N) if clusters[i] == 1 and SPLITS[i] != "repeat" and published[i].any()]
    brought = [np.roll(published[i], 2, axis=1) if native else published[i] for i in counted]
    mean = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "group_maps/dcam_cluster1_mean.nii.gz")))
    np.testing.assert_allclose(mean, np.mean(brought, axis=0), atol=1e-6)
    assert (tmp_path / "maps/dcam-template").exists() == native and shifted == (SUBJECTS if native else [])
    origin = sitk.ReadImage(str(tmp_path / "maps/dcam/S00.nii.gz")).GetOrigin()
    assert origin[0] == pytest.approx(7.0 if native else 0.0)
    for name, frame in (("map_summary", found.summary), ("map_regions", found.regions), ("group_maps", found.groups)):
        schema = yaml.safe_load((ROOT / f"workflow/schemas/tables/{name}.yaml").read_text())
        assert [*frame, "flag"] == list(schema["columns"])


def test_native_array_holds_each_scan_around_its_own_lungs(tmp_path):
    folders = {}
    for number, subject in enumerate(("A", "B", "C")):
        hu = np.full((30, 40, 50), -50, np.float32)
        lungs = np.zeros(hu.shape, np.uint8)
        inside = (slice(5, 25), slice(8 + 2 * number, 28 + 2 * number), slice(10, 30))
        lungs[inside], hu[inside] = 1, -800 - 10 * number
        folders[subject] = tmp_path / subject
        folders[subject].mkdir()
        for name, values in (("ct", hu), ("lungs", lungs)):
            image = sitk.GetImageFromArray(values)
            image.SetSpacing((2.0,) * 3), image.SetOrigin((100.0 * number, 0, 0))
            sitk.WriteImage(image, str(folders[subject] / f"{name}.nii.gz"))
    files = tmp_path / "native.npy", tmp_path / "native.json"
    splits = dict.fromkeys(folders, "train")
    write_native_array(*files, scans=folders, splits=splits, size=16, spacing_mm=3.0)
    found = read_cohort_array(*files)
    for number in range(3):
        values = found.array[number]
        lung = values != OUTSIDE
        assert lung.sum() == pytest.approx(14**3, rel=0.02)  # 40 mm hold the centres of 14 voxels of 3 mm
        assert (values[lung] == -800 - 10 * number).mean() > 0.9
        assert not lung[0].any() and not lung[-1].any()  # centred
        ct = read_volume(folders["ABC"[number]] / "ct.nii.gz")
        centre = found.grids[number].origin_mm[0] + 3.0 * 7.5
        assert centre == pytest.approx(ct.origin_mm[0] + 2.0 * 19.5)
    with pytest.raises(InputError, match=r"holds less than 90 % of the lungs of 3 scan\(s\): A \("):
        write_native_array(*files, scans=folders, splits=splits, size=8, spacing_mm=3.0)


def test_a_map_brought_to_the_template_lies_where_the_warp_says(tmp_path):
    """The pull of images: a translation of 6 mm along x moves a spot by two voxels of 3 mm."""
    sitk.WriteTransform(sitk.AffineTransform(3), str(tmp_path / "affine.mat"))
    field = np.zeros((SIZE, SIZE, SIZE, 3))
    for name, shift in (("warp", 6.0), ("inverse_warp", -6.0)):
        field[..., 0] = shift
        image = sitk.GetImageFromArray(field, isVector=True)
        image.SetSpacing((3.0,) * 3)
        sitk.WriteImage(image, str(tmp_path / f"{name}.nii.gz"))
    grid, spot = cohort(scans()).grid, np.zeros((SIZE,) * 3, np.float32)
    spot[5, 6, 9] = 1
    moved = warp_image(
        grid.volume(spot), TransformFiles.of(tmp_path), to="template", reference=grid.volume(spot), outside=0.0
    )
    assert np.argwhere(moved.array > 0.5).tolist() == [[5, 6, 7]]


def test_precision_of_the_network_is_float32_on_the_cpu(fitted):
    model, _ = load_dcam(fitted, "cpu")
    assert all(p.dtype == torch.float32 for p in model.network.parameters())
