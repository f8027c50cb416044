"""``airflow-agentic run``: answer records in this process, without Airflow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from airflow_agentic.cli.options import HandlersOption, JsonOption, ProjectOption, UrisOption, listed

if TYPE_CHECKING:
    import pyarrow as pa

    from airflow_agentic.cli.outputs import Sink
    from airflow_agentic.cli.render import Summary
    from airflow_agentic.project import Workflow

_INPUT_HELP = (
    "What to answer, repeatable: a file, a folder or a glob that exists, a URI, - for standard input, else a text. "
    "JSON lines, JSON, CSV, Parquet and text files hold many records; any other file is one. What has no space and "
    "looks like a path (a known suffix, or a slash) must exist. Without it, the workflow's own input is answered."
)


def run(
    *,
    task: Annotated[
        str | None, typer.Option("--task", "-t", help="Of records that state none; finds the workflow, too.")
    ] = None,
    inputs: Annotated[list[str] | None, typer.Option("--input", "-i", metavar="INPUT", help=_INPUT_HELP)] = None,
    workflow: Annotated[
        str | None,
        typer.Option(
            "--workflow", "-w", help="Its name or file; by default the one that does --task, or the only one."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the answers to a .jsonl or .parquet file instead."),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Answer the first so many only.")] = None,
    deadline: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION", help="As 2s or 500ms, of each batch (loading included); by default the workflow's."
        ),
    ] = None,
    as_json: JsonOption = False,
    project: ProjectOption = Path(),
    allow_handler: HandlersOption = None,
    allow_uri: UrisOption = None,
) -> None:
    """Answer records in this process, without Airflow.

    Prints one line an answer (on a terminal the first 25) and a summary on stderr. Batches are as large as the
    workflow's shards; models are loaded once.
    """
    seconds = _seconds(deadline)
    from airflow_agentic.cli.choose import choose
    from airflow_agentic.cli.inputs import Source

    chosen = choose(project, workflow=workflow, task=task, allowed_handlers=listed(allow_handler))
    rows = chosen.plan.options.shard_rows
    batches = Source(
        arguments=inputs or [],
        workflow=chosen.spec,
        task=task,
        limit=limit,
        rows=rows,
        allowed_uris=listed(allow_uri),
    ).batches()
    first = next(batches)  # what is wrong with the input is said before a file is opened or a model loaded
    began = time.monotonic()
    summary = _answer_into(_sinks(chosen, output, as_json), chosen, first, batches, seconds)
    if output is not None:
        typer.echo(f"wrote {output}", err=True)
    if summary.records > 1 or output is not None:
        _print_summary(summary, time.monotonic() - began)
    raise typer.Exit(summary.exit_code)


def _seconds(deadline: str | None) -> float | None:
    from airflow_agentic.spec.base import seconds

    if deadline is None:
        return None
    try:
        value = seconds(deadline)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--deadline") from None
    if value <= 0:
        raise typer.BadParameter(f"{deadline!r} leaves no time", param_hint="--deadline")
    return value


def _sinks(workflow: Workflow, output: Path | None, as_json: bool) -> list[Sink]:
    from airflow_agentic.cli.outputs import JsonLines, Screen, open_file

    sinks: list[Sink] = [open_file(output)] if output is not None else []
    if as_json:
        sinks.append(JsonLines())
    elif output is None:
        sinks.append(Screen(workflow.plan))
    return sinks


def _answer_into(
    sinks: list[Sink], workflow: Workflow, first: pa.Table, rest: Iterator[pa.Table], deadline: float | None
) -> Summary:
    """Answer all batches; every sink is closed, also after an error."""
    complete = False
    try:
        summary = asyncio.run(_answer(sinks, workflow, first, rest, deadline))
        complete = True
    finally:
        for sink in sinks:
            sink.close(complete=complete)
    return summary


async def _answer(
    sinks: list[Sink], workflow: Workflow, first: pa.Table, rest: Iterator[pa.Table], deadline: float | None
) -> Summary:
    from airflow_agentic.cli.progress import progress
    from airflow_agentic.cli.render import Summary
    from airflow_agentic.coordinator import Coordinator

    coordinator = Coordinator(workflow.plan, allowed_handlers=workflow.allowed_handlers)
    summary = Summary()
    following: pa.Table | None = first
    try:
        with progress(coordinator.pool) as bar:
            while following is not None:
                records, following = following, next(rest, None)
                bar.read(len(records), last=following is None)
                answers = await coordinator.answer(records, deadline=deadline)
                failed = summary.failed
                summary.add(answers)
                bar.answered(len(answers), summary.failed - failed)
                for sink in sinks:
                    sink.write(records, answers)
    finally:
        await coordinator.pool.close()
    return summary


def _print_summary(summary: Summary, seconds: float) -> None:
    if summary.records > 1 and len(summary.models) > 1:
        shares = ", ".join(f"{model} {count:,}" for model, count in summary.models.most_common(6))
        typer.secho(f"answered by {shares}", err=True, dim=True)
    typer.secho(summary.text(seconds), err=True, fg="red" if summary.failed else None, dim=not summary.failed)
