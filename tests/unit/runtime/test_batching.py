from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from runtime_samples import Scripted, card, errors, inputs, records, texts

from airflow_agentic.exceptions import HandlerNotAllowedError, ModelLoadError, ModelUnavailableError, RecordError
from airflow_agentic.runtime import predict_records
from airflow_agentic.tables import PREDICTION, RESULT, table


def answer(batch: pa.Table) -> pa.Table:
    """yes, unless the text asks for something else."""
    rows: list[dict[str, Any]] = []
    for text in inputs(batch):
        if text == "raise":
            raise KeyError("bad text")
        if text == "record error":
            raise RecordError("too_long", "this text is too long")
        rows.append({"label": "yes", "score": 0.9, "scores": [{"label": "yes", "p": 0.9}, {"label": "no", "p": 0.1}]})
    return table(rows, RESULT)


def test_answers_in_order_with_everything_a_prediction_has() -> None:
    ticks = iter([0.0, 0.004, 1.0, 1.001])
    done: list[int] = []
    spec = card(batch={"rows": 2}, profile={"cost_per_1k": 3.0}, version="1.2")
    found = predict_records(
        Scripted(answer), spec, texts("a", "b", "c"), clock=lambda: next(ticks), on_batch=done.append
    )
    assert found.schema.equals(PREDICTION)
    assert found.to_pylist()[2] == {
        "row": 2,
        "record_id": "r2",
        "model": "m",
        "model_version": "1.2",
        "score_kind": "probability",
        "label": "yes",
        "score": 0.9,
        "scores": [{"label": "yes", "p": 0.9}, {"label": "no", "p": 0.1}],
        "value": None,
        "output": None,
        "error": None,
        "latency_ms": pytest.approx(1.0),
        "cost": 0.003,
        "reason": None,
        "attempt": 1,
    }
    assert found.column("latency_ms").to_pylist() == pytest.approx([2.0, 2.0, 1.0])
    assert done == [2, 1]


def test_no_records() -> None:
    found = predict_records(Scripted(answer), card(), texts())
    assert found.schema.equals(PREDICTION)
    assert found.num_rows == 0


def test_rows_that_are_given_are_kept_and_hidden_from_the_model() -> None:
    seen: list[list[str]] = []

    def look(batch: pa.Table) -> pa.Table:
        seen.append(batch.column_names)
        return answer(batch)

    given = texts("a", "b").append_column("size", pa.array([1, 2]))
    selected = given.append_column(pa.field("row", pa.int32(), nullable=False), pa.array([5, 9], pa.int32()))
    assert predict_records(Scripted(look), card(), selected).column("row").to_pylist() == [5, 9]
    assert seen == [given.column_names]


def test_batches_are_cut_by_rows() -> None:
    model = Scripted(answer)
    predict_records(model, card(batch={"rows": 3}), texts(*"abcdefgh"))
    assert model.batches == [3, 3, 2]


def test_batches_are_cut_by_bytes_and_a_large_record_goes_alone() -> None:
    model = Scripted(answer)
    predict_records(model, card(batch={"bytes": 10}), texts("1234", "123456", "x" * 50, "1", "2", "123456789"))
    assert model.batches == [2, 1, 2, 1]


def test_a_batch_that_raises_is_tried_record_by_record() -> None:
    model = Scripted(answer)
    found = predict_records(model, card(profile={"cost_per_1k": 3.0}), texts("a", "raise", "record error", "b"))
    assert errors(found) == [
        None,
        ("model_error", "KeyError: 'bad text'"),
        ("too_long", "this text is too long"),
        None,
    ]
    assert found.column("label").to_pylist() == ["yes", None, None, "yes"]
    assert found.column("cost").to_pylist() == [0.003, 0.0, 0.0, 0.003]
    assert model.batches == [4, 1, 1, 1, 1]


@pytest.mark.parametrize(
    "error",
    [ModelUnavailableError("away"), ModelLoadError("no"), HandlerNotAllowedError("no"), MemoryError()],
    ids=lambda error: type(error).__name__,
)
def test_what_concerns_the_whole_model_is_raised(error: Exception) -> None:
    def fail(batch: pa.Table) -> pa.Table:
        raise error

    with pytest.raises(type(error)):
        predict_records(Scripted(fail), card(), texts("a", "b"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda batch: None, "the model gave NoneType, not an Arrow table"),
        (lambda batch: RESULT.empty_table(), "the model gave 0 rows for 1 records"),
        (
            lambda batch: pa.table({"label": ["yes"] * len(batch), "colour": ["red"] * len(batch)}),
            "the model gave the columns label, colour; known are label, score, scores, value, output, error",
        ),
    ],
    ids=["no table", "rows", "columns"],
)
def test_tables_that_break_the_contract(given: Any, message: str) -> None:
    found = predict_records(Scripted(given), card(), texts("a", "b"))
    assert errors(found) == [("bad_output", message)] * 2


def test_a_column_of_another_type() -> None:
    found = predict_records(Scripted(lambda batch: pa.table({"score": ["high"]})), card(), texts("a"))
    [error] = errors(found)
    assert error is not None
    assert error[0] == "bad_output"
    assert error[1].startswith("the model gave a column of another type: ")


