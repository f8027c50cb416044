"""Fuzz the way of a spec from bytes to a plan: whatever the bytes are, a plan or a SpecError.

    python tests/fuzz/fuzz_spec.py -max_total_time=60 CORPUS

The arguments are libFuzzer's. A workflow is compiled over the example cards, a card as the only model of a workflow.
libFuzzer changes bytes; :func:`mutate` also changes the YAML's tree, with parts of the example specs and what is hard
to read, so that most cases pass the parser.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import atheris
import yaml

with atheris.instrument_imports(include=["airflow_agentic"]):
    from airflow_agentic.exceptions import SpecError
    from airflow_agentic.plan import Plan, compile_plan
    from airflow_agentic.registry import Registry
    from airflow_agentic.spec import load_model, load_workflow, workflow_from

DAGS = Path(__file__).resolve().parents[2] / "dags"
EXAMPLES = Registry.load([DAGS / "models"], packages=False)
PATTERNS: list[Any] = [
    {"cascade": ["lite0-tf", {"ensemble": ["lite0-onnx", "lite2-torch"]}], "accept": "prediction.score >= 0.5"},
    {"ensemble": ["vader", "minilm-torch"], "aggregate": {"stack": "segment-keras"}, "quorum": 2, "deadline": "1s"},
    {"ensemble": ["vader", "minilm-torch"], "aggregate": {"handler": "a.b:c"}},
    {"chain": ["lingua", {"use": "vader", "input": "prediction.label"}, {"use": "a", "input": {"a": "record.input"}}]},
    {"split": {"arms": [{"use": "vader", "weight": 1}, {"use": "minilm-torch", "weight": 2}], "key": "record.task"}},
    {"shadow": {"primary": "vader", "shadows": ["minilm-torch"], "fraction": 0.1}},
    {"rules": [{"when": "record.kind == 'text'", "use": "vader"}, {"use": "lite0-tf"}]},
    {"single": {"task": "image-classification"}, "policy": {"weighted": {"lite0-tf": 1}}},
    {"fallback": ["vader", "vader"], "require": {"max_cost": 0, "capabilities": {"languages": "en"}}},
]  # fmt: skip
HARD: list[Any] = [
    None, True, "", 0, -1, 2**63, 10**400, 1e308, float("inf"), float("nan"), "1e400", "no", "~", "=", "<<", "é", "\0",
    "😀", "\x85", "x" * 3000, "a.b:c", "7d", "64Mi", "9" * 30 + "Ti", "1e9s", [], {}, [[[[[[[[]]]]]]]], {"": {"": {}}},
    [None],
]  # fmt: skip


def compile_spec(path: Path, *, workflow: bool) -> Plan:
    """The plan of the spec in ``path``.

    :raises SpecError: the spec is wrong, or does not fit together with others.
    """
    if workflow:
        return compile_plan(load_workflow(path), EXAMPLES)
    card = load_model(path)
    return compile_plan(workflow_from({"name": "w", "routes": [{"use": card.name}]}), Registry.of(card))


def try_bytes(content: bytes) -> None:
    """One case. Any error but :class:`SpecError` ends the fuzzing."""
    FILE.write_bytes(content)
    try:
        plan = compile_spec(FILE, workflow=b"Workflow" in content)
    except SpecError as error:
        if not error.problems:
            raise AssertionError("a SpecError without a problem") from error
        return
    if Plan.model_validate_json(plan.model_dump_json()).digest != plan.digest:
        raise AssertionError("the plan is not the same after it was written and read")


def mutate(content: bytes, most: int, seed: int) -> bytes:
    """Change bytes, or the tree that they are the YAML of."""
    drawn = random.Random(seed)
    if drawn.random() < 0.3:
        return bytes(atheris.Mutate(content, most))
    try:
        tree = {"root": yaml.safe_load(content)}
        for _ in range(drawn.randint(1, 3)):
            change(tree, drawn)
        return yaml.safe_dump(tree["root"], allow_unicode=True, sort_keys=False).encode()[:most]
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, OverflowError):
        return bytes(atheris.Mutate(content, most))


def change(tree: dict[str, Any], drawn: random.Random) -> None:
    """Replace, remove, rename, add or repeat something anywhere in ``tree``."""
    places = [(parent, key) for parent in containers(tree) for key in keys(parent)]
    parent, key = drawn.choice(places)
    part = drawn.choice(drawn.choice([PATTERNS, HARD, PARTS, ["vader", "lite0-tf"]]))
    way = drawn.choice(["replace", "nest", "remove", "rename", "add"][: 2 if parent is tree else 5])
    if way == "replace":
        parent[key] = part
    elif way == "remove":
        del parent[key]
    elif way == "nest":
        parent[key] = drawn.choice([[parent[key]], {drawn.choice(NAMES): parent[key]}])
    elif isinstance(parent, list):
        parent.append(part)
    else:
        parent[drawn.choice(NAMES)] = parent.pop(key) if way == "rename" else part


def containers(value: Any) -> list[Any]:
    """``value`` and all below it that holds something."""
    below = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return ([value] if below else []) + [found for one in below for found in containers(one)]


def keys(parent: Any) -> list[Any]:
    """Under what ``parent`` holds something."""
    return list(parent) if isinstance(parent, dict) else list(range(len(parent)))


SPECS = {
    path: path.read_bytes() for folder in ("models", "workflows") for path in sorted((DAGS / folder).glob("*.yaml"))
}
PARTS = [parent[key] for spec in SPECS.values() for parent in containers(yaml.safe_load(spec)) for key in keys(parent)]
NAMES = sorted(
    {key for part in [*PARTS, *PATTERNS] for one in containers(part) if isinstance(one, dict) for key in one}
)

if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        FILE = Path(folder, "spec.yaml")
        for corpus in [Path(argument) for argument in sys.argv[1:] if not argument.startswith("-")]:
            for path, spec in SPECS.items():
                (corpus / f"{path.parent.name}-{path.stem}").write_bytes(spec)
        atheris.Setup(sys.argv, try_bytes, custom_mutator=mutate)
        atheris.Fuzz()
