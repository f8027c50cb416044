"""What a model server answers while it ends, changes its models, or loses them. Real processes on free ports."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from model_servers import Load, asked, children, command, environment, serving, until_ready, write_card

QUICK = "/v2/models/quick/infer"
APART = "/v2/models/apart/infer"


@asynccontextmanager
async def loaded(load: Load, path: str, clients: int = 8) -> AsyncIterator[Load]:
    """While it lasts, ``path`` is asked."""
    asking = asyncio.create_task(load.run(path, clients))
    try:
        yield load
    finally:
        load.stop()
        await asking


async def post(url: str, content: bytes, seconds: float = 60.0) -> tuple[int, str]:
    timeout = aiohttp.ClientTimeout(seconds)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.post(url, data=content) as response:
        return response.status, await response.text()


async def test_sigterm_under_load_fails_no_request(tmp_path: Path) -> None:
    with serving(tmp_path, "apart", "quick") as first, serving(tmp_path, "apart", "quick") as second:
        load = Load([first.url, second.url])
        async with loaded(load, APART):
            await load.until(lambda: load.answered[0] > 100)
            ended = asyncio.create_task(asyncio.to_thread(first.stop))
            await load.until(lambda: load.answered[1] > 100)
            assert await ended == 0
    assert load.failed == []


async def test_a_new_version_under_load_fails_no_request(tmp_path: Path) -> None:
    with serving(tmp_path, "apart", "quick") as server:
        load = Load([server.url])
        async with loaded(load, APART):
            await load.until(lambda: load.versions == {"1"})
            old = server.children()
            write_card(tmp_path, "apart", version="2")
            await load.until(lambda: "2" in load.versions)
            before = load.answered[0]
            await load.until(lambda: load.answered[0] > before + 200)
        assert load.versions == {"1", "2"}
        status, text = await post(f"{server.url}/v2/models/apart/versions/1/infer", asked("good"))
        assert (status, text) == (404, "{\"error\":\"model 'apart' has no version '1' here; there are: 2\"}")
        assert len(server.children()) == 1
        assert server.children() != old
        assert server.stop() == 0
    assert load.failed == []


async def test_a_killed_model_comes_back_while_the_others_go_on(tmp_path: Path) -> None:
    with serving(tmp_path, "apart", "quick") as server:
        load = Load([server.url])
        async with loaded(load, QUICK):
            await load.until(lambda: load.answered[0] > 100)
            (model,) = server.children()
            os.kill(model, signal.SIGKILL)
            while (await post(server.url + APART, asked("good")))[0] == 200:
                pass
            status, text = await post(server.url + APART, asked("good"))
            assert status == 503, text
            async with aiohttp.ClientSession() as session, session.get(f"{server.url}/v2/health/ready") as ready:
                assert ready.status == 200
            await until_ready(server.url, "apart")
            assert (await post(server.url + APART, asked("good")))[0] == 200
            assert server.children() != [model]
        assert "model 'apart': its process ended; it is loaded again" in server.log.read_text()
    assert load.failed == []


async def test_a_model_that_hangs_is_started_again_while_the_others_go_on(tmp_path: Path) -> None:
    with serving(tmp_path, "apart", "quick") as server:
        load = Load([server.url])
        async with loaded(load, QUICK):
            (model,) = server.children()
            os.kill(model, signal.SIGSTOP)
            status, text = await post(server.url + APART, asked("good"))
            assert status == 503
            assert "took longer than 2 s and was stopped" in text
            await until_ready(server.url, "apart")
            assert (await post(server.url + APART, asked("good")))[0] == 200
            assert model not in server.children()
    assert load.failed == []


async def test_a_server_ends_though_a_model_hangs(tmp_path: Path) -> None:
    write_card(tmp_path, "apart", batch={"timeout": "600s"})
    with serving(tmp_path, "apart", "quick", options=("--drain", "0", "--grace", "1")) as server:
        hanging = asyncio.create_task(post(server.url + APART, asked("hang")))
        while True:
            status, _ = await post(server.url + QUICK, asked("good"))
            if status == 200 and not hanging.done():
                break
        (model,) = server.children()
        assert await asyncio.to_thread(server.stop) == 0
        assert (await hanging)[0] in {500, 503}
        assert not Path(f"/proc/{model}").exists()


async def test_a_worker_that_is_killed_is_replaced(tmp_path: Path) -> None:
    with serving(tmp_path, "quick", options=("--drain", "0.5", "--workers", "2")) as server:
        await until_ready(server.url, "quick")
        workers = [pid for pid in server.children() if children(pid) or b"spawn_main" in _command(pid)]
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        for _ in range(200):
            try:
                await post(server.url + QUICK, asked("good"))
            except aiohttp.ClientError:
                continue
        while len([pid for pid in server.children() if b"spawn_main" in _command(pid)]) < 2:
            await asyncio.sleep(0)
        await until_ready(server.url, "quick")
        assert (await post(server.url + QUICK, asked("good")))[0] == 200
        assert await asyncio.to_thread(server.stop) == 0


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_a_model_that_cannot_be_loaded_ends_the_command_with_its_reason(tmp_path: Path) -> None:
    write_card(tmp_path, "quick", runtime={"handler": "served_models:Nothing"})
    for workers in ("1", "2"):
        found = _run(tmp_path, "quick", "--port", "0", "--workers", workers)
        assert found.returncode == 4
        assert "the server ends, for a model cannot be loaded: " in found.stderr
        assert "served_models" in found.stderr
        assert "Traceback" not in found.stderr


def test_wrong_names_cards_and_ports_end_the_command_at_once(tmp_path: Path) -> None:
    with serving(tmp_path, "quick") as server:
        found = _run(tmp_path, "quick", "--port", str(server.port))
        assert found.returncode == 2
        assert f"cannot listen at '127.0.0.1', port {server.port}: Address already in use" in found.stderr
    found = _run(tmp_path, "quik")
    assert (found.returncode, found.stderr) == (2, "error: no model is called 'quik'; did you mean 'quick'?\n")
    (tmp_path / "models" / "quick.yaml").write_text("kind: Model\n")
    found = _run(tmp_path, "quick")
    assert found.returncode == 3
    assert "models/quick.yaml" in found.stderr


def test_a_server_that_is_told_to_stop_while_a_model_loads_ends(tmp_path: Path) -> None:
    held = tmp_path / "held"
    held.touch()
    runtime = {"handler": "served_models:Slow", "args": {"held": str(held)}}
    write_card(tmp_path, "quick", runtime=runtime)
    process = subprocess.Popen(
        command(tmp_path, ["quick"], "--port", "0", "--drain", "0"),
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd=tmp_path,
    )
    assert process.stderr is not None
    with process:
        assert "is being loaded" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def _run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(project, arguments),
        capture_output=True,
        text=True,
        env=environment(),
        cwd=project,
        timeout=120,
        check=False,
    )
