"""The tables of the models for print: outcomes, contrasts, adjusted means, comparison."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from lungtypes.association.rows import AssociationPlan
from lungtypes.association.table_print import (
    CI,
    CLUSTERS,
    DAGGER,
    DASH,
    MINUS,
    NO_BREAK,
    SQUARED,
    Line,
    Marks,
    Printed,
    Wording,
    estimate,
    format_p,
    in_words,
    listed,
    number,
    whole,
    with_unit,
)

ALPHA = 0.05
MODEL_NAMES = {"crude": "crude", "adjusted": "adjusted", "technical": "adjusted + scanner"}
SAME_IMAGE = (
    f"{DAGGER} Graded by a reader on the same CT that {{nouns}} come from: the two are not independent, so a small p "
    "value is in part circular."
)
LOG_SCALE = "the logarithm of 1 + value was modelled; ratios are of geometric means of 1 + value"
SHORT_SCALES = {"ratio of geometric means": "ratio", "common odds ratio": "common OR", "odds ratio": "OR"}
SHORT_EFFECTS = {"Hedges g": "g", "Cohen f2": f"f{SQUARED}"}
SECOND_SCALE = "risk difference"  # beside an odds ratio; it stands in the table of contrasts only


def print_outcomes(
    outcomes: pd.DataFrame,
    contrasts: pd.DataFrame,
    plan: AssociationPlan,
    *,
    wording: Wording = CLUSTERS,
    reference: int | None = None,
) -> Printed:
    """Crude, adjusted and adjusted + scanner side by side, one line per outcome.

    Parameters
    ----------
    outcomes, contrasts : tables of :func:`outcomes_table` and :func:`contrasts_table`.
    plan : covariates and technical columns by their printed names.
    reference : with more than two clusters, the one that the others are set against, below their outcome.
    """
    scanner = bool(outcomes["p_technical"].notna().any())
    header = ["Outcome", "n", "Effect", f"Crude {CI}", "p", f"Adjusted {CI}", "p", "q"]
    header += [f"Adjusted + scanner {CI}", "p"] if scanner else []
    header += [f"Gain in adj. R{SQUARED} {CI}", "Detectable"]
    marks, lines = Marks(), []
    for _, row in outcomes.iterrows():
        name = outcome_name(row) + (marks.mark(LOG_SCALE) if row["type"] == "skewed" else "")
        if row["status"] != "ok":
            lines.append(Line((name, whole(row["n"]), in_words(row["status"]), *[""] * (len(header) - 3))))
            continue
        parts = main_contrasts(contrasts[contrasts["outcome"] == row["outcome"]], reference)
        single = parts["contrast"].nunique() == 1
        effects = _effects(parts) if single else {}
        p = format_p(row["p_value"]) + marks.mark(f"{row['test']} test" if row["test"] == "F" else row["test"])
        cells = [name, whole(row["n"]), effects.get("scale", "joint test" if len(parts) else "")]
        cells += [effects.get("crude", ""), format_p(row["p_crude"])]
        cells += [effects.get("adjusted", ""), p, format_p(row["q_value"])]
        cells += [effects.get("technical", ""), format_p(row["p_technical"])] if scanner else []
        gain = estimate(row["r2_gain"], row["gain_ci_low"], row["gain_ci_high"], 3)
        lines.append(Line((*cells, gain, _detectable(row))))
        if not single:
            lines += [_contrast_line(part, scanner, len(header)) for _, part in parts.groupby("contrast", sort=False)]
    notes = [*marks.notes(), *_outcome_notes(outcomes, plan, wording, scanner=scanner)]
    if reference is not None and contrasts["contrast"].nunique() > 1:
        notes.append(
            f"Below each outcome: contrasts with cluster {reference}, the largest; their p values are Holm-adjusted "
            "within the outcome. All pairs stand in the table of contrasts."
        )
    return Printed(f"Outcomes by {wording.noun}: crude and adjusted", tuple(header), tuple(lines), tuple(notes))


def main_contrasts(contrasts: pd.DataFrame, reference: int | None) -> pd.DataFrame:
    """One outcome's contrasts without the second scale; with more than one pair only those with ``reference``."""
    parts = contrasts[contrasts["scale"] != SECOND_SCALE]
    if reference is None or parts["contrast"].nunique() < 2:
        return parts
    return parts[[str(reference) in str(pair).split(" - ") for pair in parts["contrast"]]]


