"""Localisation against scikit-learn, hand sums, and what maps without knowledge score."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lungtypes.maps.localisation import localise


def case(seed=0):
    rng = np.random.default_rng(seed)
    lungs = rng.random((12, 12, 12)) < 0.7
    return rng, lungs, lungs & (rng.random(lungs.shape) < 0.2)


def test_a_perfect_map_and_its_opposite():
    _, lungs, lesion = case()
    found = localise(lesion.astype(float), lesion, lungs)
    assert (found["energy"], found["pointing"], found["voxel_auc"]) == (1.0, 1.0, 1.0)
    found = localise((lungs & ~lesion).astype(float), lesion, lungs)
    assert (found["energy"], found["pointing"], found["voxel_auc"]) == (0.0, 0.0, 0.0)


def test_the_lungs_alone_score_the_share_of_the_lesion():
    _, lungs, lesion = case()
    found = localise(lungs.astype(float), lesion, lungs)
    assert found["energy"] == pytest.approx(found["lesion_share"]) == pytest.approx(found["pointing"])
    assert found["voxel_auc"] == pytest.approx(0.5)


def test_numbers_are_those_of_scikit_learn_and_of_hand_sums():
    rng, lungs, lesion = case(3)
    raw = np.round(rng.normal(size=lungs.shape) + lesion, 1)  # with ties
    found = localise(raw, lesion, lungs)
    assert found["voxel_auc"] == pytest.approx(roc_auc_score(lesion[lungs], raw[lungs]))
    positive = np.where(lungs, np.maximum(raw, 0), 0)
    assert found["energy"] == pytest.approx(positive[lesion].sum() / positive.sum())


def test_what_lies_outside_the_lungs_does_not_count():
    _, lungs, lesion = case()
    raw = np.where(lungs, lesion.astype(float), 99.0)
    assert localise(raw, lesion, lungs)["energy"] == 1.0


@pytest.mark.parametrize("share", ["none", "all", "zeros"])
def test_undefined_is_nan(share):
    _, lungs, lesion = case()
    lesion = {"none": np.zeros_like(lungs), "all": lungs, "zeros": lesion}[share]
    found = localise(np.zeros(lungs.shape) if share == "zeros" else lungs.astype(float), lesion, lungs)
    assert np.isnan([found["energy"], found["pointing"], found["voxel_auc"]]).all()
