"""YAML text with positions: every key and value knows its line and column.

A deliberately small YAML: one document, the core schema of YAML 1.2 (``no`` is a string, the language; only ``true`` and
``false`` are booleans), no anchors or aliases, no tags, no duplicate keys, bounded size and depth. Nothing is
interpolated: a spec holds references to secrets, never their values.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from airflow_agentic.exceptions import Problem, SpecError

MAX_BYTES: Final = 1_000_000
MAX_DEPTH: Final = 40

Key = str | int
KeyPath = tuple[Key, ...]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # the C parser where it is built
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  # PyYAML's own name


for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|)$", ["~", "n", ""]),
    ("bool", r"^(?:true|false)$", list("tf")),
    ("int", r"^[-+]?[0-9]+$", list("-+0123456789")),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


@dataclass(frozen=True)
class Source:
    """Where the values of a spec stand.

    ``positions`` maps a key path to the line and column (from 1) of its value; ``()`` is the document.
    """

    file: str = "<python>"
    positions: dict[KeyPath, tuple[int, int]] = field(default_factory=dict, repr=False, compare=False)

    def problem(self, path: KeyPath, message: str, hint: str | None = None) -> Problem:
        """A problem at ``path``; parts of it that are not in the file (a validator's own) are left out."""
        known: KeyPath = ()
        for key in path:
            if (*known, key) in self.positions or not self.positions:
                known = (*known, key)
        line, column = self.positions.get(known, (None, None))
        missing = [str(key) for key in path[-1:] if known[-1:] != (key,) and isinstance(key, str)]
        shown = render_path((*known, *missing) if missing and message.startswith("is required") else known)
        return Problem(message=message, path=shown, hint=hint, file=self.file, line=line, column=column)


def render_path(path: KeyPath) -> str:
    """``("routes", 1, "use")`` as ``routes[1].use``."""
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def read(path: Path, *, shown: str | None = None) -> tuple[Any, Source]:
    """Parse the YAML file at ``path``.

    :param shown: the file name that messages use; ``path`` where absent.
    :raises SpecError: not readable, not UTF-8, not YAML, or YAML that is refused here.
    """
    name = shown or str(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SpecError(Problem(message=f"cannot be read: {error.strerror}", file=name)) from error
    if len(raw) > MAX_BYTES:
        raise SpecError(Problem(message=f"has {len(raw):,} bytes; a spec has at most {MAX_BYTES:,}", file=name))
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(Problem(message=f"is not UTF-8 (byte {error.start})", file=name)) from error
    return parse(text, name)


def parse(text: str, name: str = "<string>") -> tuple[Any, Source]:
    """Parse YAML ``text``; see :func:`read`."""

    def refuse(mark: Any, message: str, hint: str | None = None) -> SpecError:
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (None, None)
        return SpecError(Problem(message=message, hint=hint, file=name, line=line, column=column))

    loader = None
    try:
        loader = _Loader(text)
        depth = 0
        for event in yaml.parse(text, Loader=_Loader):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise refuse(event.start_mark, "anchors and aliases are not allowed", "write the value out")
            if getattr(event, "tag", None):
                raise refuse(event.start_mark, f"the tag {event.tag!r} is not allowed", "quote it if it is text")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise refuse(event.start_mark, f"nested deeper than {MAX_DEPTH} levels")
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise refuse(mark, f"not valid YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise refuse(None, f"not valid YAML: {error}") from error
    finally:
        if loader is not None:
            loader.dispose()
    if node is None:
        raise refuse(None, "is empty")
    source = Source(name)
    return _construct(node, (), source, refuse), source


def _construct(node: Any, path: KeyPath, source: Source, refuse: Any) -> Any:
    source.positions.setdefault(path, (node.start_mark.line + 1, node.start_mark.column + 1))
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise refuse(key_node.start_mark, "a key must be text")
            key = key_node.value
            if key in result:
                raise refuse(key_node.start_mark, f"the key {key!r} stands twice", "keep one of them")
            source.positions[(*path, key)] = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            if not (isinstance(value_node, yaml.ScalarNode) and value_node.value == ""):
                source.positions[(*path, key)] = (value_node.start_mark.line + 1, value_node.start_mark.column + 1)
            result[key] = _construct(value_node, (*path, key), source, refuse)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_construct(item, (*path, index), source, refuse) for index, item in enumerate(node.value)]
    kind = node.tag.rpartition(":")[2]
    if kind == "null":
        return None
    if kind == "bool":
        return node.value == "true"
    if kind == "int":
        return int(node.value)
    return float(node.value) if kind == "float" else node.value
