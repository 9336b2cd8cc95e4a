"""CLAM's map of one scan: our engine beside a plain loop, all channels at once, and Score-CAM of torchcam.

    pip install --no-deps torchcam==0.5.0
    python benchmarks/map_speed.py [--size 88 --filters 32 64 128 --maps 3 --threads 2 --device cuda]

Each variant runs in a process of its own, so that peak memory is its own. First torchcam's weights (masks scaled before
upsampling, less the whole image's score, softmax) are emulated on our engine and compared with torchcam's: same work.
On CUDA, bfloat16 is a variant, too, also compiled, with its largest difference and rank correlation with float32. The
rate is that of the convolutions and the embedding over the whole map's time, beside the rate of one large matrix
product at the same precision in the same process; --trace FILE writes a profile of ours for chrome://tracing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from lungtypes.device import choose_device, keep_freed_memory, set_torch
from lungtypes.maps.channel_masking import channel_confidence, channel_confidence_map
from lungtypes.maps.upsampling import upsample_linear
from lungtypes.methods.clam import soft_assignment
from lungtypes.methods.clam_maps import explain_with
from lungtypes.networks.cae import ConvolutionalAutoencoder, initialise_like_keras

VARIANTS = {"plain loop": 1, "ours": 16, "ours, 8 channels": 8, "all channels at once": 10_000, "torchcam": 32}
ON_CUDA = {"ours, 128 channels": 128, "ours, bfloat16": 128, "ours, bfloat16, compiled": 128}


def main() -> None:
    options = parse()
    if options.trace:
        trace(options)
        return
    if options.variant:
        sys.stdout.write(json.dumps(measure(options)))
        return
    where = torch.cuda.get_device_name() if options.device.startswith("cuda") else f"CPU, {options.threads} threads"
    say(f"{options.size}^3, filters {options.filters}, torch {torch.__version__}, {where}")
    network, image = prepare(options)
    difference = emulate_torchcam(network, image)
    say(f"torchcam's weights on our engine: largest difference {difference:.1e}")
    names = [*VARIANTS, *(ON_CUDA if options.device.startswith("cuda") else [])]
    found = {name: run(name) for name in names}
    for name, row in found.items():
        ratio = row["seconds"] / found["ours"]["seconds"]
        share = row["rate"] / row["matrix_rate"]
        say(
            f"{name:25} {row['seconds']:.3f} s a map, {ratio:.2f} x ours; {row['megabytes']:.0f} MB above the start; "
            f"{row['rate'] / 1e12:.2f} Tflop/s, {share:.2f} of a matrix product's {row['matrix_rate'] / 1e12:.2f}"
        )
        if "bfloat16" in name:
            say(f"{'':25} largest difference {row['difference']:.1e}, rank correlation {row['correlation']:.5f}")


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
    parser.add_argument("--trace", type=Path, help="write a profile of one map of ours (bfloat16 on CUDA) and stop")
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
    set_torch(threads=options.threads)
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
    if options.variant.endswith("compiled"):
        make()  # the compiler's time is not the map's
    seconds = []
    for _ in range(options.maps):
        started = time.perf_counter()
        found = make()
        if on_cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    peak = torch.cuda.max_memory_allocated() if on_cuda else host_bytes("VmHWM")
    row = {"seconds": float(np.median(seconds)), "megabytes": (peak - before) / 1e6}
    dtype = torch.bfloat16 if "bfloat16" in options.variant else torch.float32
    row["rate"] = operations(network, image) / row["seconds"]
    row["matrix_rate"] = matrix_rate(dtype, image.device)
    if "bfloat16" in options.variant:
        exact = map_by("ours", *prepare(options))
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
    precision = "bfloat16" if "bfloat16" in name else "float32"
    model = network.encoder
    arrays = {"centroids": network.centroids.cpu().numpy()}
    settings = {"intensity": {"low_hu": -1024.0, "high_hu": 200.0, "background": 0.0}}
    explained = explain_with(model, settings, arrays, device=str(image.device), precision=precision)
    if name.endswith("compiled"):
        model.activations = compiled(model)
    return channel_confidence_map(
        image,
        activations=model.activations,
        score=explained.score(1),
        chunk_channels={**VARIANTS, **ON_CUDA}[name],
        offset=0.0,
    ).importance


@cache
def compiled(model: ConvolutionalAutoencoder) -> Callable[[Tensor], Tensor]:
    """The convolutions, compiled once."""
    return torch.compile(model.activations)


def operations(network: Assigning, image: Tensor) -> float:
    """Floating-point operations of a map: two a multiplication, convolutions and embedding, once and for each mask."""
    total, size = 0, image.shape[-1]
    for convolution in network.encoder.convolutions:
        size //= convolution.stride[0]
        total += 2 * convolution.weight.numel() * size**3
    total += 2 * network.encoder.embedding.weight.numel()
    return total * (network.encoder.convolutions[-1].out_channels + 1)


def matrix_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Operations a second of a large square matrix product, the best of five."""
    n = 8192 if device.type == "cuda" else 2048
    a = torch.randn(n, n, device=device).to(dtype)
    best = np.inf
    for _ in range(6):
        started = time.perf_counter()
        a @ a
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * n**3 / best


def trace(options: argparse.Namespace) -> None:
    """Where the time of one map goes, kernel by kernel."""
    network, image = prepare(options)
    name = "ours, bfloat16" if image.is_cuda else "ours"
    map_by(name, network, image)
    kinds = [torch.profiler.ProfilerActivity.CPU, *([torch.profiler.ProfilerActivity.CUDA] if image.is_cuda else [])]
    with torch.profiler.profile(activities=kinds) as profile:
        map_by(name, network, image)
    profile.export_chrome_trace(str(options.trace))
    order = "self_cuda_time_total" if image.is_cuda else "self_cpu_time_total"
    say(profile.key_averages().table(sort_by=order, row_limit=12, max_name_column_width=40))


if __name__ == "__main__":
    main()
