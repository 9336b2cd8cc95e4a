"""Which map to believe: each kind against controls that know less, and after layers were drawn anew."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from lungtypes.report.blocks import (
    Block,
    Finding,
    Heading,
    Paragraph,
    Section,
    Table,
    count_of,
    interval,
    method_name,
    number,
)
from lungtypes.report.profile_sections import panel_blocks
from lungtypes.report.results import Results
from lungtypes.report.slices import Scale

KIND_NAMES = {
    "difference": "activation difference",
    "margin": "log-odds along the path",
    "contrast": "against the runner-up cluster",
    "gradcam": "Grad-CAM",
    "occlusion": "occlusion (medoids only)",
}
CONTROL_NAMES = {
    "uniform": "channels summed",
    "random_weights": "random weights",
    "wrong_cluster": "another cluster's map",
    "brightness": "image alone",
    "departure": "distance from the reference",
}
LEARNT = 0.5  # a map that still correlates so much with one of random layers does not show what was learnt
SIGNED = Scale("PuOr_r", -0.5, 0.5, "share of the scan's largest value", centred=True, masked=True)
REFERENCES = {"controls": "the mean control", "cohort": "the mean of the cohort, since the sheet names no controls"}


def kind_name(kind: str) -> str:
    """A kind of map for readers; the published one has its method's name."""
    return KIND_NAMES.get(kind) or f"{method_name(kind)} (published)"


def trust_section(results: Results, method: str) -> Section | None:
    """Gains over controls, the most faithful kind of map, what random layers do; None without maps."""
    summary = results.table(f"{method}/faithfulness_summary.tsv")
    if summary is None or summary.empty:
        return None
    reference = REFERENCES.get(str(summary["reference"].iloc[0]), "")
    kinds = list(dict.fromkeys(summary["map"]))
    best = most_faithful(summary)
    blocks: list[Block] = [
        Paragraph(
            "A map is put to the test on single scans: voxels change from the reference to the scan and back, the "
            "map's most important first. The earlier the log-odds of the scan's cluster follow, the larger the gain. A "
            "map that gains no more than a control which does not know the cluster, or the network, says no more than "
            f"that control. Reference: {reference}."
        ),
        _gain_table(summary, kinds),
        Paragraph(
            "Gain in log-odds, mean over scans, and the difference from each control with its 95 % bootstrap "
            "interval. Passes: through the network for a map of one scan. Recommended is the map with the largest gain "
            "of those that cost at most twice the published one. Where brightness itself makes the clusters, the "
            "distance from the reference is hard to beat, and no map can be blamed for that.",
            "note",
        ),
        Paragraph(
            "A region that tells clusters apart need not be an abnormal one: a map says where the network finds "
            "reasons for this cluster, and healthy lung can be such a reason.",
            "warning",
        ),
    ]
    blocks += _randomisation_blocks(results, method)
    blocks += _localisation_blocks(results, method)
    if best != method:
        blocks += _mean_blocks(results, method, best)
    return Section(f"{method}-trust", f"{method_name(method)}: which map to believe", "Map checks", tuple(blocks))


def most_faithful(summary: pd.DataFrame) -> str:
    """The map with the largest gain at whatever cost, of those that all examined scans have."""
    whole = summary[summary["n"] == summary["n"].max()]
    return str(whole.loc[whole["gain"].idxmax(), "map"])


def trust_findings(results: Results, method: str) -> list[Finding]:
    """Whether the published map beats its controls, and which map is recommended."""
    summary, name = results.table(f"{method}/faithfulness_summary.tsv"), method_name(method)
    if summary is None or summary.empty:
        return []
    own = summary[summary["map"] == method]
    lost = own.loc[own["better"] == 0, "control"].tolist()
    best = most_faithful(summary)
    n = count_of(int(own["n"].max()), "scan")
    if not lost:
        return [Finding("finding", f"The published {name} map explains its clusters better than every control ({n}).")]
    named = ", ".join(CONTROL_NAMES.get(control, control) for control in lost)
    text = f"The published {name} map is no better than {count_of(len(lost), 'control')} of {len(own)} ({named}; {n})."
    if best != method:
        row = summary[summary["map"] == best].iloc[0]
        cost = "" if row["recommended"] == 1 else ", at more than twice its cost"
        text += f" The most faithful map is the {kind_name(best)} (gain {number(row['gain'], 1)} "
        text += f"against {number(own['gain'].iloc[0], 1)}{cost})."
    return [Finding("amber", text)]


