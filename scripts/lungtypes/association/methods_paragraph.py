"""The words of a paper about the association tables, from what ran."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from lungtypes.association.outcome_print import family_sizes, verdict_notes
from lungtypes.association.rows import AssociationPlan
from lungtypes.association.table_print import SQUARED, Wording, listed
from lungtypes.provenance import package_versions

Cite = Callable[[str], str]
PACKAGES = ("numpy", "pandas", "scipy", "scikit-learn", "statsmodels")
REFERENCES = {
    "hc3": "MacKinnon JG, White H. J Econometrics 29:305-325, 1985 (HC3); Long JS, Ervin LH. Am Stat 54:217-224, 2000.",
    "q": "Benjamini Y, Hochberg Y. J R Stat Soc B 57:289-300, 1995.",
    "holm": "Holm S. Scand J Stat 6:65-70, 1979.",
    "smd": "Yang D, Dalton JE. A unified approach to measuring the effect size between two groups. SAS Global Forum "
    "335, 2012.",
    "firth": "Firth D. Biometrika 80:27-38, 1993; Heinze G, Schemper M. Stat Med 21:2409-2419, 2002.",
    "odds": "McCullagh P. Regression models for ordinal data. J R Stat Soc B 42:109-142, 1980.",
    "mi": "van Buuren S, Groothuis-Oudshoorn K. J Stat Softw 45(3), 2011; Li KH, Raghunathan TE, Rubin DB. J Am Stat "
    "Assoc 86:1065-1073, 1991; Reiter JP. Biometrika 94:502-508, 2007; Barnard J, Rubin DB. Biometrika 86:948-955, "
    "1999.",
    "dipping": "Gao LL, Bien J, Witten D. J Am Stat Assoc 119:332-342, 2024.",
    "strobe": "von Elm E, et al. The STROBE statement. Lancet 370:1453-1457, 2007.",
}


def methods_text(
    *,
    plan: AssociationPlan,
    settings: Mapping[str, object],
    wording: Wording,
    n: int,
    tables: Mapping[str, pd.DataFrame],
    absent: Sequence[str],
) -> str:
    """Markdown: paragraphs, then the numbered references that they cite.

    Parameters
    ----------
    plan : columns by their printed names.
    settings : section associate of the config (variance, yates, n_permutations).
    n : subjects with a clinical row and a value of the predictor.
    tables : outcomes, contrasts, comparison, imputed and descriptive as they were written.
    absent : columns of the settings that the clinical table lacks.
    """
    cited: list[str] = []

    def cite(name: str) -> str:
        if name not in cited:
            cited.append(name)
        return f"[{cited.index(name) + 1}]"

    parts = [
        _description(settings, wording, n, cite),
        _models(plan, wording, tables, cite),
        _comparison(plan, wording, tables["comparison"]),
        _imputation(tables["imputed"], wording, cite),
        _images(tables["descriptive"], wording, cite),
        f"Columns that the settings name and the clinical table lacks were left out: {listed(absent)}."
        if absent
        else "",
        f"Software: {listed([f'{k} {v}' for k, v in package_versions().items() if k in PACKAGES])}. Seed {plan.seed}.",
    ]
    numbered = [f"{i}. {REFERENCES[name]}" for i, name in enumerate(cited, start=1)]
    return "\n\n".join([part for part in parts if part]) + "\n\nReferences\n\n" + "\n".join(numbered) + "\n"


def _description(settings: Mapping[str, object], wording: Wording, n: int, cite: Cite) -> str:
    test = {"welch": "Welch's t test or analysis of variance", "pooled": "the pooled t test or analysis of variance"}
    correction = "with Yates' correction of 2x2 tables" if settings["yates"] else "without continuity correction"
    draws = settings["n_permutations"]
    sparse = f", by {draws} permutations where more than 20 % of the expected counts were below 5" if draws else ""
    return (
        f"Characteristics of {n} subjects were described by {wording.noun} and compared by standardised mean "
        f"differences {cite('smd')}, by {test[str(settings['variance'])]}, and by chi-square tests {correction}"
        f"{sparse}. Missing values were counted, never tested as a level (STROBE {cite('strobe')})."
    )


def _models(plan: AssociationPlan, wording: Wording, tables: Mapping[str, pd.DataFrame], cite: Cite) -> str:
    outcomes, several_pairs = tables["outcomes"], tables["contrasts"]["contrast"].nunique() > 1
    fitted = outcomes[outcomes["status"] == "ok"]
    if fitted.empty:
        return f"None of {len(outcomes)} outcomes could be fitted."
    smallest, largest = int(fitted["n"].min()), int(fitted["n"].max())
    size = f"n = {smallest}" if smallest == largest else f"n = {smallest} to {largest}"
    kinds = fitted["model"].value_counts(sort=False)
    errors = f"HC3 standard errors {cite('hc3')}" if plan.standard_errors == "hc3" else "classical standard errors"
    words = [
        f"Each of {len(fitted)} outcomes ({listed([f'{name}: {count}' for name, count in kinds.items()])}) was set "
        f"against {wording.noun} alone and adjusted for {listed(plan.covariates)}"
        + (f", and in a sensitivity analysis for {listed(plan.technical)} too" if plan.technical else "")
        + f". All models of an outcome were fitted on the same complete cases ({size}).",
        f"Linear models have {errors}; {wording.noun} was tested jointly.",
    ]
    if fitted["model"].str.contains("Firth").any():
        words.append(f"Under separation the likelihood was penalised {cite('firth')}.")
    if fitted["model"].str.contains("odds|multinomial").any():
        words.append(f"Ordinal outcomes: proportional odds {cite('odds')}, multinomial where their check failed.")
    if (fitted["type"] == "skewed").any():
        words.append("Skewed outcomes were modelled as the logarithm of 1 + value.")
    words += [
        f"p values were corrected after Benjamini and Hochberg {cite('q')} within families ({family_sizes(outcomes)})"
        + (f", pairwise contrasts after Holm {cite('holm')}." if several_pairs else "."),
        f"Intervals of the gain in adjusted R{SQUARED} come from {plan.n_bootstrap} bootstrap samples of whole subjects"
        + (
            f", R{SQUARED} out of sample from {plan.cv_repeats} repeats of 10-fold cross-validation."
            if plan.cv_repeats
            else "."
        ),
        f"Groups and levels of fewer than {plan.min_group} subjects were left out or merged.",
    ]
    if any(value in (True, "True") for value in fitted["same_image"]):
        words.append(f"Reader scores came from the same CT as {wording.nouns} and are not independent of them.")
    return " ".join(words)


def _comparison(plan: AssociationPlan, wording: Wording, comparison: pd.DataFrame) -> str:
    if comparison.empty:
        return ""
    ok = int((comparison["status"] == "ok").sum())
    return (
        f"{wording.noun.capitalize()} and {plan.comparator} were compared on the same subjects for {ok} of "
        f"{len(comparison)} outcomes, by the difference of adjusted R{SQUARED} with a paired bootstrap interval and by "
        f"tests of each in the model with both. {verdict_notes(plan.margin, wording.noun, str(plan.comparator))[0]}"
    )


def _imputation(imputed: pd.DataFrame, wording: Wording, cite: Cite) -> str:
    pooled = imputed[imputed["status"] == "ok"]
    if pooled.empty:
        return "" if imputed.empty else "No outcome was analysed with imputed values."
    m = sorted({int(value) for value in pooled["m"]})
    return (
        f"As a sensitivity analysis, missing covariates and outcomes of {len(pooled)} outcomes were imputed "
        f"{listed([str(value) for value in m])} times by chained Bayesian linear regressions on {wording.noun}, "
        f"covariates and other outcomes; estimates and joint tests (D1) were pooled {cite('mi')}. "
        f"{wording.noun.capitalize()} was never imputed."
    )


def _images(descriptive: pd.DataFrame, wording: Wording, cite: Cite) -> str:
    if descriptive.empty:
        return ""
    return (
        f"Quantities of the images from which {wording.nouns} were made are described by effect sizes without p values "
        f"(double dipping {cite('dipping')})."
    )
