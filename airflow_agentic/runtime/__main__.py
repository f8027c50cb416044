"""``python -m airflow_agentic.runtime``: a model's process, as a child of a worker or as a container.

``child`` serves one model over two pipes, for the process that started it; what a container does is in
:mod:`airflow_agentic.container`, imported only where it is asked for.
"""

from __future__ import annotations

import argparse
import sys


def main(arguments: list[str] | None = None) -> int:
    """The command; returns an exit code of :mod:`airflow_agentic.container.exits`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] != ["child"]:
        from airflow_agentic.container.command import run

        return run(arguments)
    parser = argparse.ArgumentParser(
        prog="python -m airflow_agentic.runtime child", description="Run one model for a parent."
    )
    parser.add_argument("--requests", type=int, required=True, help="inherited file descriptor to read requests from")
    parser.add_argument("--replies", type=int, required=True, help="inherited file descriptor to write replies to")
    parser.add_argument(
        "--lifeline", type=int, required=True, help="inherited file descriptor that ends with the parent"
    )
    options = parser.parse_args(arguments[1:])
    from airflow_agentic.runtime.child import serve

    serve(options.requests, options.replies, options.lifeline)
    return 0


if __name__ == "__main__":
    sys.exit(main())
