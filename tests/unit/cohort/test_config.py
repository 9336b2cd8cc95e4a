"""Config faults are all reported at once, with key and remedy; YAML text is checked before it becomes values."""

import copy
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from snakemake.utils import update_config

from lungtypes.cohort.config import check_config, config_faults, k_faults, typed
from lungtypes.cohort.config_files import file_faults
from lungtypes.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
CONFIG = yaml.safe_load((ROOT / "config/config.yaml").read_text())


def changed(**changes):
    """The default config with new values by key; __ stands for the dot between section and key."""
    config = copy.deepcopy(CONFIG)
    for dotted, value in changes.items():
        *sections, key = dotted.split("__")
        section = config
        for name in sections:
            section = section[name]
        section[key] = value
    return config


def test_shipped_configs_are_valid():
    check_config(CONFIG, SCHEMA)
    shipped = [ROOT / "config/demo.yaml", ROOT / "config/simulation.yaml", *(ROOT / "config").glob("*/*.yaml")]
    assert len(shipped) > 6 and file_faults(ROOT / "config/config.yaml") == []
    for path in shipped:
        config = copy.deepcopy(CONFIG)
        update_config(config, yaml.safe_load(path.read_text()))
        faults = [fault for fault in config_faults(config, SCHEMA) if "which does not exist" not in fault]
        assert faults == [] and file_faults(path) == []  # a study's files are made or brought later


@pytest.mark.parametrize(
    ("preset", "expected"),
    [  # what the paper prints, and what its authors' code does (Ryan et al. 2020, eq. 2-11; github.com/ryansar/CLAM)
        (
            "clam_paper",
            {
                "background": "zero",
                "filters": [32, 64, 128],
                "loss": "sum",
                "pretrain": {"epochs": 200, "learning_rate": 1e-3, "held_out": 0},
                "cluster": {"gamma": 0.1, "epochs": 500, "learning_rate": 1e-3, "latent_scale": "none"},
                "map": {"population": "balanced", "official": False, "emulate_channel_bug": False},
            },
        ),
        (
            "clam_official",
            {
                "window_hu": "data",
                "filters": [16, 32, 64],
                "output": "leaky_relu",
                "loss": "mean",
                "pretrain": {"epochs": 100, "learning_rate": 1e-3, "held_out": 0},
                "cluster": {"gamma": 0.1, "epochs": 100, "learning_rate": 1e-3, "latent_scale": "none"},
                "map": {"official": True, "emulate_channel_bug": False},
            },
        ),
    ],
)
def test_presets_are_what_they_are_named_after(preset, expected):
    config = copy.deepcopy(CONFIG)
    update_config(config, yaml.safe_load((ROOT / f"config/presets/{preset}.yaml").read_text()))
    for key, value in expected.items():
        found = config["clam"][key]
        assert value == ({name: found[name] for name in value} if isinstance(value, dict) else found), key


def test_every_config_fault_is_named_with_the_nearest_key():
    with pytest.raises(InputError) as fault:
        check_config(changed(clam__filtres=3, device="gpu", max_failed_fraction=7, seed="one"), SCHEMA)
    assert str(fault.value).splitlines() == [
        "config, clam.filtres: this key is not known. Did you mean filters?",
        "config, device: found 'gpu', expected: one of auto, cpu, cuda.",
        "config, max_failed_fraction: found 7, expected: maximum 1.",
        "config, seed: found 'one', expected: a value of type integer.",
    ]


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("n_clusters", "Did you mean clam.k.n_clusters or dcam.k.n_clusters?"),
        ("clam__n_clusters", "Did you mean clam.k.n_clusters or dcam.k.n_clusters?"),
        ("pretrian", "Did you mean clam.pretrain?"),
        ("clam__spacing_mm", "Did you mean resample.spacing_mm or volumes.spacing_mm or volumes.native.spacing_mm?"),
        ("clam__k__qqqqqq", "Known here: n_clusters, minimum"),
    ],
)
def test_keys_of_another_section_are_found_there(key, hint):
    (fault,) = config_faults(changed(**{key: 3}), SCHEMA)
    assert fault.startswith(f"config, {key.replace('__', '.')}: this key is not known. {hint}")


