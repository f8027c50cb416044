"""``docs/spec-reference.md`` from the pydantic models: every key, its type, its default, what it means.

Also the table of ``docs/models.md`` from the example cards. ``python -m scripts.spec_reference`` writes both; a test
refuses what is out of date.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, JsonValue
from pydantic_core import PydanticUndefined

from airflow_agentic.pipeline.steps import STEPS
from airflow_agentic.plan.columns import PREDICTION_COLUMNS, RECORD_COLUMNS
from airflow_agentic.spec import model as cards
from airflow_agentic.spec import pattern as patterns
from airflow_agentic.spec import service as services
from airflow_agentic.spec import workflow as workflows
from airflow_agentic.spec.base import retention, seconds, size
from airflow_agentic.spec.descriptions import descriptions
from airflow_agentic.spec.explain import (
    COLUMN_PATTERN,
    HANDLER_PATTERN,
    NAME_PATTERN,
    SHA256_PATTERN,
    VERSION_PATTERN,
)
from airflow_agentic.spec.load import load_model, spec_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pydantic.fields import FieldInfo

ROOT: Final = Path(__file__).parents[1]
SPEC: Final = ROOT / "docs" / "spec-reference.md"
MODELS: Final = ROOT / "docs" / "models.md"
MARK: Final = "<!-- profiles: written by `python -m scripts.spec_reference` from the cards -->"

CARD_MODELS: Final[dict[type[BaseModel], str]] = {
    cards.ModelCard: "Model card",
    cards.Output: "Output",
    cards.Runtime: "Runtime",
    cards.ImageEncoding: "Image encoding",
    cards.TextEncoding: "Text encoding",
    cards.TabularEncoding: "Tabular encoding",
    cards.Tensors: "Tensors",
    cards.TensorForm: "Tensor",
    cards.Profile: "Profile",
    cards.Resources: "Resources",
    cards.Batch: "Batch",
    services.ServiceSpec: "Service",
    services.GatewaySpec: "Gateway",
    services.TokenReference: "Token reference",
}
WORKFLOW_MODELS: Final[dict[type[BaseModel], str]] = {
    workflows.WorkflowSpec: "Workflow",
    workflows.RunnerSpec: "Runner",
    workflows.InputSpec: "Input",
    workflows.WindowSpec: "Window",
    workflows.ShardSpec: "Shard",
    workflows.PublishSpec: "Publish",
    workflows.Route: "Route",
    patterns.Pattern: "Pattern",
    patterns.Candidates: "Candidates",
    patterns.Query: "Query",
    patterns.Policy: "Policy",
    patterns.Aggregation: "Aggregation",
    patterns.Requirements: "Requirements",
    patterns.ChainStep: "Chain step",
    patterns.Split: "Split",
    patterns.Arm: "Arm",
    patterns.Shadow: "Shadow",
    patterns.Rule: "Rule",
}
HEADINGS: Final = CARD_MODELS | WORKFLOW_MODELS

SHORT_FORMS: Final[dict[type[BaseModel], str]] = {
    workflows.InputSpec: "`input: ../data/inbox.jsonl` is `input: {uri: ../data/inbox.jsonl}`.",
    workflows.RunnerSpec: "`runner: kubernetes` is `runner: {default: kubernetes}`.",
    workflows.WindowSpec: "`window: interval` is `window: {kind: interval}`.",
    patterns.Pattern: "A model's name alone is the pattern `{model: NAME}`.",
    patterns.Candidates: (
        "A list is `members`, a name alone is a list of one, and any other mapping is a `query`: "
        "`cascade: [a, b]`, `single: {task: text-analysis}`."
    ),
    patterns.Policy: (
        "`policy: cost` is `{name: cost}`; `policy: {weighted: {a: 3, b: 1}}` is "
        "`{name: weighted, weights: {a: 3, b: 1}}`."
    ),
    patterns.Aggregation: (
        "`aggregate: mean` is `{method: mean}`; `{weighted-mean: {a: 3, b: 1}}` gives the weights; "
        "`{stack: MODEL}` and `{handler: package.module:name}` give what these two need."
    ),
    patterns.ChainStep: "A model's name or a pattern alone is a step whose input is `record.input`.",
    workflows.Route: (
        "The options of its pattern (`policy`, `accept`, `aggregate`, `quorum`, `deadline`, `require`) may stand "
        "beside `use`."
    ),
}
_TEXTS: Final[dict[str, str]] = {
    NAME_PATTERN: "name",
    HANDLER_PATTERN: "`package.module:Name`",
    VERSION_PATTERN: "version",
    SHA256_PATTERN: "SHA-256",
    COLUMN_PATTERN: "column name",
}
_WORDS: Final[tuple[tuple[Any, str], ...]] = (
    (str, "text"),
    (int, "whole number"),
    (float, "number"),
    (bool, "`true` or `false`"),
    (JsonValue, "any value"),
    (Any, "any value"),
)
_OWN_KINDS: Final = {
    "when": "condition",
    "accept": "condition",
    "preprocess": "list of [preprocessing steps](#preprocessing-steps)",
}
_HEAD: Final = """\
# Spec reference

