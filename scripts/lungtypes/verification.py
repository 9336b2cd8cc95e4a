"""Are the results what the jobs wrote? Every file held against its record, and all checksums against another clone's.

Reads files below the results and nothing else; computes no product and changes none.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from lungtypes.errors import InputError
from lungtypes.manifest import job_of, newest_records, read_records
from lungtypes.provenance import sha256_of

# what is known of a product, worst first; the first three need somebody to act
EDITED, MISSING, DAMAGED = "edited", "missing", "damaged record"
OTHER_CODE, NO_RULE, OTHER_VERSIONS = "other code", "no such rule", "other versions"
NO_RECORD, DELETED, COMPUTED = "no record", "deleted after use", "as computed"
STATES = (EDITED, MISSING, DAMAGED, OTHER_CODE, NO_RULE, OTHER_VERSIONS, NO_RECORD, DELETED, COMPUTED)
FAULTS = (EDITED, MISSING, DAMAGED)
REMEDIES = {
    EDITED: "Put the files back as they were, or delete the outputs named here and run snakemake again.",
    MISSING: "Delete what is left of the outputs named here, if anything, and run snakemake again.",
    DAMAGED: "Delete these records and their jobs' outputs, and run snakemake again.",
    OTHER_CODE: "Nothing is wrong with them. `snakemake -n` shows what the present code would compute anew.",
    NO_RULE: "Nothing is wrong with them. This config, or version, has no such rule (with a frozen template, say).",
    OTHER_VERSIONS: "Nothing is wrong with them. The same bytes need the recorded versions.",
    NO_RECORD: "No job claims them: yours, or left over. Delete those that you do not know.",
}
SAME, DIFFERS, ONLY_HERE, ONLY_THERE = "same", "differs", "only here", "only there"
COLUMNS = ["file", "state", "rule", "job", "output", "detail", "other_manifest"]
APART = ("logs", "benchmarks", "provenance", "resume", ".snakemake")  # folders that hold no product
NO_PRODUCTS = (".snakemake_timestamp", ".gitkeep")  # Snakemake's mark of a folder's age; what keeps results/ in git
NO_JOBS = ("report/stopped.html",)  # written when a run stops, and taken away by the next that does not
NOTHING = r"(?!)"  # a pattern that fits no text
SHOWN = 20


@dataclass(frozen=True)
class Verdict:
    """What is known of one product.

    file : relative to the results. state : one of STATES. rule, job : what wrote it; empty without a record.
    output : what to delete to have it computed anew. detail : how code or versions differ. sha256 : of the file now; of
    the record where it was deleted after use; empty when it is missing.
    """

    file: str
    state: str
    rule: str = ""
    job: str = ""
    output: str = ""
    detail: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Comparison:
    """Checksums beside those of another manifest. places : SAME, DIFFERS, ONLY_HERE or ONLY_THERE by file; reasons :
    what else is not the same, one line each."""

    places: Mapping[str, str]
    reasons: Sequence[str]


def verify_results(
    results: Path,
    *,
    code: Mapping[str, str],
    versions: Mapping[str, str],
    temporary: Sequence[str],
    workers: int,
) -> list[Verdict]:
    """One verdict a product or damaged record, in the order of their names.

    Parameters
    ----------
    code : stamp of every rule's code now.
    versions : of python and of the packages now.
    temporary : folders, relative to the results, that are deleted after use by design; a wildcard in braces stands for
        a part of a path. Empty when nothing is.
    workers : files that are read at once.

    Raises InputError when there is no record at all.
    """
    records, damaged = read_records(results)
    if not records and not damaged:
        raise InputError(f"{results}: found no record of any product, expected some. Run snakemake first.")
    owners, present = newest_records(records), list(_products(results))
    with ThreadPoolExecutor(workers) as pool:
        checksums = dict(zip(present, pool.map(lambda name: _checksum(results / name), present), strict=True))
    designed = re.compile("|".join(map(_pattern, temporary)) or NOTHING)
    verdicts = [Verdict(name, NO_RECORD, sha256=checksums[name]) for name in present if name not in owners]
    verdicts += [Verdict(name, DAMAGED) for name in damaged]
    for name, record in owners.items():
        expected, found, detail = record["sha256"][name], checksums.get(name, ""), ""
        output, match = _output(name, record), designed.match(name)
        folder = match[0] if match else ""
        if temporary and record["rule"] not in code and output != name:
            folder = output  # of a rule that this config has not, so that nothing says whether its folders are kept
        if not found and folder and not (results / folder).exists():
            state, found = DELETED, expected
        elif found != expected:
            state = EDITED if found else MISSING
        else:
            state, detail = _age(record, code, versions)
        verdicts.append(Verdict(name, state, record["rule"], job_of(record), output, detail, found))
    return sorted(verdicts, key=lambda verdict: verdict.file)


def _age(record: Mapping, code: Mapping[str, str], versions: Mapping[str, str]) -> tuple[str, str]:
    """State of an unchanged product, and in which way code or versions differ from those now."""
    then = {**record["packages"], "python": record.get("python")}
    pairs = [(name, then[name], versions.get(name, "absent")) for name in sorted(then) if then[name]]
    other = [f"{name} {was}, now {now}" for name, was, now in pairs if was != now]
    now = code.get(record["rule"])
    if now is None:
        return NO_RULE, "; ".join(other)
    if now != record["code"]:
        return OTHER_CODE, "; ".join([f"code {record['code']}, now {now}", *other])
    return (OTHER_VERSIONS, "; ".join(other)) if other else (COMPUTED, "")


def _products(results: Path) -> Iterable[str]:
    """Every file below the results that could be a product, relative to them; another study's results are left out."""
    for folder, folders, files in os.walk(results):
        here = Path(folder)
        if here == results:
            folders[:] = [name for name in folders if name not in APART]
        folders[:] = [name for name in folders if not (here / name / "provenance").is_dir()]
        for name in files:
            file = (here / name).relative_to(results).as_posix()
            if name not in NO_PRODUCTS and file not in NO_JOBS:
                yield file


