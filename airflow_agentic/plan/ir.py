"""The plan: a small typed graph that both executors run.

Node ids are what a person sees: they are the Airflow task ids, and folder names in the artifact store. Only
:class:`Infer` and :class:`Publish` have effects outside; the others are pure functions of a shard.

Invariants: ``nodes`` is in topological order; ``needs`` names earlier nodes only; the first node is Preprocess, the
second Route; the last two are Aggregate and Publish.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import Field

from airflow_agentic.artifacts.digests import digest
from airflow_agentic.pipeline.combination import Combination  # pydantic reads it
from airflow_agentic.registry.info import ModelInfo  # pydantic reads it
from airflow_agentic.routing.decision import Decision, targets
from airflow_agentic.spec.base import Strict
from airflow_agentic.spec.workflow import ColumnType, OnError  # pydantic reads them

SCHEMA_VERSION: Final = 1
NODE_FUNCTIONS_VERSION: Final = 1
"""Raised when a node function answers differently for equal input: keys change with it."""


PREPROCESS: Final = "preprocess"
"""Id of the first node: what it returns tells the others which run it is."""


class Node(Strict):
    """What all nodes share."""

    id: str
    group: str | None = None
    """The route it belongs to."""
    needs: tuple[str, ...] = ()
    runs_in: Literal["dag", "online", "both"] = "both"
    deterministic: bool = True
    on_error: OnError = "keep"
    """What becomes of rows in error at this node."""
    share: float = 1.0
    """Of the time left to the whole plan when the node starts, online."""


class Preprocess(Node):
    """Input → shards of validated records with feature columns."""

    kind: Literal["preprocess"] = "preprocess"
    steps: tuple[tuple[str, dict[str, Any]], ...] = ()


class Route(Node):
    """Shard → which rows go to which infer nodes first."""

    kind: Literal["route"] = "route"
    decide: Decision

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What it decides by."""
        return (self.decide,)


class Feed(Strict):
    """Where an infer node's input comes from, if not from the record: earlier predictions."""

    source: Combination
    fields: str | dict[str, str]
    """``prediction.label`` and the like, or a struct of them; ``members`` is the class scores of every member of an
    ensemble, as a struct ``MODEL.LABEL``."""


class Infer(Node):
    """The rows that ``controls`` gave to it → predictions of one model."""

    kind: Literal["infer"] = "infer"
    model: str
    controls: tuple[str, ...]
    """The nodes (Route, Gates) that may send rows here, in order."""
    feed: Feed | None = None
    all_scores: bool = False
    """Keep the scores of all classes, not the card's ``top_k``: an average needs them."""
    deadline: float | None = None
    """Seconds, online: of an ensemble's member."""


