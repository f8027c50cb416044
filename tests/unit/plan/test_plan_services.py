"""``runner: service`` in a plan: where each model is served, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from builders import card, compiled, workflow

from airflow_agentic.exceptions import CompileError, SpecError
from airflow_agentic.execution.freeze import snapshot
from airflow_agentic.plan import compile_plan
from airflow_agentic.registry import Registry

SERVED: dict[str, Any] = {"runner": "service", "service": {"url": "http://workflow", "concurrency": 3}}


def refused(use: Any, *models: Any, **changes: Any) -> str:
    with pytest.raises((CompileError, SpecError)) as caught:
        compile_plan(workflow(use=use, **changes), Registry.of(*models))
    return str(caught.value)


def test_the_workflow_stands_over_the_card() -> None:
    one = card("one", service={"url": "http://card", "timeout": "3s", "token": {"env": "CARD"}})
    plan = compiled({"cascade": ["one", "two"], "accept": "prediction.score > 0.5"}, one, card("two"), **SERVED)
    assert plan.options.runners == {"one": "service", "two": "service"}
    assert plan.options.services == {
        "one": {"url": ["http://workflow"], "concurrency": 3, "timeout": 3.0},
        "two": {"url": ["http://workflow"], "concurrency": 3},
    }


def test_where_a_model_is_served_is_no_part_of_the_plan() -> None:
    local = compiled("one", card("one"))
    assert compiled("one", card("one"), **SERVED).digest == local.digest


def test_a_service_that_no_model_is_at() -> None:
    assert refused("one", card("one"), service={"url": "http://a"}) == (
        "<python>  service: is for models at a service, and none is\n    write runner: service"
    )


def test_compact_asks_services_but_makes_no_pods() -> None:
    assert compiled("one", card("one"), **SERVED, layout="compact").options.runners == {"one": "service"}
    assert "'compact' runs every model in the worker, which is not runner kubernetes" in refused(
        "one", card("one"), runner="kubernetes", layout="compact"
    )


def test_a_model_at_a_foreign_server_is_asked_by_a_worker() -> None:
    foreign = card("one", runtime={"framework": "open-inference"}, service={"url": "http://foreign"})
    assert refused("one", foreign, **SERVED) == (
        "<python>  runner: 'one' is at a foreign server, which a worker asks: runner local\n"
        "    write runner: {default: service, models: {one: local}}"
    )


def test_a_card_that_may_not_be_served() -> None:
    assert "'one' may not run in a service: its card says runners: local\n" in refused(
        "one", card("one", runners=["local"]), **SERVED
    )


@pytest.mark.parametrize(
    ("output", "fits"),
    [
        ({"classes": list("abc")}, True),
        ({"classes": list("abc"), "top_k": 2}, False),
        ({"classes": "moods"}, False),
        ({"classes": "moods", "top_k": 5}, True),
        ({"value": "euro"}, True),
    ],
)
def test_an_average_needs_all_scores_of_the_service(output: dict[str, Any], fits: bool) -> None:
    members = [card(name, output=output) for name in ("one", "two")]
    use = {"ensemble": ["one", "two"], "aggregate": "mean"}
    if fits:
        compiled(use, *members, **SERVED)
        return
    given = output.get("top_k", 5)
    assert refused(use, *members, **SERVED).splitlines()[:2] == [
        f"<python>  runner: the scores of all classes are averaged, but the service of 'one' gives the best {given}",
        "    write output: {top_k: N} in its card, as many as it has classes",
    ]


def test_a_worker_needs_no_file_and_no_framework_of_a_served_model(tmp_path: Path) -> None:
    served = card("one", folder=tmp_path, runtime={"framework": "onnx", "artifact": "not-here.onnx"})
    info = snapshot(compiled("one", served, **SERVED)).models["one"]
    assert (info.healthy, info.artifact, info.files) == (True, None, {})
