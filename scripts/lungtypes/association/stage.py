"""The association of clusters, or of a phenotype, with the clinical table: from tables to tables for print."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from lungtypes.association.check_print import print_diagnostics, print_imputed
from lungtypes.association.comparison import comparison_table
from lungtypes.association.contrasts import contrasts_table, means_table
from lungtypes.association.description_print import print_descriptive, print_missing, print_table_one
from lungtypes.association.descriptive import describe_image_quantities, image_quantities
from lungtypes.association.diagnostics import diagnostics_table
from lungtypes.association.imputation import IMPUTED_COLUMNS, impute_outcomes
from lungtypes.association.methods_paragraph import methods_text
from lungtypes.association.missing import missing_table
from lungtypes.association.models import fit_outcomes
from lungtypes.association.outcome_print import (
    print_comparison,
    print_contrasts,
    print_means,
    print_outcomes,
)
from lungtypes.association.outcomes import outcomes_table
from lungtypes.association.predictor_files import Assigned, read_predictor, with_scanner_columns
from lungtypes.association.rows import AssociationPlan, as_outcomes, join_clusters, level_text
from lungtypes.association.table_html import to_html
from lungtypes.association.table_latex import to_latex
from lungtypes.association.table_one import table_one
from lungtypes.association.table_print import Printed
from lungtypes.cohort.clinical import read_clinical
from lungtypes.provenance import write_table, write_text

TABLES = (
    "table_one",
    "outcomes",
    "contrasts",
    "adjusted_means",
    "diagnostics",
    "comparison",
    "missing",
    "imputed",
    "descriptive",
)
DATA = ("points", "comparator_counts", "comparator_levels")  # of the report's figures; they are not printed
POINT_COLUMNS = ["outcome", "label", "unit", "group", "value"]
COUNT_COLUMNS = ["comparator", "label", "level", "group", "count"]
LEVEL_COLUMNS = ["subject", "comparator", "label", "level"]


@dataclass(frozen=True)
class Cohort:
    """The clinical table with the predictor, the plan without what the table lacks, and printed names of columns."""

    frame: pd.DataFrame
    assigned: Assigned
    plan: AssociationPlan
    labels: Mapping[str, str]
    absent: tuple[str, ...]


def associate_stage(
    *,
    folder: str | Path,
    assignment: str | Path,
    clinical: str | Path,
    seed: int,
    settings: Mapping[str, object],
    densitometry: str | Path = "",
    map_summary: str | Path = "",
    series: str | Path = "",
    column: str = "",
    subjects: Collection[str] | None = None,
) -> None:
    """Write all of ``TABLES`` as TSV, HTML and LaTeX, ``DATA`` as TSV, and methods.md.

    Parameters
    ----------
    folder : where to write.
    assignment, column, subjects : clusters or a phenotype, as :func:`read_predictor` takes them.
    clinical : the clinical table. Columns of the settings that it lacks are left out, scanner columns after a look
        into the table of series.
    settings : section associate of the config.
    densitometry, map_summary, series : tables of the image stages, or empty.
    """
    assigned = read_predictor(assignment, column=column, subjects=subjects)
    cohort = _read(assigned, clinical, series, settings, seed)
    frame, groups, plan, wording = cohort.frame, cohort.assigned.groups, cohort.plan, cohort.assigned.wording
    variables = [v for v in settings["table_one"] if v["name"] in frame]
    options = {name: settings[name] for name in ("variance", "yates", "n_permutations", "min_group")}
    coded = _as_levels(frame, plan, variables)
    fits = fit_outcomes(coded, cohort.assigned.predictor, plan)
    tables = {
        "table_one": table_one(frame, groups, variables=variables, seed=seed, **options),
        "outcomes": outcomes_table(fits, plan),
        "contrasts": contrasts_table(fits, plan),
        "adjusted_means": means_table(fits, plan),
        "diagnostics": diagnostics_table(fits, plan),
        "comparison": comparison_table(fits, plan),
        "missing": missing_table(
            coded,
            groups,
            cohort.labels,
            covariates=plan.covariates,
            n_permutations=settings["n_permutations"],
            seed=seed,
        ),
        "descriptive": describe_image_quantities(image_quantities(_given(densitometry), _given(map_summary)), groups),
    }
    known = tables["outcomes"].set_index("outcome")["p_value"].to_dict()
    m = int(settings["imputations"])
    tables["imputed"] = (
        impute_outcomes(coded, cohort.assigned.predictor, plan, m=m, p_complete_case=known)
        if m
        else pd.DataFrame(columns=IMPUTED_COLUMNS)
    )
    printed = _printed(tables, cohort)
    flag, folder = cohort.assigned.flag, Path(folder)
    for name in TABLES:
        write_table(folder / f"{name}.tsv", tables[name].assign(flag=flag))
        write_text(folder / f"{name}.html", to_html(printed[name], flag=flag))
        write_text(folder / f"{name}.tex", to_latex(printed[name], flag=flag))
    write_table(folder / "points.tsv", _points(cohort).assign(flag=flag))
    write_table(folder / "comparator_counts.tsv", _comparator_counts(cohort).assign(flag=flag))
    write_table(folder / "comparator_levels.tsv", _comparator_levels(cohort).assign(flag=flag))
    n = len(join_clusters(frame, groups)[1])
    text = methods_text(
        plan=_in_words(cohort), settings=settings, wording=wording, n=n, tables=tables, absent=cohort.absent
    )
    write_text(folder / "methods.md", text)


def _read(
    assigned: Assigned, clinical: str | Path, series: str | Path, settings: Mapping[str, object], seed: int
) -> Cohort:
    technical = list(settings["technical"])
    described = [v["name"] for v in settings["table_one"]]
    frame = read_clinical(clinical, settings)
    frame = with_scanner_columns(frame, series, [*technical, *described])
    named = [*settings["covariates"], *technical, *filter(None, [settings["comparator"]])]
    named += [*described, *(o["name"] for o in settings["outcomes"])]
    outcomes = as_outcomes([o for o in settings["outcomes"] if o["name"] in frame])
    plan = AssociationPlan(
        outcomes=tuple(outcomes),
        covariates=tuple(name for name in settings["covariates"] if name in frame),
        technical=tuple(name for name in technical if name in frame),
        comparator=settings["comparator"] if settings["comparator"] in frame else None,
        standard_errors=settings["standard_errors"],
        margin=settings["margin"],
        min_group=settings["min_group"],
        n_bootstrap=settings["n_bootstrap"],
        cv_repeats=settings["cv_repeats"],
        seed=seed,
    )
    labels = {v["name"]: v["label"] for v in settings["table_one"]} | {o.name: o.label for o in outcomes}
    present = [name for name in dict.fromkeys(named) if name in frame]
    absent = tuple(name for name in dict.fromkeys(named) if name not in frame)
    return Cohort(frame, assigned, plan, {n: labels.get(n, n.replace("_", " ")) for n in present}, absent)


def _as_levels(frame: pd.DataFrame, plan: AssociationPlan, variables: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Covariates that table one calls categorical as text, also where they are coded: race 1 to 4 has no slope."""
    outcomes = {outcome.name for outcome in plan.outcomes}
    named = {v["name"] for v in variables if v["type"] == "categorical"}
    columns = [name for name in (*plan.covariates, *plan.technical) if name in named - outcomes]
    return frame.assign(**{name: frame[name].map(level_text, na_action="ignore") for name in columns})


