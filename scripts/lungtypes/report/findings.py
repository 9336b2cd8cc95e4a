"""What a reader must know first: findings and red flags in plain sentences, each from a number in the results."""

from __future__ import annotations

import pandas as pd

from lungtypes.association.table_html import format_p
from lungtypes.evaluation.confounders import GOES_WITH, PREDICTED
from lungtypes.report.blocks import LEVEL_WORDS, Finding, count_of, interval, method_name, number
from lungtypes.report.lesion_findings import burden, percentages
from lungtypes.report.results import DRAM_METHODS, Results, clusters_of
from lungtypes.report.trust_section import trust_findings

ALPHA = 0.05
UNIFORM_LIMIT = 0.95  # ours: above it the weights say little
LEAST_EXPLAINED = 0.02  # ours: with less, the embedding of virtual cohorts held the mean density and no more
SMALL_CLUSTER = 5
UNSTABLE_JACCARD = 0.6  # fpc::clusterboot
UNBALANCED_V = 0.5  # Cohen (1988): a large association in a table with two columns
EXCLUDED_SHARE = 0.2
WHOLE_LUNGS = 0.99


def find(results: Results, *, has_outcomes: bool) -> tuple[Finding, ...]:
    """All findings of a run, gravest first."""
    found = [*scans(results), *template(results), *box(results)]
    for method in results.methods():
        found += number_of_clusters(results, method)
        found += cluster_sizes(results, method)
        found += agreement(results, method)
        found += training(results, method)
        found += maps(results, method)
        found += trust_findings(results, method)
        found += scanner_balance(results, method)
        found += confounders(results, method)
        found += outcomes(results, method) if has_outcomes else []
    for method in results.dram_methods():
        found += burden(results, method)
        found += percentages(results, method)
        found += training(results, method)
        found += outcomes(results, method) if has_outcomes else []
    if not has_outcomes:
        found.append(Finding("finding", "No clinical table was given, so no outcome was tested."))
    return tuple(sorted(found, key=lambda finding: list(LEVEL_WORDS).index(finding.level)))


def scans(results: Results) -> list[Finding]:
    """How many scans came in and how many were analysed."""
    table = results.table("cohort/attrition.tsv")
    if table is None:
        return []
    excluded = table[table["status"] != "analysed"]
    n = len(table)
    text = f"{count_of(n, 'scan')} came in: {n - len(excluded)} analysed, {len(excluded)} excluded"
    if len(excluded):
        reasons = excluded.groupby(["stage", "code"], sort=False).size()
        text += " (" + "; ".join(f"{size} at {stage}: {code}" for (stage, code), size in reasons.items()) + ")"
    return [Finding("amber" if len(excluded) > EXCLUDED_SHARE * n else "finding", text + ".")]


def box(results: Results) -> list[Finding]:
    """Whether the cube that the networks see holds the whole lungs."""
    share = results.record("cohort/template.json").get("lung_share_in_box", 1.0)
    if share >= WHOLE_LUNGS:
        return []
    text = (
        f"The cube that the networks see holds {number(100 * share, 0)} % of the template's lungs. Raise volumes.size."
    )
    return [Finding("amber", text)]


def template(results: Results) -> list[Finding]:
    """Whether the study template converged."""
    table = results.table("template/convergence.tsv")
    if table is None or table.empty or table["converged"].iloc[-1].lower() in ("true", "1"):
        return []
    last = table.iloc[-1]
    return [
        Finding(
            "amber",
            f"The study template had not converged after {number(last['iteration'], 0)} iterations: it still moved by "
            f"{number(last.get('net_update_mm', last['mean_update_mm']))} mm. Raise template.max_iterations.",
        )
    ]


def number_of_clusters(results: Results, method: str) -> list[Finding]:
    """The chosen K, why, and whether there is more than one group at all."""
    choice, name = results.record(f"{method}/k_selection.json"), method_name(method)
    if not choice:
        return []
    found = [Finding("finding", f"{name} found K = {choice.get('k')}. Reason: {choice.get('reason', 'not stated')}.")]
    p = choice.get("null_p")
    if p is None or pd.isna(p):
        found.append(Finding("amber", f"{name}: whether there is more than one group was not tested."))
    elif p > ALPHA:
        found.append(
            Finding(
                "red",
                f"{name}: the scans may be one continuous group. The test of one Gaussian was not rejected "
                f"(p = {format_p(p)}); read the clusters as cuts through a continuum.",
            )
        )
    return found


