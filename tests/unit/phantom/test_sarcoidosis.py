"""Virtual sarcoidosis: two subtypes in template space, outcomes planted in the clinical table, a study's own files."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats
from snakemake.utils import update_config

from lungtypes.cohort.clinical import clinical_faults, reference_faults
from lungtypes.cohort.config import config_faults
from lungtypes.cohort.sheet import sheet_faults
from lungtypes.cohort.tables import read_table
from lungtypes.imaging.geometry import read_volume
from lungtypes.imaging.given import check_given_registration, read_given_template
from lungtypes.imaging.hounsfield import OUTSIDE
from lungtypes.imaging.volumes import grid_around, lung_hu_on_grid
from lungtypes.imaging.zones import lung_zones
from lungtypes.phantom.sarcoidosis import SarcoidosisPlan, halved, plan_members, sarcoidosis_array, template_space
from lungtypes.phantom.sarcoidosis_clinical import SCADDING, clinical_table, planted_table
from lungtypes.phantom.sarcoidosis_files import made_already, write_virtual_sarcoidosis

ROOT = Path(__file__).parents[3]
STUDIES = ROOT / "config/studies"
STUDY = yaml.safe_load((STUDIES / "virtual_sarcoidosis.yaml").read_text())
PAPER = SarcoidosisPlan(seed=STUDY["seed"], **STUDY["virtual_sarcoidosis"])
SMALL = SarcoidosisPlan(seed=3, diffuse=4, hilar=4)
FILES = SarcoidosisPlan(seed=3, diffuse=2, hilar=2)


@pytest.fixture(scope="module")
def array():
    return sarcoidosis_array(SMALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "virtual"
    write_virtual_sarcoidosis(folder, FILES, workers=1, made_by={"code": "abc"})
    return folder


def is_diffuse(plan):
    return np.array([member.subtype == "diffuse" for member in plan_members(plan)])


def merged_study(name):
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    update_config(config, yaml.safe_load((STUDIES / name).read_text()))
    return config


def test_plan_has_the_papers_sizes_and_ids_that_say_nothing_of_the_subtype():
    members = plan_members(PAPER)
    diffuse = is_diffuse(PAPER)
    assert (diffuse.sum(), (~diffuse).sum()) == (126, 175)
    assert [member.subject for member in members] == [f"V{n:03d}" for n in range(1, 302)]
    assert stats.mannwhitneyu(np.flatnonzero(diffuse), np.flatnonzero(~diffuse)).pvalue > 0.05
    assert 100 < np.abs(np.diff(diffuse.astype(int))).sum() < 200  # neighbours in the list tell nothing either


def test_a_patient_is_the_same_in_a_larger_cohort_and_in_another_process(array):
    rows = {(m.subtype, m.number): row for row, m in enumerate(plan_members(SMALL))}
    fewer = sarcoidosis_array(FILES, workers=2)
    assert all(np.array_equal(fewer[i], array[rows[m.subtype, m.number]]) for i, m in enumerate(plan_members(FILES)))


def test_array_holds_lung_hu_and_nothing_else(array):
    lungs = template_space(SMALL.seed).lungs
    assert array.shape == (8, 88, 88, 88) and array.dtype == np.int16
    assert all((scan[~lungs] == OUTSIDE).all() for scan in array)
    assert array[:, lungs].min() >= -1024
    assert ((array[:, lungs].mean(axis=1) > -870) & (array[:, lungs].mean(axis=1) < -750)).all()


def test_another_seed_gives_other_patients(array):
    other = sarcoidosis_array(SarcoidosisPlan(seed=4, diffuse=1, hilar=0))
    first = [m.subtype for m in plan_members(SMALL)].index("diffuse")
    assert not np.array_equal(other[0], array[first])


def test_grid_of_6_mm_is_the_halved_one_and_there_is_no_third(array):
    coarse = sarcoidosis_array(SarcoidosisPlan(seed=3, diffuse=0, hilar=1), size=44)
    row = [(m.subtype, m.number) for m in plan_members(SMALL)].index(("hilar", 0))
    assert np.array_equal(coarse[0], halved(array[row], template_space(3).lungs))
    with pytest.raises(ValueError, match="found 64"):
        sarcoidosis_array(SMALL, size=64)


def test_halving_takes_the_mean_of_lung_voxels_and_leaves_out_blocks_that_are_mostly_wall():
    hu = np.full((2, 2, 4), -800, np.int16)
    lungs = np.ones((2, 2, 4), bool)
    hu[0, 0, 0], lungs[0, 0, 1] = -400, False  # the first block: (-400 + 6 * -800) / 7
    lungs[:, :, 2:] = False
    lungs[0, 0, 2:] = lungs[0, 1, 2] = True  # the second: three voxels of lung
    assert halved(hu, lungs).tolist() == [[[-743, OUTSIDE]]]


def test_diffuse_disease_lies_in_the_upper_zone_and_hila_are_dense_in_both(array):
    space, diffuse = template_space(SMALL.seed), is_diffuse(SMALL)
    upper = (lung_zones(space.thorax.lungs) == 1) & (space.hilum_mm > 45)
    mean = {name: array[:, where].mean(axis=1) for name, where in (("lungs", space.lungs), ("upper", upper))}
    hilum = array[:, space.lungs & (space.hilum_mm < 25)].mean(axis=1)
    assert mean["upper"][diffuse].mean() > mean["upper"][~diffuse].mean() + 20
    assert (hilum > mean["lungs"] + 100).all()
    assert hilum[~diffuse].mean() > hilum[diffuse].mean()


def test_subtypes_differ_by_place_more_than_by_mean_density(array):
    space, diffuse = template_space(SMALL.seed), is_diffuse(SMALL)
    zones = lung_zones(space.thorax.lungs)
    away = space.hilum_mm > 45
    place = array[:, (zones == 1) & away].mean(axis=1) - array[:, (zones == 3) & away].mean(axis=1)
    mean = array[:, space.lungs].mean(axis=1)
    gap = {
        name: values[diffuse].mean() - values[~diffuse].mean() for name, values in (("place", place), ("mean", mean))
    }
    assert gap["place"] > 20 and gap["place"] / place[~diffuse].std() > 2 * abs(gap["mean"]) / mean[~diffuse].std()


def test_arrays_need_neither_imaging_libraries_nor_pandas():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\nimport lungtypes.phantom.sarcoidosis\n"
        "bad = {'SimpleITK', 'nibabel', 'pandas', 'sklearn', 'torch'} & set(sys.modules)\n"
        "sys.exit(repr(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code, str(ROOT / "scripts")], check=True)


def test_planted_variables_differ_between_the_subtypes_and_no_others_do():
    table, diffuse = clinical_table(PAPER), is_diffuse(PAPER)
    planted = planted_table().set_index("variable").planted
    assert set(planted.index) == set(table.columns) - {"subject"}
    p_values = {}
    for name in planted.index:
        values = table[name]
        if name != "scadding" and pd.api.types.is_numeric_dtype(values):
            known = values.notna()
            p_values[name] = stats.ttest_ind(values[known & diffuse], values[known & ~diffuse]).pvalue
        else:
            p_values[name] = stats.chi2_contingency(pd.crosstab(values, diffuse)).pvalue
    assert {name for name, p in p_values.items() if p < 0.05} == set(planted.index[planted == 1])
    assert all(p_values[name] < 0.001 for name in planted.index[planted == 1])


def test_over_many_seeds_unplanted_variables_differ_as_often_as_chance_says():
    p_values = {0: [], 1: []}
    for seed in range(1, 21):
        plan = SarcoidosisPlan(seed=seed, diffuse=126, hilar=175)
        table = clinical_table(plan).set_index("subject")
        diffuse = table.index.isin([m.subject for m in plan_members(plan) if m.subtype == "diffuse"])
        for variable, planted in planted_table().set_index("variable")["planted"].items():
            values = pd.to_numeric(table[variable], errors="coerce").to_numpy(float)
            there = np.isfinite(values)
            if there.sum() > 200:  # numbers, not words
                p = stats.ttest_ind(values[there & diffuse], values[there & ~diffuse]).pvalue
                p_values[int(planted)].append(p)
    assert 0.01 < np.mean(np.array(p_values[0]) < 0.05) < 0.10 and len(p_values[0]) >= 180
    assert np.mean(np.array(p_values[1]) < 0.001) > 0.97


def test_race_and_scadding_are_those_of_table_2():
    table, diffuse = clinical_table(PAPER), is_diffuse(PAPER)
    assert (table.race[diffuse] == "white").sum() == 77 and (table.race[~diffuse] == "white").sum() == 141
    assert tuple(table.scadding[diffuse].value_counts().sort_index()) == SCADDING["diffuse"]
    assert tuple(table.scadding[~diffuse].value_counts().sort_index()) == SCADDING["hilar"]


def test_lung_function_follows_severity_sex_height_and_age():
    table, members = clinical_table(PAPER), plan_members(PAPER)
    severity = np.array([member.severity for member in members])
    own = is_diffuse(PAPER) & table.fev1_l.notna()
    columns = [severity[own], table.sex[own] == "M", table.height_cm[own], table.age[own], np.ones(own.sum())]
    slopes, *_ = np.linalg.lstsq(np.column_stack(columns).astype(float), table.fev1_l[own], rcond=None)
    assert slopes[0] < -0.2 and slopes[1] > 0 and slopes[2] > 0 and slopes[3] < 0


def test_about_three_percent_are_missing_and_no_label_stands_in_the_table():
    table = clinical_table(PAPER)
    assert 0.02 < table[["fev1_l", "cd4", "sobq", "bmi", "crp", "fas"]].isna().to_numpy().mean() < 0.04
    assert table[["subject", "race", "scadding", "age"]].notna().all(axis=None)
    assert not {"subtype", "severity"} & set(table.columns)


def test_written_tables_pass_the_pipelines_own_checks(folder):
    sheet, clinical = (read_table(folder / name) for name in ("subjects.tsv", "clinical.tsv"))
    associate = merged_study("virtual_sarcoidosis.yaml")["associate"]
    assert sheet_faults(folder / "subjects.tsv", sheet) == []
    assert clinical_faults(folder / "clinical.tsv", clinical, sheet.subject.tolist(), associate) == []
    assert reference_faults(folder / "truth/subjects.tsv", "subtype", sheet.subject.tolist()) == []
    named = {v["name"] for v in (*associate["table_one"], *associate["outcomes"])}
    assert named | set(associate["covariates"]) <= set(clinical.columns)


def test_written_scans_lie_on_the_templates_grid_and_give_the_array(folder, array):
    template, mask = read_given_template(folder / "template.nii.gz", folder / "template_lungs.nii.gz")
    fine = grid_around(mask, size=88, spacing_mm=3.0)
    assert fine.origin_mm == pytest.approx(mask.origin_mm)  # the cube of the networks is the template's own
    rows = {(m.subtype, m.number): row for row, m in enumerate(plan_members(SMALL))}
    for number, subject in enumerate(read_table(folder / "subjects.tsv").subject):
        scan = read_volume(folder / "registered" / f"{subject}.nii.gz")
        given = check_given_registration(scan, None, template=template, mask=mask)
        assert given.figures["hu_correlation"] > 0.1
        if number == 0:
            found = lung_hu_on_grid(given.ct, given.lungs, fine)
            member = plan_members(FILES)[0]
            assert np.array_equal(found, array[rows[member.subtype, member.number]])


def test_a_cohort_is_made_again_only_for_another_plan_or_other_code(folder):
    assert not list(folder.parent.glob("*.part"))
    assert made_already(folder, FILES, {"code": "abc"})
    assert not made_already(folder, SMALL, {"code": "abc"})
    assert not made_already(folder, FILES, {"code": "abd"})
    assert not made_already(folder.parent / "elsewhere", FILES, {"code": "abc"})


@pytest.mark.parametrize("name", ["virtual_sarcoidosis.yaml", "grads_clam.yaml"])
def test_study_configs_are_valid(name, tmp_path, monkeypatch):
    config = merged_study(name)
    monkeypatch.chdir(tmp_path)
    for key in ("image", "lungs"):
        if config["template"][key]:
            file = Path(config["template"][key])
            file.parent.mkdir(exist_ok=True)
            file.touch()
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    assert config_faults(config, schema) == []
