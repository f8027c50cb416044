"""The commands of a container: ``unit``, ``fetch``.

Every one ends with a code of :mod:`airflow_agentic.container.exits`, and leaves its last error for Kubernetes.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable

from airflow_agentic.container.exits import Exit, LastWords
from airflow_agentic.container.logs import log_json
from airflow_agentic.container.models import fetch
from airflow_agentic.container.stop import GRACE_SECONDS, Stop
from airflow_agentic.container.unit import UnitReference, run_unit

log = logging.getLogger(__name__)


def run(arguments: list[str]) -> int:
    """Run one command; returns its exit code."""
    options = _parser().parse_args(arguments)
    log_json()
    try:
        options.command(options)
    except Exception as error:  # whatever it is, the pod's status is to tell it
        words = LastWords.of(error)
        words.write()
        log.error("%s: %s", words.error, words.message, exc_info=words.code == Exit.RETRY)
        return words.code
    return Exit.DONE


def _unit(options: argparse.Namespace) -> None:
    stop = Stop(options.grace)
    stop.listen()
    reference = UnitReference(
        store=options.store,
        manifest=options.manifest,
        node=options.node,
        unit=options.unit,
        allowed_handlers=tuple(options.allow),
    )
    run_unit(reference, stop)


def _fetch(options: argparse.Namespace) -> None:
    for sha256 in options.sha256:
        fetch(options.store, sha256)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m airflow_agentic.runtime", description="A model's container.")
    commands = parser.add_subparsers(required=True)

    def command(name: str, what: str, runs: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=what, description=what)
        made.set_defaults(command=runs)
        return made

    unit = command("unit", "Run a model over one unit of a Dag run.", _unit)
    unit.add_argument("--store", required=True, help="URI of the run's folder")
    unit.add_argument("--manifest", required=True, help="key of the run's manifest")
    unit.add_argument("--node", required=True, help="id of the infer node")
    unit.add_argument("--unit", required=True, type=int, help="number of the unit, from 0")
    unit.add_argument("--allow", action="append", default=[], metavar="HANDLER", help="code that cards may name")
    unit.add_argument("--grace", type=float, default=GRACE_SECONDS, help="seconds to finish a batch after SIGTERM")
    fetching = command("fetch", "Copy model files from the artifact store into the cache.", _fetch)
    fetching.add_argument("--store", required=True, help="URI of the artifact store")
    fetching.add_argument("--sha256", action="append", required=True, help="digest of a file or folder")
    return parser