def print_contrasts(table: pd.DataFrame) -> Printed:
    """Every pair of clusters in every set of models."""
    header = ("Outcome", "Model", "Contrast", "Scale", f"Estimate {CI}", "p", "p, Holm", f"Standardised {CI}")
    lines, marks = [], Marks()
    for _, row in table.iterrows():
        cells = [with_unit(row["label"], row["unit"]), MODEL_NAMES.get(row["model_set"], str(row["model_set"]))]
        cells += [_pair(row["contrast"]), str(row["scale"])]
        cells += [estimate(row["estimate"], row["ci_low"], row["ci_high"]) + marks.mark(row["note"])]
        cells += [format_p(row["p_value"]), format_p(row["p_holm"])]
        cells.append(estimate(row["standardised"], row["standardised_ci_low"], row["standardised_ci_high"], 2))
        lines.append(Line(tuple(cells)))
    notes = [
        *marks.notes(),
        "Standardised: adjusted difference divided by the residual SD of the model. Holm: within outcome and model.",
    ]
    return Printed("Contrasts", header, tuple(lines), tuple(notes))


def print_means(table: pd.DataFrame, wording: Wording = CLUSTERS) -> Printed:
    """Adjusted means: one line per outcome, one column per cluster."""
    table = table[table["model_set"] == "adjusted"]
    clusters = sorted(table["cluster"].unique().tolist())
    lines, marks = [], Marks()
    for _, part in table.groupby("outcome", sort=False):
        rows = {row["cluster"]: row for _, row in part.iterrows()}
        cells = [
            estimate(rows[c]["mean"], rows[c]["ci_low"], rows[c]["ci_high"]) if c in rows else DASH for c in clusters
        ]
        first = part.iloc[0]
        lines.append(Line((with_unit(first["label"], first["unit"]) + marks.mark(first["note"]), *cells)))
    header = ("Outcome", *[wording.group(cluster) for cluster in clusters])
    notes = [f"Adjusted mean {CI}: everyone in one cluster, covariates as in the whole cohort.", *marks.notes()]
    return Printed("Adjusted means by cluster", header, tuple(lines), tuple(notes))


def print_comparison(
    table: pd.DataFrame, plan: AssociationPlan, *, other: str = "comparator", wording: Wording = CLUSTERS
) -> Printed:
    """The predictor beside an existing classification, called ``other``: one line per outcome."""
    header = ("Outcome", "n", "Base", f"+ {wording.noun}", f"+ {other}", "+ both", f"Difference {CI}")
    header += (f"p {wording.noun} | {other}", f"p {other} | {wording.noun}", "AIC difference", "Verdict")
    lines = []
    for _, row in table.iterrows():
        if row["status"] != "ok":
            cells = (outcome_name(row), whole(row["n"]), in_words(row["status"]))
            lines.append(Line((*cells, *[""] * (len(header) - 3))))
            continue
        fits = [number(row[f"r2_{model}"], 3) for model in ("base", "cluster", "comparator", "both")]
        p = [format_p(row["p_cluster_given_comparator"]), format_p(row["p_comparator_given_cluster"])]
        difference = estimate(row["difference"], row["ci_low"], row["ci_high"], 3)
        verdict = str(row["verdict"]).replace("cluster explains", f"{wording.noun} explains")
        verdict = verdict.replace("comparator explains", f"{other} explains")
        cells = (outcome_name(row), whole(row["n"]), *fits, difference, *p, number(row["aic_difference"], 1), verdict)
        lines.append(Line(cells))
    kinds = _r2_kinds(table)
    notes = [
        f"{kinds[0].upper() + kinds[1:]} of four models on the same subjects. Difference: {wording.noun} less "
        f"{other}, interval by bootstrap of subjects.",
        *verdict_notes(plan.margin, wording.noun, other),
        f"p: each of the two in the model with both. AIC difference: {wording.noun} less {other}; negative favours "
        f"{wording.nouns}, below 2 in size is a tie.",
    ]
    return Printed(f"{wording.noun.capitalize()} beside {other}", header, tuple(lines), tuple(notes))


