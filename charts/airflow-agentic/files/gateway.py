"""What the second pod of `helm test` does: can the gateway answer?

Arguments: the gateway's URL, and what is asked, as JSON. It asks whether the gateway is ready, and whether it turns
away who has no token; with a token in ``$TOKEN`` also ``POST /predict``. Exits with 1 and says what is wrong. Standard
library only.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request


def asked(url: str, body: str | None = None, token: str = "") -> tuple[int, str]:
    """Status and text of an answer."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(url, data=None if body is None else body.encode(), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def wrong(url: str, body: str, token: str) -> str | None:
    """What is wrong."""
    status, text = asked(f"{url}/health/ready")
    if status != 200:
        return f"the gateway is not ready ({status}): {text}"
    status, text = asked(f"{url}/predict", body)
    if status != 401:
        return f"who has no token is answered with {status}, not with 401: {text}"
    if not token:
        return None
    status, text = asked(f"{url}/predict", body, token)
    sys.stdout.write(f"{text.strip()}\n")
    if status != 200:
        return f"POST /predict is answered with {status}"
    errors = [one["error"] for one in [json.loads(text)] if one.get("error")]
    return f"the answer is an error: {errors[0]}" if errors else None


def main(arguments: list[str]) -> int:
    """Ask and say."""
    found = wrong(*arguments, os.environ.get("TOKEN", ""))
    sys.stdout.write(f"{found or 'The gateway answers.'}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
