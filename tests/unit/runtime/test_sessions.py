"""What is particular to a framework; what all have in common is in the predictor contract."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from runtime_samples import card, records, texts

from airflow_agentic.exceptions import MissingExtraError, ModelLoadError
from airflow_agentic.runtime import open_predictor
from airflow_agentic.runtime.sessions.arrays import by_input, fitted, named

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_agentic.spec.model import ModelCard

pytestmark = [
    # said while the tests make their models, not while one is used
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning"),  # torch 2.14 and newer
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]

EMBEDDING = {"embedding": 2}


@pytest.fixture(scope="module", autouse=True)
def _triton_before_tensorflow() -> None:
    """triton, which torch brings, crashes the process if it is loaded after TensorFlow: each has an LLVM of its own."""
    with contextlib.suppress(ImportError):
        import triton  # noqa: F401


def spec(folder: Path, framework: str, artifact: str = "m", **fields: Any) -> ModelCard:
    runtime = {"framework": framework, "artifact": artifact, **fields.pop("runtime", {})}
    return card(folder, **{"input": "tensor", "output": EMBEDDING, "runtime": runtime, **fields})


def load(spec_: ModelCard) -> Any:
    predictor = open_predictor(spec_, allowed_handlers=["torch", __name__])
    predictor.load()
    return predictor


def refuses(spec_: ModelCard) -> str:
    with pytest.raises(ModelLoadError) as caught:
        load(spec_)
    return str(caught.value)


def vectors(predictor: Any, *rows: Any) -> Any:
    found = predictor.predict(records(*(("tensor", json.dumps(row)) for row in rows)))
    assert found.column("error").null_count == len(rows), found.column("error").to_pylist()
    return [json.loads(value) for value in found.column("output").to_pylist()]


# what the sessions share


def test_the_unnamed_input_is_the_only_one() -> None:
    array = np.zeros(1)
    assert by_input(card(), {"": array}, ["x"]) == {"x": array}
    with pytest.raises(ModelLoadError) as caught:
        by_input(card(), {"": array}, ["x", "y"])
    assert str(caught.value) == "model 'm' has the inputs x, y; set runtime.input_name to one of them"
    with pytest.raises(ModelLoadError) as caught:
        by_input(card(), {"z": array}, ["x", "y"])
    assert str(caught.value) == "model 'm' has no input 'z', only x, y; fix runtime.text.inputs"


def test_outputs_are_named() -> None:
    one, two = np.zeros(1), np.zeros(2)
    assert list(named(one, np.asarray)) == ["0"]
    assert list(named((one, None, two), np.asarray)) == ["0", "2"]
    assert list(named({"a": one, "b": None}, np.asarray)) == ["a"]


def test_inputs_are_cast_but_strings_stay() -> None:
    assert fitted(np.zeros(1, np.int64), np.int32).dtype == np.int32
    strings = np.array(["a"], object)
    assert fitted(strings, object) is strings


@pytest.mark.parametrize(
    ("framework", "module", "message"),
    [
        ("torch", "torch", "'torch' is not installed here; install it with: pip install 'airflow-agentic[torch]'"),
        (
            "tensorflow",
            "tensorflow",
            "'tensorflow' is not installed here; install it with: pip install 'airflow-agentic[tensorflow]'",
        ),
        (
            "onnx",
            "onnxruntime",
            "'onnxruntime' is not installed here; install it with: pip install 'airflow-agentic[onnx]'",
        ),
        (
            "litert",
            "ai_edge_litert.interpreter",
            "'ai-edge-litert' is not installed here; install it with: pip install 'airflow-agentic[litert]'",
        ),
        (
            "transformers",
            "transformers",
            "'transformers' is not installed here; install it with: pip install 'airflow-agentic[transformers]'",
        ),
    ],
)
def test_a_framework_that_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, framework: str, module: str, message: str
) -> None:
    (tmp_path / "m").write_bytes(b"")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError) as caught:
        load(spec(tmp_path, framework))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("framework", "message"),
    [
        ("torch", "torch sees no GPU here; run it where one is, or remove resources.gpu"),
        ("onnx", "this onnxruntime has no CUDA; install onnxruntime-gpu, or remove resources.gpu"),
        ("tensorflow", "TensorFlow sees no GPU here; run it where one is, or remove resources.gpu"),
    ],
)
def test_a_gpu_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, framework: str, message: str) -> None:
    if framework == "torch":
        import torch

        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "m").write_bytes(b"")
    found = refuses(spec(tmp_path, framework, resources={"gpu": 1}))
    joint = "resources.gpu is 1 and "
    assert found == f"model 'm': {joint}{message}"


# torch


def make_linear() -> Any:
    import torch

    return torch.nn.Linear(2, 2, bias=False)


class Payload:
    """A pickle of this says so when it is loaded."""

    loaded = 0

    def __reduce__(self) -> Any:
        return (note, ())


def note() -> None:
    Payload.loaded += 1


def state_card(folder: Path, **runtime: Any) -> ModelCard:
    return spec(folder, "torch", "m.pth", runtime={"class": f"{__name__}:make_linear", **runtime})


def test_a_state_dict_that_runs_code_is_refused(tmp_path: Path) -> None:
    import torch

    torch.save({"weight": torch.eye(2), "extra": Payload()}, tmp_path / "m.pth")
    before = Payload.loaded
    assert "'m.pth' cannot be loaded by framework torch" in refuses(state_card(tmp_path))
    assert Payload.loaded == before


def test_a_trusted_state_dict_is_loaded_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import torch

    torch.save({"weight": torch.eye(2) * 2}, tmp_path / "m.pth")
    assert vectors(load(state_card(tmp_path, trust="pickle")), [1, 3]) == [[2.0, 6.0]]
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.WARNING, "model 'm': loading 'm.pth' may run code in it (runtime.trust: pickle)")
    ]


def test_a_state_dict_of_another_module(tmp_path: Path) -> None:
    import torch

    torch.save({"other": torch.eye(2)}, tmp_path / "m.pth")
    found = refuses(state_card(tmp_path))
    assert found.startswith(
        "model 'm': 'm.pth' cannot be loaded by framework torch, which takes a TorchScript file, a .pt2 program, "
        "or with runtime.class a state dict: RuntimeError: Error(s) in loading state_dict for Linear:"
    )


def test_an_exported_program_with_a_pickle_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt2", "w") as archive:
        archive.writestr("m/data/constants/custom_obj_0", b"pickle")
    assert refuses(spec(tmp_path, "torch", "m.pt2")) == (
        "model 'm': 'm.pt2' holds a pickled object (custom_obj_0), which can run code; "
        "export the model without it, or write runtime.trust: pickle if you trust the file"
    )


def test_outputs_of_a_torch_tuple_are_numbered(tmp_path: Path) -> None:
    import torch

    class Two(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x * 2

    torch.jit.trace(Two(), torch.zeros(1, 2)).save(str(tmp_path / "m"))
    assert vectors(load(spec(tmp_path, "torch", runtime={"output_name": "1"})), [1, 2]) == [[2.0, 4.0]]


# tensorflow


def test_strings_reach_tensorflow(tmp_path: Path) -> None:
    import tensorflow as tf

    class Lengths(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="texts")])
        def measure(self, texts: Any) -> Any:
            return {"length": tf.cast(tf.strings.length(texts), tf.float32)}

    module = Lengths()
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=module.measure)
    made = load(spec(tmp_path, "tensorflow", input="text", output={"value": "characters"}))
    assert made.predict(texts("a", "abc")).column("value").to_pylist() == [1.0, 3.0]


def test_another_keras_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.h5").write_bytes(b"")
    assert refuses(spec(tmp_path, "tensorflow", "m.h5")) == (
        "model 'm': 'm.h5' is neither a SavedModel folder nor a .keras file; save it as one of them"
    )


def test_a_keras_file_with_code_is_refused(tmp_path: Path) -> None:
    import keras

    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x * 2)])
    model.save(tmp_path / "m.keras")
    assert "safe_mode" in refuses(spec(tmp_path, "tensorflow", "m.keras"))


# onnx


def onnx_model(path: Path, dtype: str = "FLOAT") -> None:
    from onnx import TensorProto, helper

    kind = getattr(TensorProto, dtype)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"]), helper.make_node("Identity", ["x"], ["z"])],
        "m",
        [helper.make_tensor_value_info("x", kind, ["n", 2])],
        [helper.make_tensor_value_info(name, kind, ["n", 2]) for name in ("y", "z")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())


def test_onnx_inputs_are_cast(tmp_path: Path) -> None:
    onnx_model(tmp_path / "m", "INT32")
    assert vectors(load(spec(tmp_path, "onnx", runtime={"output_name": "y"})), [1, 2]) == [[2.0, 4.0]]


def test_an_onnx_folder(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    onnx_model(tmp_path / "m" / "model.onnx")
    spec_ = spec(tmp_path, "onnx", runtime={"output_name": "z"})
    assert vectors(load(spec_), [1, 2]) == [[1.0, 2.0]]
    onnx_model(tmp_path / "m" / "other.onnx")
    assert refuses(spec_) == "model 'm': the folder 'm' has 2 .onnx files; name the one to load"


def test_an_onnx_output_that_is_not_there(tmp_path: Path) -> None:
    onnx_model(tmp_path / "m")
    assert refuses(spec(tmp_path, "onnx", runtime={"output_name": "a"})) == (
        "model 'm': runtime.output_name 'a' is not one of its outputs: y, z"
    )


# transformers


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel

    words = ["[PAD]", "[UNK]", "good", "day"]
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=4,
        hidden_size=4,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=16,
    )
    BertModel(config).save_pretrained(tmp_path / "m")
    tokenizer.save(str(tmp_path / "m" / "tokenizer.json"))
    return tmp_path


def test_embeddings_of_transformers_do_not_depend_on_the_padding(bert: Path) -> None:
    spec_ = card(
        bert,
        task="text-embedding",
        output={"embedding": 4},
        runtime={"framework": "transformers", "artifact": "m", "pooling": "mean", "normalize": True},
    )
    made = load(spec_)
    alone = made.predict(texts("good"))
    together = made.predict(texts("good", "good day good day"))
    first, second = (json.loads(table.column("output")[0].as_py()) for table in (alone, together))
    np.testing.assert_allclose(first, second, atol=1e-6)
    assert np.linalg.norm(first) == pytest.approx(1.0)


def test_a_named_output_of_transformers(bert: Path) -> None:
    runtime = {"framework": "transformers", "artifact": "m", "output_name": "pooler_output"}
    made = load(card(bert, task="text-embedding", output={"embedding": 4}, runtime=runtime))
    assert made.predict(texts("good")).column("error").null_count == 1


def test_transformers_without_safetensors_are_refused(bert: Path) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(bert / "m" / "model.safetensors"), bert / "m" / "pytorch_model.bin")
    (bert / "m" / "model.safetensors").unlink()
    spec_ = card(
        bert, task="text-embedding", output={"embedding": 4}, runtime={"framework": "transformers", "artifact": "m"}
    )
    assert refuses(spec_).startswith(
        "model 'm': 'm' cannot be loaded by framework transformers, which takes a folder with config.json and "
        "model.safetensors: OSError: "
    )


def test_a_transformers_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"")
    spec_ = card(
        tmp_path,
        output={"embedding": 4},
        runtime={"framework": "transformers", "artifact": "m", "text": {"tokenizer": "t.json"}},
    )
    (tmp_path / "t.json").write_text(
        '{"version": "1.0", "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}'
    )
    assert refuses(spec_) == (
        "model 'm': framework transformers needs a folder (config.json, model.safetensors); 'm' is a file"
    )
