"""Training on every core, alone and beside as many busy processes, by how long OpenMP's threads spin before they sleep.

Prints seconds by the clock and of the processors. A machine on which nothing else runs is needed for the first column.
"""

import os
import subprocess
import sys
from contextlib import ExitStack

SPIN_COUNTS = ("", "1000", "10000", "30000", "100000")  # "" is libgomp's own choice; the workflow sets 10000
BUSY = "while True: pass"
TRAIN = """
import time, torch
from lungtypes.device import set_torch
from lungtypes.networks.cae import ConvolutionalAutoencoder
set_torch(threads=THREADS)
torch.manual_seed(1)
model = ConvolutionalAutoencoder(size=(44, 44, 44), filters=(16, 32, 64), strides=(2, 2, 1), latent=60, slope=0.1)
optimiser = torch.optim.Adam(model.parameters(), lr=1e-4)
scans = torch.rand(8, 1, 44, 44, 44)
for step in range(13):
    if step == 3:
        wall, cpu = time.perf_counter(), time.process_time()
    optimiser.zero_grad()
    (model(scans)[0] - scans).square().mean().backward()
    optimiser.step()
print(time.perf_counter() - wall, time.process_time() - cpu)
"""


def seconds(spin_count: str, cores: int) -> tuple[float, float]:
    """Wall-clock and processor seconds of ten steps."""
    more = {"GOMP_SPINCOUNT": spin_count} if spin_count else {}
    code = TRAIN.replace("THREADS", str(cores))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env={**os.environ, **more}, check=True, stdout=subprocess.PIPE
    )
    wall, cpu = map(float, done.stdout.split())
    return wall, cpu


cores = os.cpu_count() or 1
sys.stdout.write("spin count\talone: s, processor s\tbusy: s, processor s\n")
for spin_count in SPIN_COUNTS:
    alone = seconds(spin_count, cores)
    with ExitStack() as stack:
        for _ in range(cores):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", BUSY]))
            stack.callback(process.terminate)
        busy = seconds(spin_count, cores)
    columns = [f"{wall:.1f}, {cpu:.1f}" for wall, cpu in (alone, busy)]
    sys.stdout.write("\t".join([spin_count or "default", *columns]) + "\n")
    sys.stdout.flush()
