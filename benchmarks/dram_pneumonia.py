"""dRAM's paper on virtual pneumonia: its table of Dice, by kind of lesion, with ablations and the error of percentages.

    python benchmarks/dram_pneumonia.py OUT [--runs dram dram-grades dram-cam dram-supervised ... --seeds 1 2]

Trains each run on 120 virtual scans, reads 90 others, and writes into OUT: dice.tsv (a row for each run, seed, subject
and way of making a mask), percentages.tsv (a row for each run, seed and held-out lobe), figure.png. Each training is a
folder of its own and resumes where it was stopped; what is finished is not done again.
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
from lungtypes.evaluation.segmentation import dice_by_kind, overlap, percentage_errors
from lungtypes.imaging.zones import LOBES
from lungtypes.methods.dram_maps import lesion_mask, map_scan
from lungtypes.methods.dram_postprocessing import local_window_crf, seeded_growing
from lungtypes.methods.dram_regions import RegionScans
from lungtypes.methods.dram_stages import load_dram, map_scans, predicted_percents
from lungtypes.methods.dram_training import train_stage
from lungtypes.methods.training import Checkpoint
from lungtypes.phantom.pneumonia import PneumoniaPlan, pneumonia_arrays

EDGES = [0.0, 1.0, 5.0, 25.0, 50.0, 75.0, 100.0]
WINDOW_HU = [-1150.0, 350.0]
FIELD_MM = 312.0  # side of the virtual chest's cube
MASK = {"source": "refined", "rule": "otsu"}  # as published
# method, what it learns from, and what differs from the defaults of the network
RUNS: dict[str, tuple[str, str, dict[str, object]]] = {
    "dram": ("dram", "percent", {}),
    "dram-grades": ("dram", "grade", {}),
    "dram-without-attention": ("dram", "percent", {"attention_grid": 0}),
    "dram-grades-without-attention": ("dram", "grade", {"attention_grid": 0}),
    "dram-cam": ("dram-cam", "grade", {}),
    "dram-cam-grades": ("dram-cam", "grade", {"cam_target": "grade"}),
    "dram-cam-dense": ("dram-cam", "grade", {"cam_features": "dense"}),
    "dram-supervised": ("dram-supervised", "percent", {}),
}
DEFAULT_RUNS = ("dram", "dram-grades", "dram-without-attention", "dram-cam", "dram-cam-dense", "dram-supervised")
KINDS_SHOWN = ("ground_glass", "crazy_paving", "consolidation", "mixed")


def main() -> None:
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    device = choose_device(options.device)
    keep_freed_memory()
    set_torch(threads=options.threads)
    hu, lobes, lesions, members, regions = cohort(options)
    scans = RegionScans(hu, lobes, lesions=lesions, spacing_mm=FIELD_MM / options.volume, **region_settings(options))
    for seed in options.seeds:
        for run in options.runs:
            folder = fit(options, run, seed, scans, members, regions, device)
            measure(folder, run, seed, scans, hu, lesions, members, regions, device)
    done = [options.out / run / f"seed{seed}" for seed in options.seeds for run in options.runs]
    for name in ("dice", "percentages"):
        whole = pd.concat([read(folder / f"{name}.tsv") for folder in done], ignore_index=True)
        whole.to_csv(options.out / f"{name}.tsv", sep="\t", index=False)
    if {"dram", "dram-cam"} <= set(options.runs):
        figure(options, scans, hu, lesions, members, device)
    report(options.out)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--runs", nargs="+", default=list(DEFAULT_RUNS), choices=list(RUNS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--volume", type=int, default=96, help="voxels along an edge of the virtual chest")
    parser.add_argument("--size", type=int, default=32, help="voxels along an edge of a region")
    parser.add_argument("--filters", type=int, default=8)
    parser.add_argument("--norm", default="batch", choices=("batch", "group"))
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--regions-per-epoch", type=int, default=200)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--decay", type=float, default=0.9)
    parser.add_argument("--train", type=int, default=120)
    parser.add_argument("--test", type=int, default=90)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args()


def region_settings(options: argparse.Namespace) -> dict[str, object]:
    return {"size": options.size, "window_hu": WINDOW_HU, "margin_mm": 5.0}


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", keep_default_na=False, na_values=[""], dtype={"subject": str})


def cohort(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray, np.ndarray, pd.DataFrame, pd.DataFrame]:
    """HU, lobes, lesions, members and regions of seed 1, kept in the folder after their first use."""
    stem = options.out / f"cohort-{options.train}-{options.test}-{options.volume}"
    tables = [stem.with_name(f"{stem.name}-{name}.tsv") for name in ("members", "regions")]
    if not tables[1].exists():
        plan = PneumoniaPlan(1, train=options.train, test=options.test)
        *arrays, members, regions = pneumonia_arrays(plan, size=options.volume, workers=options.workers)
        np.savez_compressed(stem.with_suffix(".npz"), **dict(zip(("hu", "lobes", "lesions"), arrays, strict=True)))
        for path, table in zip(tables, (members, regions), strict=True):
            table.to_csv(path, sep="\t", index=False)
    stored = np.load(stem.with_suffix(".npz"), allow_pickle=False)
    return *(stored[name] for name in ("hu", "lobes", "lesions")), *map(read, tables)


def lesion_table(regions: pd.DataFrame, kind: str) -> pd.DataFrame:
    """What is learnt from: every lobe's exact percentage, or its grade alone."""
    empty = np.full(len(regions), np.nan)
    percent, grade = (regions["lesion_percent"], empty) if kind == "percent" else (empty, regions["grade"])
    return regions[["subject", "region"]].assign(percent=percent, grade=grade)


