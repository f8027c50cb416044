from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import card_data

from airflow_agentic.exceptions import InputError, SpecError
from airflow_agentic.serving.processes import Options, greeting, lifespan, model_server, read_cards


def write(folder: Path, name: str, **changes: Any) -> None:
    data = {"apiVersion": "airflow-agentic/v1", "kind": "Model", **card_data(name, **changes)}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(data))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "a")
    write(tmp_path, "b")
    return tmp_path


def test_the_cards_to_serve_are_all_or_those_that_are_named(folder: Path) -> None:
    assert [card.name for card in read_cards(Options(cards=str(folder)))] == ["a", "b"]
    assert [card.name for card in read_cards(Options(cards=str(folder), models=("b",)))] == ["b"]


def test_a_broken_card_matters_only_if_it_is_to_be_served(folder: Path) -> None:
    (folder / "c.yaml").write_text("apiVersion: airflow-agentic/v1\nkind: Model\nname: c\n")
    with pytest.raises(SpecError):
        read_cards(Options(cards=str(folder)))
    with pytest.raises(SpecError):
        read_cards(Options(cards=str(folder), models=("c",)))
    assert len(read_cards(Options(cards=str(folder), models=("a",)))) == 1


def test_names_that_are_unknown(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    empty = tmp_path_factory.mktemp("empty")
    for options, message in [
        (Options(cards=str(folder), models=("aa",)), "no model is called 'aa'; did you mean 'a'?"),
        (Options(cards=str(folder), models=("zebra",)), "no model is called 'zebra'; there are: a, b"),
        (
            Options(cards=str(empty)),
            f"there is no model card in {str(empty)!r}; name a folder that has one with --project",
        ),
    ]:
        with pytest.raises(InputError) as raised:
            read_cards(options)
        assert str(raised.value) == message


def test_the_greeting_says_where_and_what_to_try() -> None:
    for host, address in [("0.0.0.0", "127.0.0.1"), ("10.0.0.7", "10.0.0.7"), ("::1", "[::1]")]:
        options = Options(cards="", host=host, port=8080)
        assert greeting(options, ["a", "b"]) == (
            f"a, b: at http://{address}:8080\n  curl http://{address}:8080/v2/models/a\n"
        )


async def test_a_server_that_cannot_load_a_model_says_so_and_ends(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = Options(cards=str(folder), models=("a",))
    server = model_server(options)
    ended = asyncio.Event()
    server.on_failure = ended.set
    async with lifespan(server, options):
        await ended.wait()
    assert server.failed
    (message,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert message.startswith("the server ends, for a model cannot be loaded: ")
    assert "tiny:Model" in message
