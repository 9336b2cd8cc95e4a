"""lungmask behind the same interface and checks as our own engine; a stand-in takes its place."""

import pickle
import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from lungtypes.errors import InputError, ScanFault
from lungtypes.imaging.geometry import Volume
from lungtypes.imaging.lobes import find_lungs
from lungtypes.imaging.lung_checks import CHECKS
from lungtypes.imaging.lung_network import require_lungmask, segment_with_lungmask

NO_LIMITS = {name: {"warn": None, "fail": None} for name in CHECKS}


def scan():
    """Two boxes of air; the right lung has the smaller x."""
    hu = np.full((20, 24, 40), 40, np.int16)
    hu[2:18, 2:22, 4:14], hu[2:18, 2:22, 24:36] = -850, -850
    return Volume(hu, (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), np.eye(3))


@pytest.fixture
def weights(tmp_path):
    torch.save({"layer": torch.zeros(3)}, tmp_path / "r231.pth")
    return str(tmp_path / "r231.pth")


@pytest.fixture
def install(monkeypatch):
    """Put a lungmask in place that labels air: ``right`` below x = 20, ``left`` above. Records how it was called."""
    calls = []

    def with_labels(right, left):
        class LMInferer:
            def __init__(self, **settings):
                calls.append(settings)

            def apply(self, array):
                assert isinstance(array, np.ndarray)  # bare arrays are taken as LPS; images would be turned
                return np.where(array < -500, np.where(np.arange(40) < 20, right, left), 0).astype(np.uint8)

        module = ModuleType("lungmask")
        module.LMInferer = LMInferer
        monkeypatch.setitem(sys.modules, "lungmask", module)
        return calls

    return with_labels


def test_labels_of_lungmask_are_ours_and_go_through_the_checks(install, weights):
    calls = install(1, 2)
    settings = {"lobe_labels": [1, 2, 3, 4, 5], "air_threshold_hu": -400.0, "closing_mm": 8.0, "checks": NO_LIMITS}
    choice = {"engine": "lungmask", "lungmask_weights": weights}
    found = find_lungs(scan(), given_lungs=None, given_lobes=None, **choice, **settings).lungs
    assert found.split_by == "lungmask R231" and found.right_ml == pytest.approx(16 * 20 * 10 * 0.008)
    assert found.left_ml == pytest.approx(16 * 20 * 12 * 0.008) and not found.airway.any()
    assert calls == [{"modelpath": weights, "force_cpu": True, "tqdm_disable": True}]
    tight = {**NO_LIMITS, "total_ml": {"warn": None, "fail": [1500, 11000]}}
    with pytest.raises(ScanFault, match="SEG-VOLUME"):
        segment_with_lungmask(scan(), weights=weights, checks=tight)


def test_swapped_or_missing_lungs_are_faults_of_the_scan(install, weights):
    install(2, 1)
    with pytest.raises(ScanFault, match="SEG-LABELS"):
        segment_with_lungmask(scan(), weights=weights, checks=NO_LIMITS)
    install(1, 0)
    with pytest.raises(ScanFault, match="SEG-NONE: lungmask found labels"):
        segment_with_lungmask(scan(), weights=weights, checks=NO_LIMITS)


def test_absent_lungmask_or_weights_are_faults_of_the_config(monkeypatch, weights):
    monkeypatch.setitem(sys.modules, "lungmask", None)
    with pytest.raises(InputError, match="lungs.engine: found lungmask, which is not installed. Run `pip install"):
        require_lungmask(weights)
    with pytest.raises(InputError, match="lungmask_weights: found 'no.pth', expected the path of a weights file"):
        require_lungmask("no.pth")


def test_weights_that_would_run_code_are_refused_before_lungmask_opens_them(install, tmp_path):
    calls = install(1, 2)

    class Evil:
        def __reduce__(self):
            return (exec, ("raise SystemExit('ran code')",))

    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(InputError, match="no plain set of weights"):
        segment_with_lungmask(scan(), weights=str(tmp_path / "evil.pth"), checks=NO_LIMITS)
    assert calls == []
