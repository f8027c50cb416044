"""What a Dag run reads: its parameters first, else the workflow's input with the run's window filled in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from airflow_agentic.artifacts.digests import digest
from airflow_agentic.exceptions import InputError, RecordError
from airflow_agentic.pipeline.inputs import Input, fingerprint, inline_records, read_records
from airflow_agentic.pipeline.uris import AllowedUris, resolve
from airflow_agentic.plan.ir import Plan
from airflow_agentic.project import project_root
from airflow_agentic.spec.workflow import ColumnType, InputSpec

if TYPE_CHECKING:
    from airflow.sdk import Context


@dataclass(frozen=True, kw_only=True)
class RunInput:
    """Records of the request (the lines of a pasted text, or whole records), or files."""

    inline: tuple[object, ...] = ()
    kind: Literal["text", "records"] = "text"
    task: str | None = None
    features: Mapping[str, ColumnType] = field(default_factory=dict)
    folder: Path | None = None
    """Where relative URIs of inline records start."""
    files: Input | None = None
    allowed_uris: Sequence[str] = ()

    def chunks(self) -> Iterator[pa.Table]:
        """Normalised records."""
        if self.files is None:
            yield inline_records(
                self.inline,
                task=self.task,
                base=self.folder,
                features=self.features,
                allowed_uris=self.allowed_uris,
            )
            return
        yield from read_records(self.files, allowed_uris=self.allowed_uris)

    def fingerprint(self) -> list[dict[str, Any]]:
        """Its identity. Records of the request are named by their digest: no manifest holds a record."""
        if self.files is not None:
            return fingerprint(self.files)
        return [{self.kind: digest(list(self.inline)), "task": self.task}]


def run_input(spec: InputSpec | None, base: Path, context: Context, allowed_uris: Sequence[str]) -> RunInput:
    """The input of this run.

    :raises InputError: there is none, or it needs a window that this kind of run does not have.
    """
    params = context["params"]
    limit = params.get("limit")
    if params.get("text") or params.get("records"):
        return _inline(spec, base, params, allowed_uris)
    uri = params.get("uri") or (spec.uri if spec is not None else None)
    if not uri:
        raise InputError(
            "this workflow has no input of its own: give text, records or uri in the trigger form, "
            "or write input: in its file"
        )
    spec = spec or InputSpec(uri=uri)
    filled = fill(uri, window(context), params)
    if params.get("uri") or uri.startswith("{params."):
        _check_allowed(filled, base, allowed_uris)
    files = Input(uri=filled, format=spec.format, base=base, columns=spec.columns, features=spec.features, limit=limit)
    return RunInput(files=files, allowed_uris=allowed_uris)


def _inline(spec: InputSpec | None, base: Path, params: Mapping[str, Any], allowed_uris: Sequence[str]) -> RunInput:
    """What the request itself holds.

    :raises InputError: text and records are given, or records that are no list.
    """
    task, limit, features = params.get("task"), params.get("limit"), spec.features if spec else {}
    if not params.get("records"):
        lines = tuple(line for line in str(params["text"]).splitlines() if line.strip())
        return RunInput(inline=lines[:limit], task=task, features=features)
    if params.get("text"):
        raise InputError("text and records are given; give one of them")
    if not isinstance(params["records"], list):
        raise InputError(f"records is {type(params['records']).__name__}; give a list of texts and objects")
    return RunInput(
        inline=tuple(params["records"][:limit]),
        kind="records",
        task=task,
        features=features,
        folder=project_root(base),
        allowed_uris=allowed_uris,
    )


def salt_of(context: Context) -> str:
    """What makes a run with ``recompute`` compute all again: another one after each clearing, the same in each retry.

    A retry so resumes what its predecessor committed, and a task that wakes up late writes what is there already.
    """
    if not context["params"].get("recompute"):
        return ""
    return f"cleared-{context['ti'].max_tries}"  # clearing raises it by the tries made so far; a retry leaves it


def _check_allowed(uri: str, base: Path, allowed_uris: Sequence[str]) -> None:
    """Who may trigger a Dag may not read all that its worker can.

    :raises InputError: the URI of the trigger form is neither below the project nor in ``allowed_uris``.
    """
    try:
        AllowedUris.under(str(project_root(base)), allowed_uris).check(resolve(uri, str(base)))
    except RecordError as error:
        raise InputError(f"{error} in the section [agentic]") from error


def window(context: Context) -> dict[str, str]:
    """``start`` and ``end`` of the run: from its parameters, else its data interval; empty where it has none."""
    params: Mapping[str, Any] = context["params"]
    found = {}
    for name in ("start", "end"):
        value: Any = params.get(f"window_{name}") or context.get(f"data_interval_{name}")
        if value is not None:
            found[name] = value if isinstance(value, str) else value.isoformat()
    return found


def fill(uri: str, window: Mapping[str, str], params: Mapping[str, Any]) -> str:
    """``{window.start}``, ``{window.end}`` and ``{params.NAME}`` replaced."""

    def value(match: re.Match[str]) -> str:
        source, name = match[1], match[2]
        found = (window if source == "window" else params).get(name)
        if found is None:
            way = (
                f"give window_{name} in the trigger form, or write window: interval"
                if source == "window"
                else f"give {name}"
            )
            raise InputError(f"the input {uri!r} needs {source}.{name}, which this run does not have: {way}")
        if ".." in re.split(r"[/\\]", str(found)):
            raise InputError(f"{source}.{name} is {str(found)!r}, which leaves the folder of the input {uri!r}")
        return str(found)

    return re.sub(r"\{(window|params)\.(\w+)\}", value, uri)


def kept_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's plan keeps of its parameters: all but those that are records."""
    return {name: value for name, value in params.items() if name not in ("text", "records")}


def run_options(plan: Plan, params: Mapping[str, Any]) -> Plan:
    """The plan with what a run's parameters change: what becomes of errors."""
    on_error = params.get("on_error")
    if not on_error or on_error == plan.options.on_error:
        return plan
    return plan.model_copy(update={"options": plan.options.model_copy(update={"on_error": on_error})})
