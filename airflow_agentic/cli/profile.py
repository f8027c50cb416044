"""``airflow-agentic models profile``: measure what using a model means, here."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from airflow_agentic.cli.models import NameArgument, find, observe
from airflow_agentic.cli.options import HandlersOption, JsonOption, ProjectOption, UrisOption, listed

if TYPE_CHECKING:
    import pyarrow as pa

    from airflow_agentic.project import Project
    from airflow_agentic.runtime import Predictor
    from airflow_agentic.spec.model import ModelCard

WARM_UP: Final = 2
"""Calls that are not measured: frameworks compile and allocate in them."""


def profile(
    name: NameArgument,
    *,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            "-i",
            metavar="INPUT",
            help="What it is given, as for run; by default the inputs of workflows that do its task.",
        ),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Records to measure with; fewer are repeated.")] = 100,
    label: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The input's column with the right label: measures accuracy.")
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Keep the figures in profiles.json beside the card; runs then use them.")
    ] = False,
    project: ProjectOption = Path(),
    as_json: JsonOption = False,
    allow_handler: HandlersOption = None,
    allow_uri: UrisOption = None,
) -> None:
    """Measure latency, throughput, memory and, with labels, accuracy of a model on this machine."""
    from airflow_agentic.project import Project
    from airflow_agentic.runtime import start

    allowed = listed(allow_handler)
    home = Project.find(project, allowed)
    card = find(home.registry, name)
    records = _records(home, card, inputs or [], rows, listed(allow_uri))
    right = _labels(records, label) if label is not None else None
    predictor = start(card, allowed_handlers=allowed)
    try:
        measured = measure(predictor, card, records, rows=rows, labels=right)
    finally:
        predictor.close()
    typer.echo(json.dumps({"name": card.name, **measured.profile()}) if as_json else measured.text(card))
    if write:
        typer.echo(f"wrote {write_profile(card, measured)}", err=True)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Figures of one model on one machine."""

    rows: int
    p50_ms: float
    """Median time of one record alone."""
    p95_ms: float
    throughput_per_s: float
    """Records a second, in batches of the card's size."""
    memory: int | None
    """Peak resident bytes of the model's process; ``None`` for an inline model."""
    quality: float | None
    """Share of right labels; records that err count as wrong."""
    errors: int

    def profile(self) -> dict[str, Any]:
        """The card's ``profile``, as far as it was measured; the cost stays what the card declares."""
        errors = f", {self.errors} of them errors" if self.errors else ""
        found = {
            "latency_ms": round(self.p50_ms, 3),
            "quality": None if self.quality is None else round(self.quality, 4),
            "throughput_per_s": round(self.throughput_per_s, 1),
            "memory": self.memory,
            "measured_on": f"{self.rows} records{errors}; {os.cpu_count()} CPUs; p95 {self.p95_ms:.3g} ms",
        }
        return {name: value for name, value in found.items() if value is not None}

    def text(self, card: ModelCard) -> str:
        """For people."""
        from airflow_agentic.cli.render import aligned

        facts = [
            ("latency", f"{self.p50_ms:.3g} ms median, {self.p95_ms:.3g} ms p95, one record at a time"),
            ("throughput", f"{self.throughput_per_s:,.4g} records/s, in batches of {card.batch.rows}"),
            (
                "memory",
                f"{self.memory / 2**20:,.0f} MiB peak" if self.memory else "not known: an inline model shares ours",
            ),
            ("accuracy", "not measured: give --label COLUMN" if self.quality is None else f"{self.quality:.1%}"),
            ("records", f"{self.rows}" + (f", {self.errors} of them without an answer" if self.errors else "")),
        ]
        return "\n".join([f"{card.name} {card.version}", *aligned(facts)])