def _gain_table(summary: pd.DataFrame, kinds: list[str]) -> Table:
    controls = list(dict.fromkeys(summary["control"]))
    rows = []
    for kind in kinds:
        part = summary[summary["map"] == kind].set_index("control")
        cells = [_difference(part.loc[control]) for control in controls]
        mark = ", recommended" if part["recommended"].iloc[0] == 1 else ""
        about = [number(part["n"].max(), 0), number(part["passes"].iloc[0], 0), number(part["gain"].iloc[0], 2)]
        rows.append((f"{kind_name(kind)}{mark}", *about, *cells))
    header = ("Map", "Examined", "Passes", "Gain", *(f"less {CONTROL_NAMES.get(c, c)}" for c in controls))
    return Table("Gain of each map, and its difference from each control (log-odds)", header, tuple(rows))


def _difference(row: pd.Series) -> str:
    limits = interval(row["ci_low"], row["ci_high"], 2)
    return f"{number(row['difference'], 2)} ({limits})" if limits else number(row["difference"], 2)


def _randomisation_blocks(results: Results, method: str) -> list[Block]:
    table = results.table(f"{method}/map_randomisation.tsv")
    if table is None or table.empty:
        return []
    layers, kinds = list(dict.fromkeys(table["layer"])), list(dict.fromkeys(table["map"]))
    means = table.groupby(["map", "layer"])["correlation"].mean()
    rows = tuple((kind_name(kind), *(number(means.get((kind, layer)), 2) for layer in layers)) for kind in kinds)
    stuck = [kind_name(kind) for kind in kinds if means[kind].get(layers[-1], 0) > LEARNT]
    words = (
        f"Of a network drawn anew in all layers, still the same picture: {', '.join(stuck)}. It shows the image."
        if stuck
        else "No map outlives a network that is drawn anew in all layers."
    )
    header = ("Map", *(layer.replace("_", " ") for layer in layers))
    caption = (
        "Rank correlation with the map of a network whose last layers, down to the one named, are random (medoids)"
    )
    return [Heading("Random layers"), Table(caption, header, rows), Paragraph(words, "warning" if stuck else "")]


def _localisation_blocks(results: Results, method: str) -> list[Block]:
    summary = results.table(f"{method}/localisation_summary.tsv")
    if summary is None or summary.empty:
        return []
    rows = []
    for kind, part in summary.groupby("map", sort=False):
        own = part.iloc[0]
        about = [number(part["n"].max(), 0), *(number(own[c], 2) for c in ("energy", "lesion_share"))]
        about += [number(own[c], 2) for c in ("pointing", "voxel_auc")]
        rows.append((kind_name(kind), *about, *(_difference(row) for _, row in part.iterrows())))
    controls = [CONTROL_NAMES.get(c, c) for c in dict.fromkeys(summary["control"])]
    header = ("Map", "Scans", "Energy", "Even map", "Pointing", "Voxel AUC", *(f"Energy less {c}" for c in controls))
    caption = "Where the maps lie against the lesion masks of the sheet (scans with a lesion in the lungs)"
    words = (
        "Energy: the share of the map's positive part inside the lesions; pointing: how often its peak lies there; an "
        "even map reaches the lesions' share of the lungs in both, and a voxel AUC of 0.5. A map explains a cluster, "
        "and a cluster need not be about the lesions that were drawn. In brackets 95 % bootstrap intervals over scans."
    )
    return [Heading("Against lesion masks"), Table(caption, header, tuple(rows)), Paragraph(words, "note")]


def _mean_blocks(results: Results, method: str, kind: str) -> list[Block]:
    groups = results.table(f"{method}/further_group_maps.tsv")
    if groups is None:
        return []
    counts: Mapping[str, float] = groups.set_index("group")["n_maps"]
    folder, files = f"{method}/further_group_maps", {}
    for group, n in counts.items():
        label = group.removeprefix(f"{kind}_")
        if group.startswith(f"{kind}_cluster") and n > 0:
            files[f"{label.replace('cluster', 'cluster ')}\nn = {int(n)}"] = f"{folder}/{group}_mean.nii.gz"
    note = "Orange: speaks for the cluster, or lies above the reference; purple: against it, or below."
    what = f"mean map ({kind_name(kind)})"
    blocks = panel_blocks(results, files, f"{method}_{kind}_mean", SIGNED, what, note=note)
    return [Heading(f"The most faithful map: {kind_name(kind)}"), *blocks] if blocks else []
