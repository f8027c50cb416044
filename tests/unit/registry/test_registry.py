"""Cards by name and by what they can do; what makes two cards different models."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import card, card_data

from airflow_agentic.registry import ModelInfo, Registry, card_digest
from airflow_agentic.registry.registry import package_folders
from airflow_agentic.spec import model_from
from airflow_agentic.spec.pattern import Query

PARTS: list[tuple[str, Any]] = [
    ("version", "2"),
    ("task", "other-task"),
    ("input", "json"),
    ("output", {"classes": ["positive", "negative"]}),
    ("output", {"classes": ["negative", "positive"], "label_map": {"negative": "bad"}}),
    ("runtime", {"framework": "python", "handler": "tiny:Other"}),
    ("runtime", {"framework": "python", "handler": "tiny:Model", "args": {"deep": [1]}}),
]
NO_PARTS: list[tuple[str, Any]] = [
    ("description", "another"),
    ("capabilities", {"languages": ["en"]}),
    ("profile", {"cost_per_1k": 3, "quality": 0.5}),
    ("resources", {"cpu": "2"}),
    ("batch", {"rows": 4}),
    ("image", "registry/image:1"),
    ("isolation", "process"),
    ("runners", ["local"]),
    ("runtime", {"framework": "python", "handler": "tiny:Model", "threads": 4}),
]


def write(folder: Path, stem: str, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.yaml"
    data = {"apiVersion": "airflow-agentic/v1", "kind": "Model", **card_data(stem), **changes}
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


@pytest.mark.parametrize(("key", "value"), PARTS)
def test_what_changes_an_answer_changes_the_digest(key: str, value: Any) -> None:
    assert card_digest(card()) != card_digest(model_from(card_data() | {key: value}))


@pytest.mark.parametrize(("key", "value"), NO_PARTS)
def test_what_changes_no_answer_keeps_the_digest(key: str, value: Any) -> None:
    assert card_digest(card()) == card_digest(model_from(card_data() | {key: value}))


def test_the_artifact_is_part_of_the_digest_where_it_is_known() -> None:
    assert card_digest(card()) != card_digest(card(), "a" * 64) != card_digest(card(), "b" * 64)
    assert len(card_digest(card())) == 64


def test_the_facts_of_a_card() -> None:
    info = ModelInfo.of(
        card("a", cost=5, latency_ms=2, quality=0.5, capabilities={"languages": ["en", "de"], "gpu": True})
    )
    assert (info.name, info.cost, info.latency_ms, info.quality) == ("a", 0.005, 2.0, 0.5)
    assert (info.label_space, info.score_kind, info.healthy) == ("{negative, positive}", "probability", True)
    assert info.has("languages", "de")
    assert not info.has("languages", "fr")
    assert info.has("gpu", True)
    assert not info.has("family", "x")
    assert ModelInfo.model_validate_json(info.model_dump_json()) == info


def test_cards_are_sorted_by_name_whatever_their_files_are_called(tmp_path: Path) -> None:
    write(tmp_path, "1", name="zebra")
    write(tmp_path, "2", name="ant")
    registry = Registry.load([tmp_path], packages=False)
    assert list(registry.cards) == ["ant", "zebra"]
    assert registry.broken == {}
    assert list(Registry.of(card("b"), card("a")).cards) == ["a", "b"]


def test_a_folder_that_does_not_exist_has_no_cards(tmp_path: Path) -> None:
    assert Registry.load([tmp_path / "models"], packages=False) == Registry()


def test_an_unreadable_card_is_broken_and_harms_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "models", "good")
    (tmp_path / "models" / "bad.yaml").write_text("a: b: c")
    registry = Registry.load([tmp_path / "models"], packages=False)
    assert list(registry.cards) == ["good"]
    assert {name: str(error) for name, error in registry.broken.items()} == {
        "bad": "models/bad.yaml:1:5  not valid YAML: mapping values are not allowed in this context"
    }


def test_two_models_of_one_name_are_both_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "models", "one", name="same")
    write(tmp_path / "models", "two", name="same", version="2")
    registry = Registry.load([tmp_path / "models"], packages=False)
    assert registry.cards == {}
    assert {name: str(error) for name, error in registry.broken.items()} == {
        "same": "models/two.yaml:3:7  name: a different model is already called 'same' (models/one.yaml)\n"
        "    give one of them another name"
    }


def test_of_two_cards_of_one_model_the_first_folder_counts(tmp_path: Path) -> None:
    write(tmp_path / "project", "same", profile={"quality": 0.9})
    write(tmp_path / "package", "same", profile={"quality": 0.1})
    registry = Registry.load([tmp_path / "project", tmp_path / "package"], packages=False)
    assert registry.cards["same"].profile.quality == 0.9
    assert registry.broken == {}


@pytest.fixture
def other_packages() -> Iterator[None]:
    """Installed packages are looked for once in a process: here once more, and again after the test."""
    package_folders.cache_clear()
    yield
    package_folders.cache_clear()


@pytest.mark.usefixtures("other_packages")
def test_cards_of_installed_packages_are_found_without_importing_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "acme" / "models", "from-package")
    write(tmp_path / "acme" / "inner" / "models", "from-inner")
    for folder in ("acme", "acme/inner"):
        (tmp_path / folder / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    points = [
        metadata.EntryPoint("one", "acme", "airflow_agentic.models"),
        metadata.EntryPoint("two", "acme.inner", "airflow_agentic.models"),
        metadata.EntryPoint("gone", "no_such_package", "airflow_agentic.models"),
        metadata.EntryPoint("gone", "no_such_package.inner", "airflow_agentic.models"),
    ]
    asked: list[str] = []

    def entry_points(*, group: str) -> list[metadata.EntryPoint]:
        asked.append(group)
        return points

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    assert list(Registry.load([]).cards) == ["from-inner", "from-package"]
    assert asked == ["airflow_agentic.models"]
    assert not {"acme", "acme.inner"} & sys.modules.keys()
    assert list(Registry.load([], packages=False).cards) == []


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"task": "text-analysis"}, ["a", "b"]),
        ({"task": "none"}, []),
        ({"input": "json"}, ["b", "c"]),
        ({"label_space": "imagenet-1k"}, ["c"]),
        ({"label_space": "{negative, positive}"}, ["a", "b"]),
        ({"capabilities": {"languages": "de"}}, ["a"]),
        ({"capabilities": {"family": "x"}}, ["a", "c"]),
        ({"capabilities": {"family": "x", "languages": "de"}}, ["a"]),
        ({"task": "text-analysis", "input": "text"}, ["a"]),
    ],
)
def test_queries(query: dict[str, Any], names: list[str]) -> None:
    registry = Registry.of(
        card("c", task="image-classification", input="json", classes="imagenet-1k", capabilities={"family": "x"}),
        card("b", input="json"),
        card("a", capabilities={"languages": ["en", "de"], "family": "x"}),
    )
    assert [found.name for found in registry.query(Query(**query))] == names
