"""Refits from other seeds: the planted groups again, other weights, and no second pre-training after a kill."""

import copy
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from lungtypes.device import set_torch
from lungtypes.evaluation.accuracy import matched_accuracy
from lungtypes.imaging.hounsfield import OUTSIDE
from lungtypes.methods import clam_stages
from lungtypes.methods.clam_stages import refit_stage
from lungtypes.methods.training import Checkpoint

ROOT = Path(__file__).resolve().parents[3]
CLAM = yaml.safe_load((ROOT / "config/config.yaml").read_text())["clam"]
TRAINING = {
    "window_hu": [-1024.0, -400.0],
    "background": "lung_mean",
    "network": {"filters": [4, 8], "strides": [2, 2], "latent": 4, "slope": 0.1, "output": "linear"},
    "loss": "mean",
    "batch": 8,
    "pretrain": {"epochs": 40, "learning_rate": 0.003, "held_out": 0.1},
}
CLUSTERING = {"loss": "mean", "batch": 8, "cluster": copy.deepcopy(CLAM["cluster"]) | {"epochs": 5}}
SUBJECTS = [f"S{i}" for i in range(24)]


def planted():
    """24 scans, the last four for the test; half of them denser on one side."""
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 2
    array = rng.normal(-850, 20, (24, 8, 8, 8))
    array[labels == 1, :, :, :4] += 250
    array[:, 0] = OUTSIDE
    return array.astype(np.int16), labels, ["train"] * 20 + ["test"] * 4


def refit(folder, seed):
    array, _, splits = planted()
    (folder / "choice.json").write_text(json.dumps({"k": 2, "flag": ""}))
    table = folder / f"{seed}.tsv"
    places = {"choice": folder / "choice.json", "checkpoint": Checkpoint(folder / "resume/refit.safetensors", "a" * 20)}
    settings = {"training": TRAINING, "clustering": CLUSTERING, "seed": seed, "device": "cpu"}
    refit_stage(table, array, SUBJECTS, splits, **places, **settings)
    return pd.read_csv(table, sep="\t")


def test_refits_find_the_planted_groups_and_leave_nothing_else(tmp_path):
    set_torch(threads=1)
    tables = [refit(tmp_path, seed) for seed in (1, 2)]
    for table in tables:
        assert list(table) == ["subject", "cluster", "split"] and table["subject"].tolist() == SUBJECTS
        assert matched_accuracy(table["cluster"].tolist(), planted()[1].tolist()).accuracy == 1.0
    assert list((tmp_path / "resume").iterdir()) == []


def killed(*args, **kwargs):
    raise KeyboardInterrupt


def refit_killed_in(folder, owner, name):
    """What the whole refit gives, after another one was killed in ``owner.name``."""
    whole = refit(folder, 1)
    (folder / "1.tsv").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, killed)
        with pytest.raises(KeyboardInterrupt):
            refit(folder, 1)
    return whole


def test_a_kill_between_the_phases_costs_no_second_pretraining(tmp_path, monkeypatch):
    set_torch(threads=1)
    whole = refit_killed_in(tmp_path, clam_stages, "cluster_stage")
    assert not (tmp_path / "1.tsv").exists()
    monkeypatch.setattr(clam_stages, "pretrain_stage", killed)
    pd.testing.assert_frame_equal(refit(tmp_path, 1), whole)


def test_a_kill_before_phase_one_has_tidied_up_is_got_over(tmp_path, monkeypatch):
    """The state of phase 1 that is left then is no state of phase 2."""
    set_torch(threads=1)
    monkeypatch.setattr("lungtypes.methods.training.SECONDS_BETWEEN_FILES", 0.0)
    whole = refit_killed_in(tmp_path, Checkpoint, "remove")
    assert any((tmp_path / "resume").rglob("*.safetensors"))
    pd.testing.assert_frame_equal(refit(tmp_path, 1), whole)
    assert list((tmp_path / "resume").iterdir()) == []
