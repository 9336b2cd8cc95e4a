"""CLAM's map of one scan: our engine beside a plain loop, all channels at once, and Score-CAM of torchcam.

    pip install --no-deps torchcam==0.5.0
    python benchmarks/map_speed.py [--size 88 --filters 32 64 128 --maps 3 --threads 2 --device cuda]

Each variant runs in a process of its own, so that peak memory is its own. First torchcam's weights (masks scaled before
upsampling, less the whole image's score, softmax) are emulated on our engine and compared with torchcam's: same work.
On CUDA, bfloat16 is a variant, too, with its largest difference and rank correlation with float32.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from lungtypes.device import choose_device, keep_freed_memory, make_deterministic
from lungtypes.maps.channel_masking import channel_confidence, channel_confidence_map
from lungtypes.maps.upsampling import upsample_linear
from lungtypes.methods.clam import soft_assignment
from lungtypes.networks.cae import ConvolutionalAutoencoder, initialise_like_keras

VARIANTS = {"plain loop": 1, "ours": 16, "ours, 8 channels": 8, "all channels at once": 10_000, "torchcam": 32}


def main() -> None:
    options = parse()
    if options.variant:
        sys.stdout.write(json.dumps(measure(options)))
        return
    where = torch.cuda.get_device_name() if options.device.startswith("cuda") else f"CPU, {options.threads} threads"
    say(f"{options.size}^3, filters {options.filters}, torch {torch.__version__}, {where}")
    network, image = prepare(options)
    difference = emulate_torchcam(network, image)
    say(f"torchcam's weights on our engine: largest difference {difference:.1e}")
    names = [*VARIANTS, *(["ours, bfloat16"] if options.device.startswith("cuda") else [])]
    found = {name: run(name) for name in names}
    for name, row in found.items():
        ratio = row["seconds"] / found["ours"]["seconds"]
        say(f"{name:22} {row['seconds']:.3f} s a map, {ratio:.2f} x ours; {row['megabytes']:.0f} MB above the start")
        if name == "ours, bfloat16":
            say(f"{'':22} largest difference {row['difference']:.1e}, rank correlation {row['correlation']:.5f}")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=88)
    parser.add_argument("--filters", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--maps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--variant", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


class Assigning(nn.Module):
    """Images to q, as torchcam wants a model."""

    def __init__(self, encoder: ConvolutionalAutoencoder, k: int) -> None:
        super().__init__()
        self.encoder, self.last = encoder, nn.Identity()  # a module whose output are the activations
        generator = torch.Generator().manual_seed(2)
        self.register_buffer("centroids", torch.randn(k, encoder.embedding.out_features, generator=generator))

    def forward(self, images: Tensor) -> Tensor:
        channels = self.last(self.encoder.activations(images))
        return soft_assignment(self.encoder.embedding(channels.flatten(1)), self.centroids)


def prepare(options: argparse.Namespace) -> tuple[Assigning, Tensor]:
    """The network with drawn weights, and a noisy image with two balls for lungs; what is in them costs no time."""
    device = choose_device(options.device)
    keep_freed_memory()
    make_deterministic(torch_threads=options.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    size = (options.size,) * 3
    encoder = ConvolutionalAutoencoder(
        size=size, filters=options.filters, strides=[2] * len(options.filters), latent=60, slope=0.1
    )
    initialise_like_keras(encoder, seed=1)
    grid = (np.indices(size) - options.size / 2) / options.size
    lungs = sum(((grid[0] ** 2 + grid[1] ** 2 + (grid[2] - x) ** 2) < 0.04) for x in (-0.22, 0.22)) > 0
    noise = np.random.default_rng(1).normal(0.15, 0.05, size)
    image = torch.from_numpy(np.where(lungs, noise, 0.15).astype(np.float32))[None, None]
    return Assigning(encoder, 3).eval().to(device), image.to(device)


def emulate_torchcam(network: Assigning, image: Tensor) -> float:
    """Largest difference of the weights of both; the masks are torchcam's, scaled before they are upsampled."""
    from torchcam.methods import ScoreCAM

    with ScoreCAM(network, "last", batch_size=32) as extractor, torch.inference_mode():
        network(image)
        (theirs,) = extractor._get_weights(0)
    with torch.inference_mode():
        channels = network.encoder.activations(image)
        low, high = channels.amin((2, 3, 4), keepdim=True), channels.amax((2, 3, 4), keepdim=True)
        masks = (channels - low) / (high - low + 1e-8)
        as_they_are = torch.ones(masks.shape[1], dtype=torch.bool, device=image.device)
        alpha = channel_confidence(
            image,
            masks,
            as_they_are,
            score=lambda images: network(images)[:, 0],
            upsample=partial(upsample_linear, size=tuple(image.shape[2:]), offset=0.0),
            chunk_channels=16,
        )
        ours = torch.softmax(alpha - network(image)[:, 0], dim=0)
    return float((ours - theirs[0]).abs().max() / theirs.max())


def run(name: str) -> dict[str, float]:
    """:func:`measure` in a process of its own."""
    done = subprocess.run([sys.executable, *sys.argv, "--variant", name], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Median seconds of a map, and memory above what the process had before the first."""
    network, image = prepare(options)
    on_cuda = image.is_cuda
    with torch.inference_mode():
        network(image)  # libraries are loaded
    if not on_cuda:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak so far, of making the image, is forgotten
    before = torch.cuda.memory_allocated() if on_cuda else host_bytes("VmRSS")
    make = partial(map_by, options.variant, network, image)
    seconds = []
    for _ in range(options.maps):
        started = time.perf_counter()
        found = make()
        if on_cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    peak = torch.cuda.max_memory_allocated() if on_cuda else host_bytes("VmHWM")
    row = {"seconds": float(np.median(seconds)), "megabytes": (peak - before) / 1e6}
    if options.variant == "ours, bfloat16":
        exact = map_by("ours", network, image)
        row["difference"] = float(np.abs(found - exact).max())
        row["correlation"] = float(spearmanr(found.reshape(-1), exact.reshape(-1)).statistic)
    return row


def host_bytes(field: str) -> int:
    """VmRSS, what the process holds now, or VmHWM, the most since the last reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(field)))


def map_by(name: str, network: Assigning, image: Tensor) -> np.ndarray:
    """The map of cluster 1 by one variant."""
    if name == "torchcam":
        from torchcam.methods import ScoreCAM

        with ScoreCAM(network, "last", batch_size=VARIANTS[name]) as extractor, torch.inference_mode():
            network(image)
            return extractor(0)[0].cpu().numpy()
    chunk = VARIANTS.get(name, VARIANTS["ours"])
    with torch.autocast("cuda", torch.bfloat16, enabled=name.endswith("bfloat16")):
        return channel_confidence_map(
            image,
            activations=network.encoder.activations,
            score=lambda images: network(images)[:, 0],
            chunk_channels=chunk,
            offset=0.0,
        ).importance


if __name__ == "__main__":
    main()