def test_columns_that_are_left_out_or_need_a_cast() -> None:
    found = predict_records(
        Scripted(lambda batch: pa.table({"label": pa.array(["yes"]).dictionary_encode(), "score": [1]})),
        card(),
        texts("a"),
    )
    assert found.column("score").to_pylist() == [1.0]
    assert errors(found) == [None]


def result(**columns: Any) -> Scripted:
    return Scripted(lambda batch: table([columns], RESULT))


NAN = float("nan")


@pytest.mark.parametrize(
    ("columns", "error"),
    [
        ({"label": "yes", "score": NAN}, ("bad_output", "the model gave a score that is not finite (NaN or infinity)")),
        (
            {"label": "yes", "value": float("inf")},
            ("bad_output", "the model gave a value that is not finite (NaN or infinity)"),
        ),
        (
            {"label": "yes", "scores": [{"label": "yes", "p": NAN}]},
            ("bad_output", "the model gave scores that are not finite"),
        ),
        ({"score": 0.5}, ("bad_output", "the model gave no label")),
        (
            {"label": "maybe", "score": 0.5},
            ("unknown_label", "the model gave a label that is not in the card's label space ({no, yes})"),
        ),
        (
            {"label": "yes", "scores": [{"label": "maybe", "p": 0.5}]},
            ("unknown_label", "the model gave a label that is not in the card's label space ({no, yes})"),
        ),
    ],
)
def test_answers_that_break_the_contract(columns: dict[str, Any], error: tuple[str, str]) -> None:
    found = predict_records(result(**columns), card(batch={"rows": 1}), texts("a", "b"))
    assert errors(found) == [error, error]
    assert found.column("label").to_pylist() == [None, None]


@pytest.mark.parametrize(
    ("output", "missing"),
    [
        ({"value": "euro"}, "value"),
        ({"embedding": 3}, "embedding"),
        ({"fields": {"a": "string"}}, "fields"),
        ({"classes": "space"}, "label"),
    ],
)
def test_answers_without_what_the_card_promises(output: Any, missing: str) -> None:
    found = predict_records(result(), card(output=output), texts("a"))
    assert errors(found) == [("bad_output", f"the model gave no {missing}")]


def test_only_bad_rows_become_errors() -> None:
    rows = [
        {"label": "yes", "score": 0.5},
        {"label": "yes", "score": NAN},
        {"error": {"code": "own", "message": "own words", "retryable": False}, "label": "yes", "score": NAN},
        {"label": "maybe"},
        {"label": "no"},
    ]
    found = predict_records(Scripted(lambda batch: table(rows, RESULT)), card(), texts(*"abcde"))
    codes = [error and error[0] for error in errors(found)]
    assert codes == [None, "bad_output", "own", "unknown_label", None]
    assert found.column("label").to_pylist() == ["yes", None, None, None, "no"]


def test_a_mapped_label_is_in_the_label_space() -> None:
    spec = card(output={"classes": ["0", "1"], "label_map": {"0": "no", "1": "yes"}})
    found = predict_records(Scripted(answer), spec, texts("a"))
    assert errors(found) == [None]


def test_a_named_label_space_is_not_checked() -> None:
    assert errors(predict_records(result(label="anything"), card(output={"classes": "space"}), texts("a"))) == [None]


def test_scores_are_sorted_and_cut() -> None:
    pairs = [{"label": "no", "p": 0.1}, {"label": "yes", "p": 0.9}]
    rows = [{"label": "yes", "scores": pairs}, {"label": "yes"}, {"label": "yes", "scores": []}]
    model = Scripted(lambda batch: table(rows, RESULT))
    found = predict_records(model, card(), texts("a", "b", "c"))
    assert found.column("scores").to_pylist() == [pairs[::-1], None, []]
    found = predict_records(model, card(), texts("a", "b", "c"), top_k=1)
    assert found.column("scores").to_pylist() == [[pairs[1]], None, []]


def test_scores_that_are_sorted_stay() -> None:
    rows = [
        {"label": "no", "scores": [{"label": "no", "p": 0.6}, {"label": "yes", "p": 0.4}]},
        {"label": "yes", "scores": [{"label": "yes", "p": 0.9}, {"label": "no", "p": 0.1}]},
    ]
    found = predict_records(Scripted(lambda batch: table(rows, RESULT)), card(), texts("a", "b"))
    assert found.column("scores").to_pylist() == [row["scores"] for row in rows]


def test_score_kind_belongs_to_classes() -> None:
    found = predict_records(result(value=1.5), card(output={"value": "euro"}), texts("a"))
    assert found.column("score_kind").to_pylist() == [None]


def test_binary_inputs_count_as_bytes() -> None:
    model = Scripted(lambda batch: table([{"label": "yes"}] * len(batch), RESULT))
    data = records(*(("bytes", b"12345"),) * 4)
    predict_records(model, card(input="bytes", batch={"bytes": 10}), data)
    assert model.batches == [2, 2]
