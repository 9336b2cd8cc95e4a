"""How well each kind of map finds planted lesions: the phantom suite, against controls and with either reference.

    python benchmarks/map_phantoms.py OUT [--scenarios location-5 intensity-5 size-5 --images 8]

CLAM is fitted to scenarios of the simulation study (32-64-128 channels, 100 + 40 epochs; kept in OUT, done once). Then
every kind of map of some images of each cluster meets the planted disc (energy, pointing, voxel AUC) and its own
cluster's log-odds (insertion less deletion). The reference is the mean of 60 healthy slices (controls), or of all
(cohort). Images of the cluster of +0 HU have no visible disc and are left out. Writes OUT/maps.tsv.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from lungtypes.device import choose_device, keep_freed_memory, set_torch
from lungtypes.evaluation.accuracy import matched_accuracy
from lungtypes.maps.attribution import log_odds, occlusion_map
from lungtypes.maps.faithfulness import control_maps, insertion_deletion
from lungtypes.maps.localisation import localise
from lungtypes.methods.clam_maps import ClamExplainer, explain_with
from lungtypes.methods.clam_stages import cluster_stage, pretrain_stage
from lungtypes.methods.map_kinds import KINDS, Way, further_maps, mean_scan, runner_up
from lungtypes.methods.model_files import load_autoencoder
from lungtypes.methods.training import Checkpoint
from lungtypes.phantom.lung_slices import Lesions, Scenario, SimulatedSlices, simulate, synthetic_lung_slice
from lungtypes.phantom.simulation import named_scenarios

ROOT = Path(__file__).resolve().parent.parent
NETWORK = {"filters": [32, 64, 128], "strides": [2, 1, 2], "latent": 60, "slope": 0.1, "output": "linear"}
CLUSTERING = {"gamma": 0.1, "epochs": 40, "learning_rate": 1e-4, "refresh_epochs": 10, "n_init": 50}
HEALTHY = 60
OCCLUSION = {"window": 7, "stride": 3}


def main() -> None:
    options = parse()
    device = choose_device(options.device)
    keep_freed_memory()
    set_torch(threads=options.threads)
    study = yaml.safe_load((ROOT / "config/config.yaml").read_text())["simulation"]
    lesions = Lesions(**{name: tuple(v) if isinstance(v, list) else v for name, v in study["lesions"].items()})
    lung = synthetic_lung_slice(size=64, spacing_mm=study["spacing_mm"], people=study["people"], seed=1)
    rows = []
    for name in options.scenarios:
        scenario = named_scenarios(study["subjects"])[name]
        slices = simulate(lung, scenario, lesions, seed=1)
        without = replace(scenario, name=f"{name}-healthy", lesion=False, sizes=(HEALTHY,))
        healthy = simulate(lung, without, lesions, seed=2)
        folder = fit(options.out / name, scenario, slices, device)
        rows += examine(folder, scenario, slices, healthy, lung.lung, options, device)
        pd.DataFrame(rows).to_csv(options.out / "maps.tsv", sep="\t", index=False)
    table = pd.DataFrame(rows)
    columns = ["energy", "lesion_share", "pointing", "voxel_auc", "gain", "seconds"]
    means = table.groupby(["reference", "map", "scenario"])[columns].mean().unstack("scenario").round(3)
    for column in columns:
        say(f"\n{column}\n{means[column].to_string()}")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--scenarios", nargs="+", default=["location-5", "intensity-5", "size-5"])
    parser.add_argument("--images", type=int, default=8, help="of each cluster")
    parser.add_argument("--points", type=int, default=16)
    parser.add_argument(
        "--sigmas", type=float, nargs="+", default=[0.0, 1.0, 2.0], help="smoothing of margin, in pixels"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def fit(folder: Path, scenario: Scenario, slices: SimulatedSlices, device: str) -> Path:
    """The folder of the fitted model."""
    if (folder / "assignment.tsv").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    names, splits = [f"I{i + 1}" for i in range(len(slices.hu))], ["train"] * len(slices.hu)
    common = {"loss": "mean", "batch": 32, "seed": 1, "device": device}
    pretrain_stage(
        folder / "pretrained",
        slices.hu,
        names,
        splits,
        window_hu=[-1024.0, 200.0],
        background="lung_mean",
        network=NETWORK,
        pretrain={"epochs": 100, "learning_rate": 1e-3, "held_out": 0.0},
        checkpoint=Checkpoint(folder / "pretraining.safetensors", "benchmark"),
        **common,
    )
    (folder / "choice.json").write_text(json.dumps({"k": len(scenario.sizes), "flag": ""}))
    cluster_stage(
        folder,
        slices.hu,
        names,
        splits,
        pretrained=folder / "pretrained",
        choice=folder / "choice.json",
        cluster={**CLUSTERING, "latent_scale": "nearest_centroid"},
        checkpoint=Checkpoint(folder / "clustering.safetensors", "benchmark"),
        **common,
    )
    clusters = pd.read_csv(folder / "assignment.tsv", sep="\t")["cluster"].tolist()
    say(f"{scenario.name}: accuracy {matched_accuracy(clusters, slices.labels.tolist()).accuracy:.3f}")
    return folder


def examine(
    folder: Path,
    scenario: Scenario,
    slices: SimulatedSlices,
    healthy: SimulatedSlices,
    lung: np.ndarray,
    options: argparse.Namespace,
    device: str,
) -> list[dict]:
    """A row for each image, reference and map."""
    explained = explain_with(*load_autoencoder(folder), device=device)
    assigned = pd.read_csv(folder / "assignment.tsv", sep="\t")
    q, clusters = assigned.filter(regex=r"^q_\d+$").to_numpy(), assigned["cluster"].to_numpy() - 1
    references = {
        "controls": mean_scan(healthy.hu, np.arange(HEALTHY), explained.intensity),
        "cohort": mean_scan(slices.hu, np.arange(len(slices.hu)), explained.intensity),
    }
    visible = [k for k in range(len(scenario.sizes)) if scenario.factor != "intensity" or k > 0]
    rows = []
    for number in np.concatenate([np.flatnonzero(slices.labels == k)[: options.images] for k in visible]).tolist():
        cluster, other = int(clusters[number]), runner_up(q[number], int(clusters[number]))
        for name, reference in references.items():
            explainer = ClamExplainer(explained, reference, chunk=64, correct_shift=True)
            about = {"scenario": scenario.name, "image": number + 1, "reference": name}
            found = examine_image(explainer, slices.hu[number], slices.discs[number], lung, cluster, other, options)
            rows += [{**about, **row} for row in found]
    return rows


def examine_image(
    explainer: ClamExplainer,
    hu: np.ndarray,
    disc: np.ndarray,
    lung: np.ndarray,
    cluster: int,
    other: int,
    options: argparse.Namespace,
) -> list[dict]:
    """A row for each map of one image."""
    scan, score = explainer.scan(hu), log_odds(cluster)
    weights, inside = explainer.weights(scan, cluster), torch.from_numpy(lung).to(scan.image.device)
    size, rng = tuple(scan.image.shape[2:]), np.random.default_rng(1)
    with torch.no_grad():
        channels = scan.view.activations(scan.image)

    def score_of(images: torch.Tensor) -> torch.Tensor:
        return score(scan.view.log_q_of(images))

    def further(kind: str, sigma: float = 0.0) -> np.ndarray:
        return further_maps(scan, weights, cluster, other, [kind], Way(options.points, sigma))[kind]

    make = {"clam": lambda: explainer.published(scan, cluster, explainer.weights(scan, cluster))}
    make |= {f"margin, sigma {sigma:g}": partial(further, "margin", sigma) for sigma in options.sigmas}
    make |= {kind: partial(further, kind) for kind in KINDS if kind != "margin"}
    make["occlusion"] = partial(
        occlusion_map, scan.view, scan.image, scan.reference, inside, score, chunk=64, **OCCLUSION
    )
    maps, seconds = {}, {}
    for kind, function in make.items():
        started = time.perf_counter()
        maps[kind] = function()
        seconds[kind] = time.perf_counter() - started
    maps |= control_maps(scan.image, scan.reference, channels, lambda small: scan.view.upsampled(small, size), rng=rng)
    maps["wrong_cluster"] = explainer.published(scan, other, explainer.weights(scan, other))
    rows = []
    for kind, values in maps.items():
        ties = np.random.default_rng(2)
        found = insertion_deletion(values, scan.image, scan.reference, lung, score_of, steps=20, chunk=21, rng=ties)
        about = {"map": kind, "gain": found.gain, "seconds": seconds.get(kind, np.nan)}
        rows.append(about | localise(values, disc, lung))
    return rows


if __name__ == "__main__":
    main()
