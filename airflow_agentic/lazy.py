"""Names of a package that are imported when somebody asks for them (PEP 562).

A Dag file is read every few seconds in a process of its own, and builds Dags without a record in sight: what needs
Arrow waits until an Airflow task, a command or a model process really runs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def exports(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """A ``__getattr__`` for ``package``.

    :param modules: the module below ``package`` that defines each name.
    """

    def find(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{modules[name]}"), name)

    return find