def cluster_sizes(results: Results, method: str) -> list[Finding]:
    """Empty, very small and unstable clusters."""
    assignment, name = results.table(f"{method}/assignment.tsv"), method_name(method)
    sizes = assignment["cluster"].value_counts()
    found = []
    for cluster in clusters_of(assignment):
        size = int(sizes.get(cluster, 0))
        if size == 0:
            found.append(Finding("red", f"{name}: cluster {cluster} is empty, fewer clusters are in use than K."))
        elif size < SMALL_CLUSTER:
            found.append(Finding("red", f"{name}: cluster {cluster} holds only {count_of(size, 'scan')}."))
    metrics = results.table(f"evaluation/{method}.tsv")
    if metrics is not None:
        for row in metrics[(metrics["metric"] == "jaccard") & (metrics["value"] < UNSTABLE_JACCARD)].itertuples():
            text = f"{name}: cluster {row.cluster:.0f} is unstable, resampled cohorts find it again with a mean Jaccard"
            found.append(Finding("red", f"{text} similarity of {number(row.value)} only (limit {UNSTABLE_JACCARD})."))
    return found


def agreement(results: Results, method: str) -> list[Finding]:
    """Accuracy against a reference, beside what shuffled labels reach."""
    metrics = results.table(f"evaluation/{method}.tsv")
    if metrics is None:
        return []
    first = metrics.drop_duplicates("metric").set_index("metric")
    if "accuracy" not in first.index or pd.isna(first.loc["accuracy", "value"]):
        return []
    row = first.loc["accuracy"]
    ci = interval(row["ci_low"], row["ci_high"])
    text = f"{method_name(method)}: accuracy {row['note'].split(';')[0] or 'against the reference'} is "
    text += f"{number(row['value'])}{f' (95 % CI {ci})' if ci else ''}, n = {number(row['n'], 0)}"
    level = first["value"].get("accuracy_permuted_p95")
    if level is None or pd.isna(level):
        return [Finding("finding", text + ".")]
    mean = first["value"].get("accuracy_permuted_mean")
    text += f"; shuffled labels reach {number(mean)} on average and {number(level)} at their 95th percentile."
    found = [Finding("finding", text)]
    if row["value"] <= level:
        found.append(Finding("red", f"{method_name(method)}: the accuracy is no better than chance."))
    return found


def training(results: Results, method: str) -> list[Finding]:
    """What pre-training learned, and what the guard saw."""
    model, name = results.record(f"{method}/model.json"), method_name(method)
    found, explained = [], model.get("explained_variance")
    if explained is not None and explained < LEAST_EXPLAINED:
        text = (
            f"{name}: pre-training learned little more than the mean scan ({number(100 * explained, 1)} % of the "
            "variance around it): the clusters may rest on mean density alone. Raise pretrain.epochs, or lower batch."
        )
        found.append(Finding("red", text))
    events = model.get("events") or []
    listed = "; ".join(str(event) for event in events)
    if not events:
        found.append(Finding("finding", f"{name}: the training ran without a collapse."))
    elif not model.get("finished", True):
        found.append(Finding("red", f"{name}: the training ended early, at its last good state ({listed})."))
    else:
        found.append(Finding("amber", f"{name}: what the guard of the training saw: {listed}."))
    return found


def maps(results: Results, method: str) -> list[Finding]:
    """Whether the weights of the published map say anything beyond the plain sum of activations."""
    table, name = results.table(f"{method}/map_summary.tsv"), method_name(method)
    if table is None or table.empty:
        return []
    found = []
    if "uniform_correlation" in table and table["uniform_correlation"].notna().any():
        median = float(table["uniform_correlation"].median())
        measure = f"median correlation with the map of equal weights {number(median, 3)}"
        if median > UNIFORM_LIMIT:
            text = (
                f"The {name} map is essentially the unweighted activation energy ({measure}, limit {UNIFORM_LIMIT}): "
                "its weights say little about the cluster. Read it as where the network is active, not as what sets "
                "a cluster apart."
            )
            found.append(Finding("red", text))
        else:
            found.append(Finding("finding", f"The weights of the {name} map matter ({measure})."))
    bad = int((table["degenerate"] == 1).sum()) if "degenerate" in table else 0
    if bad:
        text = f"{name}: {count_of(bad, 'map')} of {len(table)} degenerate (one value all over), left out of the means."
        found.append(Finding("amber", text))
    return found


def scanner_balance(results: Results, method: str) -> list[Finding]:
    """Clusters that go with scanners, where no audit of confounders says it better."""
    v = cramers_v(scanner_table(results, method))
    if v is None or v < UNBALANCED_V or results.table(f"evaluation/{method}_confounders.tsv") is not None:
        return []
    text = f"{method_name(method)}: clusters go with scanners (Cram\u00e9r's V = {number(v)}). Subtypes and scanners "
    return [Finding("red", text + "cannot be told apart where they coincide; see the scanner balance below.")]


