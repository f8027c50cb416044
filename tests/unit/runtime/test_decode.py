from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runtime_samples import card, errors

from airflow_agentic.exceptions import ModelLoadError
from airflow_agentic.runtime.decode import json_lists, open_decoder
from airflow_agentic.runtime.encode import Encoded

if TYPE_CHECKING:
    import pyarrow as pa

    from airflow_agentic.spec.model import ModelCard

THREE = {"classes": ["a", "b", "c"]}


def spec(output: Any, **runtime: Any) -> ModelCard:
    return card(input="tensor", output=output, runtime={"framework": "onnx", "artifact": "m", **runtime})


def decode(card_: ModelCard, *outputs: Any, mask: Any = None, **named: Any) -> pa.Table:
    arrays = {**{str(place): np.asarray(value) for place, value in enumerate(outputs)}}
    arrays |= {name: np.asarray(value) for name, value in named.items()}
    rows = len(next(iter(arrays.values())))
    return open_decoder(card_, Path)(arrays, Encoded(arrays={}, rows=rows, mask=mask))


def fails(card_: ModelCard, *outputs: Any, **named: Any) -> str:
    with pytest.raises(ModelLoadError) as caught:
        decode(card_, *outputs, **named)
    return str(caught.value)


# classes


def test_softmax_of_large_logits() -> None:
    found = decode(spec(THREE, activation="softmax"), np.array([[1000.0, 999.0, 0.0]], np.float32))
    assert found.column("label").to_pylist() == ["a"]
    assert found.column("score").to_pylist() == pytest.approx([1 / (1 + np.exp(-1.0))])


def test_sigmoid_of_every_class() -> None:
    found = decode(spec(THREE, activation="sigmoid"), [[-800.0, 0.0, 2.0]])
    assert [pair["p"] for pair in found.column("scores")[0].as_py()] == pytest.approx([0.8807970779, 0.5, 0.0])


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_one_number_for_two_classes(shape: tuple[int, ...]) -> None:
    numbers = np.array([0.0, 2.0]).reshape(shape)
    found = decode(spec({"classes": ["no", "yes"]}, activation="sigmoid"), numbers)
    assert found.column("label").to_pylist() == ["no", "yes"]
    assert found.column("score").to_pylist() == pytest.approx([0.5, 0.8807970779])


def test_one_probability_for_two_classes() -> None:
    assert decode(spec({"classes": ["no", "yes"]}), [[0.25]]).column("score").to_pylist() == [0.75]


def test_axes_of_length_one_are_dropped() -> None:
    assert decode(spec(THREE), np.array([[[[0.1]], [[0.2]], [[0.7]]]])).column("label").to_pylist() == ["c"]


def test_infinite_logits_are_errors_of_their_rows() -> None:
    found = decode(spec(THREE, activation="softmax"), [[np.inf, 1.0, 2.0], [3.0, 1.0, 2.0]])
    assert errors(found) == [("bad_output", "the model gave a number that is not finite (NaN or infinity)"), None]


def test_another_number_of_classes() -> None:
    assert fails(spec(THREE), [[0.5, 0.5]]) == (
        "model 'm' gives 2 numbers a record for 3 labels; fix output.classes, output.labels or runtime.output_name"
    )


def test_softmax_of_one_number_is_no_answer() -> None:
    message = fails(spec({"classes": ["no", "yes"]}, activation="softmax"), [[0.5]])
    assert message.startswith("model 'm' gives 1 numbers a record for 2 labels; ")


def test_another_number_of_rows() -> None:
    decoder = open_decoder(spec(THREE), Path)
    with pytest.raises(ValueError, match=r"^the model answered 1 rows for 2 records$"):
        decoder({"0": np.array([[1.0, 2.0, 3.0]])}, Encoded(arrays={}, rows=2))


