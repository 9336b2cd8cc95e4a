"""The checks of the models for print: pooled from imputations, and diagnostics."""

from __future__ import annotations

import pandas as pd

from lungtypes.association.outcome_print import LOG_SCALE, outcome_name
from lungtypes.association.table_print import (
    CI,
    CLUSTERS,
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
)


def print_imputed(table: pd.DataFrame, wording: Wording = CLUSTERS) -> Printed:
    """The pooled models: one line per outcome."""
    header = ("Outcome", "n", "Imputed", "m", f"Estimate {CI}", "F (df)", "p", "q", "p, complete cases", "Missing inf.")
    lines, marks = [], Marks()
    for _, row in table.iterrows():
        name = outcome_name(row) + (marks.mark(LOG_SCALE) if row["type"] == "skewed" else "")
        counts = (name, whole(row["n"]), whole(row["n_imputed"]))
        if row["status"] != "ok":
            complete = format_p(row["p_complete_case"])
            lines.append(Line((*counts, "", in_words(row["status"]), "", "", "", complete, "")))
            continue
        f = f"{number(row['f'], 2)} ({int(row['df_num'])}, {row['df_den']:.0f})"
        effect = estimate(row["estimate"], row["ci_low"], row["ci_high"])
        p = [format_p(row[name]) for name in ("p_value", "q_value", "p_complete_case")]
        missing = number(row["fraction_missing_information"], 2)
        lines.append(Line((*counts, whole(row["m"]), effect, f, *p, missing)))
    drawn = sorted({int(m) for m in table.loc[table["status"] == "ok", "m"]})
    pooled = f"pooled from {listed([str(m) for m in drawn])} imputations" if drawn else "nothing to impute"
    notes = [
        "A sensitivity analysis: adjusted models with missing outcomes and covariates imputed by chained Bayesian "
        f"regressions from {wording.noun}, covariates and other outcomes; {wording.noun} is never imputed. Imputed "
        "categories enter as the dummies that were drawn.",
        "F: joint test D1 of Li, Raghunathan and Rubin (1991), denominator df of Reiter (2007). Imputed: subjects with "
        "a missing outcome or covariate. Missing inf.: share of the information that is missing (0-1).",
        *marks.notes(),
    ]
    return Printed(f"Missing values imputed, {pooled}", header, tuple(lines), tuple(notes))


def print_diagnostics(table: pd.DataFrame) -> Printed:
    """Checks of the adjusted models: one line per outcome."""
    header = ("Outcome", "Breusch-Pagan p", "Shapiro p", "Largest Cook's D", "Influential", "Largest leverage")
    header += ("Largest GVIF", "Condition number", "SD ratio", "Without influential", "Proportional odds p")
    lines, marks = [], Marks()
    for _, row in table.iterrows():
        without = number(row["effect_without_influential"], 2)
        changed = row["changed"] if isinstance(row["changed"], str) else ""
        cells = [str(row["label"]) + marks.mark(row["note"]), format_p(row["breusch_pagan_p"])]
        cells += [format_p(row["shapiro_p"]), number(row["max_cooks_d"], 2), whole(row["n_influential"])]
        cells += [number(row["max_leverage"], 2), number(row["max_gvif"], 2), number(row["condition_number"], 1)]
        cells += [number(row["sd_ratio"], 2), without + (f" ({changed} changed)" if changed else "")]
        lines.append(Line((*cells, format_p(row["proportional_odds_p"]))))
    notes = [
        "Breusch-Pagan: unequal spread of the residuals, for which HC3 errors allow. Shapiro: their normality. "
        "Influential: Cook's D above 4/n; the effect is refitted without them. GVIF: generalised variance inflation. "
        "SD ratio: largest residual SD of a cluster to the smallest.",
        *marks.notes(),
    ]
    return Printed("Diagnostics of the adjusted models", header, tuple(lines), tuple(notes))
