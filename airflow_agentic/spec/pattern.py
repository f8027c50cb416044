"""The pattern: how models work together.

A model's name, or one of ``single``, ``fallback``, ``cascade``, ``ensemble``, ``chain``, ``split``, ``shadow`` and
``rules``. Patterns nest. A pattern's options stand beside its name, or, for a route's outermost one, beside ``use``.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, model_validator

from airflow_agentic.spec.base import Name, Seconds, Strict
from airflow_agentic.spec.explain import MisfitError, in_short
from airflow_agentic.spec.model import HandlerPath, InputType  # pydantic reads them

PATTERNS: Final = ("model", "single", "fallback", "cascade", "ensemble", "chain", "split", "shadow", "rules")
PolicyName = Literal["declared", "quality", "cost", "latency", "balanced", "round-robin", "weighted", "least-loaded"]
Method = Literal[
    "first-accepted", "best-score", "majority-vote", "weighted-vote", "mean", "weighted-mean", "median", "merge",
    "stack", "handler",
]  # fmt: skip

OPTIONS: Final[dict[str, frozenset[str]]] = {
    "policy": frozenset({"single", "fallback", "cascade"}),
    "accept": frozenset({"cascade"}),
    "quorum": frozenset({"ensemble"}),
    "aggregate": frozenset({"ensemble"}),
    "deadline": frozenset({"ensemble"}),
    "require": frozenset({"model", "single", "fallback", "cascade", "ensemble"}),
}


ORDERINGS: Final = ("declared", "quality", "cost", "latency", "balanced")
"""The policies that put models in an order; the others choose one by chance or by load."""


def _check_weights(weights: dict[str, float]) -> None:
    if weights and (min(weights.values()) < 0 or not sum(weights.values())):
        raise MisfitError("weights must not be negative, nor all zero", at=("weights",))


class Policy(Strict):
    """How one of several candidates is chosen, or in which order they are asked."""

    name: PolicyName
    weights: dict[str, float] = Field(default_factory=dict)
    """``balanced``: of ``cost``, ``latency`` and ``quality``; ``weighted``: of the candidates, by model."""

    @model_validator(mode="after")
    def _weights(self) -> Policy:
        if self.name == "weighted" and not self.weights:
            raise MisfitError("policy weighted needs weights\nwrite policy: {weighted: {MODEL: 3, OTHER: 1}}")
        if self.weights and self.name not in {"weighted", "balanced"}:
            raise MisfitError(f"policy {self.name} takes no weights\nweighted and balanced do")
        if self.name == "balanced" and set(self.weights) - {"cost", "latency", "quality"}:
            raise MisfitError("policy balanced weighs cost, latency and quality only", at=("weights",))
        _check_weights(self.weights)
        return self


def _policy(value: Any) -> Any:
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, dict) and len(value) == 1 and not value.keys() & Policy.model_fields.keys():
        name, weights = next(iter(value.items()))
        return {"name": name, "weights": weights}
    return value


class Aggregation(Strict):
    """How the members' predictions become one."""

    method: Method
    weights: dict[str, float] = Field(default_factory=dict)
    """By model; by default a member's ``profile.quality``, or 1."""
    model: Name | None = None
    """``stack``: the card of the trained meta-model, whose columns are ``MODEL.LABEL``."""
    handler: HandlerPath | None = None
    """``handler``: a function of ``{model: PREDICTION table}`` that returns a RESULT table, one row a record."""

    @model_validator(mode="after")
    def _complete(self) -> Aggregation:
        if (self.method == "stack") != (self.model is not None):
            raise MisfitError("aggregate stack needs a model, and only it\nwrite aggregate: {stack: MODEL}")
        if (self.method == "handler") != (self.handler is not None):
            raise MisfitError(
                "aggregate handler needs a handler, and only it\nwrite aggregate: {handler: pkg.mod:function}"
            )
        if self.weights and self.method not in {"weighted-vote", "weighted-mean"}:
            raise MisfitError(f"aggregate {self.method} takes no weights\nweighted-vote and weighted-mean do")
        _check_weights(self.weights)
        return self


def _aggregation(value: Any) -> Any:
    if isinstance(value, str):
        return {"method": value}
    if isinstance(value, dict) and len(value) == 1:
        name, argument = next(iter(value.items()))
        if name == "stack":
            return {"method": "stack", "model": argument}
        if name == "handler":
            return {"method": "handler", "handler": argument}
        if name not in Aggregation.model_fields:
            return {"method": name, "weights": argument}
    return value


class Requirements(Strict):
    """Hard limits on candidates, beside those that a record brings itself."""

    max_cost: float | None = Field(default=None, ge=0)
    """Of one record, in the cards' unit."""
    max_latency_ms: float | None = Field(default=None, gt=0)
    min_quality: float | None = Field(default=None, ge=0, le=1)
    capabilities: dict[str, str | float | bool] = Field(default_factory=dict)
    """A candidate has this value, or has it in its list."""


class Query(Strict):
    """Candidates by what they can do, instead of by name. ``airflow-agentic lock`` pins what it finds."""

    task: Name | None = None
    input: InputType | None = None
    label_space: str | None = None
    capabilities: dict[str, str | float | bool] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _asks(self) -> Query:
        if not (self.task or self.input or self.label_space or self.capabilities):
            raise MisfitError("a query needs at least one of task, input, label_space, capabilities")
        return self


