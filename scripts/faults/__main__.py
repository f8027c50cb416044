"""``python -m scripts.faults --kills 200 --seed 1``: the last line of stdout is one JSON object with the figures.

Exits with 1 where a record was lost, doubled or wrong, or a process of ours was left.
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
from typing import Any, Final
from uuid import uuid4

from scripts.airflow_parts import AirflowParts
from scripts.faults.campaign import KINDS, ZOMBIE, AirflowCampaign
from scripts.faults.command_line import CommandLine
from scripts.faults.victims import MODEL, at_work
from scripts.faults.workload import HANDLERS, Workload, make
from scripts.postgres import PostgresServer, programs
from scripts.processes import Process, gone, with_variable

ROOT: Final = Path(__file__).resolve().parents[2]
CLI: Final = "cli"
MARK: Final = "AIRFLOW_AGENTIC_FAULTS"
"""The environment variable that tells the campaign's processes from all others."""
SECONDS: Final = "5"
"""Heartbeat time-out; the workload's retry delay is as long."""
ORPHAN_SECONDS: Final = 30.0
SETTINGS: Final = {
    "AIRFLOW__AGENTIC__ALLOWED_HANDLERS": HANDLERS,
    "AIRFLOW__CORE__PARALLELISM": "6",
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
    counts = {
        kind: options.kills // len(kinds) + (place < options.kills % len(kinds)) for place, kind in enumerate(kinds)
    }
    zombies = options.kills // len(kinds) if options.zombies is None else options.zombies
    home = Path(tempfile.mkdtemp(prefix="faults-"))
    figures = _campaign(home, options.seed, counts, zombies)
    bad = {name: figures[name] for name in ("lost", "doubled", "wrong", "orphans") if figures[name]}
    if bad:
        print(f"kept for a look: {home}", file=sys.stderr)
    else:
        shutil.rmtree(home, ignore_errors=True)
    print(json.dumps(figures))
    return 1 if bad else 0


def _campaign(home: Path, seed: int, counts: dict[str, int], zombies: int) -> dict[str, Any]:
    began = time.monotonic()
    chance = random.Random(seed)
    workload = make(home, chance)
    mark = uuid4().hex
    settings = {**SETTINGS, **workload.environment, MARK: mark}
    line = CommandLine(home / "cli", workload, random.Random(chance.random()), {**workload.environment, MARK: mark})
    thread = threading.Thread(target=line.campaign, args=(counts.pop(CLI, 0),))
    plan = [kind for kind, count in counts.items() for _ in range(count)] + [ZOMBIE] * zombies
    chance.shuffle(plan)
    thread.start()
    airflow, orphans = _on_airflow(home, workload, chance, settings, plan) if plan else (None, 0)
    thread.join()
    verdict = line.verdict
    kills = {CLI: line.kills} if line.kills else {}
    if airflow is not None:
        verdict.add(airflow.verdict)
        kills |= {kind: airflow.kills[kind] for kind in counts}
    left = gone(lambda: with_variable(MARK, mark), ORPHAN_SECONDS)
    figures = {
        "runs": verdict.runs,
        "kills": sum(kills.values()),
        "lost": verdict.lost,
        "doubled": verdict.doubled,
        "wrong": verdict.wrong,
        "seed": seed,
        "orphans": line.orphans + orphans + len(left),
        "by_kind": kills,
        "models_killed_at_work": airflow.models_at_work if airflow else 0,
        "zombies": airflow.kills[ZOMBIE] if airflow else 0,
        "zombies_that_answered_late": airflow.late_calls if airflow else 0,
        "files_without_marker": verdict.late,
        "database": "postgresql" if programs() else "sqlite",
        "revision": _revision(),
        "seconds": round(time.monotonic() - began),
    }
    for where, count in sorted(airflow.struck.items() if airflow else ()):
        print(f"{count:4} {where}", file=sys.stderr)
    for problem in verdict.problems:
        print(problem, file=sys.stderr)
    for each in left:
        print(f"left: {each}", file=sys.stderr)
    return figures


def _on_airflow(
    home: Path, workload: Workload, chance: random.Random, settings: dict[str, str], plan: list[str]
) -> tuple[AirflowCampaign, int]:
    """The campaign on an Airflow of its own, and the processes of ours that outlived their runs."""
    database = PostgresServer() if programs() else None
    try:
        url = database.start().url if database is not None else None
        with AirflowParts(home=home / "airflow", dags=workload.dags, settings=settings, database=url) as server:
            campaign = AirflowCampaign(server, workload, chance)
            campaign.run(plan)
            left = gone(lambda: _ours(server, settings[MARK]), ORPHAN_SECONDS)
            for each in left:
                print(f"outlived its run: {each}", file=sys.stderr)
            return campaign, len(left)
    finally:
        if database is not None:
            database.stop()


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