def test_a_named_label_space(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("\ufeffa\n b \n\nc\n", "utf-8")
    named = spec({"classes": "letters", "labels": str(tmp_path / "labels.txt")})
    assert decode(named, [[0.1, 0.8, 0.1]]).column("label").to_pylist() == ["b"]


def test_a_named_label_space_without_labels() -> None:
    assert fails(spec({"classes": "letters"}), [[1.0]]) == (
        "model 'm': the label space 'letters' is only a name; write output.labels: a file with one label a line, "
        "in the order of the model's outputs"
    )


def test_top_k_in_place_of_the_cards() -> None:
    decoder = open_decoder(spec({**THREE, "top_k": 1}), Path, top_k=3)
    found = decoder({"0": np.array([[0.1, 0.2, 0.7]])}, Encoded(arrays={}, rows=1))
    assert [pair["label"] for pair in found.column("scores")[0].as_py()] == ["c", "b", "a"]


# outputs


def test_the_named_output() -> None:
    named = spec(THREE, output_name="probabilities")
    found = decode(named, logits=[[1.0, 0.0, 0.0]], probabilities=[[0.0, 1.0, 0.0]])
    assert found.column("label").to_pylist() == ["b"]


def test_outputs_that_cannot_be_told_apart() -> None:
    assert fails(spec(THREE), x=[[1.0]], y=[[1.0]]) == (
        "model 'm' has the outputs x, y; set runtime.output_name to one of them"
    )
    assert fails(spec(THREE, output_name="z"), x=[[1.0]], y=[[1.0]]) == (
        "model 'm': runtime.output_name 'z' is not one of its outputs: x, y"
    )


# embeddings


def vectors(found: pa.Table) -> list[list[float]]:
    return [json.loads(value) for value in found.column("output").to_pylist()]


def test_vectors() -> None:
    found = decode(spec({"embedding": 2}), np.array([[3.0, 4.0], [0.5, -1e-7]], np.float32))
    assert vectors(found) == [[3.0, 4.0], [0.5, -1e-7]]


def test_vectors_of_length_one() -> None:
    found = decode(spec({"embedding": 2}, normalize=True), [[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(vectors(found), [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)


def test_the_mean_is_of_real_tokens_only() -> None:
    tokens = np.array([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [70.0, 80.0]]])
    found = decode(spec({"embedding": 2}, pooling="mean"), tokens, mask=np.array([[1, 1], [1, 0]]))
    assert vectors(found) == [[2.0, 3.0], [5.0, 6.0]]


def test_the_first_token() -> None:
    assert vectors(decode(spec({"embedding": 2}, pooling="cls"), [[[1.0, 2.0], [3.0, 4.0]]])) == [[1.0, 2.0]]


def test_vectors_of_another_length() -> None:
    assert fails(spec({"embedding": 3}), [[1.0, 2.0]]) == (
        "model 'm' gives vectors of 2 numbers, output.embedding is 3; "
        "fix output.embedding, runtime.pooling or runtime.output_name"
    )


def test_pooling_of_what_has_no_tokens() -> None:
    assert fails(spec({"embedding": 2}, pooling="mean"), [[1.0, 2.0]]) == (
        "model 'm': runtime.pooling 'mean' needs [batch, tokens, dim], the output has 2 axes; "
        "remove it or set runtime.output_name"
    )


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=6))
def test_json_lists_read_back(numbers: list[float]) -> None:
    [text] = json_lists(np.array([numbers], np.float32)).to_pylist()
    assert np.array(json.loads(text), np.float32).tolist() == np.array(numbers, np.float32).tolist()


# values and fields


def test_values() -> None:
    found = decode(spec({"value": "euro"}), [[1.5], [np.nan]])
    assert found.column("value").to_pylist() == [1.5, None]
    assert [error and error[0] for error in errors(found)] == [None, "bad_output"]


def test_several_values() -> None:
    assert fails(spec({"value": "euro"}), [[1.5, 2.5]]) == (
        "model 'm' gives 2 numbers a record, output.value is one; set runtime.output_name or use output.embedding"
    )


def test_fields_are_outputs_by_name() -> None:
    fields = {"box": "array", "count": "integer", "sure": "number", "found": "boolean", "word": "string"}
    found = decode(
        spec({"fields": fields}),
        box=[[1.0, 2.0], [3.0, 4.0]],
        count=[[2.0], [3.0]],
        sure=[0.5, np.nan],
        found=[True, False],
        word=np.array([b"one", b"two"], object),
    )
    assert json.loads(found.column("output")[0].as_py()) == {
        "box": [1.0, 2.0],
        "count": 2,
        "sure": 0.5,
        "found": True,
        "word": "one",
    }
    assert [error and error[0] for error in errors(found)] == [None, "bad_output"]


def test_one_field_is_the_one_output() -> None:
    found = decode(spec({"fields": {"notes": "array"}}), [[[1, 2], [3, 4]]])
    assert found.column("output").to_pylist() == ['{"notes": [[1, 2], [3, 4]]}']


def test_a_field_the_model_does_not_give() -> None:
    assert fails(spec({"fields": {"a": "array", "b": "array"}}), a=[[1]], c=[[1]]) == (
        "model 'm' has no output 'b', only a, c; fix output.fields"
    )
