"""The shape of the code base: what may import what, and how large a module may grow."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

import airflow_agentic

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGE: Final = Path(airflow_agentic.__file__).parent
CORE: Final = (
    "artifacts",
    "container",
    "contrib",
    "coordinator",
    "exceptions",
    "execution",
    "foreign",
    "handlers",
    "images",
    "lazy",
    "openinference",
    "pipeline",
    "plan",
    "project",
    "registry",
    "routing",
    "runtime",
    "serving",
    "spec",
    "tables",
)
EDGE: Final = frozenset(
    {
        "cli",
        "compat",
        "dagbuilder",
        "dockerfiles",
        "example_dags",
        "hooks",
        "operators",
        "plugins",
        "preload",
        "triggers",
    }
)
PLAIN: Final = frozenset({"__main__", "_version", "get_provider_info"})
"""Modules at the root that belong to neither side."""

FRAMEWORK: Final = frozenset({"airflow_agentic.runtime.modules"})
"""Modules that subclass a framework's classes, imported by a predictor's ``load()`` only; this list only shrinks."""

FOREIGN: Final = ("airflow", "keras", "onnxruntime", "tensorflow", "torch", "transformers")
MAX_LINES: Final = 450


def python(code: str, *, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)


def modules(package: str) -> list[str]:
    """Dotted names of every module below ``package``, itself included; scripts of ``python -m`` are not imported."""
    path = PACKAGE / package
    if not path.is_dir():
        return [f"airflow_agentic.{package}"]
    files = (file.relative_to(PACKAGE).with_suffix("") for file in path.rglob("*.py"))
    names = (".".join(file.parts).removesuffix(".__init__") for file in files if file.name != "__main__")
    return sorted({f"airflow_agentic.{name}" for name in names} - FRAMEWORK)


def sources() -> Iterator[Path]:
    for folder in (
        PACKAGE,
        ROOT / "operators",
        ROOT / "plugins",
        ROOT / "scripts",
        ROOT / "tests",
        ROOT / "benchmarks",
    ):
        yield from sorted(file for file in folder.rglob("*.py") if "node_modules" not in file.parts)


def test_every_package_is_core_or_edge() -> None:
    found = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}

    assert found - {"__init__", "__pycache__"} == {*CORE, *EDGE, *PLAIN}


@pytest.mark.parametrize("package", CORE)
def test_the_core_loads_no_airflow_and_no_framework(package: str) -> None:
    found = python(
        "import importlib, sys\n"
        f"for name in {modules(package)!r}: importlib.import_module(name)\n"
        f"print(*[name for name in {FOREIGN!r} if name in sys.modules])"
    )

    assert (found.returncode, found.stdout, found.stderr) == (0, "\n", "")


@pytest.mark.parametrize("name", ["operators", "plugins"])
def test_a_linked_package_has_one_name(name: str) -> None:
    found = python(f"import {name}")

    assert found.returncode == 1
    assert found.stderr.splitlines()[-1] == (
        f"ImportError: import airflow_agentic.{name}, not {name}: one class must not exist under two names"
    )


def test_no_module_is_long() -> None:
    lengths = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in sources()}

    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def test_production_code_does_not_assert() -> None:
    found = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in sources()
        if file.relative_to(ROOT).parts[0] in {PACKAGE.name, "operators", "plugins"}
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Assert)
    ]

    assert found == []


def test_no_two_test_files_share_a_name() -> None:
    names = Counter(file.name for file in (ROOT / "tests").rglob("test_*.py"))

    assert [name for name, count in names.items() if count > 1] == []
