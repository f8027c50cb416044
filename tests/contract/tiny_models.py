"""One small network in every framework, and the answers it must give.

``relu(x · W1 + b1) · W2 + b2``, four numbers to three classes; the weights are fixed, so all frameworks agree.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from airflow_agentic.exceptions import RecordError
from airflow_agentic.spec.load import model_from
from airflow_agentic.tables import RECORD, table

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from airflow_agentic.spec.model import ModelCard

COLUMNS = ["a", "b", "c", "d"]
LABELS = ["cat", "dog", "owl"]

_random = np.random.default_rng(7)
W1 = _random.normal(size=(4, 5)).astype(np.float32)
B1 = _random.normal(size=5).astype(np.float32)
W2 = _random.normal(size=(5, 3)).astype(np.float32)
B2 = _random.normal(size=3).astype(np.float32)
ROWS = _random.normal(size=(6, 4)).round(3)


def logits(rows: Any) -> np.ndarray:
    return np.maximum(np.asarray(rows, np.float32) @ W1 + B1, 0.0) @ W2 + B2


def probabilities(rows: Any) -> np.ndarray:
    powers = np.exp(logits(rows))
    return powers / powers.sum(axis=1, keepdims=True)


def tabular_card(folder: Path, *, service: str | None = None, **runtime: Any) -> ModelCard:
    """The card of the network; ``runtime`` says how it is loaded, ``service`` at which URL it is served."""
    return model_from(
        {
            "name": "tiny",
            "version": "1",
            "task": "tabular-classification",
            "input": "tabular",
            "output": {"classes": LABELS},
            "profile": {"cost_per_1k": 2.0},
            "runtime": {"tabular": {"columns": COLUMNS}, "activation": "softmax", **runtime},
            **({} if service is None else {"service": {"url": service}}),
        },
        folder,
    )


def tabular_records() -> pa.Table:
    return records([("struct", json.dumps(dict(zip(COLUMNS, row, strict=True)))) for row in ROWS.tolist()])


def records(inputs: list[tuple[str, Any]]) -> pa.Table:
    """A record table; an input is its kind and its value."""
    field = {"text": "text", "struct": "text", "tensor": "text", "bytes": "data", "uri": "uri"}
    return table(
        [
            {"record_id": f"r{place}", "position": place, "input": {"kind": kind, field[kind]: value}}
            for place, (kind, value) in enumerate(inputs)
        ],
        RECORD,
    )


# torch


def make_network() -> Any:
    import torch

    return torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))


def torch_network() -> Any:
    import torch

    network = make_network()
    with torch.no_grad():
        for layer, weights, bias in ((network[0], W1, B1), (network[2], W2, B2)):
            layer.weight.copy_(torch.from_numpy(weights.T.copy()))
            layer.bias.copy_(torch.from_numpy(bias))
    return network.eval()


# tensorflow


def tf_module() -> Any:
    import tensorflow as tf

    class Network(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = [tf.Variable(value) for value in (W1, B1, W2, B2)]

        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
        def __call__(self, x: Any) -> Any:
            w1, b1, w2, b2 = self.weights
            return tf.nn.relu(x @ w1 + b1) @ w2 + b2

    return Network()


def keras_model() -> Any:
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5, activation="relu"), keras.layers.Dense(3)])
    model.set_weights([W1, B1, W2, B2])
    return model


# onnx


def onnx_model() -> Any:
    from onnx import TensorProto, helper, numpy_helper

    weights = {"w1": W1, "b1": B1, "w2": W2, "b2": B2}
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def onnx_echo(kind: int, shape: list[Any] | None) -> Any:
    """A graph that gives its input ``x`` as ``y``."""
    from onnx import helper

    tensors = [helper.make_tensor_value_info(name, kind, shape) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "echo", tensors[:1], tensors[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)


def litert_model() -> bytes:
    import tensorflow as tf

    module = tf_module()
    function = module.__call__.get_concrete_function()
    converted: bytes = tf.lite.TFLiteConverter.from_concrete_functions([function], module).convert()
    return converted


# python handlers


def classify(values: dict[str, float]) -> dict[str, float]:
    """A handler that is a function."""
    row = probabilities([[values[column] for column in COLUMNS]])[0]
    return dict(zip(LABELS, row.tolist(), strict=True))


class Classifier:
    """A handler that is a class and takes batches."""

    def __init__(self, factor: float = 1.0) -> None:
        self._factor = factor
        self._loaded = False

    def load(self) -> None:
        self._loaded = True

    def predict(self, batch: pa.Table) -> list[Any]:
        if not self._loaded:
            raise RuntimeError("load was not called")
        texts = batch.column("input").combine_chunks().field("text").to_pylist()
        return [classify({key: value * self._factor for key, value in json.loads(text).items()}) for text in texts]


class OfArrays:
    """A handler that is a class and takes arrays."""

    def run(self, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
        (rows,) = arrays.values()
        return {"logits": logits(rows)} if len(rows) < 100 else {"logits": logits(rows).tolist()}


class OneByOne:
    """A handler that is a class and takes one input."""

    def predict_one(self, values: dict[str, float]) -> dict[str, float]:
        return classify(values)


def moody(text: str) -> Any:
    """A handler of text that does what the text says."""
    import os
    import signal
    import sys
    import threading

    if text == "raise":
        raise KeyError("no such mood")
    if text == "record error":
        raise RecordError("too_sad", "this text is too sad")
    if text == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if text == "exit":
        sys.stdout.write("I am leaving\n")
        sys.stdout.flush()
        os._exit(7)
    if text == "hang":
        threading.Event().wait()
    if text.startswith("stuck "):
        import ctypes
        from pathlib import Path

        Path(text.removeprefix("stuck ")).write_text("stuck")  # a pipe: its reader waits for this
        ctypes.PyDLL(None).pause()  # native code that keeps the GIL: no thread runs
    if text == "grow":
        hoard = bytearray(600 * 2**20)
        threading.Event().wait()
        return str(len(hoard))
    if text == "print":
        sys.stdout.write("hello from the model\n")
    if text == "pid":
        return str(os.getpid())
    return ("good" if "good" in text else "bad", 0.75)


def imported(module: str) -> str:
    """A handler that says whether a module is imported where it runs."""
    import sys

    return "yes" if module in sys.modules else "no"
