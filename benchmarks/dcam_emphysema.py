"""dCAM's paper on virtual emphysema: its table and its figure, with what they leave out.

    python benchmarks/dcam_emphysema.py OUT [--size 48 --filters 4 --epochs 30 --seeds 1 2 3]

Trains dcam, dcam-encoder and dcam-supervised on 120 virtual scans, assigns 240 others, and writes into OUT:
metrics.tsv (a row for each method, seed and metric), differences.tsv (paired intervals), localisation.tsv, figure.png.
Each training is a folder of its own and resumes where it was stopped; what is finished is not done again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from lungtypes.device import choose_device, keep_freed_memory, set_torch
from lungtypes.evaluation.accuracy import (
    accuracy_level,
    adjusted_rand,
    matched_accuracy,
    normalised_mutual_information,
    weighted_kappa,
)
from lungtypes.evaluation.common_space import common_space
from lungtypes.evaluation.indices import davies_bouldin, silhouette
from lungtypes.imaging.hounsfield import OUTSIDE
from lungtypes.maps.localisation import localise
from lungtypes.methods.dcam import METHODS
from lungtypes.methods.dcam_maps import DcamExplainer
from lungtypes.methods.dcam_stages import embed_stage, train_stage
from lungtypes.methods.map_kinds import Way, control_rows, further_maps, runner_up
from lungtypes.methods.map_stages import explainer_of
from lungtypes.methods.training import Checkpoint
from lungtypes.phantom.emphysema import EmphysemaPlan, emphysema_arrays
from lungtypes.randomness import stream

K = 6
PATH_POINTS = 8


def main() -> None:
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    device = choose_device(options.device)
    keep_freed_memory()
    set_torch(threads=options.threads)
    hu, lesions, table = cohort(options)
    common = common_space(
        hu, table["subject"].tolist(), train=np.flatnonzero(table["split"] == "train"), outside=OUTSIDE
    ).filter(regex="^c_")
    rows, places, hits = [], [], {}
    for seed in options.seeds:
        for method in options.methods:
            folder = fit(options, method, seed, hu, table, device)
            found, right = measure(folder, table, common.to_numpy())
            rows += [{"method": method, "seed": seed, **row} for row in found]
            hits[method, seed] = right
            if seed == options.seeds[0]:
                places += localisation(folder, method, hu, lesions, table, device)
            pd.DataFrame(rows).to_csv(options.out / "metrics.tsv", sep="\t", index=False)
            pd.DataFrame(places).to_csv(options.out / "localisation.tsv", sep="\t", index=False)
    differences(hits, options).to_csv(options.out / "differences.tsv", sep="\t", index=False)
    if "dcam" in options.methods:
        figure_1(
            options.out / "dcam" / f"seed{options.seeds[0]}", options.out / "figure.png", hu, lesions, table, device
        )
    report(options.out)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=48, choices=(48, 96))
    parser.add_argument("--filters", type=int, default=4)
    parser.add_argument("--window-hu", type=float, nargs=2, default=(-1024.0, -900.0), metavar=("LOW", "HIGH"))
    parser.add_argument("--norm", default="batch", choices=("group", "batch"))
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--passes", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=0.001)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--train", type=int, default=120)
    parser.add_argument("--test", type=int, default=240)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args()


def cohort(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """The cohort of seed 1, kept in the folder after its first use."""
    stem = options.out / f"cohort-{options.train}-{options.test}-{options.size}"
    if not stem.with_suffix(".tsv").exists():
        plan = EmphysemaPlan(1, train=options.train, test=options.test)
        hu, lesions, table = emphysema_arrays(plan, size=options.size, workers=options.workers)
        np.savez_compressed(stem.with_suffix(".npz"), hu=hu, lesions=lesions)
        table.to_csv(stem.with_suffix(".tsv"), sep="\t", index=False)
    arrays = np.load(stem.with_suffix(".npz"), allow_pickle=False)
    table = pd.read_csv(stem.with_suffix(".tsv"), sep="\t", keep_default_na=False, dtype={"subject": str})
    return arrays["hu"], arrays["lesions"], table


def fit(options: argparse.Namespace, method: str, seed: int, hu: np.ndarray, table: pd.DataFrame, device: str) -> Path:
    """The folder of the finished training."""
    folder = options.out / method / f"seed{seed}"
    if (folder / "logits.tsv").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "choice.json").write_text(json.dumps({"k": K, "flag": ""}))
    reference = pd.Series(table["grade"].astype(str).to_numpy(), index=table["subject"])
    started = time.monotonic()
    scans = (hu, table["subject"].tolist(), table["split"].tolist())
    settings = {
        "method": method,
        "network": {"filters": options.filters, "norm": options.norm, "checkpointing": False},
        "window_hu": list(options.window_hu),
        "background": "lung_mean",
        "training": {
            "epochs": options.epochs,
            "passes": options.passes,
            "batch": options.batch,
            "learning_rate": options.learning_rate,
            "head_learning_rate": 0.05,
            "components": 32,
            "whiten": False,
            "augmentation": {"scale": 0.05, "shift": 0.05, "noise": 0.02, "flip": False},
            "precision": "bfloat16",
        },
        "seed": seed,
        "device": device,
    }
    embed_stage(folder / "start.tsv", *scans, **settings)
    train_stage(
        folder,
        *scans,
        **settings,
        start=folder / "start.tsv",
        choice=folder / "choice.json",
        reference=reference if method == "dcam-supervised" else None,
        space="native",
        checkpoint=Checkpoint(folder / "checkpoint.safetensors", json.dumps(vars(options), default=str)),
    )
    seconds = round(time.monotonic() - started, 1)
    (folder / "seconds.json").write_text(json.dumps({"seconds": seconds, "device": device}))
    say(f"{method}, seed {seed}: {seconds:.0f} s")
    return folder


def measure(folder: Path, table: pd.DataFrame, common: np.ndarray) -> tuple[list[dict], np.ndarray]:
    """Metrics of the held-out scans, and which of them lie in the class of their cluster."""
    assigned = pd.read_csv(folder / "assignment.tsv", sep="\t", dtype={"subject": str})
    test = (table["split"] == "test").to_numpy()
    labels, grades = assigned["cluster"][test].to_numpy(), table["grade"][test].to_numpy()
    embedding = pd.read_csv(folder / "embedding.tsv", sep="\t", dtype={"subject": str})
    after = embedding[embedding["phase"] == "after"].filter(regex="^z_").dropna(axis=1).to_numpy()[test]
    matched = matched_accuracy(labels.tolist(), grades.tolist())
    level = accuracy_level(
        labels.tolist(), grades.tolist(), n_permutations=1000, rng=stream(1, "dcam_emphysema", "permutations")
    )
    diseased = grades > 0
    kinds = table["distribution"][test].to_numpy()[diseased].tolist()
    values = {
        "accuracy": matched.accuracy,
        "majority_share": matched.majority_share,
        "permuted_mean": level.mean,
        "permuted_p95": level.p95,
        "nmi": normalised_mutual_information(labels.tolist(), grades.tolist()),
        "ari": adjusted_rand(labels.tolist(), grades.tolist()),
        "weighted_kappa": weighted_kappa(labels.tolist(), grades.tolist(), order=list(range(6))).value,
        "nmi_distribution": normalised_mutual_information(labels[diseased].tolist(), kinds),
        "silhouette": silhouette(after, labels).value,
        "davies_bouldin": davies_bouldin(after, labels).value,
        "silhouette_common": silhouette(common[test], labels).value,
        "davies_bouldin_common": davies_bouldin(common[test], labels).value,
        "clusters_used": len(np.unique(labels)),
    }
    right = np.array([matched.mapping.get(c) == g for c, g in zip(labels.tolist(), grades.tolist(), strict=True)])
    return [{"metric": name, "value": value} for name, value in values.items()], right


def differences(hits: dict, options: argparse.Namespace) -> pd.DataFrame:
    """Accuracy of dcam less another method's: mean over seeds, scans resampled together."""
    rng, rows = stream(1, "dcam_emphysema", "paired"), []
    for other in ("dcam-encoder", "dcam-supervised"):
        if not {"dcam", other} <= set(options.methods):
            continue
        gaps = np.mean([hits["dcam", s].astype(float) - hits[other, s] for s in options.seeds], axis=0)  # (scans,)
        picks = rng.integers(0, len(gaps), size=(10_000, len(gaps)))
        low, high = np.percentile(gaps[picks].mean(axis=1), [2.5, 97.5])
        rows.append({"difference": f"dcam - {other}", "accuracy": gaps.mean(), "ci_low": low, "ci_high": high})
    return pd.DataFrame(rows, columns=["difference", "accuracy", "ci_low", "ci_high"])