def test_keys_with_an_old_name_are_told_the_new_one():
    schema = copy.deepcopy(SCHEMA)
    schema["properties"]["clam"]["x-renamed"] = {"filtres": "clam.filters"}
    faults = config_faults(changed(clam__filtres=3, clam__slop=1), schema)
    assert faults == [
        "config, clam.filtres: this key is now called clam.filters. Rename it.",
        "config, clam.slop: this key is not known. Did you mean slope?",
    ]


def test_missing_keys_and_values_of_several_kinds_are_put_in_words():
    config = changed(clam__k__n_clusters=1)
    del config["resample"]["margin_mm"]
    assert config_faults(config, SCHEMA) == [
        "config, clam.k.n_clusters: found 1, expected: one of auto or minimum 2.",
        "config, resample.margin_mm: is missing. Take it from config/config.yaml.",
    ]


def test_numbers_that_are_not_finite_are_refused():
    faults = config_faults(changed(clam__slope=float("nan"), template__iterations=[1, float("inf")]), SCHEMA)
    assert "config, clam.slope: found nan, expected a finite number." in faults
    assert "config, template.iterations.1: found inf, expected a finite number." in faults


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"volumes__size": 45}, "volumes.size: found 45, expected a multiple of 8"),
        ({"clam__strides": [2, 2]}, "clam.strides: found 2 values, expected 3 as in clam.filters"),
        ({"clam__k__maximum": 1}, "clam.k.maximum: found 1, expected at least clam.k.minimum (2)"),
        ({"clam__k__n_clusters": 2, "clam__k__minimum": 3}, "clam.k.n_clusters: found 2, expected at least clam.k.min"),
        (
            {"maps__occlusion__stride_mm": 500},
            "maps.occlusion.stride_mm: found 500, expected at most maps.occlusion.win",
        ),
        ({"clam__k__n_null": 38}, "clam.k.n_null: found 38, expected: minimum 39"),
        ({"clam__k__n_permutations": 1}, "clam.k.n_permutations: found 1, expected: minimum 2"),
        ({"clam__k__n_clusters": 9}, "clam.k.n_clusters: found 9, expected at most clam.k.maximum (8)"),
        ({"lungs__checks__solidity__warn": [1, 0.5]}, "lungs.checks.solidity.warn: found [1, 0.5], expected [low, hi"),
        (
            {"lungs__checks__total_ml__warn": [1000, 8500]},
            "lungs.checks.total_ml.warn: found [1000, 8500], expected limits within lungs.checks.total_ml.fail",
        ),
        ({"template__minimum": 61}, "template.minimum: found more than template.maximum"),
        ({"clam__window_hu": [5, 5]}, "clam.window_hu: found the larger value first"),
        (
            {"dcam__methods": ["dcam"], "dcam__k__n_clusters": 9},
            "dcam.k.n_clusters: found 9, expected at most dcam.k.max",
        ),
        (
            {"dcam__methods": ["dcam-supervised"]},
            "dcam.methods: found dcam-supervised without evaluate.reference_table",
        ),
        (
            {"dram__methods": ["dram", "dram-cam"]},
            "dram.methods: found dram, dram-cam without dram.table, expected the lesion percentages",
        ),
        ({"dram__edges": [0, 5, 5, 100]}, "dram.edges: found [0, 5, 5, 100], expected rising percentages from 0 to 1"),
        ({"dram__edges": [0, 5, 25]}, "dram.edges: found [0, 5, 25], expected rising percentages from 0 to 100"),
        ({"dram__network__attention_grid": 0}, "dram.mask.source: found refined with dram.network.attention_grid 0, "),
        ({"dram__regions__window_hu": [5, 5]}, "dram.regions.window_hu: found the larger value first"),
        ({"template__image": str(ROOT)}, f"template.image: found {str(ROOT)!r} without template.lungs, expected both"),
        ({"template__lungs": str(ROOT)}, f"template.lungs: found {str(ROOT)!r} without template.image, expected both"),
        ({"template__image": "no.nii", "template__lungs": str(ROOT)}, "template.image: found 'no.nii', which does not"),
        ({"template__image": str(ROOT), "template__lungs": "no.nii"}, "template.lungs: found 'no.nii', which does not"),
        ({"template__start_image": str(ROOT)}, f"template.start_image: found {str(ROOT)!r} without template.start_lu"),
        (
            {f"template__{name}": str(ROOT) for name in ("image", "lungs", "start_image", "start_lungs")},
            "template.start_image: found beside template.image, which is not built",
        ),
        (
            {"register__checks__dice__warn": [0.5, 1]},
            "register.checks.dice.warn: found [0.5, 1], expected limits",
        ),
        (
            {"template__image": str(ROOT), "template__lungs": str(ROOT), "template__frozen": True},
            "template.frozen: found true beside template.image, expected one of them",
        ),
    ],
)
def test_contradicting_values_are_refused(changes, expected):
    (fault,) = config_faults(changed(**changes), SCHEMA)
    assert fault.startswith(f"config, {expected}")


