"""``python -m scripts.faults --kills 200 --seed 1``: the last line of stdout is one JSON object with the figures.

Exits with 1 where a record was lost, doubled or wrong, a process of ours was left, or a kind had too few kills.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from scripts.airflow_parts import AirflowParts
from scripts.faults.campaign import AirflowCampaign
from scripts.faults.command_line import CommandLine
from scripts.faults.strikes import KINDS, ZOMBIE
from scripts.faults.victims import MODEL, at_work
from scripts.faults.workload import HANDLERS, Workload, make
from scripts.postgres import PostgresServer
from scripts.processes import Process, gone, with_variable

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT: Final = Path(__file__).resolve().parents[2]
CLI: Final = "cli"
MARK: Final = "AIRFLOW_AGENTIC_FAULTS"
"""The environment variable that tells the campaign's processes from all others."""
SECONDS: Final = "5"
"""Heartbeat time-out; the workload's retry delay is as long."""
ORPHAN_SECONDS: Final = 30.0
SETTINGS: Final = {
    "AIRFLOW__AGENTIC__ALLOWED_HANDLERS": HANDLERS,
    "AIRFLOW__CORE__PARALLELISM": "8",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": SECONDS,
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": SECONDS,
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "2",
    "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "60",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
}


def main(arguments: list[str] | None = None) -> int:
    """Run the campaign."""
    parser = argparse.ArgumentParser(prog="python -m scripts.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="of all kinds together (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="draws victims and moments (%(default)s)")
    parser.add_argument("--kind", action="append", choices=(*KINDS, CLI), help="kill these only; repeatable")
    parser.add_argument("--zombies", type=int, help="late writers beside the kills (as many as kills of one kind)")
    options = parser.parse_args(arguments)
    kinds = options.kind or [*KINDS, CLI]
    wanted = {
        kind: options.kills // len(kinds) + (place < options.kills % len(kinds)) for place, kind in enumerate(kinds)
    }
    wanted[ZOMBIE] = options.kills // len(kinds) if options.zombies is None else options.zombies
    home = Path(tempfile.mkdtemp(prefix="faults-"))
    figures = _campaign(home, options.seed, wanted)
    good = accepted(figures, wanted)
    if good:
        shutil.rmtree(home, ignore_errors=True)
    else:
        print(f"kept for a look: {home}", file=sys.stderr)
    print(json.dumps(figures))
    return 0 if good else 1


def accepted(figures: Mapping[str, Any], wanted: Mapping[str, int]) -> bool:
    """Whether all that was wanted was struck, and nothing is amiss."""
    reached = {**figures["by_kind"], ZOMBIE: figures["zombies"]}
    enough = all(reached.get(kind, 0) >= count for kind, count in wanted.items())
    return enough and not any(figures[name] for name in ("lost", "doubled", "wrong", "orphans"))


def _campaign(home: Path, seed: int, wanted: Mapping[str, int]) -> dict[str, Any]:
    began = time.monotonic()
    chance = random.Random(seed)
    workload = make(home, chance)
    mark = uuid4().hex
    settings = {**SETTINGS, **workload.environment, MARK: mark}
    line = CommandLine(home / "cli", workload, random.Random(chance.random()), {**workload.environment, MARK: mark})
    thread = threading.Thread(target=line.campaign, args=(wanted.get(CLI, 0),))
    plan = [kind for kind, count in wanted.items() if kind != CLI for _ in range(count)]
    chance.shuffle(plan)
    thread.start()
    airflow, orphans = _on_airflow(home, workload, chance, settings, plan)
    thread.join()
    verdict, strikes = line.verdict, airflow.strikes
    verdict.add(airflow.verdict)
    kills = {CLI: line.kills, **{kind: strikes.counts[kind] for kind in KINDS}}
    left = gone(lambda: with_variable(MARK, mark), ORPHAN_SECONDS)
    for where, count in sorted(strikes.struck.items()):
        print(f"{count:4} {where}", file=sys.stderr)
    for each in (*verdict.problems, *(f"left: {each}" for each in left)):
        print(each, file=sys.stderr)
    return {
        "runs": verdict.runs,
        "kills": sum(kills.values()),
        "lost": verdict.lost,
        "doubled": verdict.doubled,
        "wrong": verdict.wrong,
        "seed": seed,
        "orphans": line.orphans + orphans + len(left),
        "by_kind": kills,
        "models_killed_at_work": strikes.models_at_work,
        "zombies": strikes.counts[ZOMBIE],
        "zombies_that_answered_late": strikes.late_answers,
        "restarts": strikes.restarts,
        "files_without_marker": verdict.late,
        "revision": _revision(),
        "seconds": round(time.monotonic() - began),
    }


def _on_airflow(
    home: Path, workload: Workload, chance: random.Random, settings: dict[str, str], plan: list[str]
) -> tuple[AirflowCampaign, int]:
    """The campaign on an Airflow of its own, and how many processes of ours outlived their runs."""
    with (
        PostgresServer() as database,
        AirflowParts(home=home / "airflow", dags=workload.dags, settings=settings, database=database.url) as server,
    ):
        campaign = AirflowCampaign(server, workload, chance)
        campaign.run(plan)
        left = gone(lambda: _ours(server, settings[MARK]), ORPHAN_SECONDS)
        for each in left:
            print(f"outlived its run: {each}", file=sys.stderr)
        return campaign, len(left)


def _ours(server: AirflowParts, mark: str) -> list[Process]:
    """Model processes, and task processes: once every run has ended there must be none."""
    models = [each for each in with_variable(MARK, mark) if MODEL in each.command]
    return models + [work.task for work in at_work(server)]


def _revision() -> str:
    """The commit, with ``-dirty`` where the files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