def fit(
    options: argparse.Namespace,
    run: str,
    seed: int,
    scans: RegionScans,
    members: pd.DataFrame,
    regions: pd.DataFrame,
    device: str,
) -> Path:
    """The folder of the finished training."""
    folder = options.out / run / f"seed{seed}"
    if (folder / "history.tsv").exists():
        return folder
    method, kind, changes = RUNS[run]
    network = {"filters": options.filters, "norm": options.norm, "checkpointing": False}
    network |= {"attention_grid": min(64, options.size)}  # the source's, or the regions' own voxels
    started = time.monotonic()
    train_stage(
        folder,
        scans,
        members["subject"].tolist(),
        members["split"].tolist(),
        lesion_table(regions, kind),
        method=method,
        names=LOBES,
        edges=EDGES,
        learn_from="percent",  # the table has one of both
        regions=region_settings(options),
        network=network | {"cam_features": "encoder", "cam_target": "presence"} | changes,
        training={
            "epochs": options.epochs,
            "batch": options.batch,
            "regions_per_epoch": options.regions_per_epoch,
            "learning_rate": options.learning_rate,
            "decay": options.decay,
            "band": 0.01,
            "regression_weight": 2.0,
            "refinement_weight": 1.0,
            "precision": "bfloat16",
        },
        seed=seed,
        device=device,
        checkpoint=Checkpoint(folder / "checkpoint.safetensors", json.dumps(vars(options), default=str)),
    )
    seconds = round(time.monotonic() - started, 1)
    (folder / "seconds.json").write_text(json.dumps({"seconds": seconds, "device": device}))
    say(f"{run}, seed {seed}: {seconds:.0f} s")
    return folder


def measure(
    folder: Path,
    run: str,
    seed: int,
    scans: RegionScans,
    hu: np.ndarray,
    lesions: np.ndarray,
    members: pd.DataFrame,
    regions: pd.DataFrame,
    device: str,
) -> None:
    """Dice of every held-out scan for every way of making a mask, and its lobes' percentages, into the folder."""
    if (folder / "percentages.tsv").exists():
        return
    network, settings = load_dram(folder, device)
    truth = regions.set_index(["subject", "region"])
    rows = np.flatnonzero(members["split"] == "test").tolist()
    scores, percentages = [], []
    maps = map_scans(network, settings, scans, rows, mask_from=MASK, device=device)
    for row, (found, mask) in zip(rows, maps, strict=True):
        subject, kind = members["subject"][row], members["kind"][row]
        masks = {"method": mask}
        if RUNS[run][0] == "dram":
            masks |= alternatives(network, scans, row, hu[row], device)
        for way, lesion in masks.items():
            result = overlap(lesion, lesions[row] > 0, voxel_ml=scans.voxel_ml)
            about = {"run": run, "seed": seed, "mask": way, "subject": subject, "kind": kind}
            scores.append(about | vars(result))
        for label, percent in predicted_percents(scans, row, found, mask).items():
            lobe = truth.loc[(subject, LOBES[label])]
            about = {"run": run, "seed": seed, "subject": subject, "region": LOBES[label], "grade": lobe["grade"]}
            percentages.append(about | {"given": lobe["lesion_percent"], "predicted": percent})
    pd.DataFrame(scores).to_csv(folder / "dice.tsv", sep="\t", index=False)
    pd.DataFrame(percentages).to_csv(folder / "percentages.tsv", sep="\t", index=False)


