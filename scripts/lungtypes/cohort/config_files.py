"""Checks the text of YAML files before it is turned into values: what YAML would silently drop, expand or run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

MAX_KB = 256
MAX_DEPTH = 20
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map")} | {"!"}


@dataclass
class _Open:
    """A list or mapping whose end was not seen yet; keys: line of each key of a mapping."""

    is_mapping: bool
    expects_key: bool = True
    key: str = ""
    keys: dict[str, int] = field(default_factory=dict)


def file_faults(path: str | Path) -> list[str]:
    """Every fault of a config file's text (YAML, or JSON), from its events alone: nothing is built or expanded.

    Refused are files over 256 KB, bad syntax, keys that stand twice, several documents, aliases and anchors, tags,
    and more than 20 levels.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > 1024 * MAX_KB:
            return [f"{path}: found {-(-size // 1024)} KB, expected at most {MAX_KB}. Is it the right file?"]
        data = path.read_bytes()
    except OSError as error:
        return [f"{path}: found no readable file ({error.strerror}), expected YAML. Mend the path."]
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return [f"{path}, line {line}: found text that is not UTF-8. Save as UTF-8."]
    faults = []
    try:
        for line, fault in _event_faults(text):
            faults.append(f"{path}, line {line}: {fault}")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        reason = f"found no valid YAML ({error.problem})"
        faults.append(f"{path}, line {line}, column {column}: {reason}. Look at this line and the one above.")
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        faults.append(f"{path}, line {line}: found a control character, expected text. Remove it.")
    return faults


def _event_faults(text: str) -> Iterator[tuple[int, str]]:
    stack: list[_Open] = []
    documents = 0
    for event in yaml.parse(text, Loader=LOADER):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                yield line, "found a second document (---), expected one. Remove the line."
                return
        elif isinstance(event, yaml.CollectionEndEvent):
            stack.pop()
        elif isinstance(event, yaml.NodeEvent):
            if event.anchor:
                mark = "*" if isinstance(event, yaml.AliasEvent) else "&"
                yield line, f"found {mark}{event.anchor}, expected no anchors or aliases. Write the value out."
            if getattr(event, "tag", None) not in (None, *PLAIN_TAGS):
                yield line, f"found the tag {event.tag}, expected plain values. Remove the tag."
            yield from _key_faults(stack, event, line)
            if isinstance(event, yaml.CollectionStartEvent):
                stack.append(_Open(isinstance(event, yaml.MappingStartEvent)))
                if len(stack) > MAX_DEPTH:
                    yield (
                        line,
                        f"found more than {MAX_DEPTH} levels, expected fewer. Look for a stray bracket or indent.",
                    )
                    return


def _key_faults(stack: list[_Open], event: yaml.NodeEvent, line: int) -> Iterator[tuple[int, str]]:
    """Keep count of keys and values; a key that its mapping has already would silently win over the first."""
    if not stack or not stack[-1].is_mapping:
        return
    mapping = stack[-1]
    if mapping.expects_key and isinstance(event, yaml.ScalarEvent):
        mapping.key = event.value
        if event.value in mapping.keys:
            dotted = ".".join(level.key for level in stack if level.is_mapping)
            yield line, f"found key {dotted} again (line {mapping.keys[event.value]}), expected it once. Remove one."
        else:
            mapping.keys[event.value] = line
    mapping.expects_key = not mapping.expects_key