def verdict_notes(margin: float, noun: str, other: str) -> list[str]:
    """What the verdicts mean, with the margin in use."""
    return [
        f"Verdicts, by the 95 % interval of the difference: \u201c{noun} explains more\u201d (better): all above 0. "
        f"\u201cNot worse\u201d: all above {MINUS}{margin:g}, the margin set beforehand. \u201c{other} explains "
        "more\u201d: all below 0. \u201cNot shown\u201d: none of these; it does not mean that the two are equal."
    ]


def outcome_name(row: pd.Series) -> str:
    """Label with unit, and a dagger if the outcome was read from the same images."""
    dagger = f" {DAGGER}" if "same_image" in row and row["same_image"] in (True, "True", 1) else ""
    return with_unit(row["label"], row["unit"]) + dagger


def family_sizes(outcomes: pd.DataFrame) -> str:
    """ "lung function: 3, blood: 2" of the outcomes that were fitted."""
    sizes = outcomes[outcomes["p_value"].notna()].groupby("family", sort=False).size()
    return ", ".join(f"{family or 'all'}: {size}" for family, size in sizes.items()) or "no outcome fitted"


def _outcome_notes(outcomes: pd.DataFrame, plan: AssociationPlan, wording: Wording, *, scanner: bool) -> list[str]:
    fitted = outcomes[outcomes["status"] == "ok"]
    models = f"Crude: {wording.noun} alone. Adjusted: with {listed(plan.covariates)}."
    models += f" Adjusted + scanner: with {listed(plan.technical)} too." if scanner else ""
    models += " All models of an outcome are fitted on the same subjects (n)."
    notes = [
        models,
        f"q: Benjamini-Hochberg of the adjusted p within the family (size: {family_sizes(outcomes)}).",
        f"Gain: {_r2_kinds(fitted)} of the adjusted model less that of the covariates alone, interval by bootstrap.",
        f"Detectable, where p > {ALPHA:g}: the smallest effect that this analysis would find with 80 % power at "
        f"p < {ALPHA:g} ({_scales_of_effect(fitted)}); a smaller one cannot be ruled out.",
    ]
    return notes + (
        [SAME_IMAGE.format(nouns=wording.nouns)]
        if any(DAGGER in outcome_name(row) for _, row in outcomes.iterrows())
        else []
    )


def _scales_of_effect(fitted: pd.DataFrame) -> str:
    names = [str(name) for name in dict.fromkeys(fitted["effect_name"].dropna()) if name]
    return listed([f"{SHORT_EFFECTS[name]}: {name}" if name in SHORT_EFFECTS else name for name in names])


def _r2_kinds(table: pd.DataFrame) -> str:
    kinds = [str(kind) for kind in dict.fromkeys(table["r2_kind"].dropna()) if kind] or ["adjusted R2"]
    return listed(kinds).replace("R2", f"R{SQUARED}")


def _effects(parts: pd.DataFrame) -> dict[str, str]:
    first = parts.iloc[0]
    texts = {row["model_set"]: estimate(row["estimate"], row["ci_low"], row["ci_high"]) for _, row in parts.iterrows()}
    return {"scale": f"{_scale(first)}, {_pair(first['contrast'])}", **texts}


def _contrast_line(part: pd.DataFrame, scanner: bool, width: int) -> Line:
    rows = {row["model_set"]: row for _, row in part.iterrows()}

    def cells(name: str) -> Sequence[str]:
        row = rows.get(name)
        if row is None:
            return ("", "")
        return (estimate(row["estimate"], row["ci_low"], row["ci_high"]), format_p(row["p_holm"]))

    first = part.iloc[0]
    found = [_pair(first["contrast"]), "", _scale(first), *cells("crude"), *cells("adjusted"), ""]
    found += cells("technical") if scanner else []
    return Line((*found, *[""] * (width - len(found))), inset=True)


def _detectable(row: pd.Series) -> str:
    if pd.isna(row["p_value"]) or row["p_value"] <= ALPHA:
        return ""
    if pd.isna(row["minimum_detectable"]):
        return DASH
    name = SHORT_EFFECTS.get(row["effect_name"], row["effect_name"])
    return f"{name}{NO_BREAK}{number(row['minimum_detectable'], 2)}"


def _scale(row: pd.Series) -> str:
    return SHORT_SCALES.get(row["scale"], str(row["scale"]))


def _pair(contrast: object) -> str:
    return str(contrast).replace(" - ", f" {MINUS} ")
