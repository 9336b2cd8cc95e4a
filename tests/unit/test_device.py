"""Settings of the process that computes."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
TRAIN = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from lungtypes.device import keep_freed_memory, make_deterministic
if sys.argv[2] == "keep":
    keep_freed_memory()
make_deterministic(torch_threads=1)
from lungtypes.methods import clam
images = np.random.default_rng(0).random((16, 48, 48, 48), np.float32)  # the first layer gives 113 MB
network = {"filters": (16, 8), "strides": (1, 2), "latent": 4, "slope": 0.1, "output": "linear"}
common = {"loss": "mean", "learning_rate": 1e-3, "batch": 16, "seed": 1, "device": "cpu"}
model = clam.pretrain(images, **network, epochs=2, **common).model
sys.stdout.buffer.write(clam.embed(model, images, batch=16, device="cpu").tobytes())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator of glibc")
def test_keeping_freed_memory_changes_no_number():
    runs = [
        subprocess.run([sys.executable, "-c", TRAIN, str(SCRIPTS), word], capture_output=True, check=True).stdout
        for word in ("keep", "give back")
    ]
    assert len(runs[0]) == 16 * 4 * 4 and runs[0] == runs[1]
