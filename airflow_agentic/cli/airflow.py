"""The commands as a part of Airflow's own command line: ``airflow agentic validate``. From Airflow 3.2.

Airflow asks for them while it builds its parser: this module imports nothing else of ours until one is run.
"""

from __future__ import annotations

import argparse
from typing import Any

from airflow.cli.cli_config import ActionCommand, Arg, CLICommand, GroupCommand


def _arg(*flags: str, **options: Any) -> Arg:
    return Arg(flags, **options)  # type: ignore[no-untyped-call]  # Airflow's own has no annotations


_PROJECT = _arg("--project", metavar="DIR", default=".", help="The project's folder; by default this one")
_JSON = _arg("--json", action="store_true", help="JSON for machines")
_PATH = _arg("path", nargs="?", default=".", help="A project, a folder of workflows or model cards, or one file")
_WORKFLOW = _arg("workflow", nargs="?", help="Its name or file; by default the only one")
_FORMAT = _arg("--format", choices=("text", "mermaid", "dot", "json"), default="text", help="How it is drawn")
_DESTINATION = _arg("destination", help="The Dag folder")


def commands() -> list[CLICommand]:
    """What ``get_provider_info`` names as this provider's ``cli``."""
    return [
        GroupCommand(
            name="agentic",
            help="Multi-model inference: check and draw workflows, list and write their Dags",
            subcommands=(
                ActionCommand(
                    name="validate", help="Check workflows and model cards", func=_validate, args=(_PATH, _JSON)
                ),
                ActionCommand(
                    name="plan", help="Draw the plan of a workflow", func=_plan, args=(_WORKFLOW, _FORMAT, _PROJECT)
                ),
                GroupCommand(
                    name="dags",
                    help="Workflows as Airflow Dags",
                    subcommands=(
                        ActionCommand(
                            name="list",
                            help="List the Dags that the workflows become",
                            func=_list,
                            args=(_PROJECT, _JSON),
                        ),
                        ActionCommand(
                            name="sync",
                            help="Write one small Dag file a workflow",
                            func=_sync,
                            args=(_DESTINATION, _PROJECT),
                        ),
                    ),
                ),
            ),
        )
    ]


def _validate(args: argparse.Namespace) -> None:
    _run(["validate", *_json(args), "--", args.path])


def _plan(args: argparse.Namespace) -> None:
    chosen = [] if args.workflow is None else ["--", args.workflow]
    _run(["plan", "--format", args.format, "--project", args.project, *chosen])


def _sync(args: argparse.Namespace) -> None:
    _run(["dags", "sync", "--project", args.project, "--", args.destination])


def _list(args: argparse.Namespace) -> None:
    _run(["dags", "list", "--project", args.project, *_json(args)])


def _json(args: argparse.Namespace) -> list[str]:
    return ["--json"] if args.json else []


def _run(arguments: list[str]) -> None:
    """Run our command line; it ends the process with its own exit code."""
    from airflow_agentic.cli.app import app

    app(arguments, prog_name="airflow agentic")
