"""Scans on a device give what scans on the host give."""

import numpy as np
import torch

from lungtypes.methods.intensity import OUTSIDE, Intensity, NormalisedScans
from lungtypes.methods.resident_scans import ResidentScans, normalised, to_device

HU = np.random.default_rng(0).integers(-1100, 400, (5, 4, 6)).astype(np.int16)
HU[:, 0] = OUTSIDE
INTENSITY = Intensity(-1024.0, 200.0, 0.3)
ROWS = np.array([4, 0, 2])


def test_resident_scans_are_the_same_numbers():
    for rows in (None, ROWS):
        there, here = ResidentScans(torch.from_numpy(HU), INTENSITY, rows), NormalisedScans(HU, INTENSITY, rows)
        index = np.array([2, 0])
        assert len(there) == len(here) and there.shape == here.shape
        assert there[index].dtype == torch.float32
        np.testing.assert_array_equal(there[index].numpy(), here[index])


def test_on_a_cpu_the_cohort_stays_where_it_is():
    assert to_device(HU, "cpu") is HU and isinstance(normalised(HU, INTENSITY), NormalisedScans)
    assert isinstance(normalised(torch.from_numpy(HU), INTENSITY), ResidentScans)


def test_cohort_that_is_too_large_for_the_card_stays_on_the_host(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (HU.nbytes, HU.nbytes))
    assert to_device(HU, "cuda") is HU
