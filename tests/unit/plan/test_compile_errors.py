"""Specs that do not fit together: every message, with the place it points at and the way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import card, card_data, cards, workflow

from airflow_agentic.exceptions import CompileError
from airflow_agentic.plan import compile_plan
from airflow_agentic.plan.columns import RECORD_COLUMNS
from airflow_agentic.registry import Registry
from airflow_agentic.spec import load_workflow

CARDS: tuple[dict[str, Any], ...] = (
    card_data("lite"),
    card_data("strong"),
    card_data("pets", classes=["cat", "dog"]),
    card_data("many", classes=[f"label-{number:02}" for number in range(50)]),
    card_data("price", output={"value": "euro"}),
    card_data("rent", output={"value": "euro"}),
    card_data("vector", output={"embedding": 3}),
    card_data("reader", output={"fields": {"city": "string", "year": "integer", "place": "object"}}),
    card_data("margin", output={"classes": ["negative", "positive"], "score_kind": "margin"}),
    card_data("photo", input="image", task="image-classification"),
    card_data(
        "meta",
        input="tabular",
        runtime={"framework": "onnx", "artifact": "x", "tabular": {"columns": ["lite.positive", "strong.neutral"]}},
    ),
)
HEAD = "apiVersion: airflow-agentic/v1\nkind: Workflow\nname: flow\n"
WAY_OUT = "give both cards the same output.classes, with label_map where their labels differ"
FEED = "map another field, or put a model between them"
COLUMNS = ", ".join(sorted(RECORD_COLUMNS))
FEEDS = "one of: record.input, prediction.label, prediction.value, prediction.output, prediction.output.FIELD"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.chdir(tmp_path)
    for data in CARDS:
        content = {"apiVersion": "airflow-agentic/v1", "kind": "Model", **data}
        folder = tmp_path / "models"
        folder.mkdir(exist_ok=True)
        (folder / f"{data['name']}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return Registry.load([tmp_path / "models"], packages=False)


def problems(text: str, registry: Registry, locked: dict[str, list[str]] | None = None) -> str:
    path = Path("flow.yaml")
    path.write_text(HEAD + text)
    with pytest.raises(CompileError) as caught:
        compile_plan(load_workflow(path), registry, locked=locked)
    return str(caught.value)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (
            "stron",
            "flow.yaml:5:8  routes[0].use: no model is called 'stron'\n    did you mean 'strong' (models/strong.yaml)?",
        ),
        (
            "zzz",
            "flow.yaml:5:8  routes[0].use: no model is called 'zzz'\n"
            "    known models: lite, many, margin, meta, pets, photo, price, reader, rent, strong, vector",
        ),
        (
            "{fallback: [lite, {ensemble: [lite, stron]}]}",
            "flow.yaml:5:44  routes[0].use.fallback[1].ensemble[1]: no model is called 'stron'\n"
            "    did you mean 'strong' (models/strong.yaml)?",
        ),
        (
            "{cascade: [lite, pets], accept: prediction.score >= 0.7}",
            "flow.yaml:5:8  routes[0].use: a cascade mixes label spaces: "
            "'lite' answers {negative, positive}, 'pets' answers {cat, dog}\n"
            f"    {WAY_OUT}",
        ),
        (
            "{ensemble: [lite, strong, many]}",
            "flow.yaml:5:8  routes[0].use: aggregate majority-vote mixes label spaces: "
            "'lite' answers {negative, positive}, "
            "'many' answers {label-00, label-01, label-02, label-03, label-04, label-05,…\n"
            f"    {WAY_OUT}",
        ),
        (
            "{ensemble: [lite, price], aggregate: best-score}",
            "flow.yaml:5:45  routes[0].use.aggregate: aggregate best-score mixes label spaces: "
            "'lite' answers {negative, positive}, 'price' answers without labels\n"
            f"    {WAY_OUT}",
        ),
        (
            "{ensemble: [price, rent], aggregate: weighted-vote}",
            "flow.yaml:5:45  routes[0].use.aggregate: aggregate weighted-vote needs labels; "
            "these models answer without\n    use mean or median",
        ),
        (
            "{ensemble: [price, vector], aggregate: best-score}",
            "flow.yaml:5:47  routes[0].use.aggregate: aggregate best-score needs labels; "
            "these models answer without\n    use merge",
        ),
        (
            "{ensemble: [price, vector]}",
            "flow.yaml:5:8  routes[0].use: aggregate mean needs labels or numbers; 'vector' answers embedding\n"
            "    use merge",
        ),
        (
            "{ensemble: [lite, strong], aggregate: median}",
            "flow.yaml:5:46  routes[0].use.aggregate: aggregate median is for numbers; "
            "these models answer with labels\n    use mean",
        ),
        (
            "{ensemble: [lite, margin], aggregate: mean}",
            "flow.yaml:5:46  routes[0].use.aggregate: aggregate mean compares scores of different kinds: "
            "'lite' gives probability, 'margin' gives margin\n    use majority-vote, or calibrate the models",
        ),
        (
            "{ensemble: [lite, lite]}",
            "flow.yaml:5:8  routes[0].use: 'lite' is a member twice\n"
            "    remove one; a weight makes a member count more",
        ),
        (
            "{ensemble: [lite, strong], quorum: 3}",
            "flow.yaml:5:43  routes[0].use.quorum: quorum 3 of 2 members cannot be met\n    write quorum: 2 or less",
        ),
        (
            "{ensemble: [lite, strong], aggregate: {weighted-vote: {stron: 2}}}",
            "flow.yaml:5:46  routes[0].use.aggregate: 'stron' has a weight, but is no member here\n"
            "    did you mean 'strong'?",
        ),
        (
            "{single: [lite, strong], policy: {weighted: {pets: 2}}}",
            "flow.yaml:5:41  routes[0].use.policy: 'pets' has a weight, but is no member here\n"
            "    one of: lite, strong",
        ),
        (
            "{single: [lite, {fallback: [lite, strong]}], policy: cost}",
            "flow.yaml:5:24  routes[0].use.single[1]: policy cost ranks models, not patterns\n"
            "    use policy: declared, or name models only",
        ),
        (
            "{ensemble: [lite, strong], aggregate: {stack: meta}}",
            "flow.yaml:5:46  routes[0].use.aggregate: 'meta' has the column 'strong.neutral', which no member gives\n"
            "    the members give: lite.negative, lite.positive, strong.negative, strong.positive",
        ),
        (
            "{ensemble: [lite, strong], aggregate: {stack: pets}}",
            "flow.yaml:5:46  routes[0].use.aggregate: 'pets' takes text, but a stack gives tabular or json",
        ),
        (
            "{chain: [{use: lite, input: prediction.label}, strong]}",
            "flow.yaml:5:36  routes[0].use.chain[0].input: the first step has no step before it\n"
            "    remove input, or write record.input",
        ),
        (
            "{chain: [lite, {use: strong, input: prediction.lable}]}",
            f"flow.yaml:5:44  routes[0].use.chain[1].input: 'prediction.lable' is nothing a step can take\n    {FEEDS}",
        ),
        (
            "{chain: [reader, {use: strong, input: prediction.label}]}",
            "flow.yaml:5:46  routes[0].use.chain[1].input: 'reader' answers without prediction.label\n"
            "    its card says output: fields",
        ),
        (
            "{chain: [reader, {use: strong, input: prediction.output.town}]}",
            "flow.yaml:5:46  routes[0].use.chain[1].input: 'reader' answers without prediction.output.town\n"
            "    its card says output: fields",
        ),
        (
            "{chain: [reader, {use: strong, input: prediction.output.year}]}",
            "flow.yaml:5:46  routes[0].use.chain[1].input: 'strong' takes text, "
            f"but prediction.output.year gives tensor\n    {FEED}",
        ),
        (
            "{chain: [reader, {use: {ensemble: [meta, strong]}, input: prediction.output}]}",
            "flow.yaml:5:66  routes[0].use.chain[1].input: 'strong' takes text, "
            f"but prediction.output gives tabular or json\n    {FEED}",
        ),
        (
            "{chain: [lite, {use: strong, input: {a: prediction.label, b: record.input}}]}",
            "flow.yaml:5:44  routes[0].use.chain[1].input: 'strong' takes text, "
            f"but a mapping gives tabular or json\n    {FEED}",
        ),
        (
            "{chain: [lite, {use: strong, input: {}}]}",
            "flow.yaml:5:44  routes[0].use.chain[1].input: is empty\n    name at least one field",
        ),
        (
            "{single: {task: image-clasification}}",
            "flow.yaml:5:17  routes[0].use.single: no model card answers the query {'task': 'image-clasification'}\n"
            "    relax it, or add a card",
        ),
        (
            "{split: {arms: [{use: lite, weight: 1}, {use: strong, weight: 1}], key: record.user}}",
            "flow.yaml:5:80  routes[0].use.split.key: 'record.user' is no column of a record\n"
            "    one of: record.record_id, record.position, record.kind, record.text, record.uri, record.task, "
            "record.language, record.max_latency_ms, record.max_cost, record.min_quality",
        ),
        (
            "{cascade: [lite, strong], accept: prediction.scor >= 0.7}",
            "flow.yaml:5:42  routes[0].use.accept: 'prediction.scor >= 0.7': column 11: "
            "there is no column 'prediction.scor'; did you mean 'prediction.score'?",
        ),
        (
            "{cascade: [lite, strong], accept: 'prediction.score >= record.task'}",
            "flow.yaml:5:42  routes[0].use.accept: 'prediction.score >= record.task': column 18: "
            "found no matching overload for '_>=_' applied to '(double, string)'",
        ),
        (
            "{rules: [{when: record.lang == 'en', use: lite}]}",
            "flow.yaml:5:24  routes[0].use.rules[0].when: \"record.lang == 'en'\": column 7: "
            "there is no column 'record.lang'; did you mean 'record.language'?",
        ),
    ],
)
def test_what_is_wrong_with_a_pattern(use: str, message: str, registry: Registry) -> None:
    assert problems(f"routes:\n- use: {use}\n", registry) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "routes:\n- use: {cascade: [lite, strong]}\n  accept: prediction.score >= x\n",
            "flow.yaml:6:11  routes[0].accept: 'prediction.score >= x': column 21: there is no column 'x'; "
            f"there are: prediction.label, prediction.model, prediction.score, prediction.value, {COLUMNS}",
        ),
        (
            "routes:\n- use: {ensemble: [lite, strong]}\n  quorum: 5\n",
            "flow.yaml:6:11  routes[0].quorum: quorum 5 of 2 members cannot be met\n    write quorum: 2 or less",
        ),
        (
            "routes:\n- when: prediction.score > 0.5\n  use: lite\n",
            "flow.yaml:5:9  routes[0].when: 'prediction.score > 0.5': column 11: there is no column "
            f"'prediction.score'; there are: {COLUMNS}",
        ),
        (
            "routes:\n- {name: publish, when: 'true', use: lite}\n- {name: a.b, when: 'true', use: lite}\n"
            "- {name: a-b, use: lite}\n",
            "flow.yaml:5:10  routes[0].name: the name 'publish' is taken already\n    give the route another one\n"
            "flow.yaml:7:10  routes[2].name: the name 'a-b' is taken already\n    give the route another one",
        ),
        (
            "routes:\n- {name: default, when: 'true', use: lite}\ndefault: strong\n",
            "flow.yaml:5:10  routes[0].name: the name 'default' is taken already\n    give the route another one",
        ),
        (
            "routes:\n- use: lite\npreprocess:\n- normalise_text\n- truncate_text: {chars: 0}\n- text_info\n",
            "flow.yaml:7:3  preprocess[0]: 'normalise_text' is no preprocessing step\n"
            "    did you mean 'normalize_text'?\n"
            "flow.yaml:8:18  preprocess[1].truncate_text: truncate_text.chars: "
            "input should be greater than or equal to 1, found 0",
        ),
        (
            "routes:\n- use: lite\ninput: {uri: x, features: {age: int, task: int}}\n",
            "flow.yaml:6:44  input.features.task: every record has the column 'task'\n"
            "    remove it, or rename it with input.columns",
        ),
        (
            "routes:\n- use: lite\non_error: fallback\nfallback: strng\n",
            "flow.yaml:7:11  fallback: no model is called 'strng'\n    did you mean 'strong' (models/strong.yaml)?",
        ),
    ],
)
def test_what_is_wrong_with_the_rest(text: str, message: str, registry: Registry) -> None:
    assert problems(text, registry) == message


def test_every_problem_is_found_at_once_and_each_is_said_once(registry: Registry) -> None:
    text = "routes:\n- {when: 'true', use: nobody}\n- {when: 'x', use: {single: [nobody, nobody]}}\n"
    assert problems(text, registry).splitlines()[::2] == [
        "flow.yaml:5:23  routes[0].use: no model is called 'nobody'",
        "flow.yaml:6:30  routes[1].use.single[0]: no model is called 'nobody'",
        "flow.yaml:6:38  routes[1].use.single[1]: no model is called 'nobody'",
        f"flow.yaml:6:10  routes[1].when: 'x': column 1: there is no column 'x'; there are: {COLUMNS}",
    ]


def test_a_broken_card_fails_the_workflow_that_names_it_only(registry: Registry) -> None:
    Path("models/lite.yaml").write_text("kind: Model")
    broken = Registry.load([Path("models")], packages=False)
    assert problems("routes:\n- use: lite\n", broken) == (
        "models/lite.yaml:1:1  apiVersion: is required\n    write apiVersion: airflow-agentic/v1"
    )
    assert compile_plan(workflow(use="strong"), broken).models.keys() == {"strong"}
    assert problems("routes:\n- use: zzz\n", broken).splitlines()[1].endswith("; cards that cannot be read: lite")


def test_two_cards_of_one_name(registry: Registry) -> None:
    Path("models/other.yaml").write_text(Path("models/lite.yaml").read_text().replace("version: '1'", "version: '2'"))
    assert problems("routes:\n- use: lite\n", Registry.load([Path("models")], packages=False)) == (
        "models/other.yaml:3:7  name: a different model is already called 'lite' (models/lite.yaml)\n"
        "    give one of them another name"
    )


def test_lock_files_that_no_longer_fit(registry: Registry) -> None:
    query = "routes:\n- use: {ensemble: {task: text-analysis}}\n"
    assert problems(query, registry, {"routes[0].use.ensemble": ["lite", "gone"]}) == (
        "flow.yaml:5:19  routes[0].use.ensemble: no model is called 'gone'\n"
        "    the lock file pins it; add its card, or run `airflow-agentic lock` again"
    )
    assert problems(query, registry, {"routes[0].use.ensemble": []}) == (
        "flow.yaml:5:19  routes[0].use.ensemble: the lock file pins no model for this query\n"
        "    run `airflow-agentic lock` again"
    )


def test_problems_of_specs_built_in_python() -> None:
    with pytest.raises(CompileError) as caught:
        compile_plan(workflow(use={"fallback": ["a", "bb"]}), Registry.of(*cards("a", "b")))
    assert str(caught.value) == ("<python>  routes[0].use.fallback[1]: no model is called 'bb'\n    did you mean 'b'?")
    with pytest.raises(CompileError) as none:
        compile_plan(workflow(use="a"), Registry())
    assert str(none.value) == "<python>  routes[0].use: no model is called 'a'\n    known models: none"


@pytest.mark.parametrize(
    ("before", "fields", "after"),
    [
        ("reader", "prediction.output.city", "lite"),
        ("reader", "prediction.output", "meta"),
        ("reader", "prediction.output.place", "meta"),
        ("lite", "prediction.label", "strong"),
        ("lite", {"a": "prediction.label", "b": "record.input"}, "meta"),
        ("lite", "record.input", "photo"),
        ({"ensemble": ["lite", "price"], "aggregate": "merge"}, "prediction.output", "meta"),
    ],
)
def test_what_fits(before: Any, fields: Any, after: str) -> None:
    models = [card(**{"name": data["name"]} | data) for data in CARDS]
    plan = compile_plan(workflow(use={"chain": [before, {"use": after, "input": fields}]}), Registry.of(*models))
    assert plan.nodes[-3].id.endswith(f".{after}")


def test_a_model_that_may_not_run_in_a_worker() -> None:
    with pytest.raises(CompileError) as caught:
        compile_plan(workflow(use="a"), Registry.of(card("a", runners=["kubernetes", "spark"])))
    assert str(caught.value) == (
        "<python>  routes[0].use: 'a' may not run in a worker process: its card says runners: kubernetes, spark\n"
        "    add local to its runners, set the workflow's runner, or use another model"
    )
