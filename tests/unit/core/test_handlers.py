"""Which code a spec may import, and which it may not."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from airflow_agentic.exceptions import HandlerNotAllowedError, ModelLoadError
from airflow_agentic.handlers import load_handler

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "handlerpkg"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "good.py").write_text("from subprocess import run\n\nclass Model:\n    pass\n")
    (folder / "broken.py").write_text("raise RuntimeError('no GPU')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.startswith("handlerpkg")]:
        monkeypatch.delitem(sys.modules, name)
    return "handlerpkg"


@pytest.mark.parametrize("allowed", [["handlerpkg"], ["handlerpkg.good"], ["other", "handlerpkg.good:Model"]])
def test_package_module_and_name_allow(package: str, allowed: list[str]) -> None:
    assert load_handler("handlerpkg.good:Model", allowed).__name__ == "Model"


@pytest.mark.parametrize("allowed", [[], ["handlerpk"], ["handlerpkg.goo"], ["handlerpkg.good:Mod"]])
def test_an_entry_covers_whole_names_only(package: str, allowed: list[str]) -> None:
    with pytest.raises(HandlerNotAllowedError):
        load_handler("handlerpkg.good:Model", allowed)
    assert "handlerpkg.good" not in sys.modules


def test_the_refusal_names_the_way_out() -> None:
    with pytest.raises(HandlerNotAllowedError) as caught:
        load_handler("os:system", ["acme"])
    assert str(caught.value) == (
        "the handler 'os:system' is not allowed here; add 'os' (or 'os:system') to "
        "[agentic] allowed_handlers, which now has: acme"
    )


def test_our_own_code_is_always_allowed() -> None:
    assert load_handler("airflow_agentic.handlers:load_handler", []) is load_handler


def test_a_name_that_an_allowed_module_only_imported_is_refused(package: str) -> None:
    with pytest.raises(HandlerNotAllowedError) as caught:
        load_handler("handlerpkg.good:run", ["handlerpkg"])
    assert str(caught.value) == (
        "the handler 'handlerpkg.good:run' is not allowed here: handlerpkg.good only imports it from 'subprocess'; "
        "add 'handlerpkg.good:run' itself to [agentic] allowed_handlers"
    )
    assert load_handler("handlerpkg.good:run", ["handlerpkg.good:run"]).__name__ == "run"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("handlerpkg.good", "the handler 'handlerpkg.good' is not a path to import; write it as package.module:Name"),
        ("pkg:a.b", "the handler 'pkg:a.b' is not a path to import; write it as package.module:Name"),
        (
            "handlerpkg.broken:Model",
            "the handler 'handlerpkg.broken:Model' cannot be imported (RuntimeError: no GPU); "
            "install its distribution where the model runs, or correct the path",
        ),
        (
            "handlerpkg.good:Modell",
            "the handler 'handlerpkg.good:Modell' does not exist: handlerpkg.good has no 'Modell'; correct the name",
        ),
    ],
)
def test_what_cannot_be_loaded(package: str, path: str, message: str) -> None:
    with pytest.raises(ModelLoadError) as caught:
        load_handler(path, [package])
    assert str(caught.value) == message
