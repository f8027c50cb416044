"""Which unit. Imports nothing of Arrow, so that who only hands a unit on starts at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from airflow_agentic.exceptions import InputError

if TYPE_CHECKING:
    from airflow_agentic.execution import Run, Unit
    from airflow_agentic.plan.ir import Infer


@dataclass(frozen=True, kw_only=True)
class UnitReference:
    """Which unit: all that a container needs to find its work."""

    store: str
    """URI of the run's folder, as the container reaches it."""
    manifest: str
    node: str
    unit: int
    allowed_handlers: tuple[str, ...] = ()

    def to_arguments(self, *, parcel: bool = False) -> list[str]:
        """For the command line.

        :param parcel: the run comes by the environment, not from ``store``.
        """
        allowed = [f"--allow={handler}" for handler in self.allowed_handlers]
        named = {"manifest": self.manifest, "node": self.node, "unit": self.unit}
        where = "--parcel" if parcel else f"--store={self.store}"
        return [where, *(f"--{name}={value}" for name, value in named.items()), *allowed]

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """From what ``vars()`` gave."""
        return cls(**{**value, "allowed_handlers": tuple(value["allowed_handlers"])})

    def open(self) -> tuple[Run, Infer, Unit]:
        """The run, the node and the unit.

        :raises InputError: the run has no such unit.
        """
        from airflow_agentic.artifacts import Store
        from airflow_agentic.execution import Folder
        from airflow_agentic.plan.ir import Infer

        run = Folder(Store.open(self.store), self.allowed_handlers).open(self.manifest)
        node = run.node(self.node, Infer)
        units = run.units()
        if not 0 <= self.unit < len(units):
            raise InputError(f"the run has {len(units)} units, counted from 0, and none numbered {self.unit}")
        return run, node, units[self.unit]
