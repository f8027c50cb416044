"""The one gate through which a spec's code is imported.

``handler: package.module:Name`` names a class or function of the user. It is imported only where it runs, never to read
or compile a spec, and only if ``allowed_handlers`` covers it. An entry of that list is one of

* ``package`` or ``package.module``: everything defined in that module and below it;
* ``package.module:Name``: this one name, wherever it was defined.

What this distribution defines (``airflow_agentic.…``) is always allowed. A name that an allowed module merely imported
(``from subprocess import run``) is not: allowing a module means the code in it, not everything it can see.
"""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, Any, Final

from airflow_agentic.exceptions import HandlerNotAllowedError, ModelLoadError

if TYPE_CHECKING:
    from collections.abc import Sequence

OWN: Final = "airflow_agentic"

_PATH: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def load_handler(path: str, allowed: Sequence[str]) -> Any:
    """Import what ``path`` names.

    :param path: ``package.module:Name``.
    :param allowed: the entries of ``allowed_handlers``.
    :raises HandlerNotAllowedError: no entry covers it; nothing of it was imported, or what was found under that name is
        defined in a module that no entry covers.
    :raises ModelLoadError: not such a path, or it cannot be imported, or the module has no such name.
    """
    if _PATH.fullmatch(path) is None:
        raise ModelLoadError(f"the handler {path!r} is not a path to import; write it as package.module:Name")
    module_name, _, name = path.partition(":")
    if not is_allowed(path, allowed):
        raise HandlerNotAllowedError(
            f"the handler {path!r} is not allowed here; add {module_name!r} (or {path!r}) to "
            f"[agentic] allowed_handlers, which now has: {', '.join(sorted(allowed)) or 'nothing'}"
        )
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # whatever the user's module does at import
        raise ModelLoadError(
            f"the handler {path!r} cannot be imported ({type(error).__name__}: {error}); "
            "install its distribution where the model runs, or correct the path"
        ) from error
    if not hasattr(module, name):
        raise ModelLoadError(f"the handler {path!r} does not exist: {module_name} has no {name!r}; correct the name")
    found = getattr(module, name)
    home = getattr(found, "__module__", None)
    if path not in allowed and isinstance(home, str) and not _covered(home, allowed):
        raise HandlerNotAllowedError(
            f"the handler {path!r} is not allowed here: {module_name} only imports it from {home!r}; "
            f"add {path!r} itself to [agentic] allowed_handlers"
        )
    return found


def is_allowed(path: str, allowed: Sequence[str]) -> bool:
    """Whether an entry names ``package.module:Name`` itself, its module or a package above it; ours always is."""
    return path in allowed or _covered(path.partition(":")[0], allowed)


def _covered(module: str, allowed: Sequence[str]) -> bool:
    """Whether ``module`` is, or is below, an entry that names a package or module."""
    return any(module == entry or module.startswith(f"{entry}.") for entry in (OWN, *allowed))
