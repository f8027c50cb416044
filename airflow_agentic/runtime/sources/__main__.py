"""``python -m airflow_agentic.runtime.sources URI… [--to PATH]``: ask a registry; the parent package starts it.

The answer, JSON on the standard output: for each URI what it means, or the error; with ``--to`` the one is fetched.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from airflow_agentic.exceptions import AgenticError, ArtifactError, StoreError
from airflow_agentic.runtime.framing import pack_error
from airflow_agentic.runtime.lifeline import end_at_the_end_of
from airflow_agentic.runtime.sources import CLIENTS, FULL, understood


def main(arguments: list[str] | None = None) -> None:
    """Answer one call; standard input is the parent's lifeline."""
    end_at_the_end_of(0)
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)  # what a client prints is for the log
        parser = argparse.ArgumentParser(prog="python -m airflow_agentic.runtime.sources")
        parser.add_argument("uris", nargs="+", metavar="URI")
        parser.add_argument("--to", type=Path, metavar="PATH", help="where the file or folder is to be")
        options = parser.parse_args(arguments)
        json.dump([_reply(uri, options.to) for uri in options.uris], answer)


def _reply(uri: str, target: Path | None) -> dict[str, Any]:
    try:
        known = understood(uri)
        client = importlib.import_module(f"airflow_agentic.runtime.sources.{CLIENTS[type(known)]}")
        if target is None:
            return asdict(client.find(known))
        client.get(known, target)
    except AgenticError as error:
        return {"error": pack_error(error)}
    except ImportError as error:  # of a store behind the registry
        return {"error": pack_error(ArtifactError(f"{uri!r} cannot be read here: {error}"))}
    except Exception as error:  # noqa: BLE001  # a client raises whatever it likes
        full = _full(error)
        if full is not None:
            return {"full": full}
        return {"error": pack_error(StoreError(f"{uri!r} cannot be read: {type(error).__name__}: {error}"))}
    return {}


def _full(error: BaseException | None) -> int | None:
    """The number of the error of a full disk, among those that led to ``error``."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return error.errno
        error = error.__cause__ or error.__context__
    return None


if __name__ == "__main__":
    main()