def test_without_attention_the_dense_map_makes_the_mask():
    assert config_faults(changed(dram__network__attention_grid=0, dram__mask__source="dense"), SCHEMA) == []


def test_limits_of_the_lungs_have_new_names_and_hold_numbers():
    renamed, kind = config_faults(changed(lungs__min_total_ml=1000.0, lungs__checks__pieces__warn="many"), SCHEMA)
    assert "lungs.checks.pieces.warn: found 'many', expected" in renamed + kind
    assert "config, lungs.min_total_ml: this key is now called lungs.checks.total_ml. Rename it." in (renamed, kind)


def test_keys_of_registration_have_new_names():
    old = {"register__min_dice": 0.9, "register__mask_sigma_mm": 1.5, "template__mask_sigma_mm": 1.5}
    faults = "\n".join(config_faults(changed(**old), SCHEMA))
    for key, new in (("register.min_dice", "register.checks.dice"), ("template.mask_sigma_mm", "register.distance_mm")):
        assert f"config, {key}: this key is now called {new}. Rename it." in faults


def test_an_engine_that_is_not_installed_is_refused_before_any_scan(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lungmask", None)
    faults = config_faults(changed(lungs__engine="lungmask"), SCHEMA)
    assert [fault.split(":")[0] for fault in faults] == ["config, lungs.lungmask_weights", "config, lungs.engine"]
    assert "Fetch unet_r231" in faults[0] and "pip install lungmask" in faults[1]
    monkeypatch.setitem(sys.modules, "lungmask", ModuleType("lungmask"))
    (tmp_path / "r231.pth").touch()
    weights = str(tmp_path / "r231.pth")
    assert config_faults(changed(lungs__engine="lungmask", lungs__lungmask_weights=weights), SCHEMA) == []


def test_text_from_the_command_line_sets_limits():
    given = {"lungs": {"checks": {"total_ml": {"warn": ["2000", "9000"], "fail": "null"}}}}
    assert typed(given, SCHEMA)["lungs"]["checks"]["total_ml"] == {"warn": [2000, 9000], "fail": None}


def test_a_template_of_ones_own_with_both_files_and_a_frozen_one_are_allowed():
    assert config_faults(changed(template__image=str(ROOT), template__lungs=str(ROOT)), SCHEMA) == []
    assert config_faults(changed(template__frozen=True), SCHEMA) == []


def test_contradictions_wait_for_values_that_are_fine_by_themselves():
    (fault,) = config_faults(changed(volumes__size=45, clam__strides="two"), SCHEMA)
    assert fault.startswith("config, clam.strides: found 'two'")


def test_more_clusters_than_scans_less_one_are_refused():
    assert k_faults(changed(clam__k__n_clusters=12), 8) == [
        "config, clam.k.n_clusters: found 12, expected at most 7 (8 scans to learn from). Lower it, or add scans."
    ]
    (fault,) = k_faults(changed(clam__k__minimum=5), 5)
    assert fault.startswith("config, clam.k.minimum: found 5, expected at most 4 (5 scans to learn from)")
    assert k_faults(CONFIG, 3) == [] == k_faults(changed(clam__k__n_clusters=7), 8)


def yaml_faults(tmp_path, text):
    path = tmp_path / "study.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [fault.replace(str(path), "F") for fault in file_faults(path)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "seed: 1\nclam:\n  batch: 2\n  batch: 3\n",
            "F, line 4: found key clam.batch again (line 3), expected it once",
        ),
        ("a: [{b: 1, c: 2, b: 3}]\n", "F, line 1: found key a.b again (line 1)"),
        ("a: &x 1\n", "F, line 1: found &x, expected no anchors or aliases"),
        ("seed: 1\n---\nseed: 2\n", "F, line 2: found a second document"),
        ("seed: 1\nclam: a: b\n", "F, line 2, column 8: found no valid YAML (mapping values are not allowed"),
        ("seed: [1\n", "F, line 2, column 1: found no valid YAML"),
        ("a: !!python/object/apply:os.system [ls]\n", "F, line 1: found the tag tag:yaml.org,2002:python/object"),
        ("a: 1\nb: !mine 1\n", "F, line 2: found the tag !mine"),
        ("a:\n  " + "[" * 20 + "]" * 20, "F, line 2: found more than 20 levels"),
        ("a: " + "[" * 200_000, "F, line 1: found more than 20 levels"),
        ("a: 1\nb: \x07\n", "F, line 2: found a control character"),
        (b"a: 1\nb: M\xfcller\n", "F, line 2: found text that is not UTF-8"),
        ("#" * (256 * 1024 + 1), "F: found 257 KB, expected at most 256"),
    ],
)
def test_what_yaml_would_drop_expand_or_run_is_refused_with_its_line(tmp_path, text, expected):
    (fault,) = yaml_faults(tmp_path, text)
    assert fault.startswith(expected)


