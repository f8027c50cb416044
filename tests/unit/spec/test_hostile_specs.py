"""Specs made to stall or exhaust whoever reads them: refused, or read, in time that grows with their size only."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import cards, compiled

from airflow_agentic.exceptions import CompileError, SpecError
from airflow_agentic.plan.patterns import MAX_NODES
from airflow_agentic.spec import ModelCard, load_model, load_workflow
from airflow_agentic.spec.explain import MAX_PROBLEMS

WORKFLOW = "apiVersion: airflow-agentic/v1\nkind: Workflow\nname: w\nroutes: [{use: a}]\n"
CARD = (
    "apiVersion: airflow-agentic/v1\nkind: Model\nname: a\nversion: '1'\ntask: t\ninput: text\n"
    "runtime: {framework: python, handler: 'a:B'}\n"
)
LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{two}: &{two} [*{one}, *{one}]\n" for one, two in zip("abcdefgh", "bcdefghi", strict=True)
)


def refusal(tmp_path: Path, content: str | bytes, load: object = load_workflow) -> str:
    path = tmp_path / "spec.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SpecError) as caught:
        load(path)  # type: ignore[operator]  # a loader
    return str(caught.value).replace(str(path), "spec.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LAUGHS, "spec.yaml:1:4  anchors and aliases are not allowed\n    write the value out"),
        ("<<: *a\n", "spec.yaml:1:5  anchors and aliases are not allowed\n    write the value out"),
        ("&a " * 300_000, "spec.yaml:1:1  anchors and aliases are not allowed\n    write the value out"),
        (
            "x: !!python/object/apply:os.system [id]\n",
            "spec.yaml:1:4  the tag 'tag:yaml.org,2002:python/object/apply:os.system' is not allowed\n"
            "    put the value in quotes if it is text",
        ),
        ("- " * 400_000, "spec.yaml:1:81  nested deeper than 40 levels"),
        ("? " * 400_000, "spec.yaml:1:81  nested deeper than 40 levels"),
        ("{a: " * 41, "spec.yaml:1:161  nested deeper than 40 levels"),
        ("a: 1e400\n", "spec.yaml:1:4  1e400 is not a finite number"),
        ("a: " + "9" * 101 + "\n", "spec.yaml:1:4  a number of more than 100 digits is not allowed"),
        (f"? {'k' * 1025}\n: 1\n", "spec.yaml:1:3  a key of more than 1,024 characters is not allowed"),
        ("a: 1\na: 2\n", "spec.yaml:2:1  the key 'a' stands twice\n    keep one of them"),
        (b"a: \0\n", "spec.yaml:1:4  not valid YAML: the character '\\x00' is not allowed\n    remove it"),
        ("a: 1\n".encode("utf-16"), "spec.yaml  is not UTF-8 (byte 0)"),
        (b"a: \xe9\n", "spec.yaml  is not UTF-8 (byte 3)"),
        ("#\n" * 499_999, "spec.yaml  is empty"),
        ("x" * 1_000_001, "spec.yaml  has 1,000,001 bytes; a spec has at most 1,000,000"),
    ],
)
def test_what_is_no_plain_yaml_is_refused_in_one_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    assert refusal(tmp_path, content) == message


def test_a_date_is_text_and_no_is_a_language(tmp_path: Path) -> None:
    said = refusal(tmp_path, WORKFLOW + "description: 2001-12-14t21:59:43.10-05:00\nmodels: no\nlayout: 2001-12-14\n")
    assert said == ("spec.yaml:7:9  layout: '2001-12-14' is not possible here\n    one of: expanded, compact")


@pytest.mark.parametrize(
    ("content", "load", "first"),
    [
        (
            CARD + "output: {classes: [x]}\ncapabilities: {languages: [" + "1," * 200_000 + "]}\n",
            load_model,
            "capabilities.languages[0]: expected text, found 1",
        ),
        (WORKFLOW + "serves: [" + "1," * 200_000 + "]\n", load_workflow, "serves[0]: expected text, found 1"),
        (
            WORKFLOW + "".join(f"k{number}: 1\n" for number in range(60_000)),
            load_workflow,
            "k0: 'k0' is not a key here",
        ),
        (
            WORKFLOW.replace("{use: a}", "{use: 1}," * 50_000),
            load_workflow,
            "routes[0].use: expected a model's name or a pattern, found 1",
        ),
    ],
)
def test_many_mistakes_are_counted_not_explained(tmp_path: Path, content: str, load: object, first: str) -> None:
    said = refusal(tmp_path, content, load)
    assert first in said.splitlines()[0]
    assert said.splitlines()[-2].endswith(" more problems")
    assert said.splitlines()[-1] == "    mend the others first"
    assert said.count("spec.yaml:") <= MAX_PROBLEMS + 1


def test_a_card_may_have_very_many_labels_but_each_once(tmp_path: Path) -> None:
    path = tmp_path / "card.yaml"
    labels = [f"c{number}" for number in range(60_000)]
    path.write_text(CARD + f"output: {{classes: [{','.join(labels)}]}}\n")
    assert isinstance(load_model(path), ModelCard)
    said = refusal(tmp_path, CARD + f"output: {{classes: [{','.join([*labels, 'c7'])}]}}\n", load_model)
    assert said == "spec.yaml:8:19  output.classes: the label 'c7' stands twice\n    keep one of them"


def test_a_workflow_that_asks_models_without_end_is_not_compiled() -> None:
    models = cards("a", "b")
    with pytest.raises(CompileError) as caught:
        compiled({"single": ["a", "b"] * 100_000}, *models)
    assert str(caught.value).endswith(
        f"routes[0].use.single[{MAX_NODES}]: the workflow asks models more than 1,000 times, gates included\n"
        "    make it several workflows"
    )
