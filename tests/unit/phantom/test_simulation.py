"""One scenario of the simulation study from slices to tables, on a small lung and a small network."""

import copy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from lungtypes.device import set_torch
from lungtypes.errors import InputError
from lungtypes.imaging.hounsfield import OUTSIDE
from lungtypes.methods.training import Checkpoint
from lungtypes.phantom.lung_slices import LungSlice
from lungtypes.phantom.simulation import (
    densitometry_features,
    named_scenarios,
    read_lung_slice,
    run_scenario,
    write_lung_slice,
)

ROOT = Path(__file__).resolve().parents[3]
CONFIG = yaml.safe_load((ROOT / "config/config.yaml").read_text())


@pytest.fixture(scope="module")
def lung():
    y, x = np.indices((32, 32)) - 15.5
    inside = y**2 + x**2 < 14**2
    noise = np.random.default_rng(0).normal(0, 40, 4000).astype(np.float32)
    return LungSlice(np.where(inside, -850, OUTSIDE).astype(np.float32), inside, noise, 3.0)


@pytest.fixture
def settings():
    set_torch(threads=1)
    study = copy.deepcopy(CONFIG["simulation"]) | {"subjects": 45, "strides": [2, 2], "fitted": "planted"}
    study["lesions"] |= {"border_px": 5.0, "fixed_radius_px": 3.0, "radii_px": [1.0, 2.0, 3.0, 4.0, 5.0]}
    method = copy.deepcopy(CONFIG["clam"]) | {"filters": [4, 8], "latent": 6, "batch": 15}
    method["pretrain"] |= {"epochs": 80}
    method["cluster"] |= {"epochs": 3, "n_init": 5}
    method["k"] |= {"rule": "silhouette", "maximum": 4, "n_init": 5, "n_null": 39, "n_permutations": 2}
    return {"study": study, "method": method, "device": "cpu", "seed": 1}


def tables(folder):
    return {path.stem: pd.read_csv(path, sep="\t") for path in folder.glob("*.tsv")}


def test_planted_locations_are_found_and_everything_is_written(lung, settings, tmp_path):
    checkpoint = Checkpoint(tmp_path / "resume" / "job.safetensors", "abc")
    run_scenario(tmp_path / "out", lung=lung, scenario="location-3", checkpoint=checkpoint, **settings)
    found, importance = tables(tmp_path / "out"), np.load(tmp_path / "out" / "importance.npy")
    fits = found["fits"].set_index("fitted_k")
    assert fits.accuracy[3] == 1.0 and fits.accuracy_kmeans[3] == 1.0 and fits.index.tolist() == [2, 3, 4]
    assert fits.accuracy.notna().tolist() == [False, True, False]  # only the planted number was clustered
    assert fits.accuracy_densitometry[3] < 0.7  # density alone cannot tell where
    subjects = found["assignment"]
    assert (subjects.true_cluster == subjects.cluster).all() and subjects.true_cluster.value_counts().tolist() == [
        15
    ] * 3
    assert importance.shape == (45, 32, 32) and importance.max() == 1.0 and importance.min() == 0.0
    discs = np.load(tmp_path / "out" / "discs.npy")
    share = importance[0][discs[0]].sum() / importance[0].sum()
    assert subjects.energy_in_disc[0] == pytest.approx(share, rel=1e-4)
    assert set(found["history"].phase) == {"pretrain", "cluster"} and np.load(tmp_path / "out/after_3.npy").shape == (
        45,
        6,
    )
    assert not list((tmp_path / "resume").iterdir())  # nothing is left to resume from


def test_killed_scenario_goes_on_and_ends_with_the_same_bytes(lung, settings, tmp_path, monkeypatch):
    monkeypatch.setattr("lungtypes.methods.training.SECONDS_BETWEEN_FILES", 0.0)
    settings["study"]["fitted"] = [2, 3]
    settings["method"]["pretrain"]["epochs"] = 4
    common = {"lung": lung, "scenario": "intensity-3", **settings}
    run_scenario(tmp_path / "whole", checkpoint=Checkpoint(tmp_path / "a" / "j.safetensors", "1"), **common)
    checkpoint = Checkpoint(tmp_path / "b" / "j.safetensors", "1")
    with monkeypatch.context() as patch:

        def die(*args, **kwargs):
            raise KeyboardInterrupt

        patch.setattr("lungtypes.phantom.simulation._maps", die)
        with pytest.raises(KeyboardInterrupt):
            run_scenario(tmp_path / "killed", checkpoint=checkpoint, **common)
    assert not (tmp_path / "killed").exists() and len(list((tmp_path / "b").iterdir())) == 3

    def refuse(*args):
        raise AssertionError("an epoch ran again")

    monkeypatch.setattr("lungtypes.methods.clam.shuffled", refuse)
    run_scenario(tmp_path / "killed", checkpoint=checkpoint, **common)
    for file in (tmp_path / "whole").iterdir():
        assert file.read_bytes() == (tmp_path / "killed" / file.name).read_bytes(), file.name