def _checksum(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:  # a link to nowhere, or no right to read: not what was written
        return f"unreadable: {error.strerror}"


def _pattern(folder: str) -> str:
    """A regular expression of a folder whose name holds wildcards in braces."""
    parts = re.split(r"\{\w+\}", folder)
    return "[^/]+".join(map(re.escape, parts)) + r"(?=/)"


def _output(name: str, record: Mapping) -> str:
    """The output of the record's job that the file belongs to: the file, or the folder that is made as a whole."""
    outputs = [PurePosixPath(output) for output in record.get("outputs", [])]
    above = [output for output in outputs if PurePosixPath(name).is_relative_to(output)]
    return str(max(above, key=lambda output: len(output.parts))) if above else name


def compare_checksums(verdicts: Sequence[Verdict], other: Mapping, own: Mapping) -> Comparison:
    """Checksums of the products here beside those of another clone's manifest, and what else the two were made with.

    other, own : manifests; ``own`` is empty where no run has come to its end. Files without a record are no products
    and are passed over.
    """
    here = {verdict.file: verdict.sha256 for verdict in verdicts if verdict.rule and verdict.state != MISSING}
    places = {}
    for name in sorted({*here, *other["sha256"]}):
        if name not in here or name not in other["sha256"]:
            places[name] = ONLY_HERE if name in here else ONLY_THERE
        else:
            places[name] = SAME if here[name] == other["sha256"][name] else DIFFERS
    return Comparison(places, _reasons(own, other))


def _reasons(own: Mapping, other: Mapping) -> list[str]:
    """What two manifests say differently beside their products."""
    if not own:
        return []
    sections = ("git", "code", "config", "sheets", "inputs", "seeds", "computed_with")
    of_jobs = ("inputs", "seeds")  # those of jobs that ran in one clone only say no more than their products do
    reasons = []
    for section in sections:
        here, there = (_flat(manifest.get(section, {})) for manifest in (own, other))
        keys = set(here) & set(there) if section in of_jobs else {*here, *there}
        for key in sorted(keys):
            if here.get(key) != there.get(key):
                texts = [_short(side.get(key)) for side in (here, there)]
                reasons.append(f"{section}, {key}: here {texts[0]}, there {texts[1]}")
    return reasons


def _flat(value: object, place: str = "") -> dict[str, str]:
    if isinstance(value, Mapping) and value:
        parts = [_flat(inner, f"{place}.{key}" if place else str(key)) for key, inner in value.items()]
        return {key: text for part in parts for key, text in part.items()}
    return {place: str(value)} if place else {}


def _short(text: str | None) -> str:
    if text is None:
        return "nothing"
    return text if len(text) <= 60 else f"{text[:12]}..."


def verification_table(verdicts: Sequence[Verdict], comparison: Comparison | None) -> pd.DataFrame:
    """One row a product: columns COLUMNS, those that need somebody to act first."""
    places = dict(comparison.places) if comparison else {}
    rows = [
        (v.file, v.state, v.rule, v.job, v.output, v.detail, places.pop(v.file, ""))
        for v in sorted(verdicts, key=lambda verdict: (STATES.index(verdict.state), verdict.file))
    ]
    rows += [(name, "", "", "", "", "", place) for name, place in places.items()]  # those of the other clone alone
    return pd.DataFrame([tuple(map(printable, row)) for row in rows], columns=COLUMNS)


def printable(text: str) -> str:
    """The text with line breaks, control and unknown characters written out: file names may hold any of them."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def summary_lines(verdicts: Sequence[Verdict], comparison: Comparison | None) -> list[str]:
    """What a person should read: numbers, then every state that is not as computed with its files and what to do."""
    counts = Counter(verdict.state for verdict in verdicts)
    lines = [f"{counts[state]:8d}  {state}" for state in reversed(STATES) if counts[state]]
    for state in (state for state in STATES if counts[state] and state in REMEDIES):
        some = [verdict for verdict in verdicts if verdict.state == state]
        lines += ["", f"{state} ({len(some)}): {REMEDIES[state]}", *_listed(state, some)]
    return lines + (_compared(comparison) if comparison else [])


def _listed(state: str, some: Sequence[Verdict]) -> list[str]:
    """Files one by one where somebody has to look at each; else how many of which rule."""
    if state in (OTHER_CODE, NO_RULE, OTHER_VERSIONS):
        lines = Counter(f"{verdict.rule}: {verdict.detail}" if verdict.detail else verdict.rule for verdict in some)
        return _first([f"{number:6d} of {printable(text)}" for text, number in sorted(lines.items())])
    outputs = [f"  (output {v.output}, by {v.job})" if v.rule else "" for v in some]
    return _first([f"  {printable(v.file + output)}" for v, output in zip(some, outputs, strict=True)])


def _first(lines: Sequence[str]) -> list[str]:
    more = len(lines) - SHOWN
    return [*lines[:SHOWN], *([f"  ... and {more} more"] if more > 0 else [])]


def _compared(comparison: Comparison) -> list[str]:
    counts = Counter(comparison.places.values())
    lines = ["", f"Beside the other manifest: {counts[SAME]} of {len(comparison.places)} checksums are the same."]
    for place in (DIFFERS, ONLY_THERE, ONLY_HERE):
        files = [f"  {printable(name)}" for name, found in comparison.places.items() if found == place]
        lines += [f"{place} ({len(files)}):", *_first(files)] if files else []
    reasons = [f"  {printable(reason)}" for reason in comparison.reasons]
    return lines + (["What else is not the same:", *_first(reasons)] if reasons else [])


def require_unchanged(verdicts: Sequence[Verdict], comparison: Comparison | None, *, table: str) -> None:
    """Raise InputError when a product was edited, is missing, or is not what the other manifest says.

    table : where the whole list was written.
    """
    counts = Counter(verdict.state for verdict in verdicts)
    faults = [f"{counts[state]} {state}" for state in FAULTS if counts[state]]
    if comparison:
        places = Counter(comparison.places.values())
        words = {DIFFERS: "differing from the other manifest", ONLY_THERE: "only in the other manifest"}
        faults += [f"{places[place]} {text}" for place, text in words.items() if places[place]]
    if faults:
        raise InputError(
            f"{table}: found {', '.join(faults)}, expected every product as it was computed. The lines above and this "
            "table name the files and what to do."
        )
