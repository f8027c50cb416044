"""Model cards: what they say, and every message about what is wrong with one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from builders import card, card_data

from airflow_agentic.exceptions import SpecError
from airflow_agentic.spec import load_model, model_from

if TYPE_CHECKING:
    from pathlib import Path

CARD = """\
apiVersion: airflow-agentic/v1
kind: Model
name: lite0
version: "1"
task: image-classification
input: image
output:
  classes: [cat, dog]
runtime:
  framework: onnx
  artifact: lite0.onnx
  image: {resize: 256, crop: 224}
"""
KNOWN = (
    "known here: apiVersion, kind, name, version, description, task, input, output, capabilities, runtime, profile, "
    "resources, batch, image, kubernetes, service, isolation, runners, deterministic"
)
DURATION = "write for example 200ms, 30s, 5m, 12h, 7d or 4w"
SIZE = "write for example 500k, 64Mi or 1Gi"


def changed(before: str, after: str) -> str:
    assert CARD.count(before) == 1
    return CARD.replace(before, after)


def test_a_card(tmp_path: Path) -> None:
    path = tmp_path / "lite0.yaml"
    path.write_text(CARD)
    read = load_model(path)
    assert (read.name, read.version, read.input, read.output.label_space) == ("lite0", "1", "image", "{cat, dog}")
    assert read.folder == tmp_path
    assert read.batch.timeout == 300.0
    assert read.runtime.image is not None
    assert (read.runtime.image.mean, read.runtime.image.scale) == ((0.0,), (255.0,))
    assert read.runners == ["local", "kubernetes", "service", "queue", "spark"]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "framework:",
            "framwork:",
            "card.yaml:10:3  runtime.framwork: 'framwork' is not a key here\n    did you mean 'framework'?",
        ),
        ("name: lite0", "name: lite0\nowner: me", f"card.yaml:4:1  owner: 'owner' is not a key here\n    {KNOWN}"),
        (
            "name: lite0",
            "name: lite0\ncapabilites:\n  family: x",
            "card.yaml:4:1  capabilites: 'capabilites' is not a key here\n    did you mean 'capabilities'?",
        ),
        ("name: lite0\n", "", "card.yaml:1:1  name: is required"),
        ("resize: 256, ", "", "card.yaml:12:10  runtime.image.resize: is required"),
        ("kind: Model\n", "", "card.yaml:1:1  kind: is required\n    write kind: Model"),
        (
            "kind: Model",
            "kind: Workflow",
            "card.yaml:2:7  kind: expected Model, found 'Workflow'\n    write kind: Model",
        ),
        (
            "apiVersion: airflow-agentic/v1\n",
            "",
            "card.yaml:1:1  apiVersion: is required\n    write apiVersion: airflow-agentic/v1",
        ),
        (
            "apiVersion: airflow-agentic/v1",
            "apiVersion: 1",
            "card.yaml:1:13  apiVersion: expected airflow-agentic/v1, found 1\n"
            "    write apiVersion: airflow-agentic/v1",
        ),
        (
            "name: lite0",
            "name: Lite 0",
            "card.yaml:3:7  name: 'Lite 0' is not a name\n"
            "    use lower-case letters, digits, '-', '_' and '.', at most 64, a letter or digit at both ends",
        ),
        ('"1"', "1", 'card.yaml:4:10  version: expected text, found 1\n    put it in quotes: "1"'),
        ('"1"', "true", 'card.yaml:4:10  version: expected text, found true\n    put it in quotes: "true"'),
        ('"1"', "null", "card.yaml:4:10  version: expected text, found nothing"),
        (
            '"1"',
            '"a b"',
            "card.yaml:4:10  version: 'a b' is not a version\n"
            "    use letters, digits, '.', '_', '+' and '-', at most 64",
        ),
        (
            "framework: onnx",
            "framework: onnxx",
            "card.yaml:10:14  runtime.framework: 'onnxx' is not possible here\n    did you mean 'onnx'?",
        ),
        (
            "framework: onnx",
            "framework: jax",
            "card.yaml:10:14  runtime.framework: 'jax' is not possible here\n"
            "    one of: torch, tensorflow, onnx, litert, transformers, python, open-inference",
        ),
        ("crop: 224", "crop: 0", "card.yaml:12:30  runtime.image.crop: must be greater than 0, found 0"),
        (
            "crop: 224",
            "crop: 2.5",
            "card.yaml:12:30  runtime.image.crop: expected a whole number, found 2.5",
        ),
        (
            "crop: 224",
            "crop: many",
            "card.yaml:12:30  runtime.image.crop: expected a whole number, found 'many'",
        ),
        (
            "crop: 224",
            "crop: 224, mean: [a]",
            "card.yaml:12:42  runtime.image.mean[0]: expected a number, found 'a'",
        ),
        ("{resize: 256, crop: 224}", "yes", "card.yaml:12:10  runtime.image: expected a mapping, found 'yes'"),
        ("[cat, dog]", "3", "card.yaml:8:12  output.classes: expected text or a list, found 3"),
        (
            "[cat, dog]",
            "[cat, true]",
            'card.yaml:8:18  output.classes[1]: expected text, found true\n    put it in quotes: "true"',
        ),
        ("[cat, dog]", "[]", "card.yaml:8:12  output.classes: needs at least one label"),
        (
            "[cat, dog]",
            "[cat, cat]",
            "card.yaml:8:12  output.classes: the label 'cat' stands twice\n    keep one of them",
        ),
        (
            "[cat, dog]",
            "[cat, dog]\n  labels: x.txt",
            "card.yaml:9:11  output.labels: the labels are listed in classes already\n    remove one of them",
        ),
        (
            "[cat, dog]",
            "[cat, dog]\n  label_map: {cow: dog}",
            "card.yaml:9:20  output.label_map.cow: 'cow' is no label of this model\n    one of: cat, dog",
        ),
        (
            "  classes: [cat, dog]",
            "  value: euro\n  labels: x",
            "card.yaml:9:11  output.labels: labels belong to classes\n    write classes: NAME_OF_THE_LABEL_SPACE",
        ),
        (
            "[cat, dog]",
            "[cat, dog]\n  value: euro",
            "card.yaml:8:3  output: needs exactly one of classes, embedding, value, fields; found classes and value",
        ),
        (
            "  classes: [cat, dog]",
            "  top_k: 3",
            "card.yaml:8:3  output: needs exactly one of classes, embedding, value, fields; found none",
        ),
        (
            "  classes: [cat, dog]",
            "  fields: {}",
            "card.yaml:8:11  output.fields: needs at least 1 entry, found 0",
        ),
        (
            "input: image",
            "input: text",
            "card.yaml:12:10  runtime.image: does not fit input 'text'\n    remove it, or set input: image",
        ),
        (
            "  image: {resize: 256, crop: 224}\n",
            "",
            "card.yaml:10:3  runtime: input 'image' needs runtime.image: how it becomes a tensor\n"
            "    write image: {resize: 256, crop: 224}",
        ),
        (
            "framework: onnx",
            "framework: python",
            "card.yaml:10:3  runtime: framework python needs a handler\n    write handler: package.module:Class",
        ),
        (
            "framework: onnx",
            "framework: onnx\n  handler: a:b",
            "card.yaml:11:12  runtime.handler: handler belongs to framework python, not onnx\n    remove one of them",
        ),
        (
            "framework: onnx",
            "framework: onnx\n  class: a:b",
            "card.yaml:11:10  runtime.class: class belongs to framework torch, not onnx\n    remove one of them",
        ),
        (
            "framework: onnx",
            "framework: onnx\n  class: a.b",
            "card.yaml:11:10  runtime.class: 'a.b' is not a handler\n    write package.module:Name",
        ),
        (
            "  artifact: lite0.onnx\n",
            "",
            "card.yaml:10:3  runtime: framework onnx needs an artifact\n    write artifact: PATH or URI",
        ),
        (
            "framework: onnx",
            "framework: onnx\n  sha256: ABC",
            "card.yaml:11:11  runtime.sha256: 'ABC' is not a SHA-256\n    write its 64 lower-case hexadecimal digits",
        ),
        (
            "kind: Model\n",
            "kind: Model\nbatch: {timeout: soon, bytes: 1.5.2Mi}\n",
            f"card.yaml:3:18  batch.timeout: 'soon' is not a duration\n    {DURATION}\n"
            f"card.yaml:3:31  batch.bytes: '1.5.2Mi' is not a size\n    {SIZE}",
        ),
        (
            "kind: Model\n",
            "kind: Model\nbatch: {timeout: 1.2.3s, bytes: true}\n",
            f"card.yaml:3:18  batch.timeout: '1.2.3s' is not a duration\n    {DURATION}\n"
            f"card.yaml:3:33  batch.bytes: true is not a size\n    {SIZE}",
        ),
        (
            "kind: Model\n",
            "kind: Model\nbatch: {timeout: 0s, bytes: 0.1}\n",
            "card.yaml:3:18  batch.timeout: must be greater than 0, found '0s'\n"
            f"card.yaml:3:29  batch.bytes: 0.1 is not a size\n    {SIZE}",
        ),
        (
            "kind: Model\n",
            "kind: Model\nprofile: {quality: 2, cost_per_1k: -1}\n",
            "card.yaml:3:20  profile.quality: must be less than or equal to 1, found 2\n"
            "card.yaml:3:36  profile.cost_per_1k: must be greater than or equal to 0, found -1",
        ),
        (
            "kind: Model\n",
            "kind: Model\ncapabilities: {languages: [1], size: null}\n",
            'card.yaml:3:28  capabilities.languages[0]: expected text, found 1\n    put it in quotes: "1"\n'
            "card.yaml:3:38  capabilities.size: expected text or a number or true or false or a list, found nothing",
        ),
        (
            "kind: Model\n",
            "kind: Model\nisolation: inline\nresources: {gpu: 1}\n",
            "card.yaml:4:18  resources.gpu: an inline model cannot have a GPU\n    set isolation: process",
        ),
        (
            "kind: Model\n",
            "kind: Model\nrunners: [locale, spark]\n",
            "card.yaml:3:11  runners[0]: 'locale' is not possible here\n    did you mean 'local'?",
        ),
    ],
)
def test_what_is_wrong_with_a_card(
    before: str, after: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "card.yaml"
    path.write_text(changed(before, after))
    with pytest.raises(SpecError) as caught:
        load_model(path)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "card.yaml:1:1  expected a mapping, found a list"),
        ("just text", "card.yaml:1:1  expected a mapping, found text"),
        ("null", "card.yaml:1:1  expected a mapping, found nothing"),
    ],
)
def test_a_card_is_a_mapping(text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "card.yaml"
    path.write_text(text)
    with pytest.raises(SpecError) as caught:
        load_model(path)
    assert str(caught.value) == message


TABULAR = {"framework": "onnx", "artifact": "x.onnx"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"runtime": TABULAR},
            "<python>  runtime: input 'tabular' needs runtime.tabular: how it becomes a tensor\n"
            "    write tabular: {columns: [NAME, OTHER]}",
        ),
        (
            {"runtime": {**TABULAR, "tabular": {"columns": ["a", "b"], "mean": [1.0]}}},
            "<python>  runtime.tabular.mean: expected 2 numbers, one a column, found 1",
        ),
        (
            {"runtime": {**TABULAR, "tabular": {"columns": ["a", "b"], "fill": {"c": 0.0}}}},
            "<python>  runtime.tabular.fill.c: 'c' is no column\n    one of: a, b",
        ),
        (
            {"runtime": {**TABULAR, "tabular": {"columns": ["a"], "scale": [float("inf")]}}},
            "<python>  runtime.tabular.scale[0]: must be a finite number, found inf",
        ),
        ({"runtime": {**TABULAR, "tabular": {"columns": []}}},
         "<python>  runtime.tabular.columns: needs at least 1 entry, found 0"),
        ({"description": "x" * 200, "version": "é" * 100},
         f"<python>  version: '{'é' * 79}… is not a version\n"
         "    use letters, digits, '.', '_', '+' and '-', at most 64"),
    ],
)  # fmt: skip
def test_cards_from_python_have_paths_without_places(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        model_from(card_data("wide", input="tabular") | changes)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("200ms", 0.2), ("30s", 30.0), ("1.5m", 90.0), ("12h", 43200.0), ("7 d", 604800.0), ("4w", 2419200.0), (2, 2.0)],
)
def test_durations(said: object, seconds: float) -> None:
    assert card(batch={"timeout": said}).batch.timeout == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("said", "size"), [("500k", 500_000), ("64Mi", 64 * 2**20), ("1.5G", 1_500_000_000), ("1GiB", 2**30), (7, 7)]
)
def test_sizes(said: object, size: int) -> None:
    assert card(batch={"bytes": said}).batch.bytes == size


@pytest.mark.parametrize("said", ["9" * 30 + "G", "1e3s", "-1s", "٣s", 10**400, float("nan"), float("inf"), [], True])
def test_no_durations(said: object) -> None:
    with pytest.raises(SpecError, match=r"batch\.timeout: .* is not a duration"):
        card(batch={"timeout": said})


def test_equal_sets_of_labels_are_one_label_space_whatever_their_order() -> None:
    first = card(classes=["b", "a"]).output
    mapped = card(output={"classes": ["A", "b"], "label_map": {"A": "a"}}).output
    assert first.label_space == mapped.label_space == "{a, b}"
    assert card(classes="imagenet-1k").output.label_space == "imagenet-1k"
    assert card(output={"value": "euro"}).output.label_space is None


def test_a_card_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        card().name = "other"
