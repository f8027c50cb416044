"""Whatever stands in a spec: a value with a place for everything, or a SpecError that points at what is wrong."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from builders import card_data
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import json_values, patterns, printable

from airflow_agentic.exceptions import SpecError
from airflow_agentic.registry import ModelInfo
from airflow_agentic.spec import ModelCard, WorkflowSpec, load_model, load_workflow, model_from, workflow_from
from airflow_agentic.spec.base import Spec, build
from airflow_agentic.spec.source import parse, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HEAD = {"apiVersion": "airflow-agentic/v1"}
CARD = {
    **HEAD,
    "kind": "Model",
    **card_data("a", cost=1, quality=0.5, capabilities={"languages": ["en"], "gpu": True}),
    "input": "tabular",
    "output": {"classes": ["x", "y"], "label_map": {"x": "z"}, "top_k": 3},
    "runtime": {
        "framework": "torch",
        "artifact": "a.pth",
        "class": "pkg.mod:Net",
        "args": {"sizes": [1, 2.5, None]},
        "tabular": {"columns": ["a", "b"], "mean": [0, 1], "fill": {"a": 0.5}},
    },
    "resources": {"memory": "1Gi"},
    "batch": {"rows": 2, "timeout": "10s"},
}
ARMS = [{"use": "a", "weight": 1}, {"use": "b", "weight": 2}]
WORKFLOW = {
    **HEAD,
    "kind": "Workflow",
    "name": "w",
    "dag": {"schedule": None, "tags": ["x"]},
    "input": {"uri": "x.csv", "features": {"age": "int"}},
    "preprocess": ["text_info", {"truncate_text": {"chars": 3}}],
    "routes": [
        {"when": "true", "use": {"cascade": ["a", {"ensemble": ["a", "b"], "quorum": 2}]}, "accept": "true"},
        {"name": "r", "when": "true", "use": {"split": {"arms": ARMS}}},
        {"when": "true", "use": {"chain": ["a", {"use": "b", "input": {"x": "prediction.label"}}]}},
        {"when": "true", "use": {"single": {"task": "t"}, "policy": {"balanced": {"cost": 1}}}},
        {"use": {"shadow": {"primary": "a", "shadows": ["b"], "fraction": 0.5}}},
    ],
    "on_error": "fallback",
    "fallback": {"rules": [{"when": "true", "use": "a"}, {"use": "b"}]},
    "deadline": "2s",
    "shard": {"rows": 10, "bytes": "1Mi"},
}

signs = st.sampled_from("ab1.-:,?[]{}&*!|>'\"#%@` \n\t0eé~")
yaml_text = st.text(signs, max_size=40) | st.text(st.characters(), max_size=20)
names = st.text(printable, max_size=6)


def paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from paths(item, (*path, key))


def inside(line: int | None, column: int | None, text: str) -> bool:
    """Whether a place is in ``text``, or directly behind it."""
    lines = [*text.split("\n"), ""]
    if line is None or column is None:
        return False
    return 1 <= line <= len(lines) and 1 <= column <= len(lines[line - 1]) + 1


def refused(make: Callable[..., object], *given: object) -> SpecError | None:
    """The error of a call that may succeed; any other exception fails the test."""
    try:
        make(*given)
    except SpecError as error:
        return error
    return None


@given(yaml_text)
@example("a: 1\r\nb: 2\rc: 3")
@example("\ufeffa: 1")
@example("a: \x85\u2028b: 1")
@example("a: '\\ud800'")
@example('a: "\\ud800"')
@example('a: "\\uD83D\\uDE00"')
@example("%YAML 9.9\n---\na: 1")
def test_any_text(text: str) -> None:
    error = refused(parse, text, "f")
    if error is not None:
        assert len(error.problems) == 1
        assert str(error).startswith("f")
        return
    data, source = parse(text, "f")
    assert set(source.values) == set(paths(data))
    assert all(line >= 1 and column >= 1 for line, column in filter(None, source.values.values()))
    assert set(source.keys) == {path for path in source.values if path and isinstance(path[-1], str)}


@given(st.binary(max_size=40))
@example(b"a: \xff")
@example(b"\xff\xfea\x00")
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    for load in (read, load_model, load_workflow):
        error = refused(load, path)
        assert error is None or error.problems


@given(json_values)
def test_whatever_json_says_is_read_back(value: Any) -> None:
    data, source = parse(json.dumps(value, indent=1, ensure_ascii=False), "f")
    assert data == value
    assert set(source.values) == set(paths(value))


@given(st.data())
def test_any_change_of_a_spec_is_accepted_or_pointed_at(data: st.DataObject) -> None:
    original, kind = data.draw(st.sampled_from([(CARD, ModelCard), (WORKFLOW, WorkflowSpec)]))
    changed = copy.deepcopy(original)
    for _ in range(data.draw(st.integers(1, 3))):
        change(changed, data)
    text = json.dumps(changed, indent=1, ensure_ascii=False)
    value, source = parse(text, "f.yaml")
    error = refused(build, kind, value, source, Path())
    if error is not None:
        for problem in error.problems:
            assert problem.file == "f.yaml"
            assert inside(problem.line, problem.column, text)
            assert problem.message
        assert len(set(error.problems)) == len(error.problems)
        same_from_python(kind, changed, error)
        return
    spec: Spec = build(kind, value, source, Path())
    said = spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert build(kind, said, source, Path()).model_dump() == spec.model_dump()
    if isinstance(spec, ModelCard):
        assert len(ModelInfo.of(spec).digest) == 64


def same_from_python(kind: type[ModelCard] | type[WorkflowSpec], value: Any, error: SpecError) -> None:
    """Built in Python it is refused too, in the same words and with the same paths."""
    if not isinstance(value, dict) or "kind" not in value:
        return
    make = model_from if kind is ModelCard else workflow_from
    with pytest.raises(SpecError) as caught:
        make(value)
    said = {(problem.path, problem.message, problem.hint) for problem in caught.value.problems}
    assert said == {(problem.path, problem.message, problem.hint) for problem in error.problems}


def change(value: Any, data: st.DataObject) -> None:
    """Replace, remove, rename or add something anywhere below ``value``."""
    *above, last = data.draw(st.sampled_from([path for path in paths(value) if path] or [("new",)]))
    for key in above:
        value = value[key]
    way = data.draw(st.sampled_from(["replace", "remove", "rename", "add"]))
    if way == "replace" or isinstance(value, list):
        value[last] = data.draw(json_values)
    elif way == "add":
        value[data.draw(names)] = data.draw(json_values)
    else:
        taken = value.pop(last, None)
        if way == "rename":
            value[f"{last}{data.draw(names)}"] = taken


@given(st.dictionaries(st.text(max_size=4) | st.integers() | st.none(), json_values, max_size=4))
def test_any_python_mapping(value: dict[Any, Any]) -> None:
    for make in (model_from, workflow_from):
        with pytest.raises(SpecError):
            make(value)


@given(patterns(["a", "b"], [{"task": "t"}, {"capabilities": {"x": True}}]))
def test_patterns_round_trip(use: Any) -> None:
    spec = workflow_from({"name": "w", "routes": [{"use": use}]})
    said = spec.model_dump(mode="json", exclude_unset=True)
    assert workflow_from(said).model_dump() == spec.model_dump()
