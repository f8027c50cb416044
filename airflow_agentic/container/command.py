"""The commands of a container: ``unit``, ``fetch``, ``warm``, ``ready``.

Every one ends with a code of :mod:`airflow_agentic.container.exits`, and leaves its last error for Kubernetes. What a
command needs is imported when it is asked for: what is run beside a warm model has to be small.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from airflow_agentic.container.exits import Exit, LastWords
from airflow_agentic.container.logs import log_json
from airflow_agentic.container.stop import GRACE_SECONDS, Stop


def run(arguments: list[str]) -> int:
    """Run one command; returns its exit code."""
    options = _parser().parse_args(arguments)
    log_json()
    try:
        code: int = options.command(options)
    except Exception as error:  # noqa: BLE001  # whatever it is, the pod's status is to tell it
        words = LastWords.of(error)
        words.write()
        words.say(error)
        return words.code
    return code


def _unit(options: argparse.Namespace) -> int:
    from airflow_agentic.container import parcel
    from airflow_agentic.container.reference import UnitReference

    reference = UnitReference(
        store=options.store or parcel.arrived().base,
        manifest=options.manifest,
        node=options.node,
        unit=options.unit,
        allowed_handlers=tuple(options.allow),
    )
    if options.socket is not None:
        from airflow_agentic.container.handover import hand_over

        return hand_over(reference, options.socket, options.grace, attached=options.attached)
    from airflow_agentic.container.unit import run_unit

    stop = Stop(options.grace)
    stop.listen()
    if options.store is None:
        run_unit(reference, stop, on_commit=parcel.Returning())
    else:
        run_unit(reference, stop)
    return Exit.DONE


def _fetch(options: argparse.Namespace) -> int:
    from airflow_agentic.container.models import fetch

    for sha256 in options.sha256:
        fetch(options.store, sha256)
    return Exit.DONE


def _warm(options: argparse.Namespace) -> int:
    from airflow_agentic.container.warm import serve

    serve(options.card, options.socket, allowed_handlers=options.allow, grace=options.grace)
    return Exit.DONE


def _ready(options: argparse.Namespace) -> int:
    from airflow_agentic.container.handover import ready

    return ready(options.socket)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m airflow_agentic.runtime", description="A model's container.")
    commands = parser.add_subparsers(required=True)

    def command(name: str, what: str, runs: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=what, description=what)
        made.set_defaults(command=runs)
        return made

    def handlers(made: argparse.ArgumentParser) -> None:
        made.add_argument("--allow", action="append", default=[], metavar="HANDLER", help="code that cards may name")
        made.add_argument("--grace", type=float, default=GRACE_SECONDS, help="seconds to finish a batch after SIGTERM")

    unit = command("unit", "Run a model over one unit of a Dag run.", _unit)
    where = unit.add_mutually_exclusive_group(required=True)
    where.add_argument("--store", help="URI of the run's folder")
    where.add_argument("--parcel", action="store_true", help="the run came by the environment; answer in the log")
    unit.add_argument("--manifest", required=True, help="key of the run's manifest")
    unit.add_argument("--node", required=True, help="id of the infer node")
    unit.add_argument("--unit", required=True, type=int, help="number of the unit, from 0")
    unit.add_argument("--socket", type=Path, help="of the warm model that is to do it, in this container")
    unit.add_argument("--attached", action="store_true", help="with --socket: stop at the end of stdin, too")
    handlers(unit)
    fetching = command("fetch", "Copy model files from the artifact store into the cache.", _fetch)
    fetching.add_argument("--store", required=True, help="URI of the artifact store")
    fetching.add_argument("--sha256", action="append", required=True, help="digest of a file or folder")
    warm = command("warm", "Keep a model loaded, and answer the units that are handed over.", _warm)
    warm.add_argument("--card", type=Path, required=True, help="the model's card")
    warm.add_argument("--socket", type=Path, required=True, help="path of the socket to listen at")
    handlers(warm)
    asking = command("ready", "Whether a warm model is loaded.", _ready)
    asking.add_argument("--socket", type=Path, required=True, help="path of its socket")
    return parser
