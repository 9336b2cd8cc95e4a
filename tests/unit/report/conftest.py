"""A small results folder as the stages leave it: 12 voxels along each axis, two scanners, hostile texts."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lungtypes.association.comparison import COMPARISON_COLUMNS
from lungtypes.association.contrasts import CONTRAST_COLUMNS, MEAN_COLUMNS
from lungtypes.association.description_print import print_table_one
from lungtypes.association.outcome_print import print_comparison, print_means, print_outcomes
from lungtypes.association.outcomes import OUTCOME_COLUMNS
from lungtypes.association.rows import AssociationPlan
from lungtypes.association.stage import COUNT_COLUMNS, LEVEL_COLUMNS, POINT_COLUMNS
from lungtypes.association.table_html import to_html
from lungtypes.association.table_one import TABLE_ONE_COLUMNS
from lungtypes.evaluation.segmentation import percentage_table
from lungtypes.imaging.geometry import Volume, write_volume
from lungtypes.imaging.hounsfield import OUTSIDE
from lungtypes.report.findings import find
from lungtypes.report.page import write_page
from lungtypes.report.results import Results

CANARY = "<script>alert(1)</script>"
CONFIG = {
    "seed": 1,
    "subjects": "/home/someone/patients/subjects.tsv",
    "template": {"max_iterations": 4, "min_dice": 0.98, "max_update_mm": 1.0, "max_volume_percent": 1.0},
    "register": {
        "checks": {
            "dice": {"warn": [0.96, 1], "fail": [0.9, 1]},
            "hd95_mm": {"warn": [0, 6], "fail": [0, 15]},
            "folded_percent": {"warn": [0, 0.01], "fail": [0, 0.1]},
            "inverse_mm": {"warn": [0, 1], "fail": [0, 3]},
            "hu_correlation": {"warn": [0.1, 1], "fail": None},
        }
    },
    "volumes": {"size": 44, "spacing_mm": 6.0},
    "clam": {"strides": [2, 2, 1], "k": {"n_clusters": "auto"}},
    "dram": {
        "table": "/home/someone/patients/lesions.tsv",
        "volumes": {"size": 12, "spacing_mm": 10.0},
        "training": {"epochs": 77, "batch": 3, "learning_rate": 0.002, "decay": 0.9, "band": 0.01},
        "network": {"cam_features": "encoder", "cam_target": "presence"},
        "mask": {"source": "dense", "rule": "otsu"},
    },
}
EDGES = [0, 1, 5, 25, 50, 75, 100]
SIZE = 12


@dataclass(frozen=True)
class Run:
    """A results folder and where its page goes."""

    results: Path
    page: Path

    def write(self, *, has_outcomes: bool = True) -> str:
        """Write the page and return its text."""
        write_page(self.page, results=self.results, run_config=CONFIG, has_outcomes=has_outcomes)
        return self.page.read_text()

    def findings(self, level: str) -> list[str]:
        """The sentences of one level, without drawing the page."""
        return [f.text for f in find(Results(self.results), has_outcomes=True) if f.level == level]

    def edit(self, name: str, change) -> None:
        """Replace a table by ``change(table)``."""
        path = self.results / name
        save(path, change(pd.read_csv(path, sep="\t", dtype={"subject": str}, keep_default_na=False)))


def save(path: Path, table: pd.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, sep="\t", index=False)


def volume(array) -> Volume:
    return Volume(array, (10.0, 10.0, 10.0), (0.0, 0.0, 0.0), np.eye(3))


def two_lungs():
    lungs = np.zeros((SIZE,) * 3, np.uint8)
    lungs[2:10, 2:10, 1:5] = 1  # patient's right is low x
    lungs[2:10, 2:10, 7:11] = 2
    return lungs


def build(folder: Path, clusters: list[int], k: int) -> Run:
    """A run of len(clusters) analysed scans and one excluded, K = k; clusters without a member stay empty."""
    rng = np.random.default_rng(0)
    results = folder / "results"
    subjects = [chr(ord("a") + i) for i in range(len(clusters))]  # single letters are ids, too
    n = len(subjects)
    _cohort(results, subjects, rng)
    clam = results / "clam"
    q = np.full((n, k), 0.1 / k)
    q[np.arange(n), np.array(clusters) - 1] = 0.9
    assignment = pd.DataFrame({"subject": subjects, "cluster": clusters, "split": "train"})
    save(clam / "assignment.tsv", assignment.assign(**{f"q_{j + 1}": q[:, j] for j in range(k)}, margin=0.8))
    z = rng.normal(size=(2 * n, 5))
    phases = ["before"] * n + ["after"] * n
    table = pd.DataFrame(z, columns=[f"z_{i + 1}" for i in range(5)])
    save(clam / "embedding.tsv", pd.concat([pd.DataFrame({"subject": subjects * 2, "phase": phases}), table], axis=1))
    history = [{"phase": "pretrain", "epoch": e, "reconstruction": 1 / e} for e in (1, 2)]
    history += [
        {"phase": "cluster", "epoch": e, "reconstruction": 0.1, "clustering": 0.2, "total": 0.3, "labels_changed": 0.0}
        | {"mean_max_q": 0.9}
        for e in (1, 2)
    ]
    save(clam / "history.tsv", pd.DataFrame(history).assign(kept=1))
    (clam / "model.json").write_text(json.dumps({"events": [], "seed": 1, "train_subjects": n, "k": k}))
    null_p = 0.01 if k > 1 else 0.6
    choice = {"k": k, "null_p": null_p, "reason": f"K = {k}: {CANARY}", "rule": "silhouette"}
    (clam / "k_selection.json").write_text(json.dumps(choice))
    rows = [{"k": 1, "criterion": "null_p", "value": null_p, "note": "test of one Gaussian"}]
    rows += [{"k": i, "criterion": "gap", "value": i / 9, "standard_error": 0.1, "note": ""} for i in range(1, 5)]
    save(clam / "k_selection.tsv", pd.DataFrame(rows).assign(chosen=False))
    _map_tables(clam, assignment, k)
    for name in [f"cluster{c}" for c in sorted(set(clusters))] + ["population"]:
        shape = (SIZE,) * 3
        write_volume(volume(rng.normal(-800, 50, shape).astype(np.float32)), clam / f"group_maps/ct_mean_{name}.nii.gz")
        for kind in ("population_subject", "population_balanced") if name == "population" else (name,):
            write_volume(volume(rng.random(shape).astype(np.float32)), clam / f"group_maps/clam_{kind}_mean.nii.gz")
    _evaluation(results, clusters, k)
    _association(results, sorted(set(clusters)), n)
    return Run(results, results / "report" / "index.html")


def _map_tables(clam: Path, assignment: pd.DataFrame, k: int) -> None:
    summary = assignment.assign(active_ml=100.0, active_percent=25.0, active_mean_hu=-700.0, inactive_mean_hu=-800.0)
    save(clam / "map_summary.tsv", summary.assign(uniform_correlation=0.5, degenerate=0))
    shares = {"right": 0.6, "left": 0.4, "upper": 0.5, "middle": 0.3, "lower": 0.2}
    parts = [assignment.assign(region=region, share=share) for region, share in shares.items()]
    save(clam / "map_regions.tsv", pd.concat(parts))
    sizes = [int((assignment["cluster"] == c).sum()) for c in range(1, k + 1)]
    groups = pd.DataFrame({"group": [f"clam_cluster{c}" for c in range(1, k + 1)], "n": sizes, "n_maps": sizes})
    save(clam / "group_maps.tsv", groups)


def _cohort(results: Path, subjects: list[str], rng) -> None:
    n = len(subjects)
    attrition = pd.DataFrame(
        {"subject": subjects, "stage": "register", "status": "analysed", "code": "", "message": ""}
    ).assign(remedy="", decisions="")
    message = f"/data/John Smith/scan.nii.gz: {CANARY} not readable"
    attrition.loc[n] = ["NA", "lungs", "excluded", "SEG-NONE", message, "Give a mask.", ""]
    save(results / "cohort/attrition.tsv", attrition)
    series = pd.DataFrame(
        {"subject": subjects, "series": 2, "manufacturer": "A&B", "model": "$x^{2$", "kernel": "B50f"}
    )
    series = series.assign(kernel_class="sharp", thickness_mm=5.0, slices=60, verdict="chosen", code="", reason="")
    series.loc[: n // 2, "model"] = CANARY
    save(results / "ingest/series.tsv", series)
    save(
        results / "densitometry.tsv",
        pd.DataFrame({"subject": subjects, "region": "lungs", "volume_ml": 5000.0, "mean_hu": -800.0}),
    )
    lungs = two_lungs()
    for subject in subjects:
        folder = results / "registered" / subject
        write_volume(volume(rng.normal(-800, 100, lungs.shape).astype(np.int16)), folder / "ct.nii.gz")
        values = {"dice_right": 0.98, "dice_left": 0.97, "hd95_right_mm": 2.0, "hd95_left_mm": 2.0}
        values |= {"folded_percent": 0.0, "inverse_mm": 0.2, "hu_correlation": float(rng.random())}
        values["attempt"] = "configured"
        (folder / "registration.json").write_text(json.dumps(values))
    write_volume(volume(np.where(lungs > 0, -800, 0).astype(np.int16)), results / "template/template.nii.gz")
    write_volume(volume(lungs), results / "template/mask.nii.gz")
    convergence = {
        "iteration": [0, 1],
        "dice": [np.nan, 0.99],
        "mean_update_mm": [np.nan, 0.9],
        "net_update_mm": [np.nan, 0.5],
    }
    convergence |= {"volume_change_percent": [np.nan, -0.2], "lungs_ml": 5000.0, "converged": [False, True]}
    save(results / "template/convergence.tsv", pd.DataFrame(convergence))


def _evaluation(results: Path, clusters: list[int], k: int) -> None:
    n, blank = len(clusters), {"space": "", "cluster": "", "ci_low": np.nan, "ci_high": np.nan, "note": ""}
    rows = [
        blank | {"metric": "accuracy", "value": 0.75, "ci_low": 0.6, "ci_high": 0.9, "note": f"against {CANARY}; x"},
        blank | {"metric": "accuracy_permuted_mean", "value": 0.4},
        blank | {"metric": "accuracy_permuted_p95", "value": 0.5},
        blank | {"metric": "silhouette", "space": "before", "value": np.nan, "note": "one cluster"},
    ]
    rows += [blank | {"metric": "jaccard", "cluster": c, "value": 0.9} for c in range(1, k + 1)]
    save(results / "evaluation/clam.tsv", pd.DataFrame(rows).assign(n=n))


def _association(results: Path, clusters: list[int], n: int) -> None:
    folder = results / "association/clam"
    line = {"label": "FEV1 $ <b>", "unit": "L", "outcome": "fev1", "family": "lung", "n": n, "n_missing": 0}
    line |= {"type": "continuous", "status": "ok", "note": "", "same_image": False, "r2_kind": "adjusted R2"}
    outcome = line | {
        "predictor": "Cluster",
        "test": "Wald F, HC3",
        "p_crude": 0.01,
        "p_value": 0.001,
        "q_value": 0.002,
    }
    outcome |= {
        "partial_r2": 0.3,
        "r2_base": 0.1,
        "r2_full": 0.3,
        "r2_gain": 0.2,
        "gain_ci_low": 0.1,
        "gain_ci_high": 0.3,
    }
    pairs = [f"{b} - {a}" for i, a in enumerate(clusters) for b in clusters[i + 1 :]]
    difference = line | {"scale": "difference", "estimate": -0.5, "ci_low": -0.8, "ci_high": -0.2, "p_holm": 0.01}
    difference |= {"p_value": 0.01, "standardised": -0.9, "standardised_ci_low": -1.5, "standardised_ci_high": -0.3}
    contrasts = [difference | {"model_set": m, "contrast": c} for m in ("crude", "adjusted") for c in pairs]
    mean = line | {"model_set": "adjusted", "n": 3, "mean": 2.0, "ci_low": 1.5, "ci_high": 2.5}
    compared = line | {"comparator": "stage", "r2_base": 0.1, "r2_cluster": 0.3, "r2_comparator": 0.2, "r2_both": 0.35}
    compared |= {"difference": 0.1, "ci_low": 0.02, "ci_high": 0.2, "margin": 0.02, "verdict": "cluster explains more"}
    first = {"variable": "race", "label": "Race", "level": CANARY, "n": n, "n_missing": 0, "count": 2, "percent": 20.0}
    groups = ["overall", *map(str, clusters)]
    described = [first | {"group": g, "smd_pair": "", "test": ""} for g in groups]
    described[0] |= {"smd": 0.1, "test": "chi", "p_value": 0.5}
    points = [line | {"group": c, "value": value} for c in clusters for value in (1.0, 2.0, 3.5)]
    counts = [
        {"comparator": "stage", "label": "Stage", "level": level, "group": c, "count": 2}
        for level in (CANARY, "2")
        for c in clusters
    ]
    levels = [
        {"subject": chr(ord("a") + i), "comparator": "stage", "label": "Stage", "level": (CANARY, "2")[i % 2]}
        for i in range(n - 1)
    ]
    plan = AssociationPlan((), ("Age",), (), "stage", "hc3", 0.02, 5, 10, 0, 1)
    tables = {
        "outcomes": pd.DataFrame([outcome], columns=OUTCOME_COLUMNS),
        "contrasts": pd.DataFrame(contrasts, columns=CONTRAST_COLUMNS),
        "adjusted_means": pd.DataFrame([mean | {"cluster": c} for c in clusters], columns=MEAN_COLUMNS),
        "comparison": pd.DataFrame([compared], columns=COMPARISON_COLUMNS),
        "table_one": pd.DataFrame(described, columns=TABLE_ONE_COLUMNS),
        "points": pd.DataFrame(points, columns=POINT_COLUMNS),
        "comparator_counts": pd.DataFrame(counts, columns=COUNT_COLUMNS),
        "comparator_levels": pd.DataFrame(levels, columns=LEVEL_COLUMNS),
    }
    printed = {
        "outcomes": print_outcomes(tables["outcomes"], tables["contrasts"], plan, reference=clusters[0]),
        "adjusted_means": print_means(tables["adjusted_means"]),
        "comparison": print_comparison(tables["comparison"], plan),
        "table_one": print_table_one(tables["table_one"]),
    }
    for name, table in tables.items():
        save(folder / f"{name}.tsv", table)
    for name, table in printed.items():
        (folder / f"{name}.html").write_text(to_html(table))
    (folder / "methods.md").write_text(f"Tested by HC3 [1], {CANARY}.\n\nSeed 1.\n\nReferences\n\n1. Somebody, 1985.\n")


def build_lesions(results: Path, method: str = "dram", *, masks: bool = True) -> None:
    """What a method of lesions leaves: 4 training and 3 held-out scans, and one (L8) of which no region was found.

    Scan Li has i x 10 % in every lung zone, predicted as given; given as percentages in L1-L5 and as grades in L6,
    nothing of L7. The lesion lies in the right lung at slice i, as thick as one voxel.
    """
    names = [f"L{i}" for i in range(1, 9)]
    splits = ["train"] * 4 + ["test"] * 3 + ["train"]
    lungs = two_lungs()
    hu = np.where(lungs > 0, -800, OUTSIDE).astype(np.int16)
    grid = {"shape": [SIZE] * 3, "spacing_mm": 10.0, "origin_mm": [0.0] * 3, "direction": np.eye(3).tolist()}
    cohort = {"subjects": names, "splits": splits, "grids": [grid] * 8, "labelling": ["lobes"] + ["zones"] * 7}
    lesions = np.zeros((8, *lungs.shape), np.uint8)
    for i in range(1, 8):
        lesions[i - 1, 1 + i, 3:8, 2:4] = 1
    (results / "cohort").mkdir(parents=True, exist_ok=True)
    np.save(results / "cohort/regions.npy", np.where(lesions > 0, np.int16(-300), hu))
    np.save(results / "cohort/regions_labels.npy", np.stack([lungs] * 8))
    if masks:
        np.save(results / "cohort/regions_lesions.npy", lesions)
    (results / "cohort/regions.json").write_text(json.dumps(cohort))
    masked = {"subjects": names, "lesions": [masks] * 8, "refused": {}}
    (results / "cohort/regions_lesions.json").write_text(json.dumps(masked))
    folder = results / method
    for name, lesion in zip(names, lesions, strict=True):
        heat = volume(np.where(lesion > 0, 0.9, 0.1 * (lungs > 0)).astype(np.float32))
        write_volume(heat, folder / f"maps/{method}/{name}.nii.gz")
        write_volume(volume(lesion.astype(np.float32)), folder / f"maps/{method}-lesions/{name}.nii.gz")
    burden = [10.0 * i for i in range(1, 8)]
    scans = pd.DataFrame({"subject": names, "split": splits, "burden_ml": [*[40 * b for b in burden], np.nan]})
    scans = scans.assign(burden_percent=[*burden, np.nan], segmented_ml=[*[30 * b for b in burden], np.nan])
    save(folder / "phenotype.tsv", scans.assign(flag=[""] * 7 + [f"no lobe or zone {CANARY}"]))
    regions = []
    for i, name in enumerate(names[:7], start=1):
        kind = "percent" if i < 6 else "grade" if i == 6 else ""
        given = {"percent": 10.0 * i, "grade": 4.0, "": np.nan}[kind]
        row = {"subject": name, "given": given, "given_kind": kind, "predicted": 10.0 * i, "error": 0.0}
        regions += [row | {"region": region, "error": 0.0 if kind else np.nan} for region in ("left_a", "right_a")]
    table = pd.DataFrame(regions)[["subject", "region", "given", "given_kind", "predicted", "error"]]
    save(folder / "percentages.tsv", table)
    history = [{"epoch": e, "attempt": 0, "kept": 1, "loss": 1 / e, "regression": 0.4 / e} for e in (1, 2, 3)]
    shares = {"refinement": 0.2, "share_mean": 0.2, "given_mean": 0.25}
    save(folder / "history.tsv", pd.DataFrame(history).assign(**shares))
    model = {"method": method, "events": [], "finished": True, "seed": 1, "edges": EDGES, "train_regions": 41}
    model |= {"train_percentages": 8, "regions": {"size": 24, "window_hu": [-1150, 350], "margin_mm": 5.0}}
    model["network"] = {"filters": 4, "norm": "batch", "attention_grid": 24}
    (folder / "model.json").write_text(json.dumps(model))
    errors = percentage_table(
        table.assign(predicted=table["predicted"] + 2.5), dict(zip(names, splits, strict=True)), edges=EDGES
    )
    save(results / f"evaluation/{method}_percentages.tsv", errors)
    dice = pd.DataFrame({"subject": names[:7], "split": splits[:7], "dice": [0.9] * 4 + [0.5, 0.6, np.nan]})
    dice = dice.assign(found_ml=1.0, truth_ml=1.0, note="")
    save(results / f"evaluation/{method}_dice.tsv", dice if masks else dice.iloc[:0])


@pytest.fixture
def add_lesions():
    """``add_lesions(results, method)``: a further method in a folder."""
    return build_lesions


@pytest.fixture
def lesions(tmp_path) -> Run:
    """A folder in which dRAM alone ran, to be changed by the test."""
    results = tmp_path / "results"
    build_lesions(results)
    return Run(results, results / "report" / "index.html")


@pytest.fixture
def run(tmp_path) -> Run:
    """A run of its own, to be changed by the test."""
    return build(tmp_path, [1] * 5 + [2] * 5, k=2)


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> tuple[Run, str]:
    """A run that no test changes, and its page."""
    run = build(tmp_path_factory.mktemp("shared"), [1] * 5 + [2] * 5, k=2)
    return run, run.write()


@pytest.fixture
def build_run(tmp_path):
    """Other clusters: ``build_run(clusters, k)``."""

    def make(clusters, k):
        return build(tmp_path, clusters, k)

    return make
