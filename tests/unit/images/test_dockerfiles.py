"""The rules that every Dockerfile keeps, read from the files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from airflow_agentic.images.recipes import RECIPES
from airflow_agentic.spec.model import Framework

ROOT: Final = Path(__file__).resolve().parents[3]
LAYERS: Final = ("ADD", "COPY", "RUN")
RECIPE: Final = pytest.mark.parametrize("name", RECIPES)


def instructions(name: str) -> list[tuple[str, str]]:
    """Keyword and rest of each instruction of the last stage."""
    return stages(name)[-1]


def stages(name: str) -> list[list[tuple[str, str]]]:
    text = RECIPES[name].dockerfile.read_text(encoding="utf-8")
    lines = [line for line in re.sub(r"\\\n\s*", "", text).splitlines() if line and not line.startswith("#")]
    found: list[list[tuple[str, str]]] = [[]]
    for line in lines:
        keyword, _, rest = line.partition(" ")
        if keyword == "FROM":
            found.append([])
        found[-1].append((keyword, rest))
    return found


def values(name: str, keyword: str) -> list[str]:
    return [rest for found, rest in instructions(name) if found == keyword]


def test_each_recipe_has_a_dockerfile_and_each_dockerfile_a_recipe() -> None:
    """But for Airflow's own."""
    known = {f"{name}.Dockerfile" for name in (*RECIPES, "airflow")}
    assert {file.name for file in (ROOT / "docker").iterdir()} == known


def test_each_framework_of_cards_has_an_image() -> None:
    assert sorted(name for recipe in RECIPES.values() for name in recipe.frameworks) == sorted(Framework.__args__)  # type: ignore[attr-defined]  # a literal


@RECIPE
def test_our_code_is_the_last_layer_and_in_no_other(name: str) -> None:
    layers = [(keyword, rest) for keyword, rest in instructions(name) if keyword in LAYERS]

    assert layers[-1] == ("COPY", "--from=code /code/ /opt/airflow-agentic/")
    assert [rest for keyword, rest in layers[:-1] if "wheel" in rest or "--from" in rest] == []


@RECIPE
def test_models_are_the_layer_below_and_packages_below_them(name: str) -> None:
    copied = [rest.split()[0] for rest in values(name, "COPY")]

    assert copied[-3:] == ["packages/", "models/", "--from=code"]


@RECIPE
def test_nothing_is_compiled(name: str) -> None:
    everything = [rest for stage in stages(name) for _, rest in stage]
    installs = [rest for rest in values(name, "RUN") if "pip install" in rest]

    assert [rest for rest in everything if re.search(r"\b(apt|apt-get|gcc|g\+\+|build-essential|make)\b", rest)] == []
    assert installs
    assert [rest for rest in installs if "--only-binary :all:" not in rest] == []


@RECIPE
def test_it_is_not_root_and_starts_the_runtime(name: str) -> None:
    assert values(name, "USER") == ["10001:10001"]
    assert [rest for rest in values(name, "RUN") if rest.startswith("useradd --uid 10001 ")] != []
    assert values(name, "ENTRYPOINT") == ['["python", "-m", "airflow_agentic.runtime"]']
    assert values(name, "CMD") == []


@RECIPE
def test_it_writes_nowhere_but_to_tmp(name: str) -> None:
    (line,) = values(name, "ENV")
    environment = dict(pair.split("=") for pair in line.split())

    assert environment == {
        "AIRFLOW_AGENTIC_CACHE": "/models",
        "HOME": "/tmp",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": "/opt/airflow-agentic",
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
    }
    assert values(name, "VOLUME") == []


@RECIPE
def test_it_says_what_it_is(name: str) -> None:
    (line,) = values(name, "LABEL")

    assert dict(re.findall(r'(\S+)="([^"]*)"', line)) == {
        "org.opencontainers.image.title": f"airflow-agentic/{name}",
        "org.opencontainers.image.version": "${VERSION}",
        "org.opencontainers.image.revision": "${REVISION}",
        "airflow-agentic.framework": name,
    }
    assert values(name, "ARG")[-2:] == ["VERSION=0", "REVISION=unknown"]


@RECIPE
def test_what_it_stands_on_can_be_chosen_and_no_frontend_is_fetched(name: str) -> None:
    text = RECIPES[name].dockerfile.read_text(encoding="utf-8")
    bases = [rest for stage in stages(name) for keyword, rest in stage if keyword == "FROM"]

    assert stages(name)[0] == [("ARG", "BASE_IMAGE=python:3.11-slim-bookworm")]
    assert bases == ["${BASE_IMAGE} AS code", "${BASE_IMAGE}"]
    assert re.search(r"^#\s*(syntax|escape|check)\s*=", text, re.MULTILINE) is None
    assert "--mount" not in text
    assert "--chmod" not in text


def test_torch_comes_from_where_one_says() -> None:
    (line,) = [rest for rest in values("torch", "RUN") if "framework.txt" in rest]

    assert "TORCH_INDEX=" in values("torch", "ARG")
    assert '${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"}' in line


@RECIPE
def test_they_differ_in_their_framework_only(name: str) -> None:
    def common(one: str) -> list[tuple[str, str]]:
        kept = [
            pair for stage in stages(one) for pair in stage if "framework" not in pair[1] and "TORCH" not in pair[1]
        ]
        return [pair for pair in kept if pair[0] != "LABEL"]

    assert common(name) == common("python")
