"""One scenario of the CLAM simulation study: slices, pre-training, choice of K, clustering, maps, and what came out.

Ryan et al. 2020, section 4: abnormalities that vary in intensity, location or size, true K 3 to 5, fitted K 2 to 8.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import kurtosis, skew

from lungtypes.errors import InputError
from lungtypes.evaluation.accuracy import adjusted_rand, matched_accuracy
from lungtypes.evaluation.choose_k import KSelection, choose_k, structure_flag
from lungtypes.evaluation.indices import silhouette
from lungtypes.evaluation.kmeans import kmeans, one_thread
from lungtypes.evaluation.sparse_kmeans import standardise
from lungtypes.imaging.hounsfield import OUTSIDE
from lungtypes.maps.coverage import ACTIVE
from lungtypes.methods import clam
from lungtypes.methods.clam_maps import Explained, explain_assignments
from lungtypes.methods.intensity import Intensity, NormalisedScans, fit_intensity
from lungtypes.methods.training import Checkpoint
from lungtypes.phantom.lung_slices import (
    Lesions,
    LungSlice,
    Scenario,
    SimulatedSlices,
    extra_scenarios,
    given_lung_slice,
    paper_scenarios,
    simulate,
    synthetic_lung_slice,
)
from lungtypes.provenance import whole_folder, write_json, write_table
from lungtypes.randomness import derive_seed

logger = logging.getLogger(__name__)

PERCENTILES = (5, 15, 50, 85, 95)


@dataclass(frozen=True)
class Fit:
    """One clustering phase: fitted K, its result, and the embedding after it (N, latent)."""

    k: int
    result: clam.Clustered
    after: NDArray[np.float32]

    @property
    def clusters(self) -> NDArray[np.int64]:
        """(N,) from 0."""
        return self.result.q.argmax(axis=1)


def named_scenarios(subjects: int) -> dict[str, Scenario]:
    """The paper's nine scenarios and ours, by name."""
    return {scenario.name: scenario for scenario in (*paper_scenarios(subjects), *extra_scenarios(subjects))}


def write_lung_slice(
    folder: Path, *, given: Sequence[str | Path], size: int, spacing_mm: float, people: int, seed: int
) -> None:
    """The healthy lung that all scenarios start from, into ``folder``.

    given : image and lungs of the user's template, or nothing for a synthetic lung of ``people`` virtual persons.
    """
    if given:
        lung = given_lung_slice(*given, size=size, spacing_mm=spacing_mm)
    else:
        lung = synthetic_lung_slice(people=people, seed=seed, size=size, spacing_mm=spacing_mm)
    with whole_folder(folder) as building:
        for name in ("mean_hu", "lung", "residuals_hu"):
            np.save(building / f"{name}.npy", getattr(lung, name), allow_pickle=False)
        write_json(building / "slice.json", {"spacing_mm": lung.spacing_mm})


def read_lung_slice(folder: Path) -> LungSlice:
    """What :func:`write_lung_slice` wrote."""
    arrays = {name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("mean_hu", "lung", "residuals_hu")}
    return LungSlice(**arrays, **json.loads((folder / "slice.json").read_text()))


