"""What a loaded model says it takes and gives: what its framework tells, what its card says, or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_models as tiny

from airflow_agentic.openinference.tensors import TensorSpec
from airflow_agentic.runtime import open_predictor
from airflow_agentic.runtime.base import UNKNOWN, Signature

pytestmark = pytest.mark.usefixtures("triton_before_tensorflow")

FLOATS = Signature((TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "FP32", (-1, 3)),))


def signature(folder: Path, **runtime: Any) -> Signature:
    predictor = open_predictor(tiny.tabular_card(folder, **runtime), allowed_handlers=["tiny_models"])
    predictor.load()
    found = predictor.signature
    predictor.close()
    return found


def of_onnx(folder: Path, model: Any, **runtime: Any) -> Signature:
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return signature(folder, framework="onnx", artifact="m.onnx", **runtime)


def test_onnx(tmp_path: Path) -> None:
    assert of_onnx(tmp_path, tiny.onnx_model()) == FLOATS


def test_onnx_of_strings(tmp_path: Path) -> None:
    from onnx import TensorProto

    wanted = Signature((TensorSpec("x", "BYTES", (-1, 2)),), (TensorSpec("y", "BYTES", (-1, 2)),))
    assert of_onnx(tmp_path, tiny.onnx_echo(TensorProto.STRING, ["n", 2])) == wanted


@pytest.mark.parametrize(("kind", "shape"), [("BFLOAT16", ["n"]), ("FLOAT", None)], ids=["no datatype", "no rank"])
def test_what_the_protocol_cannot_say_is_not_told(tmp_path: Path, kind: str, shape: list[Any] | None) -> None:
    from onnx import TensorProto

    assert of_onnx(tmp_path, tiny.onnx_echo(getattr(TensorProto, kind), shape)) == UNKNOWN


def test_an_output_that_is_no_tensor(tmp_path: Path) -> None:
    """As the probabilities of a classifier that scikit-learn's converter wrote."""
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("SequenceConstruct", ["x"], ["s"])],
        "sequence",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    assert of_onnx(tmp_path, model) == Signature(FLOATS.inputs, ())


def saved(folder: Path, spec: Any) -> Signature:
    import tensorflow as tf

    class Same(tf.Module):
        @tf.function(input_signature=[spec])
        def __call__(self, x: Any) -> Any:
            return {"y": tf.identity(x)}

    module = Same()
    tf.saved_model.save(module, str(folder / "m"), signatures=module.__call__.get_concrete_function())
    return signature(folder, framework="tensorflow", artifact="m")


def test_saved_model(tmp_path: Path) -> None:
    import tensorflow as tf

    wanted = Signature((TensorSpec("x", "INT64", (-1, 4)),), (TensorSpec("y", "INT64", (-1, 4)),))
    assert saved(tmp_path, tf.TensorSpec([None, 4], tf.int64, name="x")) == wanted


@pytest.mark.parametrize(("dtype", "shape"), [("bfloat16", [None]), ("float32", None)])
def test_a_saved_model_that_the_protocol_cannot_describe(tmp_path: Path, dtype: str, shape: Any) -> None:
    import tensorflow as tf

    assert saved(tmp_path, tf.TensorSpec(shape, dtype, name="x")) == UNKNOWN


def test_a_framework_that_does_not_tell(tmp_path: Path) -> None:
    assert signature(tmp_path, framework="python", handler="tiny_models:OfArrays") == UNKNOWN


def test_a_card_that_says_it(tmp_path: Path) -> None:
    stated = {"inputs": [{"name": "rows", "datatype": "FP64", "shape": [-1, 4]}]}
    wanted = Signature((TensorSpec("rows", "FP64", (-1, 4)),), ())
    assert signature(tmp_path, framework="python", handler="tiny_models:OfArrays", tensors=stated) == wanted
    (tmp_path / "told").mkdir()
    assert of_onnx(tmp_path / "told", tiny.onnx_model(), tensors=stated) == wanted
