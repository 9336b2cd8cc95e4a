"""Checks the config, as YAML text and as merged values: all errors at once, unknown keys with the nearest valid one."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import prod

import jsonschema
import yaml

from lungtypes.cohort.engines import engine_faults
from lungtypes.cohort.tables import nearest
from lungtypes.errors import InputError

SHOWN_KEYS = 3  # places that a hint names when a key stands in several sections


def check_config(config: Mapping[str, object], schema: Mapping[str, object]) -> None:
    """Raise InputError that lists every fault of ``config`` with its key, value and the remedy."""
    faults = config_faults(config, schema)
    if faults:
        raise InputError("\n".join(faults))


def config_faults(config: Mapping[str, object], schema: Mapping[str, object]) -> list[str]:
    """Every fault of the merged config; values are compared with each other only when each is fine by itself.

    schema : JSON schema. An object in it may hold ``x-renamed: {old key: new dotted key}``.
    """
    validator = jsonschema.Draft202012Validator(schema)
    errors = sorted(validator.iter_errors(config), key=lambda error: [str(part) for part in error.path])
    places = _places(schema)
    texts = [text for error in errors for text in _texts(error, places)]
    texts += [f"{key}: found {value}, expected a finite number." for key, value in _not_finite(config)]
    return [f"config, {fault}" for fault in list(dict.fromkeys(texts)) or _contradictions(config)]


def typed(value: object, schema: Mapping[str, object]) -> object:
    """The config with numbers and truth values that came as text; `--config 'clam={batch: 4}'` gives text only."""
    if isinstance(value, Mapping):
        parts = schema.get("properties", {})
        return {key: typed(inner, parts.get(key, {})) for key, inner in value.items()}
    if isinstance(value, list):
        kinds = [kind for kind in (schema, *schema.get("oneOf", ())) if "items" in kind]
        return [typed(inner, kinds[0]["items"]) for inner in value] if kinds else value
    if not isinstance(value, str) or not schema or _fits(value, schema):
        return value
    try:
        meant = yaml.safe_load(value)
    except yaml.YAMLError:
        return value
    return meant if _fits(meant, schema) else value


def _fits(value: object, schema: Mapping[str, object]) -> bool:
    return jsonschema.Draft202012Validator(schema).is_valid(value)


def section_is_valid(config: Mapping[str, object], schema: Mapping[str, object], name: str) -> bool:
    """Whether one section of the config is there and fits its part of the schema."""
    return name in config and _fits(config[name], schema["properties"][name])


def k_faults(config: Mapping[str, object], n_training: int) -> list[str]:
    """Numbers of clusters that the training scans cannot fill; ``auto`` and faulty values are passed over."""
    faults = []
    for section in _clustering_sections(config):
        for name in ("n_clusters", "minimum"):
            value = config[section]["k"][name]
            if isinstance(value, int) and value > n_training - 1:
                faults.append(
                    f"config, {section}.k.{name}: found {value}, expected at most {n_training - 1} ({n_training} scans "
                    "to learn from). Lower it, or add scans."
                )
    return faults


def _clustering_sections(config: Mapping[str, object]) -> list[str]:
    return ["clam", *(["dcam"] if config["dcam"]["methods"] else [])]


def _contradictions(config: Mapping[str, object]) -> list[str]:
    """What each key allows by itself and two keys together do not."""
    faults = []
    networks = {"clam": "volumes"} if config["subjects"] else {"simulation": "simulation"}
    for section, grid in networks.items():
        size, strides, n_filters = config[grid]["size"], config[section]["strides"], len(config["clam"]["filters"])
        key = f"{section}.strides"
        if len(strides) != n_filters:
            faults.append(f"{key}: found {len(strides)} values, expected {n_filters} as in clam.filters.")
        if size % prod(strides):
            faults.append(f"{grid}.size: found {size}, expected a multiple of {prod(strides)} (product of {key}).")
    faults += _simulation_faults(config["simulation"])
    for section in _clustering_sections(config):
        k, at = config[section]["k"], f"{section}.k"
        if k["maximum"] < k["minimum"]:
            faults.append(f"{at}.maximum: found {k['maximum']}, expected at least {at}.minimum ({k['minimum']}).")
        if k["n_clusters"] != "auto" and k["n_clusters"] > k["maximum"]:
            faults.append(f"{at}.n_clusters: found {k['n_clusters']}, expected at most {at}.maximum ({k['maximum']}).")
        if k["n_clusters"] != "auto" and k["n_clusters"] < k["minimum"]:
            faults.append(f"{at}.n_clusters: found {k['n_clusters']}, expected at least {at}.minimum ({k['minimum']}).")
        window = config[section]["window_hu"]
        if window != "data" and window[0] >= window[1]:
            faults.append(f"{section}.window_hu: found the larger value first, expected [low, high] in HU.")
    if "dcam-supervised" in config["dcam"]["methods"] and not config["evaluate"]["reference_table"]:
        faults.append(
            "dcam.methods: found dcam-supervised without evaluate.reference_table, expected labels to learn from. Name "
            "the table, or take dcam-supervised out."
        )
    faults += _lesion_faults(config["dram"])
    for section in ("lungs", "register"):
        faults += _limit_faults(section, config[section]["checks"])
    faults += engine_faults(config["lungs"]["engine"], config["lungs"]["lungmask_weights"])
    maps = config["clam"]["map"]
    if maps["emulate_channel_bug"] and not maps["official"]:
        faults.append(
            "clam.map.emulate_channel_bug: found true without clam.map.official. Set it to false, or official to true."
        )
    window = config["maps"]["occlusion"]
    if window["stride_mm"] > window["window_mm"]:
        faults.append(
            f"maps.occlusion.stride_mm: found {window['stride_mm']}, expected at most maps.occlusion.window_mm "
            f"({window['window_mm']}): parts of the lung would never be covered. Lower it."
        )
    if config["template"]["minimum"] > config["template"]["maximum"]:
        faults.append("template.minimum: found more than template.maximum.")
    return faults + _template_contradictions(config["template"])


def _simulation_faults(study: Mapping[str, object]) -> list[str]:
    faults = []
    for name, other in (("image", "lungs"), ("lungs", "image")):
        value = study[name]
        if value and not study[other]:
            faults.append(f"simulation.{name}: found {value!r} without simulation.{other}, expected both or neither.")
        if value and not os.path.exists(value):
            faults.append(f"simulation.{name}: found {value!r}, which does not exist or cannot be read. Mend the path.")
    lesions = study["lesions"]
    if lesions["fixed_location"] > lesions["locations"]:
        found = f"found {lesions['fixed_location']}, expected at most {lesions['locations']}"
        faults.append(f"simulation.lesions.fixed_location: {found} (simulation.lesions.locations).")
    return faults


def _lesion_faults(section: Mapping[str, object]) -> list[str]:
    faults, edges = [], section["edges"]
    if section["methods"] and not section["table"]:
        faults.append(
            f"dram.methods: found {', '.join(section['methods'])} without dram.table, expected the lesion percentages "
            "or grades to learn from. Name the table, or leave dram.methods empty."
        )
    if (edges[0], edges[-1]) != (0, 100) or any(low >= high for low, high in pairwise(edges)):
        faults.append(f"dram.edges: found {edges}, expected rising percentages from 0 to 100. Mend them.")
    window = section["regions"]["window_hu"]
    if window[0] >= window[1]:
        faults.append("dram.regions.window_hu: found the larger value first, expected [low, high] in HU.")
    if section["mask"]["source"] == "refined" and not section["network"]["attention_grid"]:
        faults.append(
            "dram.mask.source: found refined with dram.network.attention_grid 0, expected an attention. Set dense, or "
            "a grid."
        )
    return faults


def _limit_faults(section: str, checks: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Limits are in order, and those that warn lie within those that fail."""
    faults = []
    for name, limits in checks.items():
        key = f"{section}.checks.{name}"
        for kind in ("warn", "fail"):
            if limits[kind] and limits[kind][0] > limits[kind][1]:
                faults.append(f"{key}.{kind}: found {limits[kind]}, expected [low, high].")
        warn, fail = limits["warn"], limits["fail"]
        if warn and fail and not (fail[0] <= warn[0] and warn[1] <= fail[1]):
            faults.append(f"{key}.warn: found {warn}, expected limits within {key}.fail ({fail}).")
    return faults


