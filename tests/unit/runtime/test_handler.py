from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from runtime_samples import card, errors, inputs, records, texts

from airflow_agentic.exceptions import HandlerNotAllowedError, ModelLoadError, ModelUnavailableError, RecordError
from airflow_agentic.handlers import is_allowed
from airflow_agentic.runtime import open_predictor
from airflow_agentic.tables import RESULT, table

if TYPE_CHECKING:
    import pyarrow as pa


def parrot(value: Any) -> Any:
    """Gives what the text says, as Python."""
    return eval(value)


def kind(value: Any, prefix: str = "") -> str:
    return prefix + type(value).__name__


def tables(batch: pa.Table) -> pa.Table:
    return table([{"label": "yes"} for _ in inputs(batch)], RESULT)


class Lister:
    """Answers a batch with what its argument says."""

    def __init__(self, answers: Any) -> None:
        self.answers = answers

    def predict(self, batch: pa.Table) -> Any:
        answers = {"exceptions": [ValueError("bad"), RecordError("own", "words"), "yes"], "table": tables(batch)}
        return answers.get(self.answers, self.answers) if isinstance(self.answers, str) else self.answers


class Empty:
    """Has no method to predict with."""


class Closing:
    """Says when it is closed."""

    closed = 0

    def predict_one(self, value: str) -> str:
        return "yes"

    def close(self) -> None:
        Closing.closed += 1


NOT_CALLABLE = 3


def predictor(handler: str, output: Any = None, args: Any = None, **fields: Any) -> Any:
    runtime = {"framework": "python", "handler": f"{__name__}:{handler}", "args": args or {}}
    made = open_predictor(card(output=output, runtime=runtime, **fields), allowed_handlers=[__name__])
    made.load()
    return made


def answers(output: Any, *items: str) -> pa.Table:
    return predictor("parrot", output).predict(texts(*items))


def test_labels() -> None:
    found = answers(None, "'yes'", "('no', 0.75)", "('no', np.float32(0.5))", "('yes', 1)", "('no', None)")
    assert found.schema.equals(RESULT)
    assert found.column("label").to_pylist() == ["yes", "no", "no", "yes", "no"]
    assert found.column("score").to_pylist() == [None, 0.75, 0.5, 1.0, None]
    assert found.column("scores").to_pylist()[:2] == [None, [{"label": "no", "p": 0.75}]]


def test_scores_by_label() -> None:
    found = answers(
        {"classes": ["a", "b", "c"], "top_k": 2}, "{'a': 0.2, 'b': 0.5, 'c': 0.3}", "{'c': 0.5, 'a': 0.25, 'b': 0.25}"
    )
    assert found.column("label").to_pylist() == ["b", "c"]
    assert found.column("scores").to_pylist() == [
        [{"label": "b", "p": 0.5}, {"label": "c", "p": 0.3}],
        [{"label": "c", "p": 0.5}, {"label": "a", "p": 0.25}],
    ]


def test_scores_of_other_labels_each_time() -> None:
    found = answers({"classes": "languages"}, "{'en': 0.9}", "{'de': 0.6, 'nl': 0.4}")
    assert found.column("label").to_pylist() == ["en", "de"]
    assert [len(row) for row in found.column("scores").to_pylist()] == [1, 2]


def test_labels_are_mapped() -> None:
    output = {"classes": "sentiment", "label_map": {"POS": "positive", "NEG": "negative"}}
    found = answers(output, "'POS'", "('NEG', 0.5)", "{'POS': 0.25, 'NEG': 0.75}", "'other'")
    assert found.column("label").to_pylist() == ["positive", "negative", "negative", "other"]
    assert found.column("scores").to_pylist()[2] == [{"label": "negative", "p": 0.75}, {"label": "positive", "p": 0.25}]


def test_values() -> None:
    found = answers({"value": "euro"}, "1", "2.5", "np.float32(0.5)")
    assert found.column("value").to_pylist() == [1.0, 2.5, 0.5]


def test_embeddings() -> None:
    found = answers({"embedding": 2}, "[1, 2]", "np.array([0.5, 4])", "(0, 1)")
    assert found.column("output").to_pylist() == ["[1,2]", "[0.5,4]", "[0,1]"]


