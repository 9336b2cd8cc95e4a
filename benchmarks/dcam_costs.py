"""Time and memory of dCAM's U-Net a scan, beside a straightforward loop over the whole field of view.

    python benchmarks/dcam_costs.py [--sizes 96 128] [--filters 32] [--device cpu]

The straightforward loop: torch's DataLoader over float32 scans, no cut to the lungs, float32, all activations kept.
Ours: int16 scans cut to the lungs' box, normalised batch by batch; on CUDA in bfloat16. Each case runs in a process of
its own, so that its peak memory is its own; ratios are of one run.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

CASES = ("loop", "ours", "ours, checkpointing")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[96, 128])
    parser.add_argument("--filters", type=int, default=32)
    parser.add_argument("--scans", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        sys.stdout.write(json.dumps(measure(options)) + "\n")
        return
    sys.stdout.write("size\tcase\tembed_s\ttrain_s\tpeak_gb\tembed_ratio\ttrain_ratio\n")
    for size in options.sizes:
        first = None
        for case in CASES:
            arguments = ["--sizes", str(size), "--filters", str(options.filters), "--scans", str(options.scans)]
            arguments += ["--device", options.device, "--threads", str(options.threads), "--case", case]
            done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True)
            if done.returncode:
                sys.stdout.write(f"{size}\t{case}\tfailed: {done.stderr.strip().splitlines()[-1:]}\n")
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            first = first or found
            ratios = [first[name] / found[name] for name in ("embed_s", "train_s")]
            row = [size, case, *(f"{found[name]:.2f}" for name in ("embed_s", "train_s", "peak_gb"))]
            sys.stdout.write("\t".join(map(str, [*row, *(f"{r:.2f}" for r in ratios)])) + "\n")
            sys.stdout.flush()


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Seconds a scan of the feature pass and of a training step, and the peak memory in GB."""
    import torch
    from torch.nn import functional

    from lungtypes.device import keep_freed_memory, set_torch
    from lungtypes.imaging.hounsfield import OUTSIDE
    from lungtypes.methods.intensity import Intensity
    from lungtypes.methods.lung_scans import LungScans, lung_box
    from lungtypes.methods.training import autocast
    from lungtypes.networks.unet import UNet, pool_features

    (size,), device, ours = options.sizes, options.device, options.case != "loop"
    if ours:
        keep_freed_memory()
    set_torch(threads=options.threads)
    hu, intensity = lungs_of(size, options.scans, OUTSIDE), Intensity(-1024.0, -200.0, 0.3)
    whole = tuple((0, size) for _ in range(3))
    scans = LungScans(hu, intensity, lung_box(hu, np.arange(len(hu)), multiple=16) if ours else whole)
    torch.manual_seed(0)
    checkpointing = options.case.endswith("checkpointing")
    network = UNet(filters=options.filters, dense=True, norm="batch", checkpointing=checkpointing).to(device)
    precision = "bfloat16" if ours else "float32"

    def batches():
        if ours:
            yield from (scans.batch([i], device) for i in range(len(hu)))
            return
        x = torch.from_numpy(intensity.normalise(hu))[:, None]
        lungs = torch.from_numpy((hu != OUTSIDE).astype(np.float32))[:, None]
        for x_one, lungs_one in torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, lungs), batch_size=1):
            yield x_one.to(device), lungs_one.to(device)

    def embed() -> None:
        network.eval()
        with torch.inference_mode(), autocast(device, precision):
            for x, lungs in batches():
                pool_features(network(x).float(), lungs)

    head = torch.nn.Linear(network.n_features, 6).to(device)
    optimiser = torch.optim.Adam([*network.parameters(), *head.parameters()], lr=1e-4)

    def train() -> None:
        network.train()
        for x, lungs in batches():
            with autocast(device, precision):
                features = network(x)
            loss = functional.cross_entropy(
                head(pool_features(features.float(), lungs)), torch.zeros(1, dtype=torch.long, device=device)
            )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()

    found = {}
    for name, run in (("embed_s", embed), ("train_s", train)):
        if device.startswith("cuda"):
            run()  # warm
            torch.cuda.synchronize()
        started = time.perf_counter()
        run()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        found[name] = (time.perf_counter() - started) / len(hu)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    found["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9 if device.startswith("cuda") else peak
    return found


def lungs_of(size: int, n: int, outside: int) -> np.ndarray:
    """Scans (n, size, size, size) int16 with two ellipsoid lungs in the proportions of a chest in a field of 312 mm."""
    z, y, x = ((np.indices((size,) * 3) + 0.5) / size - 0.5) * 312
    lung = sum(((x - side * 62) / 52) ** 2 + (y / 78) ** 2 + (z / 122) ** 2 < 1 for side in (-1, 1)) > 0
    hu = np.random.default_rng(0).normal(-850, 60, (n, size, size, size))
    return np.where(lung, hu, outside).astype(np.int16)


if __name__ == "__main__":
    main()
