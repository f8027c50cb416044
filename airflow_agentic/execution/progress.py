"""How far a unit is: a small object beside its markers, for people.

``{node}/progress-{unit}.json`` is rewritten after a shard, at most every :data:`SECONDS`, and when the unit's state
changes. Nobody decides from it: a store that refuses it stops no unit, and a zombie may overwrite it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal

from airflow_agentic.artifacts import Marker, NotFoundError, Store
from airflow_agentic.exceptions import StoreError

SECONDS: Final = 5.0
SCHEMA_VERSION: Final = 1

State = Literal["loading", "predicting", "done", "lost"]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What is known of a unit."""

    model: str
    unit: int
    state: State
    shards: int
    """In which the model is given records."""
    committed: int
    """Of these."""
    predictions: int
    errors: int
    at: str
    """When this was written, ISO 8601 in UTC."""
    schema: int = SCHEMA_VERSION


def read_progress(store: Store, node: str, unit: int) -> Progress | None:
    """What was last said of a unit; ``None`` before it has started."""
    try:
        return Progress(**json.loads(store.read(_name(node, unit))))
    except NotFoundError:
        return None


@dataclass
class Reporter:
    """Writes the progress of one unit."""

    store: Store
    node: str
    model: str
    unit: int
    shards: int
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _counts: dict[str, int] = field(default_factory=lambda: {"committed": 0, "predictions": 0, "errors": 0})
    _written: float | None = None

    def committed(self, marker: Marker) -> None:
        """A shard is done."""
        self._counts["committed"] += 1
        for name in ("predictions", "errors"):
            self._counts[name] += marker.counts.get(name, 0)
        if self._written is None or self.clock() - self._written >= SECONDS:
            self.say("predicting")

    def say(self, state: State) -> None:
        """Write it now."""
        self._written = self.clock()
        progress = Progress(
            model=self.model,
            unit=self.unit,
            state=state,
            shards=self.shards,
            at=self.now().isoformat(timespec="seconds"),
            **self._counts,
        )
        try:
            self.store.write(_name(self.node, self.unit), json.dumps(asdict(progress)).encode())
        except StoreError:
            return  # the shard's own commit says what is wrong with the store


def _name(node: str, unit: int) -> str:
    return f"{node}/progress-{unit}.json"