def test_aliases_are_refused_where_they_stand_and_never_expanded(tmp_path):
    levels = [f"{name}: &{name} [{', '.join([f'*{above}'] * 9)}]" for above, name in pairwise("abcdefghi")]
    faults = yaml_faults(tmp_path, "\n".join(["a: &a [x]", *levels]))
    assert faults[0] == "F, line 1: found &a, expected no anchors or aliases. Write the value out."
    assert len(faults) == 9 + 8 * 9 and faults[-1].startswith("F, line 9: found *h")


def test_equal_keys_of_different_mappings_and_equal_values_are_fine(tmp_path):
    assert yaml_faults(tmp_path, "a: {x: a, y: a}\nb:\n  - {x: x}\n  - {x: [x, x]}\nc: !!str 1\nx: 1\n") == []
    assert yaml_faults(tmp_path, '{"seed": 1,\n "clam": {"batch": 2}}') == []


def test_a_missing_config_file_is_named(tmp_path):
    (fault,) = file_faults(tmp_path / "no.yaml")
    assert fault.startswith(f"{tmp_path / 'no.yaml'}: found no readable file (No such file or directory)")


def test_text_from_the_command_line_becomes_what_the_key_holds():
    given = {
        "clam": {"batch": "4", "k": {"n_clusters": "3"}, "strides": ["2", "2", "1"], "enabled": "false"},
        "dcam": {"window_hu": ["-1024.0", "-200.0"]},
        "simulation": {"fitted": ["2", "3"]},
        "template": {"frozen": "true", "image": "1"},
        "device": "cpu",
        "seed": "many",
        "phantom": {"per_group": "8"},
        "novel": "3",
    }
    assert typed(given, SCHEMA) == {
        "clam": {"batch": 4, "k": {"n_clusters": 3}, "strides": [2, 2, 1], "enabled": False},
        "dcam": {"window_hu": [-1024.0, -200.0]},
        "simulation": {"fitted": [2, 3]},
        "template": {"frozen": True, "image": "1"},
        "device": "cpu",
        "seed": "many",
        "phantom": {"per_group": 8},
        "novel": "3",
    }
