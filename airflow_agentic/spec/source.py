"""YAML text with positions: every key and value knows its line and column.

A deliberately small YAML: one document, the core schema of YAML 1.2 (``no`` is a string, the language; only ``true``
and ``false`` are booleans), no anchors or aliases, no tags, no duplicate keys, only finite numbers, bounded size and
depth. Nothing is interpolated: a spec holds references to secrets, never their values.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn

import yaml

from airflow_agentic.exceptions import Problem, SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_BYTES: Final = 1_000_000
MAX_DEPTH: Final = 40
MAX_DIGITS: Final = 100
MAX_KEY: Final = 1024
"""Characters of a key; YAML itself allows longer ones only after ``?``."""

Key = str | int
KeyPath = tuple[Key, ...]
Position = tuple[int, int]
"""Line and column, from 1."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # the C parser where it is built
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # PyYAML's own name


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

    ``values`` maps every key path of the spec to the place of its value, ``keys`` to that of its key; ``()`` is the
    document. The places are ``None`` for a spec that was built in Python.
    """

    file: str = "<python>"
    values: dict[KeyPath, Position | None] = field(default_factory=dict, repr=False, compare=False)
    keys: dict[KeyPath, Position] = field(default_factory=dict, repr=False, compare=False)

    @property
    def in_file(self) -> bool:
        """Whether there are places to point at."""
        return bool(self.keys)

    def over(self, data: Any) -> Source:
        """The source of Python values: their paths without places."""
        return Source(self.file, dict.fromkeys(_paths(data, ())))

    def locate(self, path: KeyPath) -> KeyPath:
        """The part of ``path`` that the spec has.

        Keys that only a validator knows are left out, and an option of a pattern may stand beside ``use``.
        """
        known: KeyPath = ()
        for key in path:
            if (*known, key) in self.values:
                known = (*known, key)
            elif known[-1:] == ("use",) and (*known[:-1], key) in self.values:
                known = (*known[:-1], key)
        return known

    def problem(self, path: KeyPath, message: str, hint: str | None = None, *, at_key: bool = False) -> Problem:
        """A problem with the value at ``path``, or with its key."""
        known = self.locate(path)
        place = self.keys.get(known) if at_key else None
        return self._problem(known, place or self.values.get(known), message, hint)

    def missing(self, path: KeyPath, hint: str | None = None) -> Problem:
        """The last key of ``path`` is required; the place is that of the value it is missing from."""
        known = self.locate(path[:-1])
        return self._problem((*known, path[-1]), self.values.get(known), "is required", hint)

    def _problem(self, path: KeyPath, place: Position | None, message: str, hint: str | None) -> Problem:
        line, column = place or (None, None)
        return Problem(message=message, path=render_path(path), hint=hint, file=self.file, line=line, column=column)


def _paths(value: Any, path: KeyPath) -> Iterator[KeyPath]:
    yield path
    if len(path) > MAX_DEPTH:
        return
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, item in items:
        yield from _paths(item, (*path, key))


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
    return _Parser(text, name).parse()


class _Parser:
    def __init__(self, text: str, name: str) -> None:
        self.text = text
        self.source = Source(name)

    def parse(self) -> tuple[Any, Source]:
        try:
            self._check_events()
            node = yaml.compose(self.text, Loader=_Loader)
        except yaml.MarkedYAMLError as error:
            self._refuse_syntax(error)
        except yaml.reader.ReaderError as error:
            self._refuse_character(chr(error.character), self.text.find(chr(error.character)))
        except UnicodeEncodeError as error:
            self._refuse_character(self.text[error.start], error.start)
        if node is None:
            self._refuse(None, "is empty")
        return self._construct(node, ()), self.source

    def _refuse(self, place: Position | None, message: str, hint: str | None = None) -> NoReturn:
        line, column = place or (None, None)
        raise SpecError(Problem(message=message, hint=hint, file=self.source.file, line=line, column=column))

    def _refuse_syntax(self, error: yaml.MarkedYAMLError) -> NoReturn:
        mark = error.problem_mark or error.context_mark
        said = error.problem or error.context or "cannot be parsed"
        around = f" ({error.context})" if error.context and error.context != said else ""
        lines = self.text.splitlines()
        tab = mark is not None and mark.line < len(lines) and lines[mark.line][mark.column : mark.column + 1] == "\t"
        hint = "indent with spaces, not tabs" if tab else None
        self._refuse(_place(mark) if mark else None, f"not valid YAML: {said}{around}", hint)

    def _refuse_character(self, character: str, index: int) -> NoReturn:
        before = self.text[: max(index, 0)]
        place = (before.count("\n") + 1, len(before) - before.rfind("\n"))
        self._refuse(place, f"not valid YAML: the character {character!r} is not allowed", "remove it")

    def _check_events(self) -> None:
        depth = documents = 0
        for event in yaml.parse(self.text, Loader=_Loader):
            place = _place(event.start_mark)
            tag = getattr(event, "tag", None)
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                self._refuse(place, "anchors and aliases are not allowed", "write the value out")
            if tag:
                self._refuse(place, f"the tag {tag!r} is not allowed", "put the value in quotes if it is text")
            documents += isinstance(event, yaml.DocumentStartEvent)
            if documents > 1:
                self._refuse(place, "a second document begins here", "give each spec a file of its own")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                self._refuse(place, f"nested deeper than {MAX_DEPTH} levels")

    def _construct(self, node: Any, path: KeyPath) -> Any:
        self.source.values[path] = _place(node.start_mark)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._construct(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: Any, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = _place(key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(place, "a key must be text")
            key = key_node.value
            if len(key) > MAX_KEY:
                self._refuse(place, f"a key of more than {MAX_KEY:,} characters is not allowed")
            if key in result:
                self._refuse(place, f"the key {key!r} stands twice", "keep one of them")
            result[key] = self._construct(value_node, (*path, key))
            self.source.keys[(*path, key)] = place
            if isinstance(value_node, yaml.ScalarNode) and not value_node.value and not value_node.style:
                self.source.values[(*path, key)] = place  # nothing is written there
        return result

    def _scalar(self, node: Any) -> str | int | float | bool | None:
        kind = node.tag.rpartition(":")[2]
        if kind == "null":
            return None
        if kind == "bool":
            return bool(node.value == "true")
        if kind not in {"int", "float"}:
            return str(node.value)
        if len(node.value) > MAX_DIGITS:
            self._refuse(_place(node.start_mark), f"a number of more than {MAX_DIGITS} digits is not allowed")
        number = int(node.value) if kind == "int" else float(node.value)
        if not math.isfinite(number):
            self._refuse(_place(node.start_mark), f"{node.value} is not a finite number")
        return number


def _place(mark: Any) -> Position:
    return mark.line + 1, mark.column + 1
