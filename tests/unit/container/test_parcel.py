"""A unit without shared storage: what it reads goes there, what it commits comes back, within limits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from builders import card, compiled
from executing import records

from airflow_agentic.artifacts import Store
from airflow_agentic.container import parcel
from airflow_agentic.container.exits import Exit
from airflow_agentic.container.parcel import LINE, VARIABLE, packed, receive, send, unpacked
from airflow_agentic.container.reference import UnitReference
from airflow_agentic.exceptions import ArtifactError, ChecksumError, InputError
from airflow_agentic.execution import Folder, Run, collect_unit
from airflow_agentic.plan.ir import Gate, Infer, Route

WORDS: dict[str, Any] = {
    "framework": "python",
    "handler": "airflow_agentic.contrib.rules:KeywordSentiment",
    "args": {"positive": ["text"], "negative": ["bad"]},
}


def routed(*, units: int = 1) -> tuple[Run, Infer]:
    """A run of 14 records in three shards, up to its second model, in a store of this process alone."""
    cards = [card(name, runtime=WORDS) for name in ("a", "b")]
    use = {"cascade": ["a", "b"], "accept": "prediction.score > 2.0"}
    plan = compiled(use, *cards, shard={"rows": 5}, parallelism=units)
    run = Folder(Store.open("memory://")).start(plan, [records()], [])
    run.control(run.plan.of(Route)[0])
    first, second = run.plan.of(Infer)
    for unit in run.units():
        receive(run.folder.store, first, contained(run, first, number=unit.number)[1])
    run.control(run.plan.of(Gate)[0])
    return run, second


def contained(run: Run, node: Infer, *, number: int = 0, text: str | None = None) -> tuple[int, list[str]]:
    """The exit code of a container of its own, and the lines of answers in its log."""
    unit = run.units()[number]
    reference = UnitReference(store="", manifest=run.manifest, node=node.id, unit=number)
    done = subprocess.run(
        [sys.executable, "-m", "airflow_agentic.runtime", "unit", *reference.to_arguments(parcel=True)],
        env={**os.environ, VARIABLE: send(run, node, unit) if text is None else text},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, [line for line in done.stdout.splitlines() if line.startswith(LINE)]


def test_a_unit_goes_there_and_comes_back() -> None:
    run, node = routed(units=2)
    code, lines = contained(run, node, number=1)
    assert (code, len(lines)) == (Exit.DONE, 2)
    receive(run.folder.store, node, lines)

    collected = collect_unit(run, node, run.units()[1])
    assert collected is not None
    assert (collected.predictions, collected.errors) == (6, 0)
    assert [run.marker(node.id, shard) is None for shard in run.shards] == [True, False, False]


def test_only_the_unit_s_own_data_goes_there() -> None:
    run, node = routed(units=3)
    sent = unpacked(send(run, node, run.units()[2]))

    assert {name for name in sent if name.startswith("preprocess/data/")} == {run.shards[2].data.name}


def test_a_retry_sends_no_records_of_what_is_committed() -> None:
    run, node = routed()
    _, lines = contained(run, node)
    receive(run.folder.store, node, lines[:1])
    again = unpacked(send(run, node, run.units()[0]))
    assert {name for name in again if name.startswith("preprocess/data/")} == {
        shard.data.name for shard in run.shards[1:]
    }

    code, rest = contained(run, node)
    receive(run.folder.store, node, rest)
    assert (code, len(rest)) == (Exit.DONE, 2)
    assert collect_unit(run, node, run.units()[0]) is not None


def test_what_stands_already_stays() -> None:
    run, node = routed()
    _, lines = contained(run, node)
    receive(run.folder.store, node, lines)
    before = [run.folder.open(run.manifest).committed(node, shard) for shard in run.shards]
    receive(run.folder.store, node, contained(run, node, text=send(*_fresh(run, node)))[1])

    assert [run.folder.open(run.manifest).committed(node, shard) for shard in run.shards] == before


def _fresh(run: Run, node: Infer) -> tuple[Run, Infer, Any]:
    """The same run before the node, elsewhere."""
    store = Store.open("memory://")
    for name in run.folder.store.list():
        if not name.startswith(f"{node.id}/"):
            store.write(name, run.folder.store.read(name))
    return Folder(store).open(run.manifest), node, run.units()[0]


def test_too_much_for_the_way_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    run, node = routed()
    size = len(send(run, node, run.units()[0]))
    monkeypatch.setattr(parcel, "MOST_SENT", size)
    assert len(send(run, node, run.units()[0])) == size
    monkeypatch.setattr(parcel, "MOST_SENT", size - 1)

    with pytest.raises(InputError) as caught:
        send(run, node, run.units()[0])
    assert str(caught.value) == (
        f"the 14 records of unit 0 take {size:,} characters in the pod's environment, where at most {size - 1:,} fit "
        "(shared_storage: false): use smaller units (shard.rows, parallelism), or an artifact store that pods reach"
    )


def test_too_much_for_the_way_back_is_refused_and_what_came_before_stays(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, node = routed()
    receive(run.folder.store, node, contained(run, node)[1])
    returning = parcel.Returning()
    markers = [run.committed(node, shard) for shard in run.shards]
    returning(run.folder.store, markers[0])
    said = len(json.loads(capsys.readouterr().out)["parcel"])
    monkeypatch.setattr(parcel, "MOST_RETURNED", said + 1)

    with pytest.raises(InputError, match=rf"the answers up to shard 1 take [0-9,]+ characters .* {said + 1:,} fit"):
        returning(run.folder.store, markers[1])
    assert capsys.readouterr().out == ""


def test_a_parcel_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parcel, "MOST_UNPACKED", 9)

    assert unpacked(packed({"a": b"12345", "b": b"6789"})) == {"a": b"12345", "b": b"6789"}
    with pytest.raises(ArtifactError, match="holds more than 9 bytes"):
        unpacked(packed({"a": b"0" * 10}))


@pytest.mark.parametrize(
    ("line", "kind", "said"),
    [
        ('{"parcel": "UEs', ArtifactError, "a line of the pod's log with answers was cut"),
        ('{"parcel": "no base64"}', ArtifactError, "a parcel is damaged"),
        ('{"parcel": "UEsDBA=="}', ArtifactError, "a parcel is damaged"),
        (json.dumps({"parcel": packed({"plan.json": b"{}"})}), ArtifactError, "'plan.json', which is no answer of"),
        (json.dumps({"parcel": packed({"main.a/data/../../x": b""})}), ArtifactError, "which is no answer of"),
        (json.dumps({"parcel": packed({f"main.b/data/{'0' * 64}.parquet": b"other"})}), ChecksumError, "are others"),
    ],
)
def test_what_is_damaged_or_another_s_is_not_kept(line: str, kind: type[Exception], said: str) -> None:
    run, node = routed()
    before = run.folder.store.list()

    with pytest.raises(kind, match=said):
        receive(run.folder.store, node, [line])
    assert run.folder.store.list() == before


def test_its_command_takes_a_store_or_a_parcel(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "airflow_agentic.runtime", "unit", "--manifest=m", "--node=n", "--unit=0"]
    for more in ([], ["--parcel", f"--store={tmp_path}"]):
        done = subprocess.run([*command, *more], capture_output=True, text=True, check=False)
        assert (done.returncode, "--store" in done.stderr) == (2, True)
