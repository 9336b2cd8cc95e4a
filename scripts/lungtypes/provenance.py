"""What made a result: code stamps for reruns, logs, one record a job. Standard library only.

Every job's script imports this file, so that an edit of it makes everything again; what only reads the records lies in
``manifest.py`` and ``verification.py``.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

PACKAGE = "lungtypes"
STOPPED = "stopped: "  # opens the last line of a failed job's log
COHORT = "cohort"  # name of a job that is of no single subject or method
SCRIPTS = Path(__file__).resolve().parent.parent
DOCUMENTED = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
RECORDED_PACKAGES = (
    "antspyx",
    "matplotlib",
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
def stamp(*modules: str, script: str | None = None, texts: Sequence[str] = ()) -> str:
    """Hash of the syntax trees of ``modules``, of all of lungtypes that they import, of a script, and of text files.

    Comments, docstrings and formatting do not count. Snakemake does not see edits in imported
    packages; a rule that carries this stamp among its params reruns exactly when its code changed.
    """
    seen: dict[str, str] = {}
    for module in modules:
        _collect(module, seen)
    if script:
        seen[f"script:{script}"], imports = _parsed((SCRIPTS / script).read_text())
        for module in imports:
            _collect(module, seen)
    for text in texts:
        seen[f"text:{text}"] = sha256_of(SCRIPTS / text)
    return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()[:16]


def _collect(module: str, seen: dict[str, str]) -> None:
    path = SCRIPTS / Path(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if module in seen or not path.exists():
        return
    seen[module], imports = _parsed(path.read_text())
    for name in imports:
        _collect(name, seen)


@functools.cache  # every job reads the rule files again, and many rules share modules
def _parsed(source: str) -> tuple[str, tuple[str, ...]]:
    """Hash of a source text's syntax tree, and the modules of lungtypes that it imports."""
    words: list[str] = []
    imports: list[str] = []
    _write_tree(ast.parse(source), words, imports)
    return hashlib.sha256("".join(words).encode()).hexdigest(), tuple(imports)


def _write_tree(node: object, words: list[str], imports: list[str]) -> None:
    """A syntax tree without docstrings as words that every supported Python version agrees on (no empty fields)."""
    if isinstance(node, list):
        words.append("[")
        for item in node:
            _write_tree(item, words, imports)
            words.append(",")
        words.append("]")
        return
    if not isinstance(node, ast.AST):
        words.append(repr(node))
        return
    if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
        imports += [node.module, *[f"{node.module}.{alias.name}" for alias in node.names]]
    elif isinstance(node, ast.Import):
        imports += [alias.name for alias in node.names if alias.name.startswith(PACKAGE)]
    words.append(f"({type(node).__name__}")
    for name in node._fields:
        value = getattr(node, name, None)
        if name == "body" and isinstance(node, DOCUMENTED) and _is_docstring(value[0] if value else None):
            value = value[1:]
        if value is not None and value != []:
            words.append(f" {name}=")
            _write_tree(value, words, imports)
    words.append(")")


