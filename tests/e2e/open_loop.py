"""Constant load on a gateway, from a pod: so many requests a second, whatever becomes of those before.

Arguments: JSON ``{url, token, bodies, rate, deadline_ms}``. It goes on until ``/tmp/stop`` is there, three minutes at
most, and then prints one JSON line a request: what was asked, the status, who answered, and the seconds since it was
to be sent. Connections are kept and used again.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

MOST_SECONDS = 180


async def one(session: aiohttp.ClientSession, wanted: dict[str, Any], body: dict[str, Any], due: float) -> str:
    """Ask once, and say what came of it."""
    headers = {"Authorization": f"Bearer {wanted['token']}", "X-Request-Timeout-Ms": str(wanted["deadline_ms"])}
    try:
        async with session.post(f"{wanted['url']}/predict", json=body, headers=headers) as answer:
            status, said = answer.status, await answer.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        status, said = 0, {"detail": f"{type(error).__name__}: {error}"}
    found = {key: said.get(key) for key in ("label", "model", "version", "type", "detail")}
    return json.dumps({"asked": body, "status": status, "seconds": round(time.monotonic() - due, 3), **found})


async def main(wanted: dict[str, Any]) -> None:
    """Ask, and print."""
    began = time.monotonic()
    timeout = aiohttp.ClientTimeout(total=wanted["deadline_ms"] / 1000 + 5)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session, asyncio.TaskGroup() as group:
        asked = []
        for number in count():
            due = began + number / wanted["rate"]
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if Path("/tmp/stop").exists() or due - began > MOST_SECONDS:
                break
            body = wanted["bodies"][number % len(wanted["bodies"])]
            asked.append(group.create_task(one(session, wanted, body, due)))
    for task in asked:
        sys.stdout.write(f"{task.result()}\n")


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
