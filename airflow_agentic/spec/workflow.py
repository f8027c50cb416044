"""The workflow: which records go to which models, how answers are combined and where they are published."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BeforeValidator, Field, model_validator

from airflow_agentic.spec.base import Bytes, Name, Retention, Seconds, Spec, Strict
from airflow_agentic.spec.explain import COLUMN_PATTERN, MisfitError, in_short
from airflow_agentic.spec.pattern import OPTIONS, Member, pattern_of  # pydantic reads Member
from airflow_agentic.spec.service import GatewaySpec, ServiceSpec  # pydantic reads them

MAX_INLINE_RECORDS: Final = 1000
"""Records that a Dag run may be given with its request; what is larger is read from a file."""
MAX_INLINE_BYTES: Final = 256 * 1024
"""The same, as JSON: Airflow keeps it in its database and hands it to each Airflow task."""

ColumnType = Literal["string", "double", "int", "bool"]


class Route(Strict):
    """Records for which ``when`` holds, and the pattern that answers them."""

    also_known: ClassVar[tuple[str, ...]] = tuple(OPTIONS)
    """Its pattern's options may stand beside ``use``."""

    name: Name | None = None
    """Shown in the UI and in answers; by default from the pattern."""
    when: str | None = None
    """CEL over ``record.*``; without it the route takes every record."""
    use: Member

    @model_validator(mode="before")
    @classmethod
    def _options_into_pattern(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not isinstance(value.get("use"), str | dict):
            return value
        use = pattern_of(value["use"])
        options = {key: item for key, item in value.items() if key in OPTIONS}
        twice = sorted(use.keys() & options.keys())
        if twice:
            raise MisfitError(f"{twice[0]} stands beside use and inside it\nkeep one of them", at=(twice[0],))
        rest = {key: item for key, item in value.items() if key not in options}
        return {**rest, "use": {**use, **options}}


class InputSpec(Strict):
    """Where the records come from."""

    uri: str
    """A file (JSONL, Parquet, CSV, text), a folder or a glob; relative to the workflow's file. ``{window.start}``,
    ``{window.end}`` and ``{params.NAME}`` are filled in."""
    format: Literal["auto", "jsonl", "json", "csv", "parquet", "text", "files"] = "auto"
    columns: dict[str, str] = Field(default_factory=dict)
    """The input's column → the record's field."""
    features: dict[Annotated[str, Field(pattern=COLUMN_PATTERN)], ColumnType] = Field(default_factory=dict)
    """Further columns of the input that conditions may use, as ``record.NAME``."""


class ShardSpec(Strict):
    """A shard is what is held in memory at once, and the smallest thing that is retried."""

    rows: int = Field(default=1000, ge=1, le=1_000_000)
    bytes: Bytes = 64 * 2**20


class PublishSpec(Strict):
    """Where the answers go."""

    uri: str = "answers/"
    """A folder; relative to the run's artifacts, or absolute. One file a shard."""
    format: Literal["parquet", "jsonl"] = "parquet"


class WindowSpec(Strict):
    """What a scheduled run covers."""

    kind: Literal["none", "interval"] = "none"
    """``interval``: from the schedule's previous tick to this one, as ``{window.start}`` and ``{window.end}``."""


RunnerName = Literal["local", "kubernetes", "service"]


class RunnerSpec(Strict):
    """What runs each model in a Dag."""

    default: RunnerName = "local"
    """``local``: a process of the worker; ``kubernetes``: a pod a unit; ``service``: a model server that is up."""
    models: dict[str, RunnerName] = Field(default_factory=dict)

    def of(self, model: str) -> RunnerName:
        """Of one model."""
        return self.models.get(model, self.default)


def _runner(value: Any) -> Any:
    return {"default": value} if isinstance(value, str) else value


def _window(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


def _input(value: Any) -> Any:
    return {"uri": value} if isinstance(value, str) else value


def _step(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        raise MisfitError(f"expected a step's name, or its name and options, found {in_short(value)}")
    if len(value) != 1:
        raise MisfitError(f"expected one step, found {len(value)}\nwrite each as an entry of its own")
    return {name: {} if options is None else options for name, options in value.items()}


OnError = Literal["fail", "keep", "dead_letter", "fallback"]


class WorkflowSpec(Spec):
    """Which records go to which models, how answers are combined and where they are published."""

    kind: Literal["Workflow"]
    name: Name
    description: str = ""
    dag: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the Airflow Dag: everything its signature takes."""
    task: dict[str, Any] = Field(default_factory=dict)
    """Arguments of every Airflow task, as ``retries`` or ``pool``."""
    layout: Literal["expanded", "compact"] = "expanded"
    """``expanded``: one Airflow task a node; ``compact``: one Airflow task for all."""
    runner: Annotated[RunnerSpec, BeforeValidator(_runner, json_schema_input_type=RunnerName | dict[str, Any])] = (
        RunnerSpec()
    )
    """What runs the models: ``kubernetes``, or ``{default: kubernetes, models: {NAME: local}}``. Pods are for Dags;
    services are asked from the command line, too."""
    kubernetes: dict[str, Any] = Field(default_factory=dict)
    """Of every model's pod, over what its card says: arguments of KubernetesInferenceOperator, objects in Kubernetes'
    own notation."""
    service: ServiceSpec | None = None
    """Where the models with ``runner: service`` are served, over what their cards say."""
    gateway: GatewaySpec | None = None
    """With ``layout: compact``: the gateway that answers the Dag's shards in place of the worker."""
    models: str | None = None
    """The folder of the model cards; by default ``models`` beside the folder ``workflows``."""
    input: Annotated[InputSpec | None, BeforeValidator(_input, json_schema_input_type=str | dict[str, Any])] = None
    window: Annotated[WindowSpec, BeforeValidator(_window, json_schema_input_type=str | dict[str, Any])] = WindowSpec()
    preprocess: list[
        Annotated[
            str | dict[str, dict[str, Any]],
            BeforeValidator(_step, json_schema_input_type=str | dict[str, dict[str, Any] | None]),
        ]
    ] = Field(default_factory=list)
    """Steps in order: a name, or ``{name: {option: value}}``."""
    routes: list[Route] = Field(min_length=1)
    match: Literal["first", "all"] = "first"
    """``all``: every route that matches answers, and the answers are merged by route."""
    default: Member | None = None
    """For records that no route takes; without it their answer is the error ``no_route``."""
    on_error: OnError = "keep"
    """What becomes of records without an answer: ``keep`` an error row, ``dead_letter`` also writes them to a folder of
    their own, ``fail`` fails the run after committing all answers, ``fallback`` asks ``fallback``."""
    fallback: Member | None = None
    deadline: Seconds | None = None
    """Of a whole request, online."""
    parallelism: int = Field(default=8, ge=1, le=1024)
    """Units a batch is cut into: at most this many mapped Airflow tasks or pods a model."""
    shard: ShardSpec = ShardSpec()
    publish: PublishSpec = PublishSpec()
    retention: Retention | None = None
    """How long a run's data is kept after its last write, as ``30d``, at least ``1h``; then the maintenance Dag or
    ``airflow-agentic artifacts prune`` deletes it. By default ``[agentic] retention`` says."""
    seed: int = 0
    """Of every choice by chance."""
    serves: list[Name] | None = None
    """The tasks for which it is chosen where a request names a task but no workflow; by default all its models do."""

    @model_validator(mode="after")
    def _run_somewhere(self) -> WorkflowSpec:
        runners = {self.runner.default, *self.runner.models.values()}
        if self.layout == "compact" and "kubernetes" in runners:
            message = "'compact' runs every model in the worker, which is not runner kubernetes"
            raise MisfitError(f"{message}\nwrite layout: expanded, or remove runner", at=("layout",))
        if self.kubernetes and "kubernetes" not in runners:
            raise MisfitError("is for models in pods, and none is\nwrite runner: kubernetes", at=("kubernetes",))
        if self.gateway is not None and self.layout != "compact":
            raise MisfitError("answers the one Airflow task of a compact Dag\nwrite layout: compact", at=("gateway",))
        if self.service is not None and "service" not in runners:
            raise MisfitError("is for models at a service, and none is\nwrite runner: service", at=("service",))
        return self

    @model_validator(mode="after")
    def _fallback(self) -> WorkflowSpec:
        if self.on_error == "fallback" and self.fallback is None:
            raise MisfitError("'fallback' needs a pattern to ask\nwrite fallback: MODEL", at=("on_error",))
        if self.on_error != "fallback" and self.fallback is not None:
            raise MisfitError("is never asked\nwrite on_error: fallback, or remove it", at=("fallback",))
        return self

    @model_validator(mode="after")
    def _reachable(self) -> WorkflowSpec:
        last = len(self.routes) - 1
        always = next((index for index, route in enumerate(self.routes) if route.when is None), None)
        if always is None:
            return self
        if self.match == "first" and always < last:
            message = f"is unreachable: routes[{always}] has no condition"
            raise MisfitError(f"{message}\nput routes[{always}] last, or write match: all", at=("routes", always + 1))
        if self.default is not None:
            message = f"is unreachable: routes[{always}] has no condition and takes every record"
            raise MisfitError(f"{message}\nremove one of them", at=("default",))
        return self