class Gate(Node):
    """Predictions → which rows are good enough, and where the others (or they) go next."""

    kind: Literal["gate"] = "gate"
    source: Combination
    accept: str | None = None
    """CEL over ``prediction.*`` and ``record.*``; without it every answer that is no error is accepted."""
    accepted: Decision | None = None
    rejected: Decision | None = None
    rule: str
    """Where it stands in the workflow."""
    unrouted: bool = False
    """Whether rows that no model got are rejected rows too (the workflow's ``fallback``)."""

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What it decides by, for rows that are accepted and for those that are not."""
        return tuple(side for side in (self.accepted, self.rejected) if side is not None)


class Aggregate(Node):
    """Predictions → one answer a record."""

    kind: Literal["aggregate"] = "aggregate"
    combine: Combination


class Publish(Node):
    """Answers → where the workflow wants them."""

    kind: Literal["publish"] = "publish"
    uri: str
    format: Literal["parquet", "jsonl"] = "parquet"


AnyNode = Annotated[Preprocess | Route | Infer | Gate | Aggregate | Publish, Field(discriminator="kind")]
Control = Route | Gate
N = TypeVar("N", bound=Node)

_NOT_IDENTITY: Final = {"group", "share", "on_error", "deadline", "runs_in", "deterministic"}
"""What a node says of itself that changes no answer of a Dag run."""


class Options(Strict):
    """What the executors need of the workflow beside the graph."""

    on_error: OnError = "keep"
    deadline: float | None = None
    parallelism: int = 8
    shard_rows: int = 1000
    shard_bytes: int = 64 * 2**20
    runners: dict[str, Literal["kubernetes", "service"]] = Field(default_factory=dict)
    """What runs the models that do not run in the worker. Not part of the plan's identity."""
    services: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Where those with runner ``service`` are served, as card and workflow state it. Nor is this."""
    retention: float | None = None
    """Seconds the run is kept after its last write; without it as long as the configuration says."""


class Plan(Strict):
    """A compiled workflow."""

    schema_version: int = SCHEMA_VERSION
    node_functions: int = NODE_FUNCTIONS_VERSION
    workflow: str
    nodes: tuple[AnyNode, ...]
    models: dict[str, ModelInfo]
    cards: dict[str, dict[str, Any]]
    """The resolved cards, as their files state them."""
    folders: dict[str, str] = Field(default_factory=dict)
    """Where each card's relative URIs start. Not part of the plan's identity."""
    columns: dict[str, ColumnType]
    """What conditions may use of a record, as ``record.task``."""
    options: Options = Options()

    def node(self, node_id: str) -> AnyNode:
        """The node called ``node_id``.

        :raises KeyError: there is none.
        """
        for node in self.nodes:
            if node.id == node_id:
                return node
        known = ", ".join(node.id for node in self.nodes)
        raise KeyError(f"the plan of {self.workflow!r} has no node {node_id!r}; it has: {known}")

    def of(self, kind: type[N]) -> tuple[N, ...]:
        """The nodes of one kind, in order."""
        return tuple(node for node in self.nodes if isinstance(node, kind))

    def reached_by(self, control: Control) -> tuple[str, ...]:
        """The infer nodes that ``control`` may send rows to."""
        return tuple(dict.fromkeys(node for decision in control.decisions for node in targets(decision)))

    def decided_by(self, control: Control) -> tuple[str, ...]:
        """The infer nodes that get no rows after ``control``: the last one that may send them some is ``control``."""
        return tuple(node.id for node in self.of(Infer) if node.controls[-1] == control.id)

    def edges(self) -> dict[str, list[str]]:
        """Each node's direct needs: those that no other need implies."""
        above: dict[str, set[str]] = {}
        direct: dict[str, list[str]] = {}
        for node in self.nodes:
            above[node.id] = set(node.needs).union(*(above[need] for need in node.needs))
            direct[node.id] = [need for need in node.needs if not any(need in above[other] for other in node.needs)]
        return direct

    def node_digest(self, node: Node) -> str:
        """Identity of what a node does: its part of the plan, and the models it runs or weighs."""
        content = node.model_dump(mode="json", exclude=_NOT_IDENTITY)
        models: dict[str, Any] = {}
        if isinstance(node, Infer):
            models = {node.model: self.models[node.model].digest}
        elif isinstance(node, Route | Gate):
            reached = {self.node(target).model for target in self.reached_by(node)}  # type: ignore[union-attr]  # targets are infer nodes
            models = {name: self.models[name].model_dump(mode="json") for name in sorted(reached)}
        return digest({"node": content, "models": models, "functions": self.node_functions})

    @property
    def topology(self) -> dict[str, Any]:
        """What the generated Dag depends on."""
        return {
            "workflow": self.workflow,
            "nodes": [[node.id, node.kind, list(node.needs), getattr(node, "model", None)] for node in self.nodes],
        }

    @property
    def digest(self) -> str:
        """Identity of the whole plan."""
        return digest(self.model_dump(mode="json", exclude={"folders": True, "options": {"runners", "services"}}))