def test_fields() -> None:
    output = {"fields": {"city": "string", "sure": "number", "parts": "array"}}
    found = answers(output, "{'city': 'Bonn', 'sure': 1, 'parts': [1], 'more': None}")
    assert json.loads(found.column("output")[0].as_py()) == {"city": "Bonn", "sure": 1, "parts": [1], "more": None}


WANTED = "a classes card takes a label, (label, score) or {label: score}"


@pytest.mark.parametrize(
    ("output", "given", "message"),
    [
        (None, "None", f"the handler gave None: {WANTED}"),
        (None, "3", f"the handler gave 3: {WANTED}"),
        (None, "('yes', 'much')", f"the handler gave ('yes', 'much'): {WANTED}"),
        (None, "('yes', 0.5, 1)", f"the handler gave ('yes', 0.5, 1): {WANTED}"),
        (None, "{}", "the handler gave {}: " + WANTED),
        (None, "{1: 0.5}", "the handler gave {1: 0.5}: " + WANTED),
        ({"value": "euro"}, "'1'", "the handler gave '1': a value card takes a number"),
        ({"value": "euro"}, "True", "the handler gave True: a value card takes a number"),
        ({"embedding": 2}, "[1]", "the handler gave [1]: an embedding card takes a list of 2 numbers"),
        (
            {"embedding": 1},
            "[float('nan')]",
            "the handler gave [nan]: it has a number that is not finite",
        ),
        ({"fields": {"a": "string"}}, "[1]", "the handler gave [1]: a fields card takes a dict"),
        ({"fields": {"a": "string"}}, "{}", "the handler gave {}: field 'a' must be of type string"),
        (
            {"fields": {"a": "integer"}},
            "{'a': True}",
            "the handler gave {'a': True}: field 'a' must be of type integer",
        ),
    ],
)
def test_what_does_not_fit_the_card(output: Any, given: str, message: str) -> None:
    good = {None: "'yes'", "value": "1", "embedding": "[1, 2]", "fields": "{'a': 'x'}"}
    found = answers(output, given)
    assert errors(found) == [("bad_output", message)]
    kind_ = None if output is None else next(iter(output))
    if output not in ({"embedding": 1}, {"fields": {"a": "integer"}}):
        assert errors(answers(output, good[kind_], given, good[kind_])) == [None, ("bad_output", message), None]


def test_an_exception_is_its_records_error() -> None:
    found = answers(None, "'yes'", "1 / 0", "'no'")
    assert errors(found) == [None, ("model_error", "ZeroDivisionError: division by zero"), None]
    assert found.column("label").to_pylist() == ["yes", None, "no"]


def raising(value: str) -> str:
    raise {"away": ModelUnavailableError("away"), "memory": MemoryError(), "own": RecordError("own", "words")}[value]


def test_exceptions_with_a_meaning() -> None:
    made = predictor("raising")
    assert errors(made.predict(texts("own"))) == [("own", "words")]
    with pytest.raises(ModelUnavailableError):
        made.predict(texts("own", "away"))
    with pytest.raises(ModelUnavailableError, match=r"^model 'm' is out of memory; lower batch\.rows \(<python>\)$"):
        made.predict(texts("memory"))


@pytest.mark.parametrize(
    ("card_input", "record", "name"),
    [
        ("text", ("text", "a"), "str"),
        ("bytes", ("bytes", b"a"), "bytes"),
        ("image", ("bytes", b"a"), "bytes"),
        ("image", ("uri", "file:///a.png"), "str"),
        ("json", ("struct", "{}"), "dict"),
        ("json", ("tensor", "[1]"), "list"),
        ("tabular", ("struct", "{}"), "dict"),
        ("tensor", ("tensor", "[[1]]"), "list"),
    ],
)
def test_what_a_function_is_given(card_input: str, record: tuple[str, Any], name: str) -> None:
    made = predictor("kind", {"classes": "kinds"}, {"prefix": "a "}, input=card_input)
    assert made.predict(records(record)).column("label").to_pylist() == [f"a {name}"]


def test_a_record_of_another_kind_does_not_reach_the_handler() -> None:
    found = predictor("kind", {"classes": "kinds"}).predict(records(("struct", "{}"), ("text", "a")))
    assert errors(found) == [
        ("wrong_input", "the record's input is of kind 'struct'; a model with input 'text' takes text"),
        None,
    ]


def test_a_class_that_gives_a_list() -> None:
    found = predictor("Lister", args={"answers": ["no", "yes"]}).predict(
        records(("text", "a"), ("struct", "{}"), ("text", "b"))
    )
    assert found.column("label").to_pylist() == ["no", None, "yes"]


