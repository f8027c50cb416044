"""LiteLLM's Router picks among N deployments: microseconds a pick, by strategy, as JSON.

Runs in LiteLLM's environment, which has nothing of ours.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from importlib import metadata
from typing import Any

PICKS = 300
WARM = 200
STRATEGIES = ("simple-shuffle", "cost-based-routing")


def main(count: int) -> None:
    """Measure every strategy and print one line."""
    found: dict[str, Any] = {strategy: asyncio.run(measure(strategy, count)) for strategy in STRATEGIES}
    print(json.dumps({**found, "version": metadata.version("litellm")}))


async def measure(strategy: str, count: int) -> float:
    """Microseconds a pick."""
    import litellm

    litellm.suppress_debug_info = True
    deployments = [
        {
            "model_name": "group",
            "litellm_params": {
                "model": f"openai/model-{number}",
                "api_key": "none",
                "api_base": "http://127.0.0.1:9",
                "input_cost_per_token": 1e-6 * (number + 1),
                "output_cost_per_token": 1e-6 * (number + 1),
            },
        }
        for number in range(count)
    ]
    router = litellm.Router(model_list=deployments, routing_strategy=strategy)
    messages = [{"role": "user", "content": "hello"}]
    if hasattr(router, "select"):
        pick = lambda: router.select("group", {}, messages=messages)  # noqa: E731
    else:
        pick = lambda: router.async_get_available_deployment(  # noqa: E731
            model="group", messages=messages, request_kwargs={}
        )
    for _ in range(WARM):
        await pick()
    start = time.perf_counter()
    for _ in range(PICKS):
        await pick()
    return (time.perf_counter() - start) * 1e6 / PICKS


if __name__ == "__main__":
    main(int(sys.argv[1]))
