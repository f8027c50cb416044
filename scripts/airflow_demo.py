"""``make demo``: a workflow on a real Airflow, from Trigger to answers. ``make airflow``: that Airflow, kept up."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import unquote, urlparse

import pyarrow.parquet as pq
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from airflow_agentic.artifacts import Store
from airflow_agentic.execution.expiry import EXPIRED, refuse_expired
from scripts.airflow_server import USER, AirflowServer, AirflowServerError

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT: Final = Path(__file__).resolve().parents[1]
HOME: Final = ROOT / ".airflow"
DAGS: Final = ROOT / "dags"
WORKFLOW: Final = "mixed-inbox"
PUBLISH: Final = "publish"
LOG_LINES: Final = 60
MIN_WIDTH: Final = 220


def main(arguments: list[str] | None = None) -> int:
    """Run the demo, or serve."""
    parser = argparse.ArgumentParser(prog="python -m scripts.airflow_demo", description=__doc__)
    parser.add_argument("--dag", default=WORKFLOW, help="the Dag to run (%(default)s)")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for the run (%(default)s)")
    parser.add_argument("--serve", action="store_true", help="only start Airflow and leave it running until Ctrl-C")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminated)
    console = Console()
    if not console.is_terminal:
        console = Console(width=MIN_WIDTH)
    try:
        with AirflowServer(home=HOME, dags=DAGS) as server:
            return _serve(console, server) if options.serve else _demo(console, server, options.dag, options.timeout)
    except AirflowServerError as error:
        console.print(Text(str(error), style="red"))
        return 1
    except KeyboardInterrupt:
        return 130


def read_answers(uri: str) -> list[dict[str, Any]]:
    """The rows of every answers file in ``uri``, a ``file`` URI of a folder or of one file; not of its dead letters.

    :raises ValueError: it is not on this machine.
    :raises ExpiredRunError: the run has expired.
    """
    parts = urlparse(uri)
    if parts.scheme != "file":
        raise ValueError(f"{uri!r} is not a file URI; the demo reads answers from this machine only")
    path = Path(unquote(parts.path))
    for folder in path.parents:
        if (folder / EXPIRED).exists():
            refuse_expired(Store.open(str(folder)))
    rows: list[dict[str, Any]] = []
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.suffix == ".parquet":
            rows += pq.read_table(file).to_pylist()
        elif file.suffix in {".jsonl", ".ndjson"}:
            rows += [json.loads(line) for line in file.read_text().splitlines()]
    return rows


def answers_table(rows: list[dict[str, Any]]) -> Table:
    """One line an answer: who answered, what, why, at what cost."""
    table = Table(title="Answers", title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    for heading, justify in (
        ("record", "left"),
        ("task", "left"),
        ("model", "left"),
        ("answer", "left"),
        ("score", "right"),
        ("route", "left"),
        ("cost", "right"),
        ("ms", "right"),
        ("error", "left"),
    ):
        table.add_column(heading, justify=justify, overflow="fold")  # type: ignore[arg-type]  # literals, one by one
    for row in rows:
        table.add_row(*_cells(row), style="red" if row.get("error") else None)
    return table


def _cells(row: Mapping[str, Any]) -> list[Text]:
    error, route = row.get("error") or {}, row.get("route") or {}
    reason = " · ".join(str(part) for part in (route.get("rule"), route.get("reason")) if part)
    if row.get("degraded"):
        reason += " (degraded)"
    cells = [
        str(row["record_id"])[:16],
        row.get("task") or "",
        row.get("model") or "",
        _shown(row),
        _number(row.get("score"), ".2f"),
        reason,
        _number(row.get("cost"), ".6f"),
        _number(row.get("latency_ms"), ".1f"),
        f"{error['code']}: {error['message']}" if error else "",
    ]
    return [Text(cell) for cell in cells]  # as Text: a label may look like markup


def _shown(row: Mapping[str, Any]) -> str:
    for name in ("label", "value", "output"):
        if row.get(name) is not None:
            return str(row[name])[:60]
    return ""


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _demo(console: Console, server: AirflowServer, dag_id: str, timeout: float) -> int:
    _say(console, f"Airflow {_version(server)} is up at {server.url}")
    server.wait_dag(dag_id)
    started = time.monotonic()
    run_id = server.trigger(dag_id)
    _say(console, f"triggered {dag_id}, run {run_id}")
    run = server.wait_run(dag_id, run_id, timeout=timeout)
    console.print(_tasks_table(server.tasks(dag_id, run_id)))
    if run["state"] != "success":
        _show_failures(console, server, dag_id, run_id)
        return 1
    summary = server.xcom(dag_id, run_id, PUBLISH)
    rows = read_answers(summary["uri"])
    console.print(answers_table(rows))
    errors = sum(1 for row in rows if row.get("error"))
    _say(
        console, f"{len(rows)} answers, {errors} with an error, in {time.monotonic() - started:.1f} s: {summary['uri']}"
    )
    if len(rows) != summary["records"]:
        console.print(Text(f"the run published {summary['records']} answers, but {len(rows)} were found", style="red"))
        return 1
    return 0


def _serve(console: Console, server: AirflowServer) -> int:
    _say(console, f"Airflow {_version(server)} is up: {server.url}   user: {USER}   password: {server.password}")
    _say(console, f"Dags: {server.dags}   answers: {server.artifacts}   log: {server.log}   Ctrl-C stops it")
    while server.running:
        time.sleep(1)
    raise AirflowServerError(f"Airflow ended by itself.\n{server.log_tail()}")


def _tasks_table(instances: list[dict[str, Any]]) -> Table:
    table = Table(title="Airflow tasks", title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    for heading in ("task", "unit", "state", "seconds"):
        table.add_column(heading, justify="right" if heading == "seconds" else "left")
    for each in sorted(instances, key=lambda each: (each["start_date"] or "~", each["task_id"], each["map_index"])):
        unit = "" if each["map_index"] < 0 else str(each["map_index"])
        style = {"success": "green", "failed": "red", "upstream_failed": "red"}.get(each["state"], "dim")
        table.add_row(each["task_id"], unit, str(each["state"]), _number(each["duration"], ".1f"), style=style)
    return table


def _show_failures(console: Console, server: AirflowServer, dag_id: str, run_id: str) -> None:
    for each in server.tasks(dag_id, run_id):
        if each["state"] != "failed":
            continue
        log = server.task_log(
            dag_id, run_id, each["task_id"], try_number=each["try_number"], map_index=each["map_index"]
        )
        console.rule(f"{each['task_id']} failed", style="red")
        console.print(Text("\n".join(log.splitlines()[-LOG_LINES:])))


def _version(server: AirflowServer) -> str:
    return str(server.request("GET", "/api/v2/version")["version"])


def _say(console: Console, line: str) -> None:
    console.print(Text(line), soft_wrap=True)


def _terminated(_signal: int, _frame: object) -> NoReturn:
    sys.exit(128 + signal.SIGTERM)  # unwinds through the context manager, which stops Airflow


if __name__ == "__main__":
    sys.exit(main())
