"""What a user installs: the linked folders are in the wheel as plain packages, and its core runs without Airflow."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

import pytest

from airflow_agentic.images.distribution import NOT_SHIPPED

ROOT: Final = Path(__file__).resolve().parents[2]
MAX_BYTES: Final = 3_000_000

WITHOUT_AIRFLOW: Final = """
import importlib, sys
sys.modules["airflow"] = None  # importing it now fails, as where it is not installed
import airflow_agentic
assert airflow_agentic.__file__.startswith(sys.argv[1]), airflow_agentic.__file__
for name in sys.argv[2:]:
    importlib.import_module(f"airflow_agentic.{name}")
print(airflow_agentic.__version__)
"""
CORE: Final = (
    "spec",
    "registry",
    "plan",
    "routing",
    "pipeline",
    "artifacts",
    "runtime",
    "execution",
    "coordinator",
    "project",
    "images",
    "cli",
)


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.mark.parametrize("folder", ["operators", "plugins"])
def test_every_module_of_a_linked_folder_is_in_it(names: set[str], folder: str) -> None:
    modules = {
        f"airflow_agentic/{folder}/{file.relative_to(ROOT / folder).as_posix()}"
        for file in (ROOT / folder).rglob("*.py")
        if "node_modules" not in file.parts
    }

    assert modules
    assert modules - names == set()


def test_the_example_project_is_in_it_without_what_was_built(names: set[str]) -> None:
    files = {
        f"airflow_agentic/example_dags/{file.relative_to(ROOT / 'dags').as_posix()}"
        for file in (ROOT / "dags").rglob("*")
        if file.is_file() and not set(NOT_SHIPPED) & set(file.parts)
    }

    assert files
    assert files - names == set()
    assert [name for name in names if "/built/" in name or "node_modules" in name] == []


def test_every_dockerfile_is_in_it(names: set[str]) -> None:
    files = {f"airflow_agentic/dockerfiles/{file.name}" for file in (ROOT / "docker").iterdir()}

    assert files
    assert files - names == set()


def test_types_and_schemas_are_in_it(names: set[str]) -> None:
    assert {
        "airflow_agentic/py.typed",
        "airflow_agentic/spec/schema/model.json",
        "airflow_agentic/spec/schema/workflow.json",
    } <= names


def test_nothing_is_in_it_twice_or_beside_the_package(names: set[str]) -> None:
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"airflow_agentic"}


def test_it_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < MAX_BYTES


def test_airflow_finds_the_provider_the_plugin_and_the_command(wheel: Path, names: set[str]) -> None:
    (path,) = (name for name in names if name.endswith(".dist-info/entry_points.txt"))
    parser = configparser.ConfigParser()
    with zipfile.ZipFile(wheel) as archive:
        parser.read_string(archive.read(path).decode())

    assert {section: dict(parser[section]) for section in parser.sections()} == {
        "console_scripts": {"airflow-agentic": "airflow_agentic.cli:main"},
        "apache_airflow_provider": {"provider_info": "airflow_agentic.get_provider_info:get_provider_info"},
        "airflow.plugins": {"airflow_agentic": "airflow_agentic.plugins:AgenticPlugin"},
    }


def test_its_core_runs_where_airflow_is_not_installed(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    command = [sys.executable, "-P", "-c", WITHOUT_AIRFLOW, str(tmp_path), *CORE]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    found = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert found.returncode == 0, found.stderr
    version: dict[str, str] = {}
    exec((ROOT / "airflow_agentic" / "_version.py").read_text(), version)
    assert found.stdout.strip() == version["__version__"]


def test_an_installation_packs_itself_as_the_wheel_it_came_from(wheel: Path, tmp_path: Path) -> None:
    """Images that are built where the wheel is installed: without a checkout, an index or a build tool."""
    site, made = tmp_path / "site", tmp_path / "made"
    made.mkdir()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True)
    code = (
        "import pathlib, sys; from airflow_agentic.images import distribution, recipes\n"
        "assert distribution.__file__.startswith(sys.argv[1]), distribution.__file__\n"
        "assert all(recipe.dockerfile.is_file() for recipe in recipes.RECIPES.values())\n"
        "print(distribution.make_wheel(pathlib.Path(sys.argv[2])), distribution.revision())"
    )
    command = [sys.executable, "-P", "-c", code, str(site), str(made)]
    found = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True, check=True
    )

    assert found.stdout.split() == [str(made / wheel.name), "None"]
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(made / wheel.name) as again:
        record = next(name for name in first.namelist() if name.endswith("/RECORD"))
        assert set(again.namelist()) == set(first.namelist())
        assert [name for name in first.namelist() if name != record and first.read(name) != again.read(name)] == []
        assert sorted(again.read(record).split()) == sorted(first.read(record).split())