<!-- Written by `python -m scripts.spec_reference` from the models in airflow_agentic/spec: change those, not this. -->

Every key of a model card and of a workflow. [Write a card](how-to/write-a-card.md) and
[write a workflow](how-to/write-a-workflow.md) show them at work. `airflow-agentic schema` writes the same as JSON
Schema for editors.

Files are a small YAML: one document, no anchors, no tags, no duplicate keys; only `true` and `false` are booleans, so
`no` is the language. Unknown keys are errors. Nothing is interpolated. In the tables:

| type | meaning |
|---|---|
| name | lower-case letters, digits, `-`, `_` and `.`, at most 64, a letter or digit at both ends |
| version | letters, digits, `.`, `_`, `+` and `-`, at most 64 |
| duration | `200ms`, `30s`, `5m`, `12h`, `7d`, `4w`, or a number of seconds |
| size | `500k`, `64Mi`, `1Gi` (as Kubernetes writes it), or a number of bytes |
| condition | a CEL expression that is true or false; see [columns](#columns-of-conditions) |
"""


def render() -> str:
    """The whole page."""
    parts = [_HEAD, "## Model cards\n", "A file with `kind: Model` in the project's folder `models`.\n"]
    parts += [_section(model, heading) for model, heading in CARD_MODELS.items()]
    parts += ["## Workflows\n", "A file with `kind: Workflow` in the project's folder `workflows`.\n"]
    parts += [_section(model, heading) for model, heading in WORKFLOW_MODELS.items()]
    parts += [_steps(), _columns()]
    return "\n".join(parts)


def _section(model: type[BaseModel], heading: str) -> str:
    lines = [f"### {heading}\n", _prose(inspect.getdoc(model) or "")]
    if model in SHORT_FORMS:
        lines.append(f"\nShort: {SHORT_FORMS[model]}")
    return "\n".join([*lines, "", *_fields(model), ""])


def _fields(model: type[BaseModel]) -> Iterator[str]:
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    model.model_rebuild()  # what refers to a later class is resolved on first use
    said = descriptions(model)
    for name, field in model.model_fields.items():
        cells = [f"`{field.alias or name}`", _kind(name, field), _default(field), _prose(said.get(name, ""))]
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _steps() -> str:
    lines = [
        "## Preprocessing steps\n",
        "Entries of `preprocess`: a name, or `{name: {option: value}}`. They run in order, before routing.\n",
    ]
    for name, model in sorted(STEPS.items()):
        lines += [f"### `{name}`\n", _prose(inspect.getdoc(model) or ""), ""]
        added = _prose(inspect.getdoc(model.columns) or "") if model.columns is not STEPS["impute"].columns else ""
        lines += [f"Adds {added[:1].lower()}{added[1:]}\n"] if added else []
        lines += [*_fields(model), ""] if model.model_fields else ["No options.\n"]
    return "\n".join(lines)


def _columns() -> str:
    lines = [
        "## Columns of conditions\n",
        "`when` sees `record.*`: these, the columns that preprocessing steps add, and those that `input.features` "
        "declares. `accept` sees `prediction.*` too.\n",
        "| column | type |",
        "|---|---|",
    ]
    lines += [f"| `{name}` | {type_} |" for name, type_ in (RECORD_COLUMNS | PREDICTION_COLUMNS).items()]
    lines.append("\n[Concepts](concepts.md#conditions) has the rules for nulls and numbers.\n")
    return "\n".join(lines)


def _kind(name: str, field: FieldInfo) -> str:
    """The type of a key; CEL and steps have a meaning of their own."""
    return _OWN_KINDS.get(name) or _type(field.annotation, field.metadata)


def _type(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """A type in a reader's words, with its limits."""
    validators = [one.func for one in metadata if isinstance(one, BeforeValidator)]
    if {seconds, retention, size} & set(validators):
        return "size" if size in validators else "duration"
    pattern = next((one.pattern for one in metadata if getattr(one, "pattern", None)), None)
    if pattern is not None:
        return _TEXTS[pattern]
    base = _plain(annotation)
    if any(one.json_schema_input_type is not None for one in metadata if isinstance(one, BeforeValidator)):
        base = {"list of number": "number, or list of numbers"}.get(base, f"{base}, or its short form")
    return base + _limits(metadata)


def _plain(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        metadata = [part for one in arguments[1:] for part in (getattr(one, "metadata", None) or [one])]
        return _type(arguments[0], metadata)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_type(one) for one in arguments if one is not type(None)))
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in arguments)
    if origin in (list, tuple):
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"mapping of {_type(arguments[0])} to {_type(arguments[1])}"
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        heading = HEADINGS[annotation]
        return f"[{heading.lower()}](#{heading.lower().replace(' ', '-')})"
    return next(words for type_, words in _WORDS if type_ is annotation)


