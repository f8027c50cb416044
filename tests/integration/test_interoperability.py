"""Clients of other projects drive our model server unchanged; each is in an environment of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from peers import peer

from scripts.peers import KSERVE

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "conformance"))

from conformance_targets import Target, ours  # noqa: E402  # it is of the suite beside this one

PEERS = {"triton": "tritonclient[http,grpc]==2.73.0", "kserve": KSERVE}
CHECKS = [
    (name, check)
    for name in PEERS
    for check in re.findall(r"def check_(\w+)\(", (HERE / f"{name}_script.py").read_text())
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with ours(tmp_path_factory.mktemp("interoperability")) as found:
        yield found


@pytest.fixture(scope="module", params=PEERS)
def client(request: pytest.FixtureRequest) -> tuple[str, Path]:
    """A client and the Python that has it."""
    return request.param, peer(PEERS[request.param])


@pytest.mark.parametrize(("client", "check"), CHECKS, indirect=["client"])
def test_a_client_is_served(server: Target, client: tuple[str, Path], check: str) -> None:
    name, python = client
    command = [str(python), str(HERE / f"{name}_script.py"), check, server.rest, server.grpc]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
