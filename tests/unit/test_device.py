"""Settings of the process that computes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
TRAIN = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from lungtypes.device import keep_freed_memory, set_torch
if sys.argv[2] == "keep":
    keep_freed_memory()
set_torch(threads=1)
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


THREADS = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
import numpy, sklearn.cluster
from threadpoolctl import threadpool_info
from lungtypes.device import set_itk, set_torch
threads = json.loads(sys.argv[2])
set_itk(threads=threads, seed=1)
set_torch(threads=threads)
import SimpleITK, torch
print(json.dumps({
    "libraries": sorted({pool["num_threads"] for pool in threadpool_info()}),
    "later": sorted({os.environ[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}),
    "torch": torch.get_num_threads(),
    "itk": [
        SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads(),
        os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"],
    ],
    "deterministic": torch.are_deterministic_algorithms_enabled(),
    "benchmark": torch.backends.cudnn.benchmark,
}))
"""


@pytest.mark.parametrize(("threads", "expected"), [(2, 2), (3, 3), ("all", 4)])
def test_threads_of_every_library_come_from_the_config_and_follow_the_job_when_speed_goes_first(threads, expected):
    """The job was given four; with a number in the config that counts for nothing."""
    given = {**os.environ, "OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "4", "MKL_NUM_THREADS": "4"}
    command = [sys.executable, "-c", THREADS, str(SCRIPTS), json.dumps(threads)]
    found = json.loads(subprocess.run(command, env=given, capture_output=True, text=True, check=True).stdout)
    assert found["libraries"] == [expected] and found["later"] == [str(expected)] and found["torch"] == expected
    assert found["itk"] == [expected, str(expected)]
    assert found["deterministic"] is (threads != "all") and found["benchmark"] is (threads == "all")
