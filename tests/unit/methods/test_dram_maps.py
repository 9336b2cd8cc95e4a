"""From networks to maps and from maps to masks: regions put together, thresholds, regions called free of lesions."""

import numpy as np
import pytest
import torch

from lungtypes.methods.dram_maps import ScanMap, lesion_mask, map_scan
from lungtypes.methods.dram_networks import build_network
from lungtypes.methods.dram_regions import RegionScans

NETWORK = {"filters": 2, "norm": "group", "checkpointing": False, "attention_grid": 64, "cam_features": "encoder"}
HOW = {"free_below": 0.01, "device": "cpu", "precision": "float32"}


def scan_map(heat, *, free=(), candidates=None):
    heat = np.array(heat, np.float32)
    inside = np.ones(heat.shape, bool)
    inside[-1] = False
    freed = np.zeros(heat.shape, bool)
    freed[list(free)] = True
    return ScanMap(heat, inside, inside if candidates is None else np.array(candidates, bool), freed, {}, {})


def test_otsu_parts_the_heat_of_the_lungs_and_lesions_are_candidates():
    found = scan_map([0.1, 0.12, 0.3, 0.32, 1], candidates=[1, 1, 1, 0, 1])
    assert lesion_mask(found, rule="otsu", with_candidates=False).tolist() == [False, False, True, True, False]
    assert lesion_mask(found, rule="otsu", with_candidates=True).tolist() == [False, False, True, False, False]
    assert not lesion_mask(found, rule="half", with_candidates=False).any()


def test_regions_that_are_free_of_lesions_have_none():
    found = scan_map([0.001, 0.002, 0.001, 0.004, 1], free=(0, 1, 2, 3))
    assert not lesion_mask(found, rule="otsu", with_candidates=False).any()
    found = scan_map([0.9, 0.002, 0.001, 0.7, 1], free=(0, 1))
    assert lesion_mask(found, rule="otsu", with_candidates=False).tolist() == [False, False, False, True, False]


@pytest.fixture
def scans():
    rng = np.random.default_rng(0)
    hu = rng.normal(-800, 100, (2, 20, 20, 20)).astype(np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    labels[0, 2:9, 3:17, 4:16], labels[0, 10:19, 3:17, 4:16] = 1, 2
    return RegionScans(hu, labels, spacing_mm=2.5, size=16, window_hu=[-1150, 350], margin_mm=5)


def test_a_constant_network_gives_its_constant_in_every_region(scans):
    network = build_network("dram", NETWORK, n_classes=2, seed=1)
    with torch.no_grad():
        network.head.weight.zero_(), network.head.bias.fill_(-1.0)
    for source in ("dense", "refined"):
        found = map_scan(network, scans, 0, batch=1, source=source, **HOW)
        wanted = 1 / (1 + np.exp(1))
        np.testing.assert_allclose(found.heat[found.inside], wanted, rtol=1e-5)
        assert (found.heat[~found.inside] == 0).all() and found.inside.sum() == 7 * 14 * 12 + 9 * 14 * 12
        assert found.shares == pytest.approx({1: wanted, 2: wanted})
        assert found.region_ml == pytest.approx({1: 7 * 14 * 12 * 2.5**3 / 1000, 2: 9 * 14 * 12 * 2.5**3 / 1000})
        assert not found.free.any()


def test_a_region_does_not_depend_on_its_batch(scans):
    network = build_network("dram", NETWORK, n_classes=2, seed=1)
    one, two = (map_scan(network, scans, 0, batch=n, source="refined", **HOW) for n in (1, 2))
    np.testing.assert_allclose(one.heat, two.heat, atol=1e-5)


@pytest.mark.parametrize("features", ["encoder", "dense"])
def test_activation_maps_reach_from_0_to_1_and_a_healthy_region_has_none(scans, features):
    network = build_network("dram-cam", NETWORK | {"cam_features": features}, n_classes=2, seed=1)
    with torch.no_grad():
        network.head.bias.copy_(torch.tensor([0.0, 50]))
    found = map_scan(network, scans, 0, batch=2, source="refined", **HOW)
    assert found.heat.min() >= 0 and found.heat.max() > 0.8 and not found.free.any()
    assert all(np.isnan(share) for share in found.shares.values())
    with torch.no_grad():
        network.head.bias.copy_(torch.tensor([50.0, 0]))
    found = map_scan(network, scans, 0, batch=2, source="refined", **HOW)
    assert (found.heat == 0).all() and (found.free == found.inside).all()


def test_the_baseline_is_the_way_down_of_the_same_unet():
    image, mask = torch.rand(1, 1, 16, 16, 16), torch.ones(1, 1, 16, 16, 16)
    dram, cam, dense = (
        build_network(method, NETWORK | {"cam_features": features}, n_classes=6, seed=1)
        for method, features in (("dram", "encoder"), ("dram-cam", "encoder"), ("dram-cam", "dense"))
    )
    down = {name: value.shape for name, value in dram.unet.state_dict().items() if not name.startswith("up.")}
    assert {name: value.shape for name, value in cam.unet.state_dict().items()} == down
    maps, logits = cam(image, mask)
    assert maps.shape == (1, 6, 2, 2, 2) and dense(image, mask)[0].shape == (1, 6, 16, 16, 16)
    torch.testing.assert_close(logits, maps.mean(dim=(2, 3, 4)))
    levels = dram.unet.with_levels(image)[1]
    assert [tuple(level.shape[1:]) for level in levels[:2]] == [(4, 16, 16, 16), (8, 8, 8, 8)]


def test_a_scan_without_regions_has_an_empty_map(scans):
    found = map_scan(build_network("dram", NETWORK, n_classes=2, seed=1), scans, 1, batch=2, source="refined", **HOW)
    assert not found.inside.any() and not lesion_mask(found, rule="otsu", with_candidates=True).any()
