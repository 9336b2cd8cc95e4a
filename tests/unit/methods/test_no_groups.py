"""A cohort without groups: every table of clusters says so, from the choice of K to the outcomes; the maps are made."""

import copy
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from lungtypes.association.stage import associate_stage
from lungtypes.device import set_torch
from lungtypes.errors import InputError
from lungtypes.evaluation.choose_files import choose_stage
from lungtypes.evaluation.evaluate_files import evaluate_stage
from lungtypes.imaging.hounsfield import OUTSIDE
from lungtypes.methods.clam_stages import cluster_stage, pretrain_stage
from lungtypes.methods.training import Checkpoint

ROOT = Path(__file__).resolve().parents[3]
CONFIG = yaml.safe_load((ROOT / "config/config.yaml").read_text())
CHOICE = {"minimum": 2, "maximum": 3, "rule": "silhouette", "n_init": 5, "n_null": 39, "n_permutations": 2, "seed": 1}


def choose(folder, centres):
    """The choice of K for 40 subjects around one or two centres."""
    rng = np.random.default_rng(3)
    z = rng.normal(size=(40, 5)) + np.repeat(centres, 40 // len(centres))[:, None]
    table = pd.DataFrame(z, columns=[f"z_{i}" for i in range(1, 6)])
    table.insert(0, "subject", [f"S{i}" for i in range(40)])
    table.assign(split="train").to_csv(folder / "embedding.tsv", sep="\t", index=False)
    paths = {"table": folder / "k_selection.tsv", "choice": folder / "k_selection.json"}
    choose_stage(folder / "embedding.tsv", n_clusters="auto", **paths, **CHOICE)
    return pd.read_csv(paths["table"], sep="\t", keep_default_na=False), json.loads(paths["choice"].read_text())


def test_fewer_scans_than_the_wanted_clusters_need_are_named(tmp_path):
    choose(tmp_path, [0, 12])
    paths = {"table": tmp_path / "other.tsv", "choice": tmp_path / "other.json"}
    with pytest.raises(
        InputError, match=r"k\.n_clusters: found 40, expected at most 39: 40 scans to learn from are left"
    ):
        choose_stage(tmp_path / "embedding.tsv", n_clusters=40, **paths, **CHOICE | {"maximum": 50})
    with pytest.raises(InputError, match=r"k\.minimum: found 41, expected at most 39"):
        choose_stage(tmp_path / "embedding.tsv", n_clusters="auto", **paths, **CHOICE | {"minimum": 41, "maximum": 50})
    assert not paths["table"].exists() and not paths["choice"].exists()


def test_two_groups_raise_no_flag(tmp_path):
    table, choice = choose(tmp_path, [0, 12])
    assert choice["flag"] == "" and set(table["flag"]) == {""} and choice["k"] == 2


def test_one_group_is_flagged_in_every_table(tmp_path):
    set_torch(threads=1)
    table, choice = choose(tmp_path, [0])
    flag = choice["flag"]
    assert flag.startswith("one group not rejected (p = ") and set(table["flag"]) == {flag}

    rng = np.random.default_rng(0)
    array = rng.normal(-850, 40, (40, 8, 8, 8)).astype(np.int16)
    array[:, 0] = OUTSIDE
    subjects, splits = [f"S{i}" for i in range(40)], ["train"] * 40
    clam = copy.deepcopy(CONFIG["clam"])
    common = {"loss": "mean", "batch": 20, "seed": 1, "device": "cpu"}
    pretrain_stage(
        tmp_path / "pretrained",
        array,
        subjects,
        splits,
        window_hu=clam["window_hu"],
        background="lung_mean",
        network={"filters": [2, 4], "strides": [2, 2], "latent": 3, "slope": 0.1, "output": "linear"},
        pretrain={"epochs": 2, "learning_rate": 0.001, "held_out": 0.0},
        checkpoint=Checkpoint(tmp_path / "a.safetensors", "1"),
        **common,
    )
    cluster_stage(
        tmp_path,
        array,
        subjects,
        splits,
        pretrained=tmp_path / "pretrained",
        choice=tmp_path / "k_selection.json",
        cluster=clam["cluster"] | {"epochs": 2, "n_init": 2},
        checkpoint=Checkpoint(tmp_path / "b.safetensors", "1"),
        **common,
    )
    pd.DataFrame({"subject": subjects, "side": ["left", "right"] * 20}).to_csv(
        tmp_path / "readers.tsv", sep="\t", index=False
    )
    evaluate_stage(
        assignment=tmp_path / "assignment.tsv",
        embedding=tmp_path / "embedding.tsv",
        choice=tmp_path / "k_selection.json",
        common="",
        refits=[],
        table=tmp_path / "evaluation.tsv",
        confusion=tmp_path / "confusion.tsv",
        reference_table=tmp_path / "readers.tsv",
        reference_column="side",
        reference_order=[],
        n_permutations=5,
        n_bootstrap=5,
        n_resamples=5,
        n_null=3,
        seed=1,
    )
    clinical = pd.DataFrame({"subject": subjects, "age": rng.normal(50, 9, 40).round(), "fvc_l": rng.normal(4, 1, 40)})
    clinical.to_csv(tmp_path / "clinical.tsv", sep="\t", index=False)
    associate_stage(
        folder=tmp_path,
        assignment=tmp_path / "assignment.tsv",
        clinical=tmp_path / "clinical.tsv",
        settings=CONFIG["associate"] | {"n_bootstrap": 20, "n_permutations": 20, "cv_repeats": 1},
        seed=1,
    )
    for name in ("assignment", "embedding", "evaluation", "confusion", "table_one", "outcomes", "adjusted_means"):
        found = pd.read_csv(tmp_path / f"{name}.tsv", sep="\t", keep_default_na=False)
        assert len(found) and set(found["flag"]) == {flag}, name
    assert json.loads((tmp_path / "model.json").read_text())["flag"] == flag
    assert f"Read with care: {flag}." in (tmp_path / "outcomes.html").read_text()


@pytest.mark.parametrize("name", ["map_summary", "map_regions", "group_maps", "map_randomisation", "logits"])
def test_tables_of_maps_have_the_flag(name):
    schema = yaml.safe_load((ROOT / f"workflow/schemas/tables/{name}.yaml").read_text())
    assert "flag" in schema["columns"]
