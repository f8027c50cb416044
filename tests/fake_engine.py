"""A container engine that only writes down what it is asked: tests of command lines and of build contexts."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from typing import Any, Final

import airflow_agentic

_SCRIPT: Final = """#!{python}
import json, pathlib, shutil, sys
home, arguments = pathlib.Path({home!r}), sys.argv[1:]
with (home / "log").open("a") as log:
    log.write(json.dumps(arguments) + "\\n")
if arguments[0] == "build":
    shutil.copytree(arguments[-1], home / "contexts" / arguments[arguments.index("--tag") + 1].replace("/", "_"))
answers = json.loads((home / "answers.json").read_text())
said, code = answers.get(" ".join(arguments[:2]), answers.get(arguments[0], ["", 0]))
(sys.stdout if code == 0 else sys.stderr).write(said)
sys.exit(code)
"""


class FakeEngine:
    """``command`` is an executable that logs its arguments, keeps build contexts and says what :meth:`answer` told it.

    :param home: an empty folder of the test's own.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.command = str(home / "engine")
        Path(self.command).write_text(_SCRIPT.format(python=sys.executable, home=str(home)))
        Path(self.command).chmod(0o755)
        self._answers: dict[str, tuple[str, int]] = {}
        self.answer("image ls", "")

    def answer(self, words: str, said: str, *, code: int = 0) -> None:
        """What it prints, and its exit code, where its arguments begin with ``words`` (one or two)."""
        self._answers[words] = (said, code)
        (self.home / "answers.json").write_text(json.dumps(self._answers))

    @property
    def calls(self) -> list[list[str]]:
        """The arguments of every call so far."""
        log = self.home / "log"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def context(self, reference: str) -> Path:
        """What ``reference`` was built from."""
        return self.home / "contexts" / reference.replace("/", "_")


def inspected(
    *tags: str, labels: dict[str, str] | None = None, size: int = 1000, id_: str = "sha256:1"
) -> dict[str, Any]:
    """An entry of ``image inspect``, cut to what is read."""
    return {"Id": id_, "RepoTags": list(tags), "Size": size, "Config": {"Labels": labels}}


def small_wheel(folder: Path, *, requires: tuple[str, ...] = (), version: str = airflow_agentic.__version__) -> Path:
    """A wheel with nothing but metadata."""
    lines = ["Metadata-Version: 2.4", "Name: airflow-agentic", f"Version: {version}"]
    lines += [f"Requires-Dist: {one}" for one in requires]
    path = folder / f"airflow_agentic-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"airflow_agentic-{version}.dist-info/METADATA", "\n".join(lines) + "\n\nText.\n")
    return path


def files(folder: Path) -> dict[str, str]:
    """Content by relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()
    }
