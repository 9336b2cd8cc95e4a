"""How CLAM's clustering phase fares with each loss, scale of the distances and rate, from the same pre-training.

    PYTHONPATH=scripts python benchmarks/clam_settings.py intensity-3 size-3 location-5

The words are scenarios of the simulation study. Each line: accuracy and mean largest q after
the phase, and what the guard did. 100 + 15 epochs, the paper's network.
"""

import sys
from pathlib import Path

import yaml

from lungtypes.device import set_torch

ROOT = Path(__file__).resolve().parent.parent
PRETRAIN_EPOCHS, CLUSTER_EPOCHS, THREADS = 100, 15, 2
VARIANTS = (
    ("mean", "none", 1e-4),
    ("mean", "nearest_centroid", 1e-4),  # the default
    ("mean", "none", 1e-3),  # the authors' code
    ("sum", "none", 1e-3),  # the paper
    ("sum", "none", 1e-4),
    ("sum", "nearest_centroid", 1e-4),
)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(names: list[str]) -> None:
    set_torch(threads=THREADS)

    from lungtypes.evaluation.accuracy import matched_accuracy
    from lungtypes.evaluation.kmeans import kmeans
    from lungtypes.methods import clam
    from lungtypes.methods.intensity import NormalisedScans, fit_intensity
    from lungtypes.phantom.lung_slices import Lesions, simulate, synthetic_lung_slice
    from lungtypes.phantom.simulation import named_scenarios

    study = yaml.safe_load((ROOT / "config/config.yaml").read_text())["simulation"]
    lesions = {name: tuple(v) if isinstance(v, list) else v for name, v in study["lesions"].items()}
    lung = synthetic_lung_slice(size=64, spacing_mm=3.0, people=study["people"], seed=1)
    common = {"batch": 32, "seed": 1, "device": "cpu"}
    network = {"filters": (32, 64, 128), "strides": (2, 1, 2), "latent": 60, "slope": 0.1, "output": "linear"}
    for name in names:
        scenario = named_scenarios(study["subjects"])[name]
        slices = simulate(lung, scenario, Lesions(**lesions), seed=1)
        truth, k = slices.labels.tolist(), len(scenario.sizes)
        images = NormalisedScans(slices.hu, fit_intensity(slices.hu, window_hu=(-1024, 200), background="lung_mean"))
        schedule = {"epochs": PRETRAIN_EPOCHS, "learning_rate": 1e-3}
        model = clam.pretrain(images, **network, loss="mean", **schedule, **common).model
        start = {key: value.clone() for key, value in model.state_dict().items()}
        z = clam.embed(model, images, batch=64, device="cpu").astype(float)
        before = kmeans(z, k, n_init=20, seed=1).labels.tolist()
        say(
            f"{name}: k-means before {matched_accuracy(before, truth).accuracy:.3f}, SD of z {z.std(axis=0).mean():.3f}"
        )
        for loss, scale, rate in VARIANTS:
            model.load_state_dict(start)
            schedule = {"epochs": CLUSTER_EPOCHS, "learning_rate": rate, "refresh_epochs": 10, "n_init": 50}
            result = clam.cluster(model, images, k=k, loss=loss, gamma=0.1, latent_scale=scale, **schedule, **common)
            accuracy = matched_accuracy(result.q.argmax(axis=1).tolist(), truth).accuracy
            events = "; ".join(result.events) or "the guard did not act"
            say(
                f"  {loss:4} {scale:16} {rate:g}: {accuracy:.3f}, largest q {result.q.max(axis=1).mean():.2f}; {events}"
            )


if __name__ == "__main__":
    main(sys.argv[1:] or ["intensity-3", "size-3", "location-5"])
