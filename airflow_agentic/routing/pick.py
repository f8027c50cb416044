"""One pick for one record: a :class:`~airflow_agentic.routing.decision.Pick` compiled against the models of a plan.

What :class:`~airflow_agentic.routing.decide.Decider` decides for a shard with Arrow, this decides for one record in
microseconds, also among thousands of candidates: the same candidate, the same outcome, the same reason. The candidates
lie in the policy's order, so the first that is able is the answer; what a record does not ask is not looked at; the
texts of a reason are made when somebody reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from airflow_agentic.routing.chance import chance_of
from airflow_agentic.routing.eligibility import UNHEALTHY, Asked, joined_reasons, never, speaks, why_dropped, why_not
from airflow_agentic.routing.policy import BALANCED, FIGURES, balanced, best_said, only_left, scores

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_agentic.registry.info import ModelInfo
    from airflow_agentic.routing.decision import Candidate, Outcome, Pick

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]
Chosen = tuple[int, "Callable[[], str]"]
"""The place of a candidate, and what makes the text that says why."""

NOTHING: Final = Asked()
REMEMBERED: Final = 256
"""Languages, and tasks, whose candidates are remembered; records may name any text."""
BY_RECORD: Final = frozenset({"round-robin", "weighted", "least-loaded"})
"""Policies that choose anew for each record."""
ROUNDING: Final = 16 * 2.0**-52
"""Of a sum of a few products, relative to the largest that they can be."""
CLOSE: Final = 1e-9
"""Balanced scores nearer than this to the best are computed once more as :mod:`policy` does, to the last bit."""


@dataclass(frozen=True, kw_only=True)
class Picked:
    """Who gets the record, or why nobody does."""

    candidate: Candidate | None
    outcome: Outcome | None
    """``no_candidate`` or ``all_unhealthy``, where there is no candidate."""
    _said: Callable[[], str] = field(repr=False, compare=False)

    @cached_property
    def reason(self) -> str:
        """Why: who cannot answer it, and why the candidate is preferred to the rest."""
        return self._said()


def compile_pick(
    pick: Pick, models: Mapping[str, ModelInfo], *, load: Mapping[str, int] | None = None
) -> Picker | None:
    """The picker of ``pick``.

    :param models: with the snapshot's health and figures.
    :param load: requests under way by model, read at each call, for ``least-loaded``.
    :returns: ``None`` where a candidate is a pattern of its own: only a walk through it knows whether it can answer.
    """
    if any(candidate.model is None for candidate in pick.candidates):
        return None
    return Picker(pick, [models[str(candidate.model)] for candidate in pick.candidates], {} if load is None else load)


class Picker:
    """A compiled pick, made by :func:`compile_pick`. What it remembers between calls changes no answer."""

    def __init__(self, pick: Pick, infos: Sequence[ModelInfo], load: Mapping[str, int]) -> None:
        self._pick = pick
        self._infos = infos
        self._load = load
        self._cost = np.array([info.cost for info in infos], np.float64)
        self._latency = np.array([_number(info.latency_ms) for info in infos], np.float64)
        self._quality = np.array([_number(info.quality) for info in infos], np.float64)
        self._able = np.array([never(info, pick.require) is None for info in infos], bool)
        self._by_language: dict[str, Bools] = {}
        self._by_task: dict[str, Bools] = {}
        self._always = np.flatnonzero(self._able)
        self._choose = self._chooser()
        self._unasked: Chosen | None = None

    def __call__(self, asked: Asked = NOTHING, *, record_id: str = "", position: int = 0) -> Picked:
        """The pick for one record.

        :param record_id: of the record: ``weighted`` draws by it.
        :param position: of the record in its input: ``round-robin`` goes by it.
        """
        able = self._eligible(asked)
        if not len(able):
            return self._nobody(asked)
        if len(able) == 1:
            chosen = int(able[0])
            name = self._pick.candidates[chosen].name
            return self._to(chosen, asked, len(able), lambda: only_left(self._pick, name))
        chosen, why = self._preferred(able, record_id, position)
        return self._to(chosen, asked, len(able), why)

    def _preferred(self, able: Ints, record_id: str, position: int) -> Chosen:
        """One of several: what a record that asks nothing gets is found once, where it is the same for all."""
        if able is not self._always or self._pick.policy in BY_RECORD:
            return self._choose(able, record_id, position)
        if self._unasked is None:
            self._unasked = self._choose(able, record_id, position)
        return self._unasked

    def _to(self, chosen: int, asked: Asked, able: int, why: Callable[[], str]) -> Picked:
        said = why if able == len(self._infos) else (lambda: joined_reasons(self._dropped(asked), why()))
        return Picked(candidate=self._pick.candidates[chosen], outcome=None, _said=said)

    def _nobody(self, asked: Asked) -> Picked:
        why = self._why(asked)
        outcome: Outcome = "all_unhealthy" if why and set(why.values()) == {UNHEALTHY} else "no_candidate"
        return Picked(candidate=None, outcome=outcome, _said=lambda: self._dropped(asked))

    def _why(self, asked: Asked) -> dict[str, str]:
        """Why each candidate that cannot answer cannot."""
        asked = asked if self._pick.by_task else Asked(**{**vars(asked), "task": None})
        found = (
            (candidate.name, why_not(info, asked, self._pick.require))
            for candidate, info in zip(self._pick.candidates, self._infos, strict=True)
        )
        return {name: why for name, why in found if why is not None}

    def _dropped(self, asked: Asked) -> str:
        return why_dropped(self._why(asked), {info.name: info for info in self._infos})

    def _eligible(self, asked: Asked) -> Ints:
        """The places of the candidates that can answer, ascending."""
        able = self._able
        if asked.max_cost is not None and asked.max_cost == asked.max_cost:  # NaN limits nobody
            able = able & (self._cost <= asked.max_cost)
        if asked.max_latency_ms is not None:
            limit = asked.max_latency_ms
            able = able & (self._latency <= (limit if limit == limit else np.inf))
        if asked.min_quality is not None:
            limit = asked.min_quality
            able = able & (self._quality >= (limit if limit == limit else -np.inf))
        if asked.language is not None:
            able = able & self._remembered(self._by_language, asked.language, speaks)
        if self._pick.by_task and asked.task is not None:
            able = able & self._remembered(self._by_task, asked.task, _does)
        return self._always if able is self._able else able.nonzero()[0]

    def _remembered(self, known: dict[str, Bools], value: str, can: Callable[[ModelInfo, str], bool]) -> Bools:
        found = known.get(value)
        if found is None:
            found = np.array([can(info, value) for info in self._infos], bool)
            if len(known) >= REMEMBERED:
                known.clear()
            known[value] = found
        return found

    def _chooser(self) -> Callable[[Ints, str, int], Chosen]:
        policy = self._pick.policy
        if policy == "declared":
            return lambda able, *_: (int(able[0]), str)
        if policy == "round-robin":
            return self._in_turn
        if policy == "weighted":
            self._weights = np.array([self._pick.weights.get(one.name, 0.0) for one in self._pick.candidates])
            return self._drawn
        if policy == "least-loaded":
            return self._least_loaded
        if policy == "balanced":
            return _Balanced(self._pick, self._infos).best
        ranked = scores(self._infos, policy, self._pick.weights)
        rank = np.empty(len(ranked), np.intp)  # the place of each candidate in the policy's order
        rank[sorted(range(len(ranked)), key=lambda place: (-ranked[place], place))] = np.arange(len(ranked))
        return lambda able, *_: self._first(able, rank, ranked)

    def _first(self, able: Ints, rank: Ints, ranked: Sequence[float]) -> Chosen:
        best = int(able[rank[able].argmin()])
        pick = self._pick
        return best, lambda: best_said(pick.policy, pick.candidates[best].name, ranked[best], len(able))

    def _in_turn(self, able: Ints, _: str, position: int) -> Chosen:
        chosen = int(able[position % len(able)])
        return chosen, lambda: f"round-robin: {self._pick.candidates[chosen].name}"

    def _drawn(self, able: Ints, record_id: str, _: int) -> Chosen:
        bounds = np.cumsum(self._weights[able])
        if not bounds[-1]:
            return int(able[0]), lambda: "no candidate left has a weight"
        place = np.searchsorted(bounds / bounds[-1], chance_of(record_id, self._pick.seed, "weighted"), side="right")
        chosen = int(able[place])
        return chosen, lambda: f"weighted: {self._pick.candidates[chosen].name}"

    def _least_loaded(self, able: Ints, *_: Any) -> Chosen:
        load, infos = self._load, self._infos
        least, chosen = None, int(able[0])
        for place in able:
            busy = load.get(infos[place].name, 0)
            if least is None or busy < least:
                least, chosen = busy, int(place)
            if busy <= 0:
                break
        return chosen, lambda: f"{self._pick.candidates[chosen].name} is least loaded"


class _Balanced:
    """The best by a weighted score that is normalised over the able candidates.

    Which candidates can be best is found with arrays; they alone are scored as :func:`policy.balanced` scores, so that
    the choice does not hang on how a sum is rounded.
    """

    def __init__(self, pick: Pick, infos: Sequence[ModelInfo]) -> None:
        self._pick = pick
        self._infos = infos
        self._weights = pick.weights or BALANCED
        numbers = [[_number(FIGURES[name](info)) for info in infos] for name in self._weights]
        self._figures = np.array(numbers, np.float64).reshape(len(self._weights), len(infos))
        self._shares = list(self._weights.values())
        self._declared = not np.isnan(self._figures).any()
        self._near = CLOSE * sum(map(abs, self._shares))
        self._most = (ROUNDING * np.abs(self._figures).max(axis=1)).tolist()

    def best(self, able: Ints, *_: Any) -> Chosen:
        """The place of the best of ``able``, and what is said of it."""
        figures = self._figures.take(able, axis=1)
        lows = np.fmin.reduce(figures, axis=1).tolist()  # of what is declared
        highs = np.fmax.reduce(figures, axis=1).tolist()
        total, error = (self._scaled if self._declared else self._scaled_with_gaps)(figures, lows, highs)
        close = total >= total[total.argmax()] - error
        count = np.count_nonzero(close)
        if count == 1:
            place = int(able[close.argmax()])
        else:  # none is close where a span is too small for arithmetic
            exact = {one: self._score(one, lows, highs) for one in able[close if count else slice(None)].tolist()}
            place = max(exact, key=lambda one: (exact[one], -one))
        pick = self._pick
        name = pick.candidates[place].name
        return place, lambda: best_said("balanced", name, self._score(place, lows, highs), len(able))

    def _scaled(self, figures: Floats, lows: Sequence[float], highs: Sequence[float]) -> tuple[Floats, float]:
        """Scores of candidates that declare all, less what they have alike; and how near two are as good as equal."""
        factors = []
        error = self._near
        for share, most, low, high in zip(self._shares, self._most, lows, highs, strict=True):
            factor = share / (high - low) if high > low else 0.0
            factors.append(factor)
            error += factor * most
        return np.dot(factors, figures), error

    def _scaled_with_gaps(self, figures: Floats, lows: Sequence[float], highs: Sequence[float]) -> tuple[Floats, float]:
        """The same where something is not declared, which is worst."""
        total = np.zeros(figures.shape[1])
        for part, share, low, high in zip(figures, self._shares, lows, highs, strict=True):
            total += np.nan_to_num((part - low) / (high - low) if high > low else part - low + 1.0) * share
        return total, self._near

    def _score(self, place: int, lows: Sequence[float], highs: Sequence[float]) -> float:
        known = ((low, high) if low == low else (0.0, 0.0) for low, high in zip(lows, highs, strict=True))
        return balanced(self._infos[place], dict(zip(self._weights, known, strict=True)), self._weights)


def _does(info: ModelInfo, task: str) -> bool:
    return info.task == task


def _number(value: float | None) -> float:
    return np.nan if value is None else value
