"""``airflow agentic …``."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_agentic.get_provider_info import get_provider_info

if TYPE_CHECKING:
    from collections.abc import Callable

pytest.importorskip("airflow")


@pytest.fixture(scope="module")
def parser() -> argparse.ArgumentParser:
    """Airflow's own parser, of our commands only."""
    from airflow.cli.cli_parser import _add_command

    (path,) = get_provider_info()["cli"]
    module, _, function = path.rpartition(".")
    commands: Callable[[], list[object]] = getattr(import_module(module), function)
    parser = argparse.ArgumentParser("airflow")
    subparsers = parser.add_subparsers()
    for command in commands():
        _add_command(subparsers, command)
    return parser


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("agentic validate", 0, "1 workflow and 2 model cards: no errors\n"),
        ("agentic validate workflows/sentiment.yaml", 0, "1 workflow: no errors\n"),
        ("agentic plan", 0, "preprocess ─ route ─ text-classification ─ few-words"),
        ("agentic plan sentiment --format mermaid --project .", 0, "flowchart LR\n"),
        ("agentic plan absent", 2, ""),
        ("agentic dags list --json", 0, "[\n"),
        ("agentic dags sync out", 0, "wrote out/sentiment.py\n"),
    ],
)
def test_commands(
    project: Path,
    parser: argparse.ArgumentParser,
    capsys: pytest.CaptureFixture[str],
    line: str,
    code: int,
    said: str,
) -> None:
    args = parser.parse_args(line.split())
    with pytest.raises(SystemExit) as ended:
        args.func(args)
    assert ended.value.code == code
    assert capsys.readouterr().out.startswith(said)


def test_an_option_of_another_command_is_refused(parser: argparse.ArgumentParser) -> None:
    with pytest.raises(SystemExit):
        parser.parse_args(["agentic", "plan", "--check"])
