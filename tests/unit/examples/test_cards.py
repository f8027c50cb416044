"""The example project's cards are well formed; no model needs to be built."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_agentic.spec import source
from airflow_agentic.spec.base import build
from airflow_agentic.spec.model import ModelCard

ROOT = Path(__file__).parents[3]
CARDS = sorted((ROOT / "dags" / "models").glob("*.yaml"))
NAMES = {
    "fasttext-langid",
    "lingua",
    "lite0-onnx",
    "lite0-tf",
    "lite0-torch",
    "lite2-torch",
    "minilm-embedding",
    "minilm-torch",
    "segment-keras",
    "segment-torch",
    "vader",
    "words-keras",
}


def card(path: Path) -> ModelCard:
    data, positions = source.read(path)
    return build(ModelCard, data, positions, path.parent)


def named(name: str) -> ModelCard:
    return card(ROOT / "dags" / "models" / f"{name}.yaml")


def test_the_names_that_workflows_use_are_there() -> None:
    assert {path.stem for path in CARDS} >= NAMES


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_a_card_parses_and_is_named_as_its_file(path: Path) -> None:
    assert card(path).name == path.stem


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_profile_says_what_was_measured_and_how(name: str) -> None:
    profile = named(name).profile
    assert profile.cost_per_1k > 0
    assert profile.latency_ms
    assert profile.memory
    assert profile.measured_on is not None
    assert "n=" in profile.measured_on
    assert "make models" in profile.measured_on
    assert (profile.quality is None) == (named(name).task == "text-embedding")


@pytest.mark.parametrize("name", sorted(NAMES))
def test_artifacts_are_built_or_come_with_a_package(name: str) -> None:
    runtime = named(name).runtime
    assert runtime.artifact is None or runtime.artifact.startswith(("../built/", "package://"))
    assert runtime.trust == "none"


@pytest.mark.parametrize(
    "names",
    [
        ("lite0-torch", "lite2-torch", "lite0-tf", "lite0-onnx"),
        ("vader", "minilm-torch", "words-keras"),
        ("fasttext-langid", "lingua"),
        ("segment-torch", "segment-keras"),
    ],
)
def test_models_of_a_task_share_a_label_space_and_a_kind_of_score(names: tuple[str, ...]) -> None:
    assert (
        len({(named(name).task, named(name).output.label_space, named(name).output.score_kind) for name in names}) == 1
    )


def test_the_costs_say_which_model_is_the_cheap_one() -> None:
    for cheap, dear in [
        ("lite0-onnx", "lite0-torch"),
        ("lite0-torch", "lite2-torch"),
        ("vader", "minilm-torch"),
        ("fasttext-langid", "lingua"),
    ]:
        assert named(cheap).cost < named(dear).cost


def test_the_inbox_has_distinct_ids_and_files_that_exist() -> None:
    inbox = ROOT / "dags" / "data" / "inbox.jsonl"
    records = [json.loads(line) for line in inbox.read_text().splitlines()]
    assert len({record["id"] for record in records}) == len(records) == 24
    assert all((inbox.parent / record["uri"]).is_file() for record in records if "uri" in record)
    assert all(("uri" in record) != ("text" in record) for record in records)


def test_what_is_committed_is_small() -> None:
    files = [path for folder in ("data", "dags/data") for path in (ROOT / folder).rglob("*") if path.is_file()]
    assert max(path.stat().st_size for path in files) <= 100_000
    assert sum(path.stat().st_size for path in files) <= 1_000_000
