"""Other people's Airflow: an environment of its own, pinned to what was there when that Airflow was released."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

UV: Final = (sys.executable, "-m", "uv")
OURS: Final = "airflow-agentic"
PINNED: Final = "apache-airflow[amazon,celery,cncf-kubernetes,common-messaging,git,google,postgres]"
"""What the constraints are resolved for: they also pin numpy and pyarrow, as Airflow's own constraints files do."""
THEIRS: Final = "apache-airflow[celery,cncf-kubernetes,git,postgres]"
"""What is installed."""
PROBE: Final = Path(__file__).with_name("probe.py")
ROOT: Final = Path(__file__).resolve().parents[2]
TOOLS: Final = ("pytest", "pytest-asyncio", "pytest-timeout", "hypothesis", "kubernetes-validate")
"""What unit tests need."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """An Airflow; ``until`` is the first day that is too late for its pins."""

    minor: str
    version: str
    until: str


RELEASES: Final = (
    Release(minor="3.1", version="3.1.8", until="2026-03-12"),
    Release(minor="3.2", version="3.2.2", until="2026-05-30"),
    Release(minor="3.3", version="3.3.2", until="2026-09-18"),
)


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A virtual environment with that Airflow.

    :param folder: holds the environment, its constraints and its Airflow's home.
    """

    folder: Path
    release: Release

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.folder / "venv" / "bin" / "python")

    @property
    def home(self) -> Path:
        """``AIRFLOW_HOME``."""
        return self.folder / "home"

    @property
    def constraints(self) -> Path:
        """The pins."""
        return self.folder / "constraints.txt"

    def create(self) -> None:
        """Resolve the pins and install Airflow with them."""
        wanted = self.folder / "wanted.in"
        wanted.write_text(f"{PINNED}=={self.release.version}\n")
        limit = ("--exclude-newer", self.release.until)
        uv("pip", "compile", "--python", sys.executable, *limit, wanted, "--output-file", self.constraints)
        uv("venv", "--python", sys.executable, self.folder / "venv")
        self.install(f"{THEIRS}=={self.release.version}")

    def remove(self) -> None:
        """Delete it; constraints and home stay."""
        shutil.rmtree(self.folder / "venv")

    def install(self, what: str) -> None:
        """Install it, held to the constraints."""
        uv("pip", "install", "--python", self.python, "--constraint", self.constraints, what)

    def test(self, *paths: str) -> str:
        """What pytest says of these tests of ours, run by its interpreter; pytest lies outside of the environment."""
        tools = self.folder / "tools"
        held = ("--python", self.python, "--constraint", self.constraints)
        uv("pip", "install", "--target", tools, *held, *TOOLS)
        inside = {**os.environ, "AIRFLOW_HOME": str(self.home), "PYTHONPATH": str(tools)}
        chosen = ("-c", ROOT / "pyproject.toml", "--rootdir", ROOT, "-p", "no:cacheprovider", "-W", "default")
        return call(self.python, "-P", "-m", "pytest", *chosen, *(ROOT / path for path in paths), environment=inside)

    def uninstall(self, *names: str) -> None:
        """Remove distributions; what they required stays, as with pip."""
        uv("pip", "uninstall", "--python", self.python, *names)

    def frozen(self) -> dict[str, str]:
        """The installed versions by distribution."""
        listed = json.loads(uv("pip", "list", "--python", self.python, "--format", "json"))
        return {each["name"]: each["version"] for each in listed}

    def left(self) -> list[str]:
        """What lies in the environment under a name of ours."""
        found = (self.folder / "venv").rglob("airflow[_-]agentic*")
        return sorted(str(path.relative_to(self.folder)) for path in found)

    def probe(self, dags: Path, settings: Mapping[str, str]) -> dict[str, Any]:
        """What :mod:`probe` finds inside."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        inside = {**kept, "AIRFLOW_HOME": str(self.home), **settings}
        found: dict[str, Any] = json.loads(call(self.python, PROBE, dags, environment=inside).splitlines()[-1])
        return found


def uv(*arguments: str | Path) -> str:
    """What uv prints."""
    return call(*UV, *arguments)


def call(*command: str | Path, environment: Mapping[str, str] | None = None) -> str:
    """What a command prints to its standard output; all that it said where it fails."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}"
    return done.stdout


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nobody can write below ``folder`` meanwhile.

    Permissions do not stop root, who mounts it on itself; it stays writable where root may not.
    """
    if os.geteuid() == 0:
        mounted = subprocess.run(["mount", "--bind", "-o", "ro", folder, folder], check=False).returncode == 0
        try:
            yield
        finally:
            if mounted:
                call("umount", "--lazy", folder)
        return
    modes = {path: path.stat().st_mode for path in (folder, *folder.rglob("*"))}
    try:
        for path, mode in modes.items():
            path.chmod(mode & ~0o222)
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