def run_scenario(
    folder: Path,
    *,
    lung: LungSlice,
    scenario: str,
    seed: int,
    study: Mapping[str, object],
    method: Mapping[str, object],
    device: str,
    checkpoint: Checkpoint,
) -> None:
    """Write one scenario's results into ``folder``.

    Parameters
    ----------
    lung : the healthy slice. scenario : name, see :func:`named_scenarios`; seed : of its images and of all training.
    study : the config's section ``simulation``; method : its section ``clam``.
    checkpoint : one file a phase beside it, kept until the scenario is complete, so that a killed job goes on.

    Files: hu.npy (N, Y, X) int16; lung.npy, discs.npy bool; before.npy and after_{K}.npy (N, latent) float32;
    importance.npy (N, Y, X) float32 of the deciding fit; assignment.tsv, fits.tsv, k_selection.tsv, history.tsv.
    """
    if len(study["strides"]) != len(method["filters"]):
        found = f"found {len(study['strides'])} values, expected {len(method['filters'])} as in clam.filters"
        raise InputError(f"config, simulation.strides: {found}. Give each layer its own.")
    if any(length % prod(study["strides"]) for length in lung.lung.shape):
        found = f"found {lung.lung.shape[0]}, expected a multiple of {prod(study['strides'])}"
        raise InputError(f"config, simulation.size: {found} (product of simulation.strides).")
    plan = named_scenarios(study["subjects"])[scenario]
    slices = simulate(lung, plan, Lesions(**_tuples(study["lesions"])), seed=seed)
    intensity = fit_intensity(slices.hu, window_hu=method["window_hu"], background=method["background"])
    images = NormalisedScans(slices.hu, intensity)
    training = {"loss": method["loss"], "batch": method["batch"], "seed": seed, "device": device}
    network = {name: method[name] for name in ("filters", "latent", "slope", "output")}
    network["strides"] = study["strides"]

    pretrained = clam.pretrain(
        images, **network, **method["pretrain"], **training, checkpoint=checkpoint.of_phase("pretrain")
    )
    before = clam.embed(pretrained.model, images, batch=method["batch"], device=device)
    start = {name: tensor.detach().clone() for name, tensor in pretrained.model.state_dict().items()}
    choice = _choose(before, method["k"], seed)
    deciding = len(plan.sizes) if len(plan.sizes) > 1 else choice.k
    ks = {deciding} if study["fitted"] == "planted" else {deciding, *study["fitted"]}
    fits = {}
    for k in sorted(ks):
        pretrained.model.load_state_dict(start)
        phase = checkpoint.of_phase(f"cluster-{k}")
        result = clam.cluster(pretrained.model, images, k=k, **method["cluster"], **training, checkpoint=phase)
        fits[k] = Fit(k, result, clam.embed(result.model, images, batch=method["batch"], device=device))
        if k == deciding:
            maps = _maps(fits[k], slices.hu, intensity, method["map"], device)

    with whole_folder(folder) as building:
        arrays = {"hu": slices.hu, "lung": lung.lung, "discs": slices.discs, "before": before}
        arrays |= {f"after_{k}": fit.after for k, fit in fits.items()} | {"importance": maps[0]}
        for name, array in arrays.items():
            np.save(building / f"{name}.npy", array, allow_pickle=False)
        tables = {
            "assignment": _assignment(slices, lung, fits[deciding], maps),
            "k_selection": choice.table,
            "fits": _fits_table(plan, seed, slices, before, choice, fits),
            "history": _histories(pretrained, fits),
        }
        for name, table in tables.items():
            write_table(building / f"{name}.tsv", table.assign(flag=structure_flag(choice.null_p)))
    for phase in ("pretrain", *(f"cluster-{k}" for k in ks)):
        checkpoint.of_phase(phase).remove()


def densitometry_features(hu: NDArray[np.int16]) -> NDArray[np.float64]:
    """What classical densitometry says of each slice (N, Y, X): mean, SD, skewness, kurtosis, percentiles, shares.

    The features of the paper's table 1 that need no network; blind to where in the lung a density lies.
    """
    rows = []
    for image in hu:
        values = image[image != OUTSIDE].astype(np.float64)
        shares = [(values < -950).mean(), (values < -910).mean(), (values > -700).mean()]
        moments = [values.mean(), values.std(), skew(values), kurtosis(values)]
        rows.append([*moments, *np.percentile(values, PERCENTILES), *shares])
    return np.array(rows)


def _choose(before: NDArray, settings: Mapping[str, object], seed: int) -> KSelection:
    names = ("rule", "n_init", "n_null", "n_permutations")
    limits = {"k_min": settings["minimum"], "k_max": settings["maximum"]}
    return choose_k(before, **limits, **{name: settings[name] for name in names}, seed=seed)