def confounders(results: Results, method: str) -> list[Finding]:
    """How the scans were made or registered, where clusters or embedding follow it.

    Red for the scanner's side. A prediction above the 95th percentile that does not stand the adjustment for the
    number of variables is a caution, since one in twenty unrelated ones lies there; so is all of the registration,
    which may be worse in sicker lungs.
    """
    table, name = results.table(f"evaluation/{method}_confounders.tsv"), method_name(method)
    if table is None:
        return []
    found = []
    for row in table[(table["flag"] != "") & (table["family"] != "person")].itertuples():
        goes, read = GOES_WITH in row.flag, PREDICTED in row.flag
        parts = []
        if goes:
            parts.append(f"differs between the clusters ({row.effect_name} {number(row.effect)}, {_q(row.q_value)})")
        if read:
            kind = "balanced accuracy" if row.kind == "categorical" else "R\u00b2"
            parts.append(
                f"can be read from the embedding ({kind} {number(row.predictable)}, chance {number(row.chance)}, "
                f"95th percentile of permuted scans {number(row.predictable_p95)}, {_q(row.predictable_q)})"
            )
        sure = goes or row.predictable_q < ALPHA
        level = "red" if row.family == "scanner" and sure else "amber"
        text = f"{name}: {row.label} {' and '.join(parts)}."
        if row.family == "scanner":
            text += " Subtypes and how the scans were made cannot be told apart where they coincide."
        found.append(Finding(level, text))
    return found


def _q(q: float) -> str:
    """ "q = 0.03" or "q < 0.001"."""
    text = format_p(q)
    return f"q < {text[1:]}" if text.startswith("<") else f"q = {text}"


def outcomes(results: Results, method: str) -> list[Finding]:
    """The strongest outcome and how many pass."""
    table, name = results.table(f"association/{method}/outcomes.tsv"), method_name(method)
    # readers' scores of the same CT come from the image that made the clusters: no evidence of its own
    fitted = (
        None if table is None else table[(table["status"] == "ok") & table["q_value"].notna() & ~_same_image(table)]
    )
    if fitted is None or fitted.empty:
        return [Finding("amber", f"{name}: no outcome could be fitted.")]
    found = []
    comparison = results.table(f"association/{method}/comparison.tsv")
    if comparison is not None and len(comparison) and not (comparison["status"] == "ok").any():
        text = f"{name}: the comparison with {comparison['comparator'].iloc[0]} could not be fitted for any outcome."
        found.append(Finding("amber", text))
    best = fitted.sort_values(["q_value", "partial_r2"], ascending=[True, False]).iloc[0]
    passed = int((fitted["q_value"] < ALPHA).sum())
    relation = "go with the burden of lesions" if method in DRAM_METHODS else "differ between clusters"
    head = f"{name}: {passed} of {len(fitted)} fitted outcomes {relation} at q < {ALPHA}"
    q = format_p(best["q_value"])
    size = "" if pd.isna(best["partial_r2"]) else f"partial R\u00b2 {number(best['partial_r2'])}, "
    return [
        *found,
        Finding(
            "finding",
            f"{head}. Strongest: {best['label'] or best['outcome']} ({size}q {q if q.startswith('<') else '= ' + q}, "
            f"n = {number(best['n'], 0)}).",
        ),
    ]


def _same_image(table: pd.DataFrame) -> pd.Series:
    return table["same_image"].astype(str).str.lower().isin(("true", "1", "1.0"))


def scanner_table(results: Results, method: str) -> pd.DataFrame:
    """Scans by scanner (rows) and cluster (columns), empty clusters included."""
    assignment = results.table(f"{method}/assignment.tsv")
    names = assignment["subject"].map(results.scanners()).fillna("not stated")
    return pd.crosstab(names, assignment["cluster"]).reindex(columns=list(clusters_of(assignment)), fill_value=0)


def cramers_v(counts: pd.DataFrame) -> float | None:
    """Cram\u00e9r's V of a table of counts; None with fewer than two rows or columns in use."""
    used = counts.loc[counts.sum(axis=1) > 0, counts.sum(axis=0) > 0].to_numpy(float)
    if min(used.shape) < 2:
        return None
    total = used.sum()
    expected = used.sum(axis=1, keepdims=True) * used.sum(axis=0, keepdims=True) / total
    chi2 = ((used - expected) ** 2 / expected).sum()
    return float((chi2 / (total * (min(used.shape) - 1))) ** 0.5)
