"""The model process, from the inside: reads requests, answers them, ends with its parent."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa

from airflow_agentic.exceptions import AgenticError, ModelMemoryError, ModelUnavailableError, RecordError
from airflow_agentic.runtime import array_tables, framing
from airflow_agentic.runtime.lifeline import ORPHANED, end_at_the_end_of
from airflow_agentic.runtime.predictor import CardPredictor, open_predictor
from airflow_agentic.runtime.results import as_record_error
from airflow_agentic.spec.base import build
from airflow_agentic.spec.model import ModelCard
from airflow_agentic.spec.source import Source


def card_to_json(card: ModelCard) -> dict[str, Any]:
    """``card`` with its place, as :func:`card_from_json` reads it."""
    return {
        "spec": card.model_dump(mode="json", by_alias=True),
        "file": card.source.file,
        "folder": str(card.folder.absolute()),
    }


def card_from_json(value: dict[str, Any]) -> ModelCard:
    """The card that :func:`card_to_json` was given."""
    return build(ModelCard, value["spec"], Source(value["file"]), Path(value["folder"]))


def serve(requests: int, replies: int, lifeline: int) -> None:
    """Answer the requests of the pipe ``requests`` until it ends.

    :param requests: file descriptor to read from.
    :param replies: file descriptor to write to.
    :param lifeline: file descriptor of a pipe that ends with the parent.
    """
    for descriptor in (requests, replies, lifeline):
        os.set_inheritable(descriptor, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle: it closes the pipe
    end_at_the_end_of(lifeline)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    predictor: CardPredictor | None = None
    with open(requests, "rb") as source, open(replies, "wb") as target:
        while (message := _receive(source)) is not None:
            header, table = message
            try:
                if header["do"] == "load":
                    predictor = _load(header)
                    reply = framing.pack({"signature": _signature(predictor)})
                elif header["do"] == "run":
                    reply = framing.pack({}, _run(predictor, table))
                else:
                    reply = framing.pack({}, _predict(predictor, table))
            except Exception as error:  # noqa: BLE001  # whatever it is, the parent is to raise it
                reply = framing.pack({"error": framing.pack_error(_portable(error))})
            try:
                for part in reply:
                    target.write(part)
                target.flush()
            except BrokenPipeError:
                break
    if predictor is not None:
        predictor.close()


def _receive(source: Any) -> tuple[dict[str, Any], pa.Table | None] | None:
    lengths = source.read(framing.LENGTHS.size)
    if len(lengths) < framing.LENGTHS.size:
        return None
    header, body = framing.LENGTHS.unpack(lengths)
    buffer = bytearray(header + body)
    if source.readinto(buffer) < len(buffer):
        return None
    view = memoryview(buffer)
    return framing.unpack(view[:header], view[header:])


def _load(header: dict[str, Any]) -> CardPredictor:
    cache = header["cache_dir"]
    predictor = open_predictor(
        card_from_json(header["card"]),
        allowed_handlers=header["allowed_handlers"],
        cache_dir=Path(cache) if cache else None,
        top_k=header["top_k"],
    )
    predictor.load()
    return predictor


def _signature(predictor: CardPredictor) -> list[list[dict[str, Any]]]:
    if not predictor.takes_arrays:
        return [[], []]
    return [[one.to_json() for one in side] for side in predictor.signature]


def _run(predictor: CardPredictor | None, table: pa.Table | None) -> pa.Table:
    if predictor is None or table is None:
        raise ModelUnavailableError("the model process was asked to run before it was loaded")
    return array_tables.to_table(predictor.run(array_tables.from_table(table)))


def _predict(predictor: CardPredictor | None, table: pa.Table | None) -> pa.Table:
    if predictor is None or table is None:
        raise ModelUnavailableError("the model process was asked to predict before it was loaded")
    found = predictor.predict(table)
    if not isinstance(found, pa.Table):
        raise RecordError("bad_output", f"the model gave {type(found).__name__}, not an Arrow table")
    return found


def _portable(error: Exception) -> AgenticError:
    """A model's own exception as the error row it would become in the parent's process."""
    if isinstance(error, AgenticError):
        return error
    if isinstance(error, MemoryError):
        return ModelMemoryError(f"the model process is out of memory: {error}")
    return as_record_error(error)


def _end_with(parent: int) -> None:
    """End this process when its parent is gone, although a child that it forked holds the lifeline."""
    pause = threading.Event()
    while os.getppid() == parent:
        pause.wait(1.0)
    os._exit(ORPHANED)
