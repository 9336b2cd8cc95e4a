"""Checks the merged config against its schema: all errors at once, unknown keys with the nearest valid one."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from math import prod

import jsonschema

from lungtypes.errors import InputError


def check_config(config: Mapping[str, object], schema: Mapping[str, object]) -> None:
    """Raise InputError that lists every fault of ``config`` with its key, value and the remedy."""
    validator = jsonschema.Draft202012Validator(schema)
    errors = sorted(validator.iter_errors(config), key=lambda error: [str(part) for part in error.path])
    texts = [text for error in errors for text in _texts(error)]
    faults = list(dict.fromkeys(texts)) or _contradictions(config)
    if faults:
        raise InputError("\n".join(f"config, {fault}" for fault in faults))


def _contradictions(config: Mapping[str, object]) -> list[str]:
    """What each key allows by itself and two keys together do not."""
    faults = []
    size, strides, filters = config["volumes"]["size"], config["clam"]["strides"], config["clam"]["filters"]
    if len(strides) != len(filters):
        faults.append(f"clam.strides: found {len(strides)} values, expected {len(filters)} as in clam.filters.")
    if size % prod(strides):
        faults.append(f"volumes.size: found {size}, expected a multiple of {prod(strides)} (product of clam.strides).")
    k = config["clam"]["k"]
    if k["maximum"] < k["minimum"]:
        faults.append(f"clam.k.maximum: found {k['maximum']}, expected at least clam.k.minimum ({k['minimum']}).")
    if k["n_clusters"] != "auto" and k["n_clusters"] > k["maximum"]:
        faults.append(f"clam.k.n_clusters: found {k['n_clusters']}, expected at most clam.k.maximum ({k['maximum']}).")
    for low, high in (("lungs.min_total_ml", "lungs.max_total_ml"), ("lungs.min_side_ratio", "lungs.max_side_ratio")):
        (section, first), second = low.split("."), high.split(".")[1]
        if config[section][first] >= config[section][second]:
            faults.append(f"{low}: found {config[section][first]}, expected less than {high}.")
    if config["template"]["minimum"] > config["template"]["maximum"]:
        faults.append("template.minimum: found more than template.maximum.")
    if config["clam"]["window_hu"][0] >= config["clam"]["window_hu"][1]:
        faults.append("clam.window_hu: found the larger value first, expected [low, high] in HU.")
    return faults


def _texts(error: jsonschema.ValidationError) -> list[str]:
    place = ".".join(str(part) for part in error.path)
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        texts = []
        for key in error.instance:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                hint = f"Did you mean {near[0]}?" if near else f"Known here: {', '.join(known)}."
                texts.append(f"{'.'.join(filter(None, [place, str(key)]))}: this key is not known. {hint}")
        return texts
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        keys = [".".join(filter(None, [place, name])) for name in missing]
        return [f"{key}: is missing. Take it from config/config.yaml." for key in keys]
    return [f"{place}: found {error.instance!r}, expected: {_expected(error)}."]


def _expected(error: jsonschema.ValidationError) -> str:
    if error.validator == "enum":
        return "one of " + ", ".join(map(str, error.validator_value))
    if error.validator in ("minimum", "maximum", "exclusiveMinimum"):
        return f"{error.validator} {error.validator_value}"
    return error.message