def test_scenario_without_clusters_is_fitted_at_the_chosen_k_and_has_no_accuracy(lung, settings, tmp_path):
    settings["method"]["pretrain"]["epochs"] = 2
    checkpoint = Checkpoint(tmp_path / "resume" / "job.safetensors", "abc")
    run_scenario(tmp_path / "out", lung=lung, scenario="no-clusters", checkpoint=checkpoint, **settings)
    fits = tables(tmp_path / "out")["fits"]
    assert fits.accuracy.isna().all() and fits.accuracy_kmeans.isna().all()
    assert fits.loc[fits.clusters_used.notna(), "fitted_k"].tolist() == [fits.chosen_k[0]]
    assert (fits.true_k == 1).all() and (fits.null_p > 0.05).all()
    for name, table in tables(tmp_path / "out").items():  # that there may be one group stands in every table
        assert set(table["flag"]) == {f"one group not rejected (p = {fits.null_p[0]:.2g})"}, name


def test_network_that_does_not_fit_is_refused_before_anything_is_trained(lung, settings, tmp_path):
    settings["method"]["filters"] = [2, 4, 8]
    with pytest.raises(InputError, match="simulation.strides: found 2 values, expected 3 as in clam.filters"):
        run_scenario(
            tmp_path / "out", lung=lung, scenario="size-3", checkpoint=Checkpoint(tmp_path / "j", "1"), **settings
        )
    settings["method"]["filters"], settings["study"]["strides"] = [2, 4], [3, 2]
    with pytest.raises(InputError, match="simulation.size: found 32, expected a multiple of 6"):
        run_scenario(
            tmp_path / "out", lung=lung, scenario="size-3", checkpoint=Checkpoint(tmp_path / "j", "1"), **settings
        )
    assert not (tmp_path / "out").exists()


def test_planted_number_beyond_those_compared_is_fitted(lung, settings, tmp_path):
    settings["method"]["pretrain"]["epochs"] = 2
    settings["method"]["k"]["maximum"] = 3
    checkpoint = Checkpoint(tmp_path / "resume" / "job.safetensors", "abc")
    run_scenario(tmp_path / "out", lung=lung, scenario="location-4", checkpoint=checkpoint, **settings)
    fits = tables(tmp_path / "out")["fits"].set_index("fitted_k")
    assert fits.index.tolist() == [2, 3, 4] and np.isnan(fits.silhouette_kmeans[4]) and fits.accuracy[4] > 0.2


def test_densitometry_is_blind_to_place_and_sees_density():
    hu = np.full((3, 8, 8), -850, np.int16)
    hu[:, 0] = OUTSIDE
    hu[0, 2, 2], hu[1, 6, 6], hu[2, 2:4, 2:4] = -300, -300, -300
    features = densitometry_features(hu)
    assert features[0] == pytest.approx(features[1]) and features[2, 0] > features[0, 0]
    assert features[0, 0] == pytest.approx((55 * -850 - 300) / 56)


def test_scenarios_of_the_config_are_those_that_exist():
    assert set(named_scenarios(300)) == set(CONFIG["simulation"]["scenarios"])
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    assert set(schema["properties"]["simulation"]["properties"]["scenarios"]["items"]["enum"]) == set(
        named_scenarios(300)
    )


def test_lung_slice_is_read_as_it_was_written(tmp_path):
    write_lung_slice(tmp_path / "lung", given=[], size=64, spacing_mm=3.0, people=2, seed=3)
    lung = read_lung_slice(tmp_path / "lung")
    assert lung.lung.shape == (64, 64) and lung.spacing_mm == 3.0
    assert lung.residuals_hu.dtype == np.float32 and abs(lung.residuals_hu.mean()) < 1
