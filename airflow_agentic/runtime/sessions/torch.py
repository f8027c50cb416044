"""torch: TorchScript, ``torch.export`` programs and state dicts."""

from __future__ import annotations

import logging
import os
import warnings
import zipfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_agentic.exceptions import MissingExtraError, ModelLoadError
from airflow_agentic.runtime.base import UNKNOWN
from airflow_agentic.runtime.imports import import_allowed
from airflow_agentic.runtime.sessions.arrays import named

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from airflow_agentic.runtime.base import Arrays, Session
    from airflow_agentic.spec.model import ModelCard

log = logging.getLogger(__name__)


class TorchSession:
    """A module in inference mode. An array without a name is the positional argument, others go by keyword."""

    signature = UNKNOWN

    def __init__(self, torch: Any, module: Any, device: str) -> None:
        self._torch = torch
        self._module: Any = module
        self._device = device

    def run(self, inputs: Arrays) -> Arrays:
        """See :class:`~airflow_agentic.runtime.base.Session`."""
        tensors = {name: self._tensor(array).to(self._device) for name, array in inputs.items()}
        with self._torch.inference_mode():
            found = self._module(tensors[""]) if set(tensors) == {""} else self._module(**tensors)
        return named(found, _numpy)

    def _tensor(self, array: npt.NDArray[Any]) -> Any:
        """A tensor over ``array``; a copy where a module must not write into it, as a request's bytes."""
        return self._torch.from_numpy(array if array.flags.writeable else array.copy())

    def close(self) -> None:
        """Free the module."""
        self._module = None


def open_(card: ModelCard, path: Path, allowed_handlers: Sequence[str]) -> Session:
    """Load ``path``: a state dict where the card has a ``class``, ``.pt2`` as an exported program, else TorchScript."""
    torch = import_torch(card)
    device = torch_device(torch, card)
    if card.runtime.class_ is not None:
        module = _from_state(torch, card, path, allowed_handlers)
    elif path.suffix == ".pt2":
        module = _exported(torch, card, path)
        return TorchSession(torch, module.to(device), device)
    else:
        module = _scripted(torch, path, device)
    module.eval()
    return TorchSession(torch, module.to(device), device)


def _scripted(torch: Any, path: Path, device: Any) -> Any:
    """A TorchScript module; newer versions of torch say on every load that the format is deprecated."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit", category=FutureWarning)
        return torch.jit.load(str(path), map_location=device)


def import_torch(card: ModelCard) -> Any:
    """torch, with the card's threads (of this whole process)."""
    try:
        import torch
    except ImportError:
        raise MissingExtraError("torch", "torch") from None
    torch.set_num_threads(card.runtime.threads)
    return torch


def torch_device(torch: Any, card: ModelCard) -> str:
    """Where the model runs: a GPU exactly if the card asks for one.

    :raises ModelLoadError: it asks, and there is none.
    """
    if card.resources.gpu and not torch.cuda.is_available():
        raise ModelLoadError(
            f"model {card.name!r}: resources.gpu is {card.resources.gpu} and torch sees no GPU here; "
            "run it where one is, or remove resources.gpu"
        )
    return "cuda" if card.resources.gpu else "cpu"


def _from_state(torch: Any, card: ModelCard, path: Path, allowed_handlers: Sequence[str]) -> Any:
    runtime = card.runtime
    make = import_allowed(str(runtime.class_), allowed_handlers, card=card, key="runtime.class")
    module = make(**runtime.args)
    if runtime.trust == "pickle":
        log.warning("model %r: loading %r may run code in it (runtime.trust: pickle)", card.name, runtime.artifact)
    state = torch.load(path, map_location="cpu", weights_only=runtime.trust != "pickle")
    module.load_state_dict(state)
    return module


def _exported(torch: Any, card: ModelCard, path: Path) -> Any:
    if card.runtime.trust == "pickle":
        log.warning("model %r: loading %r may run code in it (runtime.trust: pickle)", card.name, card.runtime.artifact)
        return torch.export.load(path).module()
    pickled = _pickled(path)
    if pickled:
        raise ModelLoadError(
            f"model {card.name!r}: {card.runtime.artifact!r} holds a pickled object ({pickled}), which can run code; "
            "export the model without it, or write runtime.trust: pickle if you trust the file"
        )
    with _weights_only():
        return torch.export.load(path).module()


def _pickled(path: Path) -> str | None:
    """The first entry of an exported program that torch would unpickle without a check."""
    with zipfile.ZipFile(path) as archive:
        names = [name.rpartition("/")[2] for name in archive.namelist()]
    return next((name for name in names if name.startswith(("custom_obj", "opaque_obj"))), None)


@contextmanager
def _weights_only() -> Iterator[None]:
    """torch.export's loader falls back to full unpickling by itself; this variable forbids it."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _numpy(tensor: Any) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = (tensor.float() if tensor.dtype.itemsize == 2 else tensor).cpu().numpy()
    return array