def against_healthy(
    folder: Path, method: str, hu: np.ndarray, table: pd.DataFrame, device: str
) -> tuple[DcamExplainer, tuple[slice, ...]]:
    """The model with the healthy training scans for reference, and the network's box in the arrays."""
    healthy, _ = control_rows(table["split"].tolist(), (table["grade"] == 0).tolist())
    explainer, _ = explainer_of(method, folder, hu, healthy, device=device, chunk=4, correct_shift=False)
    return explainer, tuple(slice(*edges) for edges in explainer.box)


def localisation(
    folder: Path, method: str, hu: np.ndarray, lesions: np.ndarray, table: pd.DataFrame, device: str
) -> list[dict]:
    """Every held-out scan with a lesion: maps for its own cluster, and controls, against the planted truth."""
    explainer, cut = against_healthy(folder, method, hu, table, device)
    assigned = pd.read_csv(folder / "assignment.tsv", sep="\t")
    clusters, q = assigned["cluster"].to_numpy() - 1, assigned.filter(regex=r"^q_\d+$").to_numpy()
    result = []
    for row in np.flatnonzero((table["split"] == "test") & (table["grade"] > 0)):
        scan, cluster = explainer.scan(hu[row]), int(clusters[row])
        weights = explainer.weights(scan, cluster)
        maps = {"published": explainer.published(scan, cluster, weights), "lungs": scan.inside.astype(float)}
        way = Way(PATH_POINTS, 0.0)
        maps |= further_maps(scan, weights, cluster, runner_up(q[row], cluster), ("difference", "margin"), way)
        maps["departure"] = (scan.image - scan.reference).abs()[0, 0].cpu().numpy()
        about = {"method": method, "subject": table["subject"][row], "grade": table["grade"][row]}
        about |= {"cluster": cluster + 1, "distribution": table["distribution"][row]}
        for kind, values in maps.items():
            result.append({**about, "map": kind, **localise(values, lesions[row][cut], scan.inside)})
    return result


