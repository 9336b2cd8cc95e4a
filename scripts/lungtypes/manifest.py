"""The manifest of a run, provenance/manifest.json: what made the results, and the checksum of every product.

It is put together from the records that the jobs leave (``provenance.record``), so that it also holds what earlier runs
computed. Standard library only, since rule files import it. Two manifests of equal studies are equal, but for the
section ``run``, which holds times and the like.
"""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from lungtypes.errors import InputError
from lungtypes.provenance import package_versions, sha256_of, utc_now, without_paths, write_json

MANIFEST = "provenance/manifest.json"
CODE_FILES = ("Snakefile", "workflow", "scripts", "envs")  # a user's own sheets and config do not make the code another
GIT_SECONDS = 60  # a clone on a slow network disk
TEXTS, MAPPINGS = ("rule", "name", "code"), ("sha256", "packages")  # what no record lacks


def read_records(results: Path) -> tuple[list[dict], list[str]]:
    """All records below ``results``, oldest first, and the paths of those that cannot be read or trusted.

    A record that names a file outside of the results is not trusted: it would be looked for, and may have been edited.
    """
    found, damaged = [], []
    for path in sorted((results / "provenance").glob("*/*.json")):
        content = _read(path)
        if content is None:
            damaged.append(path.relative_to(results).as_posix())
        else:
            found.append(content)
    return sorted(found, key=lambda content: str(content.get("ended_utc"))), damaged


def _read(path: Path) -> dict | None:
    try:
        content = json.loads(path.read_bytes())
        # earlier versions did not repeat the file's name in it
        content = {"name": path.stem, **content}
        whole = all(isinstance(content[key], str) for key in TEXTS)
        whole = whole and all(isinstance(content[key], dict) for key in MAPPINGS)
        whole = whole and all(isinstance(checksum, str) for checksum in content["sha256"].values())
        return content if whole and all(map(_is_inside, content["sha256"])) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name


def job_of(record: Mapping[str, object]) -> str:
    """Rule and name of a record's job, by which manifests hold what belongs to a job."""
    return f"{record['rule']}/{record['name']}"


def newest_records(records: Sequence[Mapping]) -> dict[str, Mapping]:
    """By product the record that is about it: the newest, where a config change gave it to another rule."""
    return {file: record for record in records for file in record["sha256"]}


def write_run_manifest(
    results: str,
    *,
    state: str,
    config: Mapping[str, object],
    sheets: Mapping[str, str],
    code: Mapping[str, str],
    command: Sequence[str],
    workflow: Path,
) -> None:
    """Write provenance/manifest.json at the end of a run.

    Parameters
    ----------
    state : how the run ended, ``complete`` or ``failed``.
    config : resolved; text that looks like a path out of the study's folder is taken out.
    sheets : path of each table of the user, by its key in the config; empty for none. Only checksums are written.
    code : stamp of every rule's code as it is now.
    workflow : folder of the Snakefile, whose git commit is written where there is one.
    """
    records, _ = read_records(Path(results))
    content = {
        "config": without_paths(config),
        "sheets": {name: sha256_of(path) for name, path in sheets.items() if path and Path(path).is_file()},
        "code": code,
        "git": git_state(workflow),
        "computed_with": _computed_with(records),
        "seeds": {job_of(record): record["seed"] for record in records if record.get("seed") is not None},
        "inputs": {job_of(record): record["inputs"] for record in records if record.get("inputs")},
        "sha256": {file: record["sha256"][file] for file, record in newest_records(records).items()},
        "run": {
            "state": state,
            "command": [Path(command[0]).name, *without_paths(command[1:])],
            "ended_utc": utc_now(),
            "platform": platform.platform(),
            "python": platform.python_version(),
            "packages": package_versions(),
        },
    }
    write_json(Path(results) / MANIFEST, content)


def _computed_with(records: Sequence[Mapping]) -> dict[str, object]:
    """Every version, device, processor and number of threads that any of the products was computed with."""
    single = ("python", "machine", "processor", "device")
    packages = {name for record in records for name in record["packages"]}
    libraries = {name for record in records for name in record.get("threads", {})}
    return {
        **{key: _distinct(record.get(key) for record in records) for key in single},
        "packages": {name: _distinct(record["packages"].get(name) for record in records) for name in packages},
        "threads": {name: _distinct(record.get("threads", {}).get(name) for record in records) for name in libraries},
    }


def _distinct(values: object) -> list:
    return sorted({value for value in values if value is not None}, key=lambda value: (str(type(value)), value))


def git_state(folder: Path) -> dict[str, object]:
    """Commit of the code in ``folder``, and whether its files are as committed; empty without git or a commit.

    A folder that merely lies inside of somebody's repository, without being part of it, has no commit.
    """
    try:
        _git(folder, "ls-files", "--error-unmatch", "Snakefile")
        commit = _git(folder, "rev-parse", "HEAD").strip()
        present = [name for name in CODE_FILES if (folder / name).exists()]
        changes = _git(folder, "status", "--porcelain", "--", *present)
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": commit, "clean": not changes.strip()}


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", check=True, timeout=GIT_SECONDS
    ).stdout


def read_manifest(path: str | Path) -> dict:
    """A manifest, of this study or of another clone.

    Raises InputError when the file is not there or is no manifest.
    """
    try:
        content = json.loads(Path(path).read_bytes())
        whole = all(isinstance(content[key], dict) for key in ("sha256", "config", "run"))
    except FileNotFoundError:
        raise InputError(f"{path}: found no such file, expected the {MANIFEST} of a run. Mend the path.") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        whole = False
    if not whole:
        raise InputError(
            f"{path}: found no manifest in it, expected the {MANIFEST} that a run wrote. Name that file; one that is "
            "broken is written anew at the end of the next run."
        )
    return content
