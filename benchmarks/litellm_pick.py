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

PICKS = {"simple-shuffle": 200, "cost-based-routing": 20}
"""By strategy; the second takes a tenth of a second each."""


def main(count: int) -> None:
    """Measure every strategy and print one line."""
    found: dict[str, Any] = {strategy: asyncio.run(measure(strategy, count)) for strategy in PICKS}
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
    for _ in range(PICKS[strategy]):
        await pick()
    start = time.process_time()
    for _ in range(PICKS[strategy]):
        await pick()
    return (time.process_time() - start) * 1e6 / PICKS[strategy]


if __name__ == "__main__":
    main(int(sys.argv[1]))
