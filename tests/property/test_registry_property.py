"""Which file a card stands in, and which folder, changes nothing."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from builders import card_data, workflow
from hypothesis import given
from hypothesis import strategies as st

from airflow_agentic.plan import compile_plan
from airflow_agentic.registry import Registry

NAMES = ["a", "b", "c", "d"]
HEAD = {"apiVersion": "airflow-agentic/v1", "kind": "Model"}
FLOW = workflow(
    [
        {"when": "record.position < 9", "use": {"cascade": {"task": "text-analysis"}, "accept": "true"}},
        {"when": "record.language == 'de'", "use": {"single": ["d", "b", "a"], "policy": "balanced"}},
        {"use": {"ensemble": {"capabilities": {"size": "small"}}, "quorum": 2}},
    ]
)  # fmt: skip
figures = st.sampled_from([0.25, 0.5, 1.0])


def loaded(cards: list[dict[str, Any]], places: list[tuple[int, str]], order: list[int]) -> Registry:
    """The cards, each in the folder and the file of its place; the folders are read in ``order``."""
    with TemporaryDirectory() as root:
        folders = [Path(root, f"folder-{number}") for number in range(3)]
        for folder in folders:
            folder.mkdir()
        for one, (folder, stem) in zip(cards, places, strict=True):
            (folders[folder] / f"{stem}-{one['name']}.yaml").write_text(yaml.safe_dump(one))
        return Registry.load([folders[number] for number in order], packages=False)


@given(st.data(), st.lists(st.tuples(figures, figures), min_size=4, max_size=4))
def test_files_and_folders_change_no_plan(data: st.DataObject, profiles: list[tuple[float, float]]) -> None:
    cards = [
        {**HEAD, **card_data(name, quality=quality, cost=cost, capabilities={"size": "small"})}
        for name, (quality, cost) in zip(NAMES, profiles, strict=True)
    ]
    place = st.tuples(st.integers(0, 2), st.sampled_from(["x", "a", "z"]))
    plans = []
    for _ in range(2):
        places = data.draw(st.lists(place, min_size=4, max_size=4), "places")
        order = data.draw(st.permutations(range(3)), "folders")
        plans.append(compile_plan(FLOW, loaded(cards, places, list(order))))
    assert plans[0].model_dump_json(exclude={"folders"}) == plans[1].model_dump_json(exclude={"folders"})
    assert plans[0].digest == plans[1].digest