def figure_1(folder: Path, file: Path, hu: np.ndarray, lesions: np.ndarray, table: pd.DataFrame, device: str) -> None:
    """Two cases from each of two clusters: the one with most upper-lobe disease and the one with most paraseptal.

    Cases are the two held-out scans of that distribution whose assignments have the median margins, not picked by eye.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    assigned = pd.read_csv(folder / "assignment.tsv", sep="\t").assign(kind=table["distribution"], grade=table["grade"])
    sick = assigned[(assigned["split"] == "test") & (assigned["grade"] > 1)]
    shares = pd.crosstab(sick["cluster"], sick["kind"], normalize="index")
    counts = sick["cluster"].value_counts()
    shares = shares[counts.reindex(shares.index) >= 4]
    cases = []
    for kind in ("upper", "paraseptal"):
        cluster = shares[kind].idxmax()
        members = sick[(sick["cluster"] == cluster) & (sick["kind"] == kind)].sort_values("margin")
        middle = max(len(members) // 2 - 1, 0)
        cases += [(kind, cluster, row) for row in members.index[middle : middle + 2]]
    explainer, cut = against_healthy(folder, "dcam", hu, table, device)
    q = assigned.filter(regex=r"^q_\d+$").to_numpy()
    figure, axes = pyplot.subplots(4, len(cases), figsize=(2.6 * len(cases), 10.5), layout="constrained", squeeze=False)
    for (kind, cluster, row), column in zip(cases, axes.T, strict=True):
        scan, truth = explainer.scan(hu[row]), lesions[row][cut]
        weights, other = explainer.weights(scan, cluster - 1), runner_up(q[row], cluster - 1)
        published = np.maximum(explainer.published(scan, cluster - 1, weights), 0)
        path = further_maps(scan, weights, cluster - 1, other, ["margin"], Way(PATH_POINTS, 0.7))["margin"]
        lungs, inside = hu[row][cut], scan.inside
        level = int(np.argmax(truth.sum(axis=(0, 2)))) if truth.any() else inside.shape[1] // 2
        for axis, overlay in zip(column, (None, published, np.maximum(path, 0), truth), strict=True):
            axis.imshow(np.where(inside, lungs, -1024)[:, level], cmap="gray", vmin=-1024, vmax=-750, origin="lower")
            if overlay is not None:
                slab = overlay[:, level].astype(float)
                shown = np.ma.masked_where(~inside[:, level] | (slab <= 0.05 * overlay.max()), slab)
                top = max(float(overlay.max()) if overlay is truth else np.percentile(overlay[inside], 99.8), 1e-9)
                axis.imshow(shown, cmap="inferno", alpha=0.7, origin="lower", vmin=0, vmax=top)
            axis.set_axis_off()
        share = 100 * shares.loc[cluster, kind]
        column[0].set_title(
            f"cluster {cluster} ({share:.0f} % {kind})\n{table['subject'][row]}, {table['grade_name'][row]}"
        )
    for axis, name in zip(axes[:, 0], ("CT", "dCAM", "log-odds along the path", "planted"), strict=True):
        axis.text(-0.08, 0.5, name, transform=axis.transAxes, rotation=90, va="center", ha="right")
    figure.savefig(file, dpi=120)
    pyplot.close(figure)


def report(out: Path) -> None:
    """Means and ranges over seeds, printed."""
    metrics = pd.read_csv(out / "metrics.tsv", sep="\t")
    summary = metrics.groupby(["metric", "method"])["value"].agg(["mean", "min", "max"]).round(3)
    say(summary.to_string())
    say(pd.read_csv(out / "differences.tsv", sep="\t").round(3).to_string(index=False))
    places = pd.read_csv(out / "localisation.tsv", sep="\t")
    columns = ["energy", "lesion_share", "pointing", "voxel_auc"]
    say(places.groupby(["method", "map"])[columns].mean().round(3).to_string())


if __name__ == "__main__":
    main()
