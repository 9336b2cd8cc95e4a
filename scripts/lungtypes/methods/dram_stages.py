"""A trained dRAM in use: maps of every scan, percentages of its regions, its burden, as files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lungtypes.methods.dram_maps import ScanMap, lesion_mask, map_scan
from lungtypes.methods.dram_networks import DenseRegression, RegionClassifier, build_network
from lungtypes.methods.dram_regions import RegionScans
from lungtypes.methods.dram_targets import Targets, targets_of
from lungtypes.methods.model_files import read_model
from lungtypes.provenance import whole_folder, write_table

PHENOTYPE = ("subject", "split", "burden_ml", "burden_percent", "segmented_ml", "flag")
PERCENTAGES = ("subject", "region", "given", "given_kind", "predicted", "error")
NO_REGION = "no lobe or zone"


def load_dram(folder: Path, device: str) -> tuple[DenseRegression | RegionClassifier, dict[str, object]]:
    """The trained network on ``device`` and its settings. Raises InputError when a file is missing."""
    settings, weights, _ = read_model(folder)
    network = build_network(settings["method"], settings["network"], n_classes=settings["n_classes"], seed=0)
    network.load_state_dict(weights)
    return network.to(device).eval(), settings


def map_scans(
    network: DenseRegression | RegionClassifier,
    settings: Mapping[str, object],
    scans: RegionScans,
    rows: Sequence[int],
    *,
    mask_from: Mapping[str, str],
    device: str,
) -> Iterator[tuple[ScanMap, NDArray[np.bool_]]]:
    """The map of each of ``rows`` and its lesions.

    mask_from : source and rule, see :func:`map_scan` and :func:`lesion_mask`.
    ``dram-supervised`` learnt where lesions are: its mask is the half of its probability, nothing else.
    """
    supervised = settings["method"] == "dram-supervised"
    rule = "half" if supervised else mask_from["rule"]
    for row in rows:
        found = map_scan(
            network,
            scans,
            row,
            free_below=0.0 if supervised else settings["edges"][1] / 100,
            device=device,
            precision=settings["precision"],
            batch=settings["batch"],
            source=mask_from["source"],
        )
        yield found, lesion_mask(found, rule=rule, with_candidates=not supervised)


def segment_stage(
    folder: Path,
    network: DenseRegression | RegionClassifier,
    settings: Mapping[str, object],
    scans: RegionScans,
    subjects: Sequence[str],
    splits: Sequence[str],
    table: pd.DataFrame | None,
    *,
    mask_from: Mapping[str, str],
    grids: Sequence[object],
    device: str,
) -> None:
    """Map every scan and write ``maps``, ``phenotype.tsv`` and ``percentages.tsv`` to ``folder``.

    Parameters
    ----------
    table : what is given, of any scan; ``None`` for new subjects of whom nothing is known.
    mask_from : see :func:`map_scans`. grids : one :class:`lungtypes.imaging.volumes.CohortGrid` a scan.

    maps/{method} has each scan's heat in 0-1, maps/{method}-lesions its mask; float32 NIfTI on the scan's grid.
    """
    names = {int(label): name for label, name in settings["names"].items()}
    edges, method = settings["edges"], settings["method"]
    given = None if table is None else targets_of(table, subjects, names, edges=edges)
    phenotypes, percentages = [], []
    with (
        whole_folder(folder / "maps" / method) as heats,
        whole_folder(folder / "maps" / f"{method}-lesions") as masks,
    ):
        found = map_scans(network, settings, scans, range(len(subjects)), mask_from=mask_from, device=device)
        for row, (scan_map, mask) in enumerate(found):
            grids[row].write_image(heats / f"{subjects[row]}.nii.gz", scan_map.heat)
            grids[row].write_image(masks / f"{subjects[row]}.nii.gz", mask)
            predicted = predicted_percents(scans, row, scan_map, mask)
            phenotypes.append(phenotype(subjects[row], splits[row], scan_map, predicted, mask, scans.voxel_ml))
            percentages += percentage_rows(subjects[row], row, predicted, given, names)
    write_table(folder / "phenotype.tsv", pd.DataFrame(phenotypes, columns=list(PHENOTYPE)))
    write_table(folder / "percentages.tsv", pd.DataFrame(percentages, columns=list(PERCENTAGES)))


def predicted_percents(scans: RegionScans, row: int, found: ScanMap, mask: NDArray[np.bool_]) -> dict[int, float]:
    """Lesion percentage of each region by label: the mean of the dense map, or of a classifier the mask's share."""
    percents = {}
    for region in scans.regions(row):
        share = found.shares[region[1]]
        own = scans.inside(region)
        percents[region[1]] = 100 * (share if np.isfinite(share) else float(mask[scans.box(region)][own].mean()))
    return percents


def phenotype(
    subject: str,
    split: str,
    found: ScanMap,
    predicted: Mapping[int, float],
    mask: NDArray[np.bool_],
    voxel_ml: float,
) -> dict[str, object]:
    """Burden of a scan: the predicted percentages of its regions in mL, and of their volume; the mask's mL beside it.

    Of a scan without any region nothing is known: empty values and a flag.
    """
    whole = sum(found.region_ml.values())
    if whole == 0:
        return {"subject": subject, "split": split, "flag": NO_REGION}
    burden = sum(predicted[label] / 100 * volume for label, volume in found.region_ml.items())
    return {
        "subject": subject,
        "split": split,
        "burden_ml": burden,
        "burden_percent": 100 * burden / whole,
        "segmented_ml": float(mask.sum()) * voxel_ml,
        "flag": "",
    }


def percentage_rows(
    subject: str, row: int, predicted: Mapping[int, float], given: Targets | None, names: Mapping[int, str]
) -> list[dict[str, object]]:
    """A row for each region of a scan: what was given, what was predicted, and by how much they differ.

    The error of a grade is the distance to its bounds, 0 inside them. A region of which nothing was given has neither.
    """
    place = {} if given is None else {region: i for i, region in enumerate(given.regions)}
    rows = []
    for label, percent in predicted.items():
        about = {"subject": subject, "region": names[label], "given_kind": "", "predicted": percent}
        index = place.get((row, label))
        if index is not None and np.isfinite(given.percents[index]):
            about |= {"given": given.percents[index], "given_kind": "percent"}
            about["error"] = percent - given.percents[index]
        elif index is not None:
            grade = int(given.grades[index])
            low, high = given.edges[grade], given.edges[grade + 1]
            about |= {"given": float(grade), "given_kind": "grade", "error": percent - min(max(percent, low), high)}
        rows.append(about)
    return rows
