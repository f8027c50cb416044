"""The snapshot that a run freezes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from builders import card, compiled

from airflow_agentic.artifacts.digests import tree_digest
from airflow_agentic.exceptions import ChecksumError
from airflow_agentic.execution import card_of, freeze, node_card, snapshot
from airflow_agentic.execution.freeze import ALL_CLASSES, PROFILES, frozen_document, measured_profile
from airflow_agentic.plan import Plan
from airflow_agentic.plan.ir import Infer
from airflow_agentic.registry import card_digest
from airflow_agentic.runtime import resolve
from airflow_agentic.spec.model import ModelCard, Output


def onnx(folder: Path, name: str = "net", **runtime: Any) -> Any:
    (folder / "net.onnx").write_bytes(b"weights")
    said = {"framework": "onnx", "artifact": "net.onnx", "text": {}, **runtime}
    return card(name, folder=folder, runtime=said, isolation="process")


def test_a_card_comes_back_as_it_was() -> None:
    plan = compiled("fake", card("fake", cost=2.0))
    found = card_of(plan, "fake")
    assert found.model_dump() == card("fake", cost=2.0).model_dump()
    assert (found.folder, found.source.file) == (card("fake").folder, "models/fake.yaml")


def test_a_member_of_a_mean_gives_all_classes() -> None:
    plan = compiled({"ensemble": ["x", "y"], "aggregate": "mean"}, card("x"), card("y"))
    assert [node_card(plan, node).output.top_k for node in plan.of(Infer)] == [ALL_CLASSES] * 2
    plan = compiled({"ensemble": ["x", "y"]}, card("x"), card("y"))
    assert [node_card(plan, node).output.top_k for node in plan.of(Infer)] == [5, 5]


def test_the_snapshot_has_the_artifact_in_the_digest(tmp_path: Path) -> None:
    plan = compiled("net", onnx(tmp_path))
    first = snapshot(plan).models["net"]
    (tmp_path / "net.onnx").write_bytes(b"other weights")
    second = snapshot(plan).models["net"]
    assert first.digest != second.digest != plan.models["net"].digest
    assert first.healthy


def test_a_pinned_artifact_is_believed(tmp_path: Path) -> None:
    pinned = onnx(tmp_path, sha256="a" * 64)
    info = snapshot(compiled("net", pinned)).models["net"]
    assert info.digest == card_digest(pinned, "a" * 64)


def labelled(folder: Path) -> ModelCard:
    """A model with labels in a file."""
    (folder / "labels.txt").write_text("cat\ndog\n")
    return onnx(folder).model_copy(update={"output": Output(classes="animals", labels="labels.txt")})


def test_every_file_that_a_card_names_is_pinned(tmp_path: Path) -> None:
    plan = snapshot(compiled("net", labelled(tmp_path)))
    info, pinned = plan.models["net"], node_card(plan, plan.of(Infer)[0])

    assert info.files == {"labels.txt": tree_digest(tmp_path / "labels.txt")}
    assert pinned.pinned("labels.txt") == info.files["labels.txt"]
    assert pinned.pinned("net.onnx") == info.artifact == tree_digest(tmp_path / "net.onnx")
    (tmp_path / "labels.txt").write_text("dog\ncat\n")
    assert snapshot(plan).models["net"].digest != info.digest
    with pytest.raises(ChecksumError):
        resolve("labels.txt", base=pinned.folder, sha256=pinned.pinned("labels.txt"))


def test_what_runs_elsewhere_needs_no_framework_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(freeze._MODULES, "onnx", ("no_such_module_at_all", "onnx"))
    plan = compiled("net", onnx(tmp_path), runner="kubernetes")

    assert snapshot(plan).models["net"].healthy


def test_a_model_whose_artifact_is_not_there_is_unhealthy(tmp_path: Path) -> None:
    plan = compiled("net", onnx(tmp_path))
    (tmp_path / "net.onnx").unlink()
    info = snapshot(plan).models["net"]
    assert not info.healthy
    assert "net.onnx" in str(info.why_unhealthy)


def test_what_another_process_answers_need_not_run_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    there = snapshot(compiled("net", onnx(tmp_path)))
    monkeypatch.setitem(freeze._MODULES, "onnx", ("no_such_module_at_all", "onnx"))
    here = snapshot(compiled("net", onnx(tmp_path)), elsewhere=True)
    assert here.models["net"] == there.models["net"]
    (tmp_path / "net.onnx").unlink()
    assert snapshot(compiled("net", onnx(tmp_path)), elsewhere=True).models["net"].healthy


def test_a_framework_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(freeze._MODULES, "onnx", ("no_such_module_at_all", "onnx"))
    info = snapshot(compiled("net", onnx(tmp_path))).models["net"]
    assert (info.healthy, info.why_unhealthy) == (
        False,
        "no_such_module_at_all is not installed: pip install 'airflow-agentic[onnx]'",
    )


def measured(folder: Path, digest: str, **profile: Any) -> None:
    (folder / PROFILES).write_text(json.dumps({"net": {"digest": digest, "profile": profile}}))


def test_a_measured_profile_takes_the_declared_one_s_place(tmp_path: Path) -> None:
    plan = compiled("net", onnx(tmp_path))
    measured(tmp_path, snapshot(plan).models["net"].digest, latency_ms=3.5, quality=0.75)
    info = snapshot(plan).models["net"]
    assert (info.latency_ms, info.quality, info.cost) == (3.5, 0.75, plan.models["net"].cost)


def test_a_profile_of_other_bytes_does_not_count(tmp_path: Path) -> None:
    net = onnx(tmp_path)
    measured(tmp_path, "of something else", latency_ms=3.5)
    assert measured_profile(net, card_digest(net)) is None
    assert snapshot(compiled("net", net)).models["net"].latency_ms is None


def test_the_frozen_document_is_the_plan() -> None:
    plan = compiled("fake", card("fake"))
    document = json.loads(json.dumps(frozen_document(plan, {"limit": 3})))
    assert Plan.model_validate(document["plan"]) == plan
    assert document["params"] == {"limit": 3}
