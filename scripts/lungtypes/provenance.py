"""What made a result: code stamps for reruns, logs, records of versions and checksums. Standard library only."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path

PACKAGE = "lungtypes"
SCRIPTS = Path(__file__).resolve().parent.parent
RECORDED_PACKAGES = (
    "antspyx",
    "numpy",
    "pandas",
    "pydicom",
    "scikit-learn",
    "scipy",
    "SimpleITK",
    "snakemake",
    "statsmodels",
    "torch",
)


@functools.cache
def stamp(*modules: str, script: str | None = None, text: str | None = None) -> str:
    """Hash of the syntax trees of ``modules``, of all of lungtypes that they import, of a script, and of a text file.

    Comments, docstrings and formatting do not count. Snakemake does not see edits in imported
    packages; a rule that carries this stamp among its params reruns exactly when its code changed.
    """
    seen: dict[str, str] = {}
    for module in modules:
        _collect(module, seen)
    if script:
        path = SCRIPTS / script
        tree = ast.parse(path.read_text())
        seen[f"script:{script}"] = _tree_hash(tree)
        for module in _imports(tree):
            _collect(module, seen)
    if text:
        seen[f"text:{text}"] = sha256_of(SCRIPTS / text)
    return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()[:16]


def _collect(module: str, seen: dict[str, str]) -> None:
    path = SCRIPTS / Path(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if module in seen or not path.exists():
        return
    tree = ast.parse(path.read_text())
    seen[module] = _tree_hash(tree)
    for name in _imports(tree):
        _collect(name, seen)


def _imports(tree: ast.Module) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
            names += [node.module, *[f"{node.module}.{alias.name}" for alias in node.names]]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names if alias.name.startswith(PACKAGE)]
    return names


def _tree_hash(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        documented = isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)
        if documented and body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            node.body = body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def open_log(path: str | Path) -> None:
    """Send all logging and an uncaught exception's traceback of this process to ``path`` (and stderr)."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, mode="w")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)

    def log_and_show(kind, error, trace):
        logging.getLogger(PACKAGE).error("stopped by %s", kind.__name__, exc_info=(kind, error, trace))
        sys.__excepthook__(kind, error, trace)

    sys.excepthook = log_and_show


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".part-{os.getpid()}-{path.name}")
    temporary.write_text(text)
    os.replace(temporary, path)


def write_json(path: str | Path, content: Mapping[str, object]) -> None:
    """Write a JSON file whole or not at all, keys sorted."""
    write_text(path, json.dumps(content, indent=1, sort_keys=True, default=float) + "\n")


def write_table(path: str | Path, table: object) -> None:
    """Write a DataFrame as TSV whole or not at all: a missing value is empty, numbers keep their digits."""
    write_text(path, table.to_csv(sep="\t", index=False))


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def record(folder: str | Path, rule: str, name: str, *, config: Mapping, code: str, outputs: list[str]) -> None:
    """Write provenance/{rule}/{name}.json: config, code stamp, versions, checksums of the outputs.

    Directories count with every file below them. Paths are written relative to ``folder``.
    """
    files: list[Path] = []
    for output in map(Path, outputs):
        files += sorted(p for p in output.rglob("*") if p.is_file()) if output.is_dir() else [output]
    root = Path(folder)
    content = {
        "rule": rule,
        "config": config,
        "code": code,
        "python": platform.python_version(),
        "packages": package_versions(),
        "machine": platform.machine(),
        "itk_threads": os.environ.get("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"),
        "ended_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "sha256": {os.path.relpath(f, root): sha256_of(f) for f in files},
    }
    write_json(root / "provenance" / rule / f"{name}.json", content)


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that decide the numbers."""
    versions = {}
    for name in RECORDED_PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def write_run_manifest(results: str, *, state: str, config: Mapping, sheet: str, command: list[str]) -> None:
    """Write provenance/run.json: how the last run ended, config, sheet checksum, command, versions."""
    write_json(
        Path(results) / "provenance" / "run.json",
        {
            "state": state,
            "config": config,
            "sheet_sha256": sha256_of(sheet),
            "command": [Path(command[0]).name, *command[1:]],
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": package_versions(),
            "ended_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        },
    )
