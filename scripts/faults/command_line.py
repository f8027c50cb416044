"""Kill ``airflow-agentic run --output FILE``, run it again, and judge the file."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scripts.faults.judge import Verdict, judge_answers, read_rows, unanswered
from scripts.faults.workload import Workload
from scripts.processes import gone, in_sessions

if TYPE_CHECKING:
    import random

FILES: Final = ("answers.jsonl", "answers.parquet")
WORKFLOWS: Final = ("cascade", "vote-compact")
RUN_SECONDS: Final = 300.0
EARLIEST: Final = 0.2
"""Share of an undisturbed run's time that passes before a kill: the interpreter has started."""
ORPHAN_SECONDS: Final = 15.0


@dataclass
class CommandLine:
    """Runs of the command line in a folder of their own.

    :param folder: where their files go.
    :param chance: draws the moments.
    :param settings: environment for every process.
    """

    folder: Path
    workload: Workload
    chance: random.Random
    settings: dict[str, str]
    kills: int = 0
    orphans: int = 0
    verdict: Verdict = field(default_factory=Verdict)

    def campaign(self, kills: int) -> None:
        """Kill so many runs; each is followed by one that is left alone."""
        self.folder.mkdir(parents=True)
        turns = cycle([(workflow, file) for file in FILES for workflow in WORKFLOWS])
        usual = self._complete(*next(turns)) if kills else 0.0
        while self.kills < kills:
            workflow, file = next(turns)
            if self.chance.random() < 0.5:
                (self.folder / file).unlink(missing_ok=True)
            before = self._content(file)
            if self._killed(workflow, file, usual * self.chance.uniform(EARLIEST, 1.0)):
                self.kills += 1
                if self._content(file) != before:  # killed after its last act: then the file is whole
                    self.verdict.add(self._judged(f"command line, killed, {workflow} to {file}", workflow, file))
                usual = 0.7 * usual + 0.3 * self._complete(workflow, file)

    def _killed(self, workflow: str, file: str, seconds: float) -> bool:
        """Start a run and kill its process; whether it was still running."""
        process = self._start(workflow, file)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        running = process.poll() is None
        process.kill()
        process.wait()
        left = gone(lambda: in_sessions([process.pid]), ORPHAN_SECONDS)
        self.orphans += len(left)
        for each in left:
            self.verdict.problems.append(f"command line: {each.command} outlived its parent")
        return running

    def _complete(self, workflow: str, file: str) -> float:
        """A run that is left alone, judged; returns the seconds it took."""
        began = time.monotonic()
        process = self._start(workflow, file)
        name = f"command line, {workflow} to {file}"
        expected = self.workload.expected[workflow]
        try:
            code = process.wait(RUN_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if code:
            said = (self.folder / "output.log").read_text(errors="replace")[-1000:]
            self.verdict.add(unanswered(name, expected, f"exit code {code}: {said}"))
        else:
            self.verdict.add(self._judged(name, workflow, file))
        if left := sorted(path.name for path in self.folder.glob(f".{file}*")):
            self.verdict.wrong += 1
            self.verdict.problems.append(f"{name}: left {left}")
        return time.monotonic() - began

    def _judged(self, name: str, workflow: str, file: str) -> Verdict:
        expected = self.workload.expected[workflow]
        try:
            rows = read_rows(self.folder / file)
        except (ValueError, OSError) as error:
            return unanswered(name, expected, f"cannot be read: {error}")
        return judge_answers(name, rows, expected)

    def _start(self, workflow: str, file: str) -> subprocess.Popen[bytes]:
        project = str(self.workload.dags)
        command = ["run", "--workflow", workflow, "--project", project, "--output", str(self.folder / file)]
        with (self.folder / "output.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "airflow_agentic", *command],
                cwd=self.folder,
                env={**os.environ, **self.settings},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that what it leaves behind is found
            )

    def _content(self, file: str) -> bytes | None:
        path = self.folder / file
        return path.read_bytes() if path.exists() else None
