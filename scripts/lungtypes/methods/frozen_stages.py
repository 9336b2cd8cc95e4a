"""A fitted model handed on, and new scans assigned by it. Safetensors and JSON only; no ids, no scans.

Beside the model lies what its reference scans were like: those that were held out of the fit where there are enough,
else the training scans, which lie nearer to their centroids and are reconstructed better than any new scan.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import save_file

from lungtypes.cohort.frozen import check_frozen
from lungtypes.errors import ScanFault
from lungtypes.methods.intensity import Intensity
from lungtypes.methods.placement import TYPICAL, Place, Placement, load_clam, load_dense, read_typical, voxel_sums
from lungtypes.methods.typical_range import (
    FITTED_SDS,
    MAX_DEVIATION,
    OF_THE_MODEL,
    ROBUST_SDS,
    image_limits,
    percentile_of,
    remarks,
    upper_limit,
)
from lungtypes.provenance import write_json

logger = logging.getLogger(__name__)

MIN_HELD_OUT = 20  # held-out scans that make a reference of their own
SAME_Q = 1e-5
PERCENTILES = {
    "distance": "distance_percentile",
    "deviation": "deviation_percentile",
    "reconstruction_error": "reconstruction_percentile",
}


def freeze_model(
    folder: Path,
    fitted: Path,
    array: NDArray[np.int16],
    splits: Sequence[str],
    *,
    method: str,
    device: str,
) -> dict[str, object]:
    """Copy the model of ``fitted`` into ``folder`` and write reference.json beside it.

    Parameters
    ----------
    array, splits : the scans that it was fitted on and those held out, in the order of its assignment.tsv.

    Returns
    -------
    What the manifest says of the model: k, flag, classes (``dcam-supervised``), space, and training scans a cluster.
    """
    folder.mkdir(parents=True)
    for name in ("model.safetensors", "model.json"):
        shutil.copyfile(fitted / name, folder / name)
    settings = json.loads((fitted / "model.json").read_text())
    parts = np.array(splits)
    train, held_out = np.flatnonzero(parts == "train"), np.flatnonzero(parts == "test")
    apart = len(held_out) >= MIN_HELD_OUT
    rows = held_out if apart else train
    if method == "clam":
        intensity = Intensity(**settings["intensity"])
        sums = voxel_sums(array, train, intensity)
        typical = sums.typical()
        save_file({"mean": typical.mean, "sd": typical.sd}, str(folder / TYPICAL))
        place = load_clam(folder, lambda hu: typical if apart else sums.without(hu, intensity).typical(), device)
    else:
        place = load_dense(folder, device, left_out=not apart)
    found = [place(np.asarray(array[row])) for row in rows]
    assigned = pd.read_csv(fitted / "assignment.tsv", sep="\t", dtype={"subject": str}, float_precision="round_trip")
    reference = _reference(found, fitted=not apart) | _same_as(found, assigned.iloc[rows])
    reference |= {"reference": "held-out" if apart else "training", "scans": len(rows)}
    write_json(folder / "reference.json", reference)
    sizes = np.bincount(assigned["cluster"].to_numpy()[train] - 1, minlength=int(settings["k"])).tolist()
    about = {name: settings.get(name) for name in ("k", "flag", "classes")}
    return {**about, "space": settings.get("space", "template"), "training_scans": sizes}


def write_image_reference(file: Path, figures: Iterable[Mapping[str, float]]) -> None:
    """Sorted figures of lungs and registration of the study's scans, and the limits that they give.

    figures : see :func:`lungtypes.methods.typical_range.image_figures`, one a scan.
    """
    rows = list(figures)
    names = sorted({name for row in rows for name in row})
    values = {name: sorted(row[name] for row in rows if name in row) for name in names}
    write_json(file, {"scans": len(rows), "figures": values, "limits": image_limits(rows)})


def load_frozen(folder: Path, method: str, device: str) -> tuple[Place, dict[str, object]]:
    """The model's function of one scan, and its reference.

    Raises InputError when one of its files is not as it was frozen.
    """
    check_frozen(folder, only=(f"{method}/",))
    own = folder / method
    reference = json.loads((own / "reference.json").read_text())
    if method == "clam":
        typical = read_typical(own)
        return load_clam(own, lambda hu: typical, device), reference
    return load_dense(own, device), reference


def assign_scans(
    frozen: Path,
    method: str,
    statuses: pd.DataFrame,
    read: Callable[[str], tuple[NDArray[np.int16], float]],
    figures: Mapping[str, Mapping[str, float]],
    *,
    device: str,
) -> pd.DataFrame:
    """assigned/{method}.tsv: one row a scan of the sheet, in its order.

    Parameters
    ----------
    frozen : the folder. statuses : of the new scans (:func:`lungtypes.cohort.gate.status_table`).
    read : a scan's lung HU as the network sees them, and the share of its lungs on that grid.
    figures : by subject, see :func:`lungtypes.methods.typical_range.image_figures`.

    Raises InputError when a file of the folder is not as it was frozen.
    """
    manifest = check_frozen(frozen, only=("imaging.json",))
    limits = json.loads((frozen / "imaging.json").read_text())["limits"]
    place, reference = load_frozen(frozen, method, device)
    about = {"flag": manifest["methods"][method]["flag"], "model": manifest["digest"][:12]}
    rows = []
    for scan in statuses.itertuples():
        image = figures.get(scan.subject, {})
        row = {"subject": scan.subject, "status": "failed", "code": scan.code, "why": scan.message}
        row |= {"dice": image.get("dice", np.nan), "lung_ml": image.get("lung_ml", np.nan)}
        if scan.status == "analysed":
            try:
                hu, share = read(scan.subject)
                row |= _placed(place(hu), share, reference, image, limits)
            except ScanFault as fault:
                row |= {"code": fault.code, "why": fault.message}
                logger.warning("subject %s, %s: %s", scan.subject, method, fault)
        rows.append({**row, **about})
    return _in_order(pd.DataFrame(rows), int(manifest["methods"][method]["k"]))


def _placed(
    found: Placement, share: float, reference: Mapping, image: Mapping[str, float], limits: Mapping
) -> dict[str, object]:
    values = {name: getattr(found, name) for name in OF_THE_MODEL}
    held = min(share, found.held)
    beyond = remarks(values, reference["limits"], image, limits, held=held)
    row = {"status": "assigned", "code": "", "cluster": found.cluster, "margin": found.margin, **values}
    row |= {f"q_{k + 1}": q for k, q in enumerate(found.q)}
    row |= {column: percentile_of(values[name], reference[name]) for name, column in PERCENTILES.items()}
    return row | {"out_of_distribution": int(bool(beyond)), "why": "; ".join(beyond)}


def _in_order(table: pd.DataFrame, k: int) -> pd.DataFrame:
    columns = ["subject", "status", "code", "cluster", *[f"q_{i + 1}" for i in range(k)], "margin"]
    for name, percentile in PERCENTILES.items():
        columns += [name, percentile]
    columns += ["dice", "lung_ml", "out_of_distribution", "why", "flag", "model"]
    table = table.reindex(columns=columns)
    return table.astype({"cluster": "Int64", "out_of_distribution": "Int64"})


def _reference(found: Sequence[Placement], *, fitted: bool) -> dict[str, object]:
    """Sorted values of the reference scans, and the limits that they give. fitted : the model was fitted to them."""
    values = {name: sorted(v for v in (getattr(p, name) for p in found) if np.isfinite(v)) for name in OF_THE_MODEL}
    sds = FITTED_SDS if fitted else ROBUST_SDS
    limits = {name: upper_limit(values[name], sds=sds) for name in ("distance", "reconstruction_error")}
    limits["deviation"] = upper_limit(values["deviation"], at_most=MAX_DEVIATION)  # a scan is not compared with itself
    return {**values, "margin": sorted(p.margin for p in found), "limits": limits}


def _same_as(found: Sequence[Placement], assigned: pd.DataFrame) -> dict[str, object]:
    """How far q of scans one by one lies from q as the study's run wrote it."""
    q = assigned.filter(regex=r"^q_\d+$").to_numpy(float)
    difference = float(np.abs(q - np.array([p.q for p in found])).max())
    changed = int((assigned["cluster"].to_numpy() != [p.cluster for p in found]).sum())
    if difference > SAME_Q:
        logger.warning(
            "q of scans one by one differs from the study's by up to %.1g (%d of %d in another cluster); freeze and "
            "assign on the kind of device that trained",
            difference,
            changed,
            len(found),
        )
    return {"largest_q_difference": difference, "clusters_changed": changed}
