"""The frozen folder of a study: what is in it, whether any of it changed, and the config of a run that assigns with it.

``manifest.json`` holds the settings that decide a scan's numbers, the methods, and the SHA-256 of every other file.
Rule files read it, so nothing heavy is imported.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from lungtypes.errors import InputError
from lungtypes.provenance import package_versions, sha256_of, write_json

MANIFEST = "manifest.json"
FORMAT = 1
METHODS = ("clam", "dcam", "dcam-encoder", "dcam-supervised")
SETTINGS = ("seed", "itk_threads", "ingest", "lungs", "resample", "register", "volumes", "clam", "dcam")
TEMPLATE_FILES = ("template.nii.gz", "mask.nii.gz")
WEIGHTS = "lungmask_weights"  # a path on the user's disk; everything else of a study goes along
DECISIVE = ("antspyx", "numpy", "scikit-learn", "scipy", "SimpleITK", "torch")  # packages that a scan's numbers pass
AGAIN = "Copy the folder again from where it was made, or make it anew (`snakemake freeze` in the study)."


def frozen_folder(config: Mapping[str, object]) -> str:
    """Where the config says that a frozen model lies; empty for a study of its own, and for what the schema refuses."""
    section = config.get("assign")
    folder = section.get("frozen") if isinstance(section, Mapping) else ""
    return folder.rstrip("/") if isinstance(folder, str) else ""


def frozen_settings(config: Mapping[str, object]) -> dict[str, object]:
    """What of a study's config decides the numbers of its scans, without paths."""
    chosen = {name: config[name] for name in SETTINGS}
    return {**chosen, "lungs": {k: v for k, v in config["lungs"].items() if k != WEIGHTS}}


def write_manifest(
    folder: Path, *, settings: Mapping[str, object], methods: Mapping[str, Mapping], lungmask_sha256: str = ""
) -> None:
    """Write manifest.json beside the other files of ``folder``, which are complete.

    methods : by name, what a reader should know of each model (k, flag, ...). lungmask_sha256 : of the lung network's
    weights, which do not go along; empty for the classical engine.
    """
    files = {str(p.relative_to(folder)): sha256_of(p) for p in sorted(folder.rglob("*")) if p.is_file()}
    content = {"format": FORMAT, "settings": settings, "methods": methods, "lungmask_sha256": lungmask_sha256}
    content |= {"packages": package_versions(), "files": files}
    write_json(folder / MANIFEST, {**content, "digest": _digest(content)})


def read_manifest(folder: str | Path) -> dict[str, object]:
    """The manifest of a frozen folder, itself unchanged.

    Raises InputError when there is none, or when it was edited.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise InputError(
            f"config, assign.frozen: found {str(folder)!r} without {MANIFEST}, expected the folder that `snakemake "
            "freeze` writes. Mend the path, or freeze the study first."
        )
    try:
        content = json.loads(path.read_text())
        said = content.pop("digest")
        whole = said == _digest(content) and set(content["methods"]) <= set(METHODS)
    except (ValueError, KeyError, AttributeError, TypeError):
        whole = False
    if not whole:
        raise InputError(f"{path}: found another content than was frozen. {AGAIN}")
    if content["format"] != FORMAT:
        raise InputError(
            f"{path}: found format {content['format']}, expected {FORMAT}. Freeze the study again with this version."
        )
    return {**content, "digest": said}


def check_frozen(folder: str | Path, *, only: Sequence[str] = ("",)) -> dict[str, object]:
    """The manifest, after all files that it lists were found unchanged.

    only : beginnings of the names to look at; all by default.
    Raises InputError that names every file that is missing or was changed.
    """
    manifest, faults = read_manifest(folder), []
    for name, expected in manifest["files"].items():
        path = Path(folder) / name
        if name.startswith(tuple(only)):
            found = sha256_of(path) if path.is_file() else ""
            if found != expected:
                words = f"found SHA-256 {found[:12]}..., expected {expected[:12]}..." if found else "found no file"
                faults.append(f"{path}: {words}. {AGAIN}")
    if faults:
        raise InputError("\n".join(faults))
    return manifest


def check_weights(manifest: Mapping[str, object], weights: str) -> None:
    """Raise InputError when the lung network's weights are not those that the study's lungs were found with."""
    expected = manifest["lungmask_sha256"]
    if expected and (not Path(weights).is_file() or sha256_of(weights) != expected):
        raise InputError(
            f"config, lungs.{WEIGHTS}: found other weights than the frozen study's, expected SHA-256 "
            f"{expected[:12]}... Name that file."
        )


def config_of_assignment(config: Mapping[str, object], folder: str, manifest: Mapping[str, object]) -> dict:
    """The config of a run that assigns new scans: the frozen settings and template, and nothing that learns or tests.

    What the frozen study set is taken as it was, whatever ``config`` says.
    """
    chosen = {**config, **manifest["settings"]}
    image, lungs = (f"{folder}/{name}" for name in TEMPLATE_FILES)
    changes = {
        "lungs": {WEIGHTS: config["lungs"][WEIGHTS]} if isinstance(config["lungs"], Mapping) else {},
        "template": {"image": image, "lungs": lungs, "lobes": "", "frozen": False},
        "clam": {"enabled": False},
        "dcam": {"methods": []},
        "dram": {"methods": [], "table": ""},
        "evaluate": {"reference_table": "", "reference_column": ""},
        "associate": {"phenotypes": [], "external": {"assignment": "", "clinical": ""}},
    }
    for section, values in changes.items():
        if isinstance(chosen[section], Mapping):  # else the schema's fault
            chosen[section] = {**chosen[section], **values}
    return {**chosen, "clinical": ""}


def version_note(manifest: Mapping[str, object]) -> str:
    """One line when other versions are installed than when the model was frozen; empty otherwise."""
    now, then = package_versions(), manifest["packages"]
    other = [f"{name} {then.get(name)} (here {now.get(name)})" for name in DECISIVE if now.get(name) != then.get(name)]
    return f"the model was frozen with {', '.join(other)}: numbers may differ in more than rounding." if other else ""


def _digest(content: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=float).encode()).hexdigest()
