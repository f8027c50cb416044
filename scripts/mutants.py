"""Run mutants: a pytest plugin that forks once a mutant from a process which has collected all tests.

    python -P scripts/mutants.py JOB.json, in the folder of the mutated package

:mod:`scripts.mutate` writes the job and reads what is appended to the job's ``results``, a line a mutant. First all
tests run once, which says which tests reach which function and how long each takes; then each mutant runs its tests,
those first that noticed others of its function, then the quickest, until one fails. A mutant that needs much longer
than its tests did is ended and counts as killed.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NoReturn

import pytest
from mutmut.mutation import trampoline

MEMORY = 4 << 30
"""Bytes that a mutant may take."""


class Campaign:
    """The mutants of one job."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.mutants: list[str] = job["mutants"]
        self.results = Path(job["results"])
        self.children: int = job["children"]
        self.ends: float = time.monotonic() + job["limit"]
        self.failed: list[str] = []
        self.noticed: Counter[tuple[str, str]] = Counter()
        self.work = Path(tempfile.mkdtemp(prefix="mutants-"))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called by pytest after each phase of a test."""
        if report.failed:
            self.failed.append(f"{report.nodeid}\n{report.longreprtext}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Called by pytest after the collection, in place of running its tests."""
        if session.testsfailed:
            pytest.exit("tests cannot be collected", 1)
        gc.freeze()
        items = {item.nodeid: item for item in session.items}
        seconds, reached = self.measure(items)
        running: dict[int, tuple[str, float]] = {}
        for mutant in self.mutants:
            while len(running) >= self.children:
                self.reap(running)
            function = function_of(mutant)
            tests = sorted(reached.get(function, ()), key=lambda test: (-self.noticed[function, test], seconds[test]))
            if time.monotonic() > self.ends:
                break
            if not tests:
                self.say(mutant, "unreached")
                continue
            allowed = sum(seconds[test] for test in tests)
            pid = os.fork()
            if pid == 0:
                self.run(mutant, [items[test] for test in tests], allowed)
            running[pid] = mutant, time.monotonic() + 60 + 10 * allowed
        while running:
            self.reap(running)
        shutil.rmtree(self.work, ignore_errors=True)
        return True

    def measure(self, items: dict[str, pytest.Item]) -> tuple[dict[str, float], dict[str, list[str]]]:
        """The CPU seconds of each test and the tests of each function, found in a process of its own.

        A store cannot be used in a process that was forked after its parent used one.
        """
        found = self.work / "measured.json"
        pid = os.fork()
        if pid == 0:
            hits: set[str] = set()
            trampoline.record_trampoline_hit = lambda name, caller=None: hits.add(name)
            activate("stats")
            seconds, reached = {}, defaultdict(list)
            for name, item in items.items():
                hits.clear()
                started = time.process_time()
                item.ihook.pytest_runtest_protocol(item=item, nextitem=None)
                seconds[name] = time.process_time() - started
                for function in hits:
                    reached[function].append(name)
            found.write_text(json.dumps([seconds, reached]))
            print("\n".join(self.failed), file=sys.stderr, flush=True)
            os._exit(bool(self.failed))
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
            pytest.exit("tests fail without any mutation", 1)
        seconds, reached = json.loads(found.read_text())
        return seconds, reached

    def run(self, mutant: str, items: list[pytest.Item], allowed: float) -> NoReturn:
        """In the forked process: exit code 0 where no test fails."""
        os.setpgid(0, 0)
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nothing, descriptor)
        folder = self.work / str(os.getpid())
        folder.mkdir()
        os.environ["PYTEST_DEBUG_TEMPROOT"] = os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
        limit = int(time.process_time() + 5 + 4 * allowed)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 2))
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        activate(mutant)
        try:
            for item in items:
                item.ihook.pytest_runtest_protocol(item=item, nextitem=None)
                if self.failed:
                    (folder / "noticed").write_text(item.nodeid)
                    os._exit(1)
        except BaseException:  # noqa: BLE001 - whatever it raises, it was noticed
            os._exit(1)
        os._exit(0)

    def reap(self, running: dict[int, tuple[str, float]]) -> None:
        """Take up the processes that have ended; end those that take too long."""
        time.sleep(0.005)
        for pid, (mutant, deadline) in list(running.items()):
            done, status = os.waitpid(pid, os.WNOHANG)
            late = not done and time.monotonic() > deadline
            if late:
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            if done or late:
                del running[pid]
                noticed = self.work / str(pid) / "noticed"
                if noticed.is_file():
                    self.noticed[function_of(mutant), noticed.read_text()] += 1
                shutil.rmtree(self.work / str(pid), ignore_errors=True)
                code = -signal.SIGKILL if late else os.waitstatus_to_exitcode(status)
                self.say(mutant, "survived" if code == 0 else "killed" if code == 1 else "timeout")

    def say(self, mutant: str, outcome: str) -> None:
        """Append a result."""
        with self.results.open("a") as file:
            file.write(json.dumps([mutant, outcome]) + "\n")


def function_of(mutant: str) -> str:
    """The function that ``mutant`` is a change of."""
    return mutant.partition("__mutmut_")[0]


def activate(mutant: str) -> None:
    """Let ``mutant`` take effect, in this process only."""
    trampoline.set_mutant_under_test(mutant)
    del os.environ["MUTANT_UNDER_TEST"]


def main(job: dict[str, Any]) -> int:
    """Collect the job's tests and run its mutants."""
    return int(pytest.main(job["arguments"], plugins=[Campaign(job)]))


if __name__ == "__main__":
    sys.exit(main(json.loads(Path(sys.argv[1]).read_text())))