def measure(
    predictor: Predictor,
    card: ModelCard,
    records: pa.Table,
    *,
    rows: int,
    labels: list[str | None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Measured:
    """Measure a loaded model.

    :param records: at least one; repeated to ``rows`` for times, taken once for accuracy.
    :param labels: the right label of each record.
    """
    import numpy as np
    import pyarrow as pa

    from airflow_agentic.runtime import ModelProcess, predict_records

    singles = [records.slice(index % len(records), 1) for index in range(rows)]
    for one in itertools.islice(itertools.cycle(singles), WARM_UP):
        predict_records(predictor, card, one)
    times = []
    for one in singles:
        began = clock()
        predict_records(predictor, card, one)
        times.append((clock() - began) * 1000.0)
    whole = pa.concat_tables(singles)
    began = clock()
    predict_records(predictor, card, whole)
    seconds = max(clock() - began, 1e-9)
    answers = predict_records(predictor, card, records)
    found = answers.column("label").to_pylist()
    hits = None if labels is None else [said == right for said, right in zip(found, labels, strict=True)]
    return Measured(
        rows=len(records),
        p50_ms=float(np.percentile(times, 50)),
        p95_ms=float(np.percentile(times, 95)),
        throughput_per_s=rows / seconds,
        memory=(predictor.memory() or None) if isinstance(predictor, ModelProcess) else None,
        quality=None if hits is None else sum(hits) / len(hits),
        errors=len(records) - answers.column("error").null_count,
    )


def write_profile(card: ModelCard, measured: Measured) -> Path:
    """Keep the figures beside the card, for exactly this model: another digest makes them void. Returns the file."""
    from airflow_agentic.exceptions import InputError
    from airflow_agentic.execution.freeze import PROFILES

    path = card.folder / PROFILES
    try:
        kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        raise InputError(f"{str(path)!r} is not JSON ({error}); mend or remove it") from error
    entry = {"digest": observe(card).info.digest, "profile": measured.profile()}
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps({**kept, card.name: entry}, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    part.replace(path)
    return path


def _records(
    project: Project, card: ModelCard, inputs: list[str], rows: int, allowed_uris: tuple[str, ...]
) -> pa.Table:
    """Up to ``rows`` records of the card's task.

    :raises InputError: there are none.
    """
    import pyarrow as pa

    from airflow_agentic.exceptions import InputError

    found: list[pa.Table] = []
    for batch in _batches(project, card, inputs, rows, allowed_uris):
        found.append(_of_task(batch, card.task))
        if sum(map(len, found)) >= rows:
            break
    kept = [table for table in found if len(table)]
    if not kept:
        where = "the input" if inputs else "the inputs of the project's workflows"
        raise InputError(f"no record for {card.name!r} (task {card.task}) in {where}; give some with --input")
    same = [table for table in kept if table.schema.equals(kept[0].schema)]
    return pa.concat_tables(same).slice(0, rows)


def _batches(
    project: Project, card: ModelCard, inputs: list[str], rows: int, allowed_uris: tuple[str, ...]
) -> Iterator[pa.Table]:
    from airflow_agentic.cli.inputs import Source
    from airflow_agentic.exceptions import SpecError
    from airflow_agentic.spec.load import workflow_from

    if inputs:
        anything = workflow_from({"name": "profile", "routes": [{"use": card.name}]})
        yield from Source(arguments=inputs, workflow=anything, rows=rows, allowed_uris=allowed_uris).batches()
        return
    for path in project.files:
        try:
            workflow = project.load(path)
            able = card.task in workflow.tasks
        except SpecError:
            continue
        own = workflow.spec.input
        if able and own is not None and "{" not in own.uri:
            yield from Source(arguments=(), workflow=workflow.spec, rows=rows, allowed_uris=allowed_uris).batches()


def _of_task(records: pa.Table, task: str) -> pa.Table:
    """Good records that state this task or none."""
    import pyarrow.compute as pc

    mine = pc.fill_null(pc.equal(records.column("task"), task), True)
    return records.filter(pc.and_(mine, pc.is_null(records.column("error"))))


def _labels(records: pa.Table, column: str) -> list[str | None]:
    from airflow_agentic.exceptions import InputError
    from airflow_agentic.tables import RECORD

    names = [name for name in records.column_names if name not in RECORD.names]
    if column not in names:
        raise InputError(
            f"--label {column!r}: the records have no such column; they have: {', '.join(names) or 'none'}"
        )
    return [None if value is None else str(value) for value in records.column(column).to_pylist()]