def _template_contradictions(template: Mapping[str, object]) -> list[str]:
    """The user's own template needs both of its files, and is never built, hence never frozen."""
    faults = []
    pairs = (("image", "lungs"), ("start_image", "start_lungs"))
    for name, other in (*pairs, *(pair[::-1] for pair in pairs)):
        value = template.get(name, "")
        if value and not template.get(other):
            faults.append(f"template.{name}: found {value!r} without template.{other}, expected both or neither.")
        if value and not os.path.exists(value):
            faults.append(f"template.{name}: found {value!r}, which does not exist or cannot be read. Mend the path.")
    lobes = template.get("lobes", "")
    if lobes and not os.path.exists(lobes):
        faults.append(f"template.lobes: found {lobes!r}, which does not exist or cannot be read. Mend the path.")
    if template.get("start_image") and template.get("image"):
        faults.append("template.start_image: found beside template.image, which is not built. Leave one of them out.")
    if template.get("frozen") and template.get("image"):
        faults.append("template.frozen: found true beside template.image, expected one of them. Set it to false.")
    return faults


def _texts(error: jsonschema.ValidationError, places: Mapping[str, Sequence[str]]) -> list[str]:
    place = ".".join(str(part) for part in error.path)
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        renamed = error.schema.get("x-renamed", {})
        texts = []
        for key in (str(key) for key in error.instance if key not in known):
            dotted = ".".join(filter(None, [place, key]))
            if key in renamed:
                texts.append(f"{dotted}: this key is now called {renamed[key]}. Rename it.")
            else:
                texts.append(f"{dotted}: this key is not known. {_hint(key, known, places)}")
        return texts
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        keys = [".".join(filter(None, [place, name])) for name in missing]
        return [f"{key}: is missing. Take it from config/config.yaml." for key in keys]
    return [f"{place}: found {error.instance!r}, expected: {_expected(error)}."]


