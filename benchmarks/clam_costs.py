"""What CLAM costs at full size: an epoch of each phase, a map, and memory. CUDA when there is one.

PYTHONPATH=scripts python benchmarks/clam_costs.py [--scans 301] [--size 88] [--filters 32 64 128]
        [--threads 2] [--maps 3]
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from lungtypes.device import choose_device, keep_freed_memory, set_torch
from lungtypes.imaging.hounsfield import OUTSIDE

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--scans", type=int, default=301)
parser.add_argument("--size", type=int, default=88)
parser.add_argument("--filters", type=int, nargs="+", default=[32, 64, 128])
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--maps", type=int, default=3)
parser.add_argument("--device", default="auto")
parser.add_argument("--give-back", action="store_true", help="freed memory goes back to the system, as by default")


def cohort(folder: Path, scans: int, size: int) -> np.ndarray:
    """A memory-mapped cohort of two noisy balls for lungs; what is in it does not matter for the time."""
    grid = (np.indices((size,) * 3) - size / 2) / size
    lungs = sum(((grid[0] ** 2 + grid[1] ** 2 + (grid[2] - x) ** 2) < 0.04) for x in (-0.22, 0.22)) > 0
    array = np.lib.format.open_memmap(folder / "cohort.npy", "w+", np.int16, (scans, *lungs.shape))
    for number in range(scans):
        noise = np.random.default_rng(number).normal(-850, 60, lungs.shape).astype(np.int16)
        array[number] = np.where(lungs, noise, OUTSIDE)
    array.flush()
    return np.load(folder / "cohort.npy", mmap_mode="r")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def peak_gb() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    set_torch(threads=arguments.threads)
    if not arguments.give_back:
        keep_freed_memory()
    import torch

    from lungtypes.maps.channel_masking import channel_confidence_map
    from lungtypes.methods import clam
    from lungtypes.methods.intensity import NormalisedScans, fit_intensity

    def clock(work):  # seconds and result
        if device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        result = work()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start, result

    where = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {arguments.threads} threads"
    n = arguments.scans
    say(f"{n} scans of {arguments.size}^3, filters {arguments.filters}, torch {torch.__version__}, {where}")
    with tempfile.TemporaryDirectory() as folder:
        array = cohort(Path(folder), n, arguments.size)
        images = NormalisedScans(array, fit_intensity(array, window_hu=(-1024, 200), background="lung_mean"))
        network = {"filters": arguments.filters, "strides": [2] * len(arguments.filters), "latent": 60, "slope": 0.1}
        common = {"loss": "mean", "batch": 32, "seed": 1, "device": device}
        rate = {"learning_rate": 1e-4}
        seconds, fitted = clock(lambda: clam.pretrain(images, **network, output="linear", epochs=1, **rate, **common))
        say(f"pre-training: {seconds:.1f} s an epoch; peak memory {peak_gb():.1f} GB")
        # a rate that changes nothing: a network that saw one epoch would collapse, and the guard would run it again
        phase = {"k": 2, "gamma": 0.1, "refresh_epochs": 10, "n_init": 10, "latent_scale": "nearest_centroid"}
        phase |= {"learning_rate": 1e-12}
        seconds, result = clock(lambda: clam.cluster(fitted.model, images, epochs=1, **phase, **common))
        say(f"clustering: {seconds:.1f} s for an epoch, k-means and three encodings; {peak_gb():.1f} GB")

        model, centroids = result.model.eval(), torch.from_numpy(result.centroids).to(device)

        def score(masked: torch.Tensor) -> torch.Tensor:
            return clam.soft_assignment(model.encode(masked), centroids, result.scale)[:, 0]

        times = {}
        for chunk in (1, 16):  # 1 is the plain loop
            rounds = []
            for number in range(arguments.maps):
                image = torch.from_numpy(images[np.array([number])])[None].to(device)
                taken, _ = clock(
                    lambda image=image, chunk=chunk: channel_confidence_map(
                        image, activations=model.activations, score=score, chunk_channels=chunk, offset=0.0
                    )
                )
                rounds.append(taken)
            times[chunk] = float(np.median(rounds))
            say(f"map: {times[chunk]:.2f} s a scan, {chunk} channels at once; {times[chunk] * n / 60:.1f} min for all")
        say(f"plain loop / 16 channels at once: x {times[1] / times[16]:.2f}; peak memory {peak_gb():.1f} GB")
        if device == "cuda":
            say(f"peak memory of the device: {torch.cuda.max_memory_allocated() / 2**30:.1f} GB")


if __name__ == "__main__":
    main()
