"""From files and Python values to specs, and how files are named."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from builders import card_data

from airflow_agentic.exceptions import SpecError
from airflow_agentic.spec import load_model, load_workflow, model_from, spec_files, workflow_from
from airflow_agentic.spec.load import shown

ROOT = Path(__file__).parents[3]


def test_only_yaml_files_are_specs_sorted_by_name(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", ".hidden.yaml", "notes.txt", "c.yaml~", "d.json"):
        (tmp_path / name).touch()
    assert spec_files(tmp_path) == [tmp_path / "a.yml", tmp_path / "b.yaml"]
    assert spec_files(tmp_path / "none") == []


def test_files_are_named_from_the_working_folder_where_they_lie_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    assert shown(work / "models" / "a.yaml") == "models/a.yaml"
    assert shown(Path("models/a.yaml")) == "models/a.yaml"
    assert shown(tmp_path / "a.yaml") == str(tmp_path / "a.yaml")


def test_python_and_yaml_make_equal_specs(tmp_path: Path) -> None:
    data = card_data("a", quality=0.5)
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump({"apiVersion": "airflow-agentic/v1", "kind": "Model", **data}))
    assert load_model(path).model_dump() == model_from(data).model_dump()


def test_python_specs_start_at_the_working_folder_unless_told() -> None:
    assert model_from(card_data()).folder == Path.cwd()
    assert workflow_from({"name": "a", "routes": [{"use": "b"}]}, Path("/there")).folder == Path("/there")


def test_what_is_no_mapping() -> None:
    with pytest.raises(SpecError) as caught:
        workflow_from({})
    assert str(caught.value) == "<python>  name: is required\n<python>  routes: is required"
    with pytest.raises(SpecError) as wrong:
        workflow_from({"name": "a", "routes": "b"})
    assert str(wrong.value) == "<python>  routes: expected a list, found 'b'"


@pytest.mark.parametrize("path", sorted((ROOT / "dags" / "models").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_example_cards(path: Path) -> None:
    assert load_model(path).name == path.stem


@pytest.mark.parametrize("path", sorted((ROOT / "dags" / "workflows").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_example_workflows(path: Path) -> None:
    assert load_workflow(path).name == path.stem
