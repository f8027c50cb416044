from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from runtime_samples import card, records, texts

from airflow_agentic.exceptions import ModelLoadError
from airflow_agentic.runtime.encode import Encoded, open_encoder

if TYPE_CHECKING:
    from airflow_agentic.spec.model import ModelCard


def encode(spec: ModelCard, *inputs: tuple[str, Any]) -> Encoded:
    return open_encoder(spec, Path)(records(*inputs))


def codes(found: Encoded) -> dict[int, str]:
    return {row: error.code for row, error in found.errors.items()}


def tensor_card(framework: str = "onnx", **runtime: Any) -> ModelCard:
    return card(input="tensor", runtime={"framework": framework, "artifact": "m", **runtime})


def test_tensors() -> None:
    found = encode(tensor_card(input_name="x"), ("tensor", "[[1, 2], [3, 4.5]]"), ("tensor", "[[0, 0], [0, 1]]"))
    assert found.rows == 2
    np.testing.assert_array_equal(found.arrays["x"], np.array([[[1, 2], [3, 4.5]], [[0, 0], [0, 1]]], np.float32))


def test_bad_tensors() -> None:
    given = [("tensor", "[1, 2]"), ("tensor", "[1, [2]]"), ("tensor", "[1,"), ("text", "1"), ("tensor", None)]
    found = encode(tensor_card(), *given)
    assert codes(found) == {1: "bad_value", 2: "wrong_input", 3: "wrong_input", 4: "wrong_input"}
    assert found.rows == 1
    assert str(found.errors[2]) == "the input is not JSON: Expecting value: line 1 column 4 (char 3)"
    assert str(found.errors[3]) == "the record's input is of kind 'text'; a model with input 'tensor' takes tensor"
    assert str(found.errors[4]) == "the record's input of kind 'tensor' is empty (null)"


def test_tensors_of_different_shapes_cannot_share_a_batch() -> None:
    with pytest.raises(ValueError, match=r"^the tensors of this batch have different shapes$"):
        encode(tensor_card(), ("tensor", "[1]"), ("tensor", "[1, 2]"))


def test_json_needs_python() -> None:
    spec = card(input="json", runtime={"framework": "onnx", "artifact": "m"})
    with pytest.raises(ModelLoadError) as caught:
        open_encoder(spec, Path)
    assert str(caught.value) == ("model 'm': input 'json' needs framework python; use input tabular or tensor for onnx")


def test_strings_for_models_that_take_them() -> None:
    spec = card(runtime={"framework": "tensorflow", "artifact": "m"})
    found = encode(spec, ("text", "a"), ("uri", "x"), ("text", ""))
    assert found.arrays[""].tolist() == ["a", ""]
    assert codes(found) == {1: "wrong_input"}


def test_bytes_for_models_that_take_them(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"from a file")
    spec = card(input="bytes", runtime={"framework": "tensorflow", "artifact": "m"})
    found = encode(spec, ("bytes", b"here"), ("uri", str(tmp_path / "file")), ("uri", str(tmp_path / "gone")))
    assert found.arrays[""].tolist() == [b"here", b"from a file"]
    assert str(found.errors[2]) == (
        f"the input's URI '{tmp_path / 'gone'}' cannot be read: "
        f"FileNotFoundError: [Errno 2] No such file or directory: '{tmp_path / 'gone'}'"
    )


def test_strings_for_models_that_take_numbers() -> None:
    with pytest.raises(ModelLoadError) as caught:
        open_encoder(card(runtime={"framework": "torch", "artifact": "m"}), Path)
    assert str(caught.value) == ("model 'm': torch takes numbers, not 'text' input; write runtime.text.tokenizer")


# tabular


def tabular_card(**tabular: Any) -> ModelCard:
    return card(
        input="tabular",
        runtime={"framework": "onnx", "artifact": "m", "tabular": {"columns": ["age", "sex"], **tabular}},
    )


def struct(**values: Any) -> tuple[str, str]:
    return ("struct", json.dumps(values))


def test_rows_of_numbers() -> None:
    spec = tabular_card(mean=[10, 0], scale=[2, 1], categories={"sex": ["f", "m"]}, fill={"age": 12})
    found = encode(spec, struct(age=20, sex="m"), struct(sex="f", other="x"), struct(age=None, sex="m"))
    assert found.arrays[""].dtype == np.float32
    assert found.arrays[""].tolist() == [[5, 1], [1, 0], [1, 1]]
    assert not found.errors


def test_rows_that_are_bad() -> None:
    spec = tabular_card(categories={"sex": ["f", "m"]})
    given = [
        struct(age=1, sex="f"),
        struct(sex="f"),
        struct(age="old", sex="f"),
        struct(age=float("nan"), sex="f"),
        struct(age=1, sex="x"),
        ("struct", "[1]"),
    ]
    found = encode(spec, *given)
    assert found.rows == 1
    assert {row: (error.code, str(error)) for row, error in found.errors.items()} == {
        1: ("missing_value", "column 'age' has no value, and runtime.tabular.fill none for it"),
        2: ("bad_value", "column 'age' has 'old', which is not a finite number"),
        3: ("bad_value", "column 'age' has nan, which is not a finite number"),
        4: ("unknown_category", "column 'sex' has 'x'; known are f, m"),
        5: ("wrong_input", "the input is not a struct but list"),
    }


# tokens


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "good", "day", "night"]
    made = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    path = tmp_path / "tokenizer.json"
    made.save(str(path))
    return path


def text_card(tokenizer: Path, **text: Any) -> ModelCard:
    return card(runtime={"framework": "onnx", "artifact": "m", "text": {"tokenizer": str(tokenizer), **text}})


def test_tokens_are_padded_to_the_longest_of_the_batch(tokenizer: Path) -> None:
    found = open_encoder(text_card(tokenizer), Path)(texts("good day", "night"))
    assert {name: array.tolist() for name, array in found.arrays.items()} == {
        "input_ids": [[2, 4, 5, 3], [2, 6, 3, 1]],
        "attention_mask": [[1, 1, 1, 1], [1, 1, 1, 0]],
    }
    assert {array.dtype for array in found.arrays.values()} == {np.dtype(np.int64)}


def test_long_texts_are_cut(tokenizer: Path) -> None:
    found = open_encoder(text_card(tokenizer, max_length=4), Path)(texts("good day night good day"))
    assert found.arrays["input_ids"].tolist() == [[2, 4, 5, 3]]


def test_inputs_have_the_models_names(tokenizer: Path) -> None:
    spec = text_card(tokenizer, inputs={"ids": "tokens", "types": "segments"})
    found = open_encoder(spec, Path)(texts("good", "x y"))
    assert list(found.arrays) == ["tokens", "segments"]
    assert found.arrays["segments"].tolist() == [[0, 0, 0, 0], [0, 0, 0, 0]]
    assert found.mask is not None
    assert found.mask.tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]


def test_a_bad_record_among_texts(tokenizer: Path) -> None:
    found = open_encoder(text_card(tokenizer), Path)(records(("bytes", b"x"), ("text", "day")))
    assert found.arrays["input_ids"].tolist() == [[2, 5, 3]]
    assert codes(found) == {0: "wrong_input"}


def test_a_broken_tokenizer_file(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(ModelLoadError, match=r"tokenizer.json' is not a tokenizer file \(tokenizer.json\): "):
        open_encoder(text_card(path), Path)