def alternatives(network, scans: RegionScans, row: int, hu: np.ndarray, device: str) -> dict[str, np.ndarray]:
    """Masks of the same network by other rules, and by what stands in for the attention: of the dense map D.

    All candidates are what a network without any knowledge would leave of the rule.
    """
    how = {"free_below": EDGES[1] / 100, "device": device, "precision": "float32", "batch": 5}
    masks = {}
    for source in ("refined", "dense") if network.attention is not None else ("dense",):
        found = map_scan(network, scans, row, source=source, **how)
        for rule in ("otsu", "half"):
            masks[f"{source} {rule}"] = lesion_mask(found, rule=rule, with_candidates=True)
        masks[f"{source} otsu, all voxels"] = lesion_mask(found, rule="otsu", with_candidates=False)
    masks["all candidates"] = found.candidates
    heat = np.where(found.free, 0, found.heat)
    image = np.clip((hu - WINDOW_HU[0]) / (WINDOW_HU[1] - WINDOW_HU[0]), 0, 1)
    masks["dense, grown from seeds"] = seeded_growing(heat, found.candidates)
    masks["dense, local-window CRF"] = (local_window_crf(heat, image, found.inside) > 0.5) & found.candidates
    return masks


def figure(
    options: argparse.Namespace,
    scans: RegionScans,
    hu: np.ndarray,
    lesions: np.ndarray,
    members: pd.DataFrame,
    device: str,
) -> None:
    """One held-out scan of each kind of lesion, the one whose Dice with dram is the kind's median: CT, truth, maps."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    seed, scores = options.seeds[0], read(options.out / "dice.tsv")
    own = scores[(scores["run"] == "dram") & (scores["seed"] == seed) & (scores["mask"] == "method")]
    cases = []
    for kind in KINDS_SHOWN:
        of_kind = own[own["kind"] == kind].dropna(subset="dice").sort_values(["dice", "subject"])
        if len(of_kind):
            chosen = of_kind.iloc[(len(of_kind) - 1) // 2]
            cases.append((kind, chosen["dice"], members.index[members["subject"] == chosen["subject"]][0]))
    rows = [row for *_, row in cases]
    heats = {}
    for run in ("dram", "dram-cam"):
        network, settings = load_dram(options.out / run / f"seed{seed}", device)
        maps = map_scans(network, settings, scans, rows, mask_from=MASK, device=device)
        heats[run] = [found.heat for found, _ in maps]
    drawn, axes = pyplot.subplots(len(cases), 4, figsize=(10, 2.6 * len(cases)), layout="constrained", squeeze=False)
    for number, (line, (kind, dice, row)) in enumerate(zip(axes, cases, strict=True)):
        cut = int(np.argmax((lesions[row] > 0).sum(axis=(0, 2))))
        overlays = (None, (lesions[row] > 0).astype(float), heats["dram"][number], heats["dram-cam"][number])
        for axis, name, overlay in zip(line, ("CT", "truth", "dram", "dram-cam"), overlays, strict=True):
            axis.imshow(hu[row][:, cut], cmap="gray", vmin=-1150, vmax=350, origin="lower")
            if overlay is not None:
                shown = np.ma.masked_less(overlay[:, cut], 0.02)
                axis.imshow(shown, cmap="inferno", alpha=0.7, origin="lower", vmin=0, vmax=1)
            axis.set_axis_off()
            axis.set_title(name if name != "CT" else f"{kind}\n{members['subject'][row]}, Dice {dice:.2f}")
    drawn.savefig(options.out / "figure.png", dpi=120)
    pyplot.close(drawn)


def report(out: Path) -> None:
    """Dice by run, way and kind of lesion; errors of percentages by grade."""
    scores, percentages = read(out / "dice.tsv"), read(out / "percentages.tsv")
    by_kind = {key: dice_by_kind(group).set_index("kind")["mean"] for key, group in scores.groupby(["run", "mask"])}
    say("Dice, mean over held-out scans; none: scans without lesion, 0 where any was found\n")
    say(pd.DataFrame(by_kind).T.round(3).to_string())
    counted = scores[(scores["mask"] == "method") & (scores["truth_ml"] > 0)]
    sums = counted.groupby("run")["dice"].mean()
    for other in ("dram-cam", "dram-supervised"):
        if {"dram", other} <= set(sums.index):
            say(f"dram / {other}: {sums['dram'] / sums[other]:.2f}")
    say("\nErrors of the held-out lobes' percentages, in percentage points\n")
    for run, group in percentages.groupby("run"):
        errors = percentage_errors(*(group[name].to_numpy() for name in ("given", "predicted", "grade")))
        say(f"{run}\n{errors.round(2).to_string(index=False)}")


if __name__ == "__main__":
    main()