def _in_words(cohort: Cohort) -> AssociationPlan:
    """The plan with printed names instead of columns."""
    plan, labels = cohort.plan, cohort.labels
    return replace(
        plan,
        covariates=tuple(labels[name] for name in plan.covariates),
        technical=tuple(labels[name] for name in plan.technical),
        comparator=labels[plan.comparator] if plan.comparator else None,
    )


def _given(path: str | Path) -> pd.DataFrame | None:
    return pd.read_csv(path, sep="\t", dtype={"subject": str}) if str(path) and Path(path).exists() else None


def _printed(tables: Mapping[str, pd.DataFrame], cohort: Cohort) -> dict[str, Printed]:
    plan, wording = _in_words(cohort), cohort.assigned.wording
    sizes = cohort.assigned.groups.value_counts().sort_index()
    clusters = cohort.assigned.predictor.kind == "cluster"
    other = plan.comparator or "comparator"
    return {
        "table_one": print_table_one(tables["table_one"], wording),
        "outcomes": print_outcomes(
            tables["outcomes"],
            tables["contrasts"],
            plan,
            wording=wording,
            reference=int(sizes.idxmax()) if clusters and len(sizes) > 2 else None,
        ),
        "contrasts": print_contrasts(tables["contrasts"]),
        "adjusted_means": print_means(tables["adjusted_means"], wording),
        "diagnostics": print_diagnostics(tables["diagnostics"]),
        "comparison": print_comparison(tables["comparison"], plan, other=other, wording=wording),
        "missing": print_missing(tables["missing"], wording),
        "imputed": print_imputed(tables["imputed"], wording),
        "descriptive": print_descriptive(tables["descriptive"], wording),
    }


def _points(cohort: Cohort) -> pd.DataFrame:
    """Every value of every numeric outcome with its group, without its subject and in the order of the values."""
    table, groups = join_clusters(cohort.frame, cohort.assigned.groups)
    parts = [pd.DataFrame(columns=POINT_COLUMNS)]
    for outcome in cohort.plan.outcomes:
        if not pd.api.types.is_numeric_dtype(table[outcome.name]):
            continue
        part = pd.DataFrame({"group": groups, "value": table[outcome.name].astype(np.float64)}).dropna()
        part = part.sort_values(["group", "value"])
        parts.append(part.assign(outcome=outcome.name, label=outcome.label, unit=outcome.unit)[POINT_COLUMNS])
    return pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)


def _comparator_counts(cohort: Cohort) -> pd.DataFrame:
    """Subjects of each level of the comparator in each group, zeros included."""
    name = cohort.plan.comparator
    if name is None:
        return pd.DataFrame(columns=COUNT_COLUMNS)
    described = table_one(
        cohort.frame,
        cohort.assigned.groups,
        variables=[{"name": name, "label": cohort.labels[name], "type": "categorical"}],
        variance="welch",
        yates=False,
        n_permutations=0,
        min_group=1,
        seed=0,
    )
    rows = described[(described["group"] != "overall") & (described["level"] != "")]
    return rows.assign(comparator=name)[COUNT_COLUMNS].reset_index(drop=True)


def _comparator_levels(cohort: Cohort) -> pd.DataFrame:
    """The level of every subject that has one, for the embedding's colours."""
    name = cohort.plan.comparator
    if name is None:
        return pd.DataFrame(columns=LEVEL_COLUMNS)
    table, groups = join_clusters(cohort.frame, cohort.assigned.groups)
    rows = pd.DataFrame({"subject": groups.index, "level": table[name].to_numpy()}).dropna()
    rows["level"] = rows["level"].map(level_text)
    return rows.assign(comparator=name, label=cohort.labels[name])[LEVEL_COLUMNS].reset_index(drop=True)