def _hint(key: str, known: Sequence[str], places: Mapping[str, Sequence[str]]) -> str:
    """The key as spelt in another section, else the nearest here, else the nearest anywhere."""
    near = None if key in places else nearest(key, known)
    if near:
        return f"Did you mean {near}?"
    elsewhere = key if key in places else nearest(key, places)
    if elsewhere:
        return f"Did you mean {' or '.join(places[elsewhere][:SHOWN_KEYS])}?"
    return f"Known here: {', '.join(known)}."


def _places(schema: Mapping[str, object], above: str = "") -> dict[str, list[str]]:
    """Every key of the schema with the dotted keys under which it stands."""
    places: dict[str, list[str]] = {}
    for name, part in schema.get("properties", {}).items():
        dotted = f"{above}{name}"
        places.setdefault(name, []).append(dotted)
        for inner, keys in _places(part, f"{dotted}.").items():
            places.setdefault(inner, []).extend(keys)
    return places


def _not_finite(value: object, place: str = "") -> Iterator[tuple[str, float]]:
    """YAML knows .nan and .inf, and no limit of a schema catches .nan."""
    if isinstance(value, Mapping):
        items = value.items()
    else:
        items = enumerate(value) if isinstance(value, list | tuple) else ()
    for key, inner in items:
        yield from _not_finite(inner, f"{place}.{key}" if place else str(key))
    if isinstance(value, float) and not math.isfinite(value):
        yield place, value


def _expected(error: jsonschema.ValidationError) -> str:
    if error.validator == "oneOf":
        return " or ".join(_expected(inner) for inner in error.context)
    if error.validator == "enum":
        return "one of " + ", ".join(map(str, error.validator_value))
    if error.validator in ("minimum", "maximum", "exclusiveMinimum"):
        return f"{error.validator} {error.validator_value}"
    if error.validator == "type":
        return f"a value of type {error.validator_value}"
    return error.message