def test_a_class_that_gives_exceptions() -> None:
    found = predictor("Lister", args={"answers": "exceptions"}).predict(texts("a", "b", "c"))
    assert errors(found) == [("model_error", "ValueError: bad"), ("own", "words"), None]


def test_a_class_that_gives_a_table() -> None:
    found = predictor("Lister", args={"answers": "table"}).predict(records(("text", "a"), ("struct", "{}")))
    assert found.column("label").to_pylist() == ["yes", None]


@pytest.mark.parametrize(
    ("given", "message"),
    [(["yes"], "1 items for 2 records"), (None, "NoneType for 2 records")],
)
def test_a_class_that_gives_something_else(given: Any, message: str) -> None:
    with pytest.raises(RecordError) as caught:
        predictor("Lister", args={"answers": given}).predict(texts("a", "b"))
    assert str(caught.value) == f"the handler gave {message}; a list needs one each"


def test_close_is_passed_on() -> None:
    before = Closing.closed
    made = predictor("Closing")
    assert made.predict(texts("a")).column("label").to_pylist() == ["yes"]
    made.close()
    assert Closing.closed == before + 1


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        ("Empty", "the class '{0}:Empty' has neither predict(batch) nor predict_one(input) nor run(arrays); add one"),
        ("NOT_CALLABLE", "runtime.handler '{0}:NOT_CALLABLE' is neither a class nor a function"),
        (
            "nothing",
            "runtime.handler: the handler '{0}:nothing' does not exist: {0} has no 'nothing'; correct the name",
        ),
    ],
)
def test_handlers_that_cannot_be_used(handler: str, message: str) -> None:
    with pytest.raises(ModelLoadError) as caught:
        predictor(handler)
    assert str(caught.value) == f"model 'm': {message.format(__name__)}"


def test_a_class_whose_constructor_fails() -> None:
    with pytest.raises(ModelLoadError) as caught:
        predictor("Lister", args={"other": 1})
    assert str(caught.value) == (
        f"model 'm': '{__name__}:Lister' cannot be loaded by framework python, which takes a handler: "
        "TypeError: Lister.__init__() got an unexpected keyword argument 'other'"
    )


def test_a_module_that_is_not_there() -> None:
    spec = card(runtime={"framework": "python", "handler": "no_such_package.thing:Name"})
    with pytest.raises(ModelLoadError) as caught:
        open_predictor(spec, allowed_handlers=["no_such_package"]).load()
    assert str(caught.value) == (
        "model 'm': runtime.handler: the handler 'no_such_package.thing:Name' cannot be imported "
        "(ModuleNotFoundError: No module named 'no_such_package'); "
        "install its distribution where the model runs, or correct the path"
    )


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        ([], False),
        (["pkg"], True),
        (["pkg.module"], True),
        (["pkg.module:Name"], True),
        (["pkg.module:Na"], False),
        (["pk"], False),
        (["pkg.mod"], False),
        (["pkg.module.deeper"], False),
        ([""], False),
        (["other", "pkg"], True),
    ],
)
def test_allowed_prefixes(allowed: list[str], expected: bool) -> None:
    assert is_allowed("pkg.module:Name", allowed) is expected


def test_our_own_code_is_allowed() -> None:
    assert is_allowed("airflow_agentic.models.lexicon:Lexicon", [])
    assert not is_allowed("airflow_agentic_evil:Name", [])


@pytest.mark.parametrize(
    ("runtime", "key"),
    [
        ({"framework": "python", "handler": "evil.module:Name"}, "runtime.handler"),
        ({"framework": "torch", "artifact": "m.pth", "class": "evil.module:Name"}, "runtime.class"),
    ],
)
def test_code_outside_the_allow_list_is_refused_before_anything_is_imported(runtime: Any, key: str) -> None:
    spec = card(input="tensor", runtime=runtime)
    with pytest.raises(HandlerNotAllowedError) as caught:
        open_predictor(spec, allowed_handlers=["good", "better"])
    assert str(caught.value) == (
        f"model 'm': {key} 'evil.module:Name' is not in allowed_handlers (good, better); "
        "add 'evil.module' to [agentic] allowed_handlers if you trust it"
    )


assert np is not None  # ``parrot`` evaluates texts that name it
