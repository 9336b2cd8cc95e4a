"""From files to files: clusters, phenotypes, scanner columns from the series, external cohorts."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from lungtypes.association.predictor_files import read_predictor, with_scanner_columns
from lungtypes.association.stage import DATA, TABLES, associate_stage
from lungtypes.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
SCHEMAS = ROOT / "workflow/schemas/tables"
SETTINGS = yaml.safe_load((ROOT / "config/config.yaml").read_text())["associate"] | {
    "n_bootstrap": 30,
    "n_permutations": 50,
    "cv_repeats": 1,
    "imputations": 20,
    "covariates": ["age", "sex"],
}
KEPT = {"fev1_l", "crp", "visual_fibrosis", "promis"}
SETTINGS["outcomes"] = [outcome for outcome in SETTINGS["outcomes"] if outcome["name"] in KEPT]
N = 90


def save(path, table):
    table.to_csv(path, sep="\t", index=False)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("study"), np.random.default_rng(0)
    subjects = [f"S{i:03d}" for i in range(N)]
    clusters = np.where(np.arange(N) % 3 == 0, 2, 1)
    clinical = pd.DataFrame(
        {"subject": subjects, "age": rng.normal(50, 9, N).round(1), "sex": rng.choice(["F", "M"], N)}
    )
    clinical["fev1_l"] = (3 - 0.9 * (clusters == 2) + rng.normal(0, 0.5, N)).round(2)
    clinical["crp"] = np.expm1(rng.normal(1.5, 0.6, N)).round(1)
    clinical["visual_fibrosis"] = rng.integers(0, 3, N)
    clinical["scadding"] = rng.integers(0, 3, N)
    clinical.loc[::7, "fev1_l"] = np.nan
    series = pd.DataFrame({"subject": subjects, "verdict": "chosen", "manufacturer": "X"})
    series["model"] = np.where(rng.random(N) < 0.5, "one", "two")
    series = pd.concat([series, series.head(9).assign(verdict="rejected", model="wrong")])
    density = pd.DataFrame({"subject": subjects, "region": "lungs", "mean_hu": rng.normal(-800, 30, N)})
    assigned = pd.DataFrame({"subject": subjects, "cluster": clusters, "q_1": 0.5, "q_2": 0.5, "margin": 0.0})
    assigned = assigned.assign(split="train", flag="one group not rejected (p = 0.4)")
    assigned.loc[0, "split"] = "repeat"
    axis = pd.DataFrame({"subject": subjects, "density_axis": rng.normal(size=N) - clusters})
    return {
        "assignment": save(folder / "assignment.tsv", assigned),
        "bare": save(folder / "bare.tsv", assigned[["subject", "cluster"]]),
        "axis": save(folder / "axis.tsv", axis),
        "clinical": save(folder / "clinical.tsv", clinical),
        "series": save(folder / "series.tsv", series),
        "density": save(folder / "densitometry.tsv", density),
    }


@pytest.fixture(scope="module")
def written(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clam")
    associate_stage(
        folder=folder,
        assignment=files["assignment"],
        clinical=files["clinical"],
        seed=1,
        settings=SETTINGS,
        densitometry=files["density"],
        series=files["series"],
    )
    return folder


def read(folder, name):
    return pd.read_csv(folder / f"{name}.tsv", sep="\t", keep_default_na=False)


def test_every_table_is_written_three_times_with_the_columns_of_its_schema(written):
    schemas = {Path(s["path"]).name: s for s in map(yaml.safe_load, (f.read_text() for f in SCHEMAS.glob("*.yaml")))}
    for name in (*TABLES, *DATA):
        assert list(read(written, name)) == list(schemas[f"{name}.tsv"]["columns"]), name
    expected = {f"{name}{end}" for name in TABLES for end in (".tsv", ".html", ".tex")}
    assert {p.name for p in written.iterdir()} == expected | {f"{name}.tsv" for name in DATA} | {"methods.md"}


def test_flag_of_the_clustering_is_in_every_table(written):
    for name in TABLES:
        table = read(written, name)
        assert len(table) and set(table["flag"]) == {"one group not rejected (p = 0.4)"}, name
        assert "Read with care: one group not rejected" in (written / f"{name}.html").read_text()
        assert "Read with care: one group not rejected" in (written / f"{name}.tex").read_text()


def test_planted_effect_is_found_and_repeats_stay_out(written):
    table = read(written, "outcomes").set_index("outcome")
    assert float(table.loc["fev1_l", "p_value"]) < 1e-6 < float(table.loc["crp", "p_value"])
    assert "promis" not in table.index  # the clinical table lacks it
    overall = read(written, "table_one").query("variable == 'age' and group == 'overall'").iloc[0]
    assert int(overall["n"]) == N - 1
    imputed = read(written, "imputed").set_index("outcome")
    assert imputed.loc["fev1_l", "status"] == "ok"
    assert imputed.loc["fev1_l", "p_complete_case"] == table.loc["fev1_l", "p_value"]
    assert imputed.loc["visual_fibrosis", "status"] == "not_imputed:ordinal_outcome"


def test_scanner_column_comes_from_the_chosen_series(files, written):
    assert "scanner_model" not in pd.read_csv(files["clinical"], sep="\t")
    sets = read(written, "contrasts")["model_set"]
    assert set(sets) == {"crude", "adjusted", "technical"}
    frame = pd.DataFrame({"subject": ["S000", "S001"], "kvp": [1.0, 2.0]})
    found = with_scanner_columns(frame, files["series"], ["scanner_model", "kvp", "dose"])
    chosen = pd.read_csv(files["series"], sep="\t").query("verdict == 'chosen'")["model"].tolist()[:2]
    assert found["scanner_model"].tolist() == chosen and found["kvp"].tolist() == [1.0, 2.0] and "dose" not in found


def test_covariates_that_table_one_calls_categorical_have_no_slope_whatever_their_codes(files, tmp_path):
    """The same levels as words and as 1 to 4 give the same models."""
    clinical = pd.read_csv(files["clinical"], sep="\t", dtype={"subject": str})
    codes = np.random.default_rng(4).integers(1, 5, N)
    words = np.array(["", "white", "black", "asian", "other"])[codes]
    settings = SETTINGS | {"covariates": ["age", "race"], "outcomes": SETTINGS["outcomes"][:1], "technical": []}
    assert {v["name"]: v["type"] for v in settings["table_one"]}["race"] == "categorical"
    found = {}
    for name, race in (("codes", codes), ("words", words)):
        path = save(tmp_path / f"{name}.tsv", clinical.assign(race=race))
        places = {"assignment": files["bare"], "clinical": path, "series": ""}
        associate_stage(folder=tmp_path / name, seed=1, settings=settings, **places)
        tables = (read(tmp_path / name, table) for table in ("outcomes", "imputed"))
        found[name] = [table.iloc[0][["n", "p_value"]].tolist() for table in tables]
    for codes, words in zip(found["codes"], found["words"], strict=True):
        assert codes == pytest.approx(words, rel=1e-6)


def test_a_scanner_model_that_is_a_number_is_a_name(tmp_path):
    series = pd.DataFrame({"subject": ["S1", "S2"], "verdict": "chosen", "model": ["16", "64"], "kvp": ["100", "120"]})
    frame = pd.DataFrame({"subject": ["S1", "S2"]})
    found = with_scanner_columns(frame, save(tmp_path / "series.tsv", series), ["scanner_model", "kvp"])
    assert found["scanner_model"].tolist() == ["16", "64"] and found["kvp"].tolist() == [100.0, 120.0]


def test_methods_name_what_ran_and_what_was_absent(written):
    text = (written / "methods.md").read_text()
    for words in ("HC3 standard errors [", "Age and Sex", "scanner model", "30 bootstrap", "statsmodels", "scipy"):
        assert words in text, words
    assert "bmi" in text.partition("left out: ")[2] and "References\n\n1. " in text


def test_points_of_the_figures_name_no_subject(files, written):
    points = read(written, "points")
    assert "subject" not in points and not points.astype(str).apply(lambda c: c.str.contains("S0")).any().any()
    counts = read(written, "comparator_counts")
    assert counts["count"].astype(int).sum() == N - 1
    levels = read(written, "comparator_levels")
    by_level = counts.astype({"count": int}).groupby("level")["count"].sum()
    assert levels["subject"].is_unique and levels["level"].value_counts().to_dict() == by_level.to_dict()


def test_same_inputs_give_the_same_bytes(files, written, tmp_path):
    shuffled = save(
        tmp_path / "clinical.tsv", pd.read_csv(files["clinical"], sep="\t", dtype=str).sample(frac=1, random_state=1)
    )
    associate_stage(
        folder=tmp_path / "again",
        assignment=files["assignment"],
        clinical=shuffled,
        seed=1,
        settings=SETTINGS,
        densitometry=files["density"],
        series=files["series"],
    )
    for path in written.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_external_cohort_needs_subject_and_cluster_only(files, tmp_path):
    associate_stage(folder=tmp_path, assignment=files["bare"], clinical=files["clinical"], seed=1, settings=SETTINGS)
    table = read(tmp_path, "outcomes")
    assert (table["status"] == "ok").any() and set(table["flag"]) == {""}
    assert read(tmp_path, "descriptive").empty and set(read(tmp_path, "contrasts")["model_set"]) == {
        "crude",
        "adjusted",
    }


def test_external_assignment_may_be_a_csv_as_the_check_says(files, tmp_path):
    assignment = tmp_path / "theirs.csv"
    pd.read_csv(files["bare"], sep="\t").to_csv(assignment, index=False)
    for name, path in (("csv", assignment), ("tsv", files["bare"])):
        associate_stage(folder=tmp_path / name, assignment=path, clinical=files["clinical"], seed=1, settings=SETTINGS)
    found, expected = (read(tmp_path / name, "outcomes") for name in ("csv", "tsv"))
    pd.testing.assert_frame_equal(found, expected)


def test_phenotype_is_described_by_thirds_and_modelled_per_sd(files, tmp_path):
    associate_stage(folder=tmp_path, assignment=files["axis"], clinical=files["clinical"], seed=1, settings=SETTINGS)
    assert set(read(tmp_path, "contrasts")["contrast"]) == {"per SD"}
    assert read(tmp_path, "adjusted_means").empty
    html = (tmp_path / "table_one.html").read_text()
    assert "Lowest third (n = 30)" in html and "Characteristics by density axis" in html and "Cluster" not in html
    for name in ("outcomes.html", "missing.html", "comparison.html", "methods.md"):
        assert "cluster" not in (tmp_path / name).read_text().lower(), name


def test_one_column_of_the_densitometry_is_a_phenotype(tmp_path):
    rows = [
        {"subject": s, "region": r, "mean_hu": -800.0 - i, "laa950_percent": i}
        for i, s in enumerate("abcd")
        for r in ("lungs", "right")
    ]
    path = save(tmp_path / "densitometry.tsv", pd.DataFrame(rows))
    found = read_predictor(path, column="laa950_percent", subjects=["a", "b", "d"])
    assert found.predictor.values.to_dict() == {"a": 0.0, "b": 1.0, "d": 3.0} and found.predictor.kind == "phenotype"
    with pytest.raises(InputError, match="found no column laa. There are: subject, region"):
        read_predictor(path, column="laa")


def test_scans_without_a_burden_are_left_out_with_a_note(tmp_path):
    columns = {"subject": list("abcde"), "split": ["train"] * 4 + ["repeat"], "burden_ml": [1, 2, None, 4, 5]}
    columns |= {"burden_percent": [0.5, 1.5, None, 3.5, 9], "flag": ["", "", "no lobe or zone", "", ""]}
    path = save(tmp_path / "phenotype.tsv", pd.DataFrame(columns))
    found = read_predictor(path, column="burden_percent", subjects=list("abcd"))
    assert found.predictor.values.to_dict() == {"a": 0.5, "b": 1.5, "d": 3.5}
    assert found.predictor.label == "burden percent"
    assert found.flag == "1 of 4 scans have no value and are left out (no lobe or zone)"


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"id": ["a"], "cluster": [1]}, "expected subject"),
        ({"subject": ["a"]}, "expected cluster, or one"),
        ({"subject": ["a"], "x": [1.0], "y": [2.0]}, "found columns x, y"),
        ({"subject": ["a"], "cluster": ["one"]}, "subject a, column cluster: found 'one'"),
        ({"subject": ["a"], "cluster": [1.5]}, "expected whole numbers"),
    ],
)
def test_tables_that_hold_no_predictor_are_refused(columns, words, tmp_path):
    with pytest.raises(InputError, match=words):
        read_predictor(save(tmp_path / "a.tsv", pd.DataFrame(columns)))