def _limits(metadata: Sequence[Any]) -> str:
    said = []
    for one in metadata:
        for name, words in {"gt": "over", "ge": "from", "lt": "under", "le": "to"}.items():
            value = getattr(one, name, None)
            said += [f"{words} {value:,}"] if value is not None else []
        least = getattr(one, "min_length", None)
        said += [f"at least {least}"] if least is not None else []
    return f", {' '.join(said)}" if said else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value is PydanticUndefined:
        return "–"
    validators = [one.func for one in field.metadata if isinstance(one, BeforeValidator)]
    if isinstance(value, BaseModel):
        return "its defaults"
    if size in validators:
        return f"`{value // 2**20}Mi`"
    if seconds in validators:
        return f"`{value:g}s`"
    return f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    return value if isinstance(value, str) and value else json.dumps(value)


def _prose(text: str) -> str:
    """A docstring as one paragraph of Markdown."""
    text = re.sub(r":\w+:`~?([^`]+)`", lambda found: f"`{found[1].rpartition('.')[2]}`", text)
    return " ".join(text.replace("``", "`").split())


def profiles() -> str:
    """What the example cards state of their models, as a table between two marks."""
    lines = [
        MARK,
        "| card | task | framework | quality | CPU s / 1,000 | ms | memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for path in spec_files(ROOT / "dags" / "models"):
        card = load_model(path)
        profile = card.profile
        figures = [profile.quality, profile.cost_per_1k, profile.latency_ms]
        memory = "–" if profile.memory is None else f"{profile.memory / 2**20:.0f} MiB"
        cells = [f"[`{card.name}`](../dags/models/{path.name})", card.task, card.runtime.framework]
        cells += ["–" if figure is None else f"{figure:g}" for figure in figures]
        lines.append(f"| {' | '.join([*cells, memory])} |")
    return "\n".join([*lines, MARK])


def documents() -> Mapping[Path, str]:
    """What is written where."""
    before, _, after = MODELS.read_text(encoding="utf-8").split(MARK)
    return {SPEC: render(), MODELS: before + profiles() + after}


def main() -> int:
    """Write the pages."""
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
