"""``python -m airflow_agentic.runtime``: the model process; ``ModelProcess`` starts it."""

from __future__ import annotations

import argparse

from airflow_agentic.runtime.child import serve


def main(arguments: list[str] | None = None) -> None:
    """Serve the pipes that the parent process handed down."""
    parser = argparse.ArgumentParser(
        prog="python -m airflow_agentic.runtime", description="Run one model for a parent."
    )
    parser.add_argument("--requests", type=int, required=True, help="inherited file descriptor to read requests from")
    parser.add_argument("--replies", type=int, required=True, help="inherited file descriptor to write replies to")
    parser.add_argument(
        "--lifeline", type=int, required=True, help="inherited file descriptor that ends with the parent"
    )
    options = parser.parse_args(arguments)
    serve(options.requests, options.replies, options.lifeline)


if __name__ == "__main__":
    main()