class Candidates(Strict):
    """Members by name or nested pattern, or a query."""

    members: list[Member] = Field(default_factory=list)
    query: Query | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_yaml(cls, value: Any) -> Any:
        if isinstance(value, list):
            return {"members": value}
        if isinstance(value, str):
            return {"members": [value]}
        if not isinstance(value, dict | Candidates):
            message = f"expected models or a query, found {in_short(value)}"
            raise MisfitError(f"{message}\nwrite for example [MODEL, OTHER], or {{task: TASK}}")
        return {"query": value} if isinstance(value, dict) and not value.keys() & {"members", "query"} else value

    @model_validator(mode="after")
    def _one_kind(self) -> Candidates:
        if self.members and self.query is not None:
            raise MisfitError("has members and a query\nkeep one of them", at=("query",))
        if not self.members and self.query is None:
            raise MisfitError("is empty\nname at least one model")
        return self


class ChainStep(Strict):
    """One step of a chain and where its input comes from."""

    use: Member
    input: str | dict[str, str] = "record.input"
    """``record.input``, or the answer of the step before: ``prediction.label``, ``prediction.output``,
    ``prediction.output.FIELD``, ``prediction.value``; a mapping of these makes a struct."""

    @model_validator(mode="before")
    @classmethod
    def _from_yaml(cls, value: Any) -> Any:
        return value if isinstance(value, dict) and value.keys() & {"use", "input"} else {"use": value}


class Arm(Strict):
    """One arm of a split."""

    use: Member
    weight: float = Field(gt=0)


class Split(Strict):
    """A share of the records to each arm: a canary or an A/B test, sticky by ``key``."""

    arms: list[Arm] = Field(min_length=2)
    key: str = "record.record_id"
    """Records with an equal value of this column go to the same arm."""


class Shadow(Strict):
    """The primary answers; the shadows are asked too and only recorded."""

    primary: Member
    shadows: list[Member] = Field(min_length=1)
    fraction: float = Field(default=1.0, gt=0, le=1)
    """The share of the records that the shadows see."""


class Rule(Strict):
    """A condition and what is used where it holds."""

    when: str | None = None
    """CEL over ``record.*``; without it the rule always holds."""
    use: Member


class Pattern(Strict):
    """How models work together: exactly one of the patterns, with its options."""

    model: Name | None = None
    """One model."""
    single: Candidates | None = None
    """One of the candidates, chosen for each record by ``policy``."""
    fallback: Candidates | None = None
    """The next one is asked when one errs."""
    cascade: Candidates | None = None
    """The next one is asked when one errs or is not accepted."""
    ensemble: Candidates | None = None
    """All are asked; ``aggregate`` combines."""
    chain: list[ChainStep] | None = Field(default=None, min_length=2)
    """Each step's input is the answer of the one before."""
    split: Split | None = None
    shadow: Shadow | None = None
    rules: list[Rule] | None = Field(default=None, min_length=1)
    """The first rule that holds."""

    policy: Annotated[Policy | None, BeforeValidator(_policy, json_schema_input_type=str | dict[str, Any])] = None
    """By default ``quality`` for ``single``, ``cost`` for a cascade or fallback over a query, else as declared."""
    accept: str | None = None
    """CEL over ``prediction.*`` and ``record.*``: a cascade stops where it holds."""
    aggregate: Annotated[
        Aggregation | None, BeforeValidator(_aggregation, json_schema_input_type=str | dict[str, Any])
    ] = None
    """By default ``majority-vote`` for classes, ``mean`` for numbers."""
    quorum: int | None = Field(default=None, ge=1)
    """How many members must answer; by default 1."""
    deadline: Seconds | None = None
    """Online: members that have not answered by then count as missing."""
    require: Requirements | None = None

    @property
    def kind(self) -> str:
        """Which pattern it is."""
        return next(name for name in PATTERNS if getattr(self, name) is not None)

    @model_validator(mode="after")
    def _one_pattern(self) -> Pattern:
        found = [name for name in PATTERNS if getattr(self, name) is not None]
        if len(found) != 1:
            names = " and ".join(found) or "none"
            raise MisfitError(
                f"needs exactly one pattern, found {names}\none of: {', '.join(PATTERNS[1:])}, or a model's name"
            )
        for option, patterns in OPTIONS.items():
            if getattr(self, option) is not None and found[0] not in patterns:
                message = f"{option} does not belong to {found[0]}\nit belongs to: {', '.join(sorted(patterns))}"
                raise MisfitError(message, at=(option,))
        if self.cascade is not None and self.accept is None:
            message = "a cascade needs accept: when is an answer good enough?"
            raise MisfitError(f"{message}\nwrite for example accept: prediction.score >= 0.7")
        if self.aggregate is not None and self.aggregate.method == "first-accepted":
            message = "first-accepted is what a cascade does\nwrite cascade: [...] with accept:"
            raise MisfitError(message, at=("aggregate",))
        if self.policy is not None and found[0] != "single" and self.policy.name not in ORDERINGS:
            message = f"policy {self.policy.name} chooses one model, it does not order a {found[0]}"
            raise MisfitError(f"{message}\none of: {', '.join(ORDERINGS)}", at=("policy",))
        self._check_rules()
        return self

    def _check_rules(self) -> None:
        rules = self.rules or []
        always = next((index for index, rule in enumerate(rules) if rule.when is None), len(rules))
        if always < len(rules) - 1:
            message = f"is unreachable: rules[{always}] has no condition\nput rules[{always}] last"
            raise MisfitError(message, at=("rules", always + 1))


def pattern_of(value: Any) -> Any:
    if not isinstance(value, str | dict | Pattern):
        raise MisfitError(
            f"expected a model's name or a pattern, found {in_short(value)}\none of: {', '.join(PATTERNS[1:])}"
        )
    return {"model": value} if isinstance(value, str) else value


Member = Annotated[Pattern, BeforeValidator(pattern_of, json_schema_input_type=str | dict[str, Any])]
