"""What the configuration says, kept for a moment: connections come from a database or a secrets back end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

SECONDS: Final = 60.0


class Kept(Generic[T]):
    """A value that is made anew after :data:`SECONDS`; an error is not kept.

    :param clock: seconds, monotonic.
    """

    def __init__(self, make: Callable[[], T], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._make = make
        self._clock = clock
        self._found: tuple[float, T] | None = None

    def __call__(self) -> T:
        """The value."""
        found = self._found
        if found is None or self._clock() >= found[0]:
            found = self._found = (self._clock() + SECONDS, self._make())
        return found[1]