def _is_docstring(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


class _HidingFormatter(logging.Formatter):
    """Replaces source paths, which often hold names, in messages and tracebacks."""

    hidden: Sequence[str] = ()

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        for path in self.hidden:
            text = text.replace(path, "<source path>")
        return text


def open_log(path: str | Path, *, hide: Sequence[str] = ()) -> None:
    """Send all logging and an uncaught exception's traceback of this process to ``path`` (the latter to stderr too).

    hide : source paths that must not stand in a file under the results.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, mode="w")
    formatter = _HidingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S")
    formatter.hidden = [text for text in hide if text]
    handler.setFormatter(formatter)
    logging.getLogger("pydicom").setLevel(logging.ERROR)  # its warnings name files
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)

    def log_and_show(kind, error, trace):
        logging.getLogger(PACKAGE).error("stopped by %s", kind.__name__, exc_info=(kind, error, trace))
        one_line = " ".join(str(error).split())
        logging.getLogger(PACKAGE).error("%s%s: %s", STOPPED, kind.__name__, one_line)
        sys.__excepthook__(kind, error, trace)

    sys.excepthook = log_and_show


@contextlib.contextmanager
def whole_folder(target: str | Path) -> Iterator[Path]:
    """A fresh folder beside ``target`` that takes its place when the block ends well; whole or not at all."""
    target = Path(target)
    building = target.with_name(f".part-{target.name}")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    yield building
    shutil.rmtree(target, ignore_errors=True)
    building.rename(target)


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


def checksum_of(path: str | Path) -> str:
    """SHA-256 of a file, or of the names and bytes of all files of a folder."""
    path = Path(path)
    if not path.is_dir():
        return sha256_of(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    text = "".join(f"{file.relative_to(path)} {sha256_of(file)}\n" for file in files)
    return hashlib.sha256(text.encode()).hexdigest()


def content_checksum(path: str | Path) -> str:
    """SHA-256 of a file; of a folder, of its files' own checksums in their order, so that no file's name goes in.

    The file names of a scan often hold a person's, and a hash of few possible names can be guessed. What cannot be read
    is ``unreadable``: a faulty scan is reported by its stage and must not stop the run here.
    """
    path = Path(path)
    try:
        if not path.is_dir():
            return sha256_of(path)
        checksums = sorted(sha256_of(file) for file in path.rglob("*") if file.is_file())
    except OSError:
        return "unreadable"
    return hashlib.sha256("\n".join(checksums).encode()).hexdigest()


class JobParams(Protocol):
    """What every rule carries among its params: the results folder, its part of the config, its code's stamp."""

    results: str
    config: Mapping[str, object]
    code: str


class Inputs(Protocol):
    """A rule's inputs by role, as Snakemake hands them to a script."""

    def items(self) -> Iterable[tuple[str, str | Sequence[str]]]: ...


class Job(Protocol):
    """What Snakemake hands to a script as ``snakemake``."""

    rule: str
    params: JobParams
    input: Inputs
    output: Iterable[str]


def record(
    job: Job, *, name: str = COHORT, more_inputs: Mapping[str, str] | None = None, seed: int | None = None
) -> None:
    """Write provenance/{rule}/{name}.json: config, seed, code stamp, versions, device, threads, checksums.

    Of the inputs only what the user brought is hashed. Upstream results are left out: each of them has a record of its
    own with its checksum, against which ``snakemake verify`` holds the file, and hashing them once more for every job
    that reads them would cost a cohort hundreds of GB of reading.

    Parameters
    ----------
    job : the script's ``snakemake``. Folders among its outputs count with every file below them; paths are recorded
        relative to the results folder. Inputs that lie in the results folder are passed over.
    name : the subject or method of the job.
    more_inputs : what the user brought by role, where it is no input of the rule.
    seed : what the job's random choices came from, where that is not ``params.config["seed"]`` itself.
    """
    params, root = job.params, Path(job.params.results)
    inputs = [*job.input.items(), *(more_inputs or {}).items()]
    files: list[Path] = []
    for output in map(Path, job.output):
        files += sorted(p for p in output.rglob("*") if p.is_file()) if output.is_dir() else [output]
    content = {
        "rule": job.rule,
        "name": name,
        "config": without_paths(params.config),
        "seed": params.config.get("seed") if seed is None else seed,
        "code": params.code,
        "python": platform.python_version(),
        "packages": package_versions(),
        "machine": platform.machine(),
        "processor": _processor(),
        "device": _device(),
        "threads": _threads(),
        "ended_utc": utc_now(),
        "inputs": _given(inputs, root=root, name=name),
        "outputs": [os.path.relpath(output, root) for output in job.output],
        "sha256": {os.path.relpath(f, root): sha256_of(f) for f in files},
    }
    write_json(root / "provenance" / job.rule / f"{name}.json", content)


def _given(inputs: Iterable[tuple[str, str | Sequence[str]]], *, root: Path, name: str) -> dict[str, str]:
    """Checksums of what the user brought, by subject or method and role; a path may name a person, so it stays out."""
    inside, found = os.path.abspath(root), {}
    for role, value in inputs:
        key = role if name == COHORT else f"{name}/{role}"
        if isinstance(value, str):
            several = {key: value}
        else:
            several = {f"{key}/{number}": path for number, path in enumerate(value, start=1)}
        for place, path in several.items():
            if path and os.path.commonpath([inside, os.path.abspath(path)]) != inside:
                found[place] = content_checksum(path)
    return found


def _device() -> str:
    """Where this process computed: ``cpu``, or the card's name with its libraries once CUDA was used."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return "cpu"
    libraries = f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    return f"{torch.cuda.get_device_name()} ({libraries})"


def _processor() -> str:
    """The processor's name: libraries choose their kernels by it, which can change last digits."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _threads() -> dict[str, int | None]:
    """Threads of the libraries that this process loaded; null for the others."""
    torch, sitk = sys.modules.get("torch"), sys.modules.get("SimpleITK")
    ants, blas = os.environ.get("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"), os.environ.get("OMP_NUM_THREADS")
    itk = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() if sitk else None
    return {
        "itk": int(ants) if ants else itk,
        "torch": torch.get_num_threads() if torch else None,
        "blas": int(blas) if blas else None,
    }


def utc_now() -> str:
    """Date and time of now in UTC, as the records hold them."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that decide the numbers."""
    versions = {}
    for name in RECORDED_PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


PATH_IN_TEXT = re.compile(r"(^|[\s=:,{\[\"'])([/~]|\.\./)")


def without_paths(value: object) -> object:
    """The same with text that looks like a path out of the study's folder replaced: it may name a person or a site."""
    if isinstance(value, Mapping):
        return {name: without_paths(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(item) for item in value]
    if isinstance(value, str) and PATH_IN_TEXT.search(value):
        return "<path>"
    return value