def _maps(
    fit: Fit, hu: NDArray[np.int16], intensity: Intensity, settings: Mapping[str, object], device: str
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Importance (N, Y, X) of each image's own cluster, and its correlation with the unweighted sum (N,)."""
    model, centroids = fit.result.model.eval(), torch.from_numpy(fit.result.centroids).to(device)
    found = explain_assignments(
        Explained(model, centroids, fit.result.scale, intensity, device),
        hu,
        fit.clusters + 1,
        chunk_channels=settings["chunk_channels"],
        offset=model.activation_offset if settings["correct_shift"] else 0.0,
    )
    maps, correlations = zip(*((each.importance, each.uniform_correlation) for each in found), strict=True)
    return np.stack(maps), np.array(correlations)


def _assignment(
    slices: SimulatedSlices, lung: LungSlice, fit: Fit, maps: tuple[NDArray[np.float32], NDArray[np.float64]]
) -> pd.DataFrame:
    """One row an image: true and found cluster (from 1; found ones carry the number of the class they match)."""
    importance, correlations = maps
    mapping = matched_accuracy(fit.clusters.tolist(), slices.labels.tolist()).mapping
    free = iter(range(slices.labels.max() + 1, slices.labels.max() + 1 + fit.k))
    named = {cluster: mapping[cluster] if cluster in mapping else next(free) for cluster in range(fit.k)}
    rows = []
    for number, (cluster, hu) in enumerate(zip(fit.clusters, slices.hu, strict=True)):
        inside = hu != OUTSIDE
        active = (importance[number] > ACTIVE) & lung.lung
        total = float(importance[number].sum())
        peak = np.unravel_index(int(np.where(lung.lung, importance[number], -1.0).argmax()), lung.lung.shape)
        disc = slices.discs[number]
        rows.append(
            {
                "image": number + 1,
                "true_cluster": int(slices.labels[number]) + 1,
                "cluster": named[int(cluster)] + 1,
                "q": float(fit.result.q[number].max()),
                "mean_hu": float(hu[inside].mean()),
                "active_px": int(active.sum()),
                "active_mean_hu": float(hu[active & inside].mean()) if (active & inside).any() else np.nan,
                "mean_importance": float(importance[number][lung.lung].mean()),
                "energy_in_disc": float(importance[number][disc].sum()) / total if total > 0 and disc.any() else np.nan,
                "peak_in_disc": float(disc[peak]) if disc.any() else np.nan,
                "uniform_correlation": float(correlations[number]),
            }
        )
    return pd.DataFrame(rows)


def _fits_table(
    plan: Scenario, seed: int, slices: SimulatedSlices, before: NDArray, choice: KSelection, fits: Mapping[int, Fit]
) -> pd.DataFrame:
    """One row a K: what speaks for it before clustering, and after it where it was fitted."""
    truth = slices.labels.tolist()
    features = standardise(densitometry_features(slices.hu))
    curves = choice.table.pivot_table(index="k", columns="criterion", values="value")
    compared = sorted({*fits, *(number for number in curves.index if number > 1)})
    curves = curves.reindex(compared)
    rows = []
    for k in compared:
        with one_thread():
            labels = kmeans(before.astype(np.float64), k, n_init=20, seed=derive_seed(seed, "simulation", k)).labels
            classical = kmeans(features, k, n_init=20, seed=derive_seed(seed, "densitometry", k)).labels
        row = {"scenario": plan.name, "factor": plan.factor, "true_k": len(plan.sizes), "seed": seed, "fitted_k": k}
        row |= {"chosen_k": choice.k, "null_p": choice.null_p}
        row |= {name: curves.loc[k].get(name, np.nan) for name in ("silhouette_kmeans", "silhouette_sparse", "gap")}
        row |= {"accuracy_kmeans": _accuracy(labels, truth), "accuracy_densitometry": _accuracy(classical, truth)}
        if k in fits:
            row |= _fit_row(fits[k], truth)
        rows.append(row)
    return pd.DataFrame(rows)


def _fit_row(fit: Fit, truth: Sequence[int]) -> dict[str, object]:
    kept = fit.result.history[fit.result.history["kept"] == 1]
    after = silhouette(fit.after, fit.clusters.tolist())
    sizes = np.bincount(fit.clusters, minlength=fit.k)
    return {
        "accuracy": _accuracy(fit.clusters, truth),
        "ari": adjusted_rand(fit.clusters.tolist(), truth) if len(set(truth)) > 1 else np.nan,
        "smallest_recall": _smallest_recall(fit.clusters, truth),
        "silhouette_after": np.nan if after.value is None else after.value,
        "clusters_used": int((sizes > 0).sum()),
        "largest_share": float(sizes.max() / sizes.sum()),
        "epochs": len(kept),
        "learning_rate": fit.result.learning_rate,
        "finished": int(fit.result.finished),
        "guard": "; ".join(fit.result.events),
    }


def _accuracy(labels: NDArray, truth: Sequence[int]) -> float:
    if len(set(truth)) < 2:
        return float("nan")  # one class: any partition is as good
    return matched_accuracy(labels.tolist(), truth).accuracy


def _smallest_recall(labels: NDArray, truth: Sequence[int]) -> float:
    """The matched accuracy within the true cluster that fares worst."""
    if len(set(truth)) < 2:
        return float("nan")
    mapping = matched_accuracy(labels.tolist(), truth).mapping
    right = np.array([mapping.get(label) == true for label, true in zip(labels.tolist(), truth, strict=True)])
    classes = np.array(truth)
    return float(min(right[classes == one].mean() for one in set(truth)))


def _histories(pretrained: clam.Pretrained, fits: Mapping[int, Fit]) -> pd.DataFrame:
    parts = [pretrained.history.assign(fitted_k=np.nan)]
    parts += [fit.result.history.assign(fitted_k=k) for k, fit in fits.items()]
    return pd.concat(parts, ignore_index=True)


def _tuples(values: Mapping[str, object]) -> dict[str, object]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
