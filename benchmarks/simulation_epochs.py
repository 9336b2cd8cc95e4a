"""What pre-training learns of a scenario of the simulation study: the signal first, then each image's own noise.

    snakemake simulation ...        # once, for the healthy slice that all scenarios start from
    python benchmarks/simulation_epochs.py results/simulation/simulation/lung --scenarios intensity-5 location-5

Never trained on: a tenth of the scenario's images, held out, and as many as it has of another seed. Accuracy and number
of clusters are of k-means on the embedding of all images, as before the clustering phase.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from lungtypes.device import keep_freed_memory, set_torch
from lungtypes.evaluation.accuracy import matched_accuracy
from lungtypes.evaluation.indices import silhouette
from lungtypes.evaluation.kmeans import kmeans
from lungtypes.methods.clam import ADAM, embed, held_out_split, reconstruction_loss, shuffled
from lungtypes.methods.intensity import NormalisedScans, fit_intensity
from lungtypes.networks.cae import ConvolutionalAutoencoder, initialise_like_keras
from lungtypes.phantom.lung_slices import Lesions, simulate
from lungtypes.phantom.simulation import named_scenarios, read_lung_slice
from lungtypes.randomness import derive_seed

CONFIG = Path(__file__).resolve().parent.parent / "config"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lung", type=Path)
    parser.add_argument("--scenarios", nargs="+", default=["intensity-5"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--every", type=int, default=20)
    parser.add_argument("--held-out", type=float, default=0.1, help="share of the images")
    options = parser.parse_args()
    keep_freed_memory()
    set_torch(threads=1)
    base = yaml.safe_load((CONFIG / "config.yaml").read_text())
    study = yaml.safe_load((CONFIG / "simulation.yaml").read_text())
    method = {**base["clam"], **study["clam"], "pretrain": base["clam"]["pretrain"]}
    for name in options.scenarios:
        follow(name, base["simulation"], method, read_lung_slice(options.lung), options)


def follow(name: str, study: dict, method: dict, lung: object, options: argparse.Namespace) -> None:
    plan = named_scenarios(study["subjects"])[name]
    lesions = Lesions(**{k: tuple(v) if isinstance(v, list) else v for k, v in study["lesions"].items()})
    slices, others = (simulate(lung, plan, lesions, seed=seed) for seed in (options.seed, options.seed + 1000))
    intensity = fit_intensity(slices.hu, window_hu=method["window_hu"], background=method["background"])
    images, others = NormalisedScans(slices.hu, intensity), NormalisedScans(others.hu, intensity)
    trained, left_out = (rows.numpy() for rows in held_out_split(len(images), options.held_out, options.seed))
    network = {k: method[k] for k in ("filters", "latent", "slope", "output")}
    model = ConvolutionalAutoencoder(size=images.shape[1:], strides=study["strides"], **network)
    initialise_like_keras(model, seed=derive_seed(options.seed, "clam", "weights"))
    optimiser = torch.optim.Adam(model.parameters(), lr=method["pretrain"]["learning_rate"], **ADAM)
    for epoch in range(1, options.epochs + 1):
        model.train()
        for index in shuffled(len(trained), method["batch"], options.seed, "clam", "pretrain", epoch):
            x = torch.from_numpy(images[trained[index.numpy()]])[:, None]
            optimiser.zero_grad(set_to_none=True)
            reconstruction_loss(model(x)[0], x, method["loss"]).backward()
            optimiser.step()
        if epoch % options.every == 0:
            errors = {"trained": error(model, images, trained), "held out": error(model, images, left_out)}
            errors["other seed"] = error(model, others, np.arange(len(others)))
            say(name, epoch, errors, model, images, slices.labels, options.seed)


def error(model: ConvolutionalAutoencoder, images: NormalisedScans, rows: np.ndarray) -> float:
    """Mean squared error of the reconstruction, in thousandths."""
    model.eval()
    with torch.inference_mode():
        parts = [torch.from_numpy(images[part])[:, None] for part in np.array_split(rows, 10) if len(part)]
        errors = [float((model(x)[0] - x).square().sum()) for x in parts]
    return 1000 * sum(errors) / sum(x.numel() for x in parts) if parts else float("nan")


def say(
    name: str,
    epoch: int,
    errors: dict[str, float],
    model: ConvolutionalAutoencoder,
    images: NormalisedScans,
    labels: np.ndarray,
    seed: int,
) -> None:
    z = embed(model, images, batch=32, device="cpu").astype(np.float64)
    found = {k: kmeans(z, k, n_init=10, seed=seed).labels for k in range(2, 9)}
    values = {k: silhouette(z, codes).value for k, codes in found.items()}
    k = len(np.unique(labels))
    accuracy = matched_accuracy(found[k].tolist(), labels.tolist()).accuracy
    best = max(values, key=values.get)
    spread = np.sort(z.var(axis=0))[::-1]
    many = float(spread.sum() ** 2 / (spread**2).sum())
    listed = ", ".join(f"{which} {value:.4f}" for which, value in errors.items())
    sys.stdout.write(
        f"{name} seed {seed} epoch {epoch:4d}: error {listed}; k-means at K = {k} {accuracy:.3f}; "
        f"silhouette chooses {best} ({values[best]:.2f}); dimensions in use {many:.1f}\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
