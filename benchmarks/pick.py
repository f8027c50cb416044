"""One pick among a thousand models, compiled, against LiteLLM's Router.

Peer: ``litellm.Router`` (PyPI, the version is in the note) with a thousand deployments of one model name and no
network, in an environment of its own that this benchmark makes below ``.bench``. It is asked for a deployment and
calls nobody (``select``; ``get_available_deployment`` in older versions), with its default strategy and with its
strategy by cost; the faster of the two is the peer. It is warm: as many picks again run before the clock starts.

Subject: ``compile_pick`` over a thousand candidates of which no two are alike. Every record asks for a task, two of
three for a language, half for a ceiling of cost and half for one of latency; no two records ask the same, so nothing
is looked up. Reasons are made when somebody reads them, as the serving path does for a share of the requests; they
are not read here. Both are means over many picks of the best of several turns, taken in turns; times are CPU seconds,
since neither waits for anything.
"""

from __future__ import annotations

import time
from typing import Final

import numpy as np

from airflow_agentic.registry import ModelInfo
from airflow_agentic.routing.decision import Candidate, Pick, To
from airflow_agentic.routing.eligibility import Asked
from airflow_agentic.routing.pick import Picker, compile_pick
from airflow_agentic.spec.pattern import PolicyName
from benchmarks.base import Result, in_python, without_gc
from scripts.peers import python_with

MODELS: Final = 1000
RECORDS: Final = 5000
TURNS: Final = 5
MOST_MICROSECONDS: Final = 20.0
FASTER: Final = 50.0
POLICIES: Final[tuple[PolicyName, ...]] = ("quality", "balanced")


def run() -> list[Result]:
    """Microseconds a pick, by policy."""
    picks = {policy: picker(policy, MODELS) for policy in POLICIES}
    asked = records(RECORDS)
    ours: dict[str, list[float]] = {policy: [] for policy in picks}
    theirs: list[dict[str, float]] = []
    version = ""
    python = python_with("litellm==1.110.2")
    for _ in range(TURNS):
        found = in_python("benchmarks.litellm_pick", str(MODELS), python=str(python))
        version = found.pop("version")
        theirs.append(found)
        for policy, pick in picks.items():
            ours[policy].append(microseconds(pick, asked))
    by_strategy = {strategy: min(turn[strategy] for turn in theirs) for strategy in theirs[0]}
    strategy, peer = min(by_strategy.items(), key=lambda item: item[1])
    said = ", ".join(f"{name} {value:.1f} µs" for name, value in by_strategy.items())
    return [
        _result(policy, min(times), peer, f"LiteLLM {version}: {said}; peer is {strategy}")
        for policy, times in ours.items()
    ]


def _result(policy: str, value: float, peer: float, note: str) -> Result:
    return Result(
        name=f"one pick among {MODELS:,} models, compiled, policy {policy}",
        value=round(value, 2),
        unit="µs",
        floor=round(peer, 1),
        ratio=round(value / peer, 4),
        goal=f"≤ {MOST_MICROSECONDS:g} µs and ≥ {FASTER:g}× faster than LiteLLM Router's pick",
        met=value <= MOST_MICROSECONDS and peer / value >= FASTER,
        note=f"{peer / value:.0f}× faster; {note}",
    )


def picker(policy: PolicyName, count: int) -> Picker:
    """A compiled pick over ``count`` models."""
    random = np.random.default_rng(0)
    models = {
        f"model-{number}": ModelInfo(
            name=f"model-{number}",
            version="1",
            task="text-analysis",
            input="text",
            digest="",
            cost=float(random.random()),
            latency_ms=float(1 + 99 * random.random()),
            quality=float(random.random()),
            capabilities={"languages": ["en", "de"] if number % 2 else ["en"]},
        )
        for number in range(count)
    }
    candidates = tuple(Candidate(name=name, model=name, then=To(node=name)) for name in models)
    found = compile_pick(Pick(candidates=candidates, policy=policy, by_task=True), models)
    if found is None:
        raise RuntimeError("a pick of plain models must compile")
    return found


def records(count: int) -> list[Asked]:
    """What the records ask; no two the same."""
    random = np.random.default_rng(1)
    return [
        Asked(
            task="text-analysis",
            language=("en", "de", None)[number % 3],
            max_cost=float(0.2 + 0.8 * random.random()) if number % 2 else None,
            max_latency_ms=float(20 + 80 * random.random()) if number % 4 < 2 else None,
        )
        for number in range(count)
    ]


def microseconds(pick: Picker, asked: list[Asked]) -> float:
    """The mean of one turn."""
    with without_gc():
        start = time.process_time()
        for number, one in enumerate(asked):
            pick(one, record_id="r", position=number)
        return (time.process_time() - start) * 1e6 / len(asked)
