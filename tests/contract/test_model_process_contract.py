"""A model in a child process: the same answers as inline, and an end to every mishap."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import tiny_models as tiny

from airflow_agentic.exceptions import (
    ArtifactError,
    ChecksumError,
    HandlerNotAllowedError,
    ModelLoadError,
    ModelUnavailableError,
    RecordError,
)
from airflow_agentic.openinference.tensors import Tensor
from airflow_agentic.runtime import ModelProcess, Predictor, open_predictor, predict_records, start
from airflow_agentic.runtime.base import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_agentic.runtime.predictor import CardPredictor
    from airflow_agentic.spec.model import ModelCard

ALLOWED = ["tiny_models"]
MEASURED = ["latency_ms"]

pytestmark = pytest.mark.usefixtures("triton_before_tensorflow")


def moody_card(folder: Path, **card: Any) -> ModelCard:
    return tiny.model_from(
        {
            "name": "moody",
            "version": "1",
            "task": "text-classification",
            "input": "text",
            "output": {"classes": "moods"},
            "runtime": {"framework": "python", "handler": "tiny_models:moody"},
            **card,
        },
        folder,
    )


def texts(*values: str) -> pa.Table:
    return tiny.records([("text", value) for value in values])


@pytest.fixture
def moody(tmp_path: Path) -> Iterator[ModelProcess]:
    process = ModelProcess(moody_card(tmp_path), allowed_handlers=ALLOWED)
    process.load()
    yield process
    process.close()


class SameAnswers:
    """Inline and in a process, the predictions are the same; a class per framework gives ``card``."""

    def card(self, folder: Path) -> ModelCard:
        raise NotImplementedError

    def records(self) -> pa.Table:
        return pa.concat_tables([tiny.tabular_records(), tiny.records([("text", "not a struct")])])

    def both(self, folder: Path) -> Iterator[CardPredictor | ModelProcess]:
        """Inline and in a process, loaded."""
        card = self.card(folder)
        for predictor in (
            open_predictor(card, allowed_handlers=ALLOWED),
            ModelProcess(card, allowed_handlers=ALLOWED),
        ):
            predictor.load()
            yield predictor
            predictor.close()

    def test_same_answers(self, tmp_path: Path) -> None:
        card = self.card(tmp_path)
        found = [
            predict_records(predictor, card, self.records()).drop_columns(MEASURED).to_pylist()
            for predictor in self.both(tmp_path)
        ]
        assert found[0] == found[1]
        assert found[0][-1]["error"]["code"] in {"wrong_input", "model_error"}


class SameArrays(SameAnswers):
    """So are the arrays of a model that takes arrays."""

    def test_same_arrays(self, tmp_path: Path) -> None:
        rows = np.repeat(tiny.ROWS, 5, axis=0).astype(np.float32)
        rows.flags.writeable = False  # as those of a request are
        found = [(predictor.run({"": rows}), predictor.signature) for predictor in self.both(tmp_path)]
        assert found[0][1] == found[1][1]
        (inline,), (process,) = found[0][0].values(), found[1][0].values()
        assert list(found[0][0]) == list(found[1][0])
        assert (inline.dtype, inline.tolist()) == (process.dtype, process.tolist())
        np.testing.assert_allclose(inline, tiny.logits(rows), atol=1e-5)


class SameRefusal(SameAnswers):
    """So is why a model takes none."""

    def test_takes_no_arrays(self, tmp_path: Path) -> None:
        for predictor in self.both(tmp_path):
            with pytest.raises(ModelLoadError) as caught:
                predictor.run({"": tiny.ROWS})
            assert str(caught.value) == (
                f"model {self.card(tmp_path).name!r}: its handler takes records; to take tensors as they are, give it "
                "a run(arrays), names to arrays, batch axis first"
            )
            if isinstance(predictor, ModelProcess):
                assert predictor.signature == UNKNOWN
            else:
                assert not predictor.takes_arrays


class TestHandler(SameRefusal):
    def card(self, folder):
        return tiny.tabular_card(folder, framework="python", handler="tiny_models:Classifier")


class TestMoodyHandler(SameRefusal):
    def card(self, folder):
        return moody_card(folder)

    def records(self):
        return texts("good", "record error", "", "bad", "raise")


class TestOnnx(SameArrays):
    def card(self, folder):
        (folder / "tiny.onnx").write_bytes(tiny.onnx_model().SerializeToString())
        return tiny.tabular_card(folder, framework="onnx", artifact="tiny.onnx")


class TestTorch(SameArrays):
    def card(self, folder):
        import torch

        torch.save(tiny.torch_network().state_dict(), folder / "tiny.pth")
        return tiny.tabular_card(
            folder, framework="torch", artifact="tiny.pth", **{"class": "tiny_models:make_network"}
        )


class TestTensorFlow(SameArrays):
    def card(self, folder):
        import tensorflow as tf

        module = tiny.tf_module()
        tf.saved_model.save(module, str(folder / "tiny"), signatures=module.__call__.get_concrete_function())
        return tiny.tabular_card(folder, framework="tensorflow", artifact="tiny")


class TestLiteRT(SameArrays):
    def card(self, folder):
        (folder / "tiny.tflite").write_bytes(tiny.litert_model())
        return tiny.tabular_card(folder, framework="litert", artifact="tiny.tflite")


class TestArrayHandler(SameArrays):
    def card(self, folder):
        return tiny.tabular_card(folder, framework="python", handler="tiny_models:OfArrays")

    def test_what_is_no_array(self, tmp_path: Path) -> None:
        for predictor in self.both(tmp_path):
            with pytest.raises(ModelLoadError) as caught:
                predictor.run({"": np.zeros((100, 4), np.float32)})
            assert str(caught.value) == (
                "model 'tiny' gives list as output 'logits', not an array; set runtime.output_name to another one, "
                "or change the model"
            )


class TestStrings(SameAnswers):
    """Strings come to a framework as it wants them, and go out as bytes."""

    def card(self, folder):
        from onnx import TensorProto

        (folder / "echo.onnx").write_bytes(tiny.onnx_echo(TensorProto.STRING, ["n"]).SerializeToString())
        return tiny.tabular_card(folder, framework="onnx", artifact="echo.onnx")

    def test_same_answers(self, tmp_path):
        texts_in = np.array(["é".encode(), b"", b"a\0"], object)
        found = [
            Tensor.of("y", predictor.run({"x": texts_in})["y"]).array.tolist() for predictor in self.both(tmp_path)
        ]
        assert found == [["é".encode(), b"", b"a\0"]] * 2

    def test_bytes_that_are_no_text(self, tmp_path: Path) -> None:
        for predictor in self.both(tmp_path):
            with pytest.raises(RecordError) as caught:
                predictor.run({"x": np.array([b"\xff"], object)})
            assert str(caught.value) == (
                "input 'x' has a text that is no UTF-8: 'utf-8' codec can't decode byte 0xff in position 0: "
                "invalid start byte"
            )


def test_is_a_predictor(moody: ModelProcess) -> None:
    assert isinstance(moody, Predictor)


def test_runs_elsewhere(moody: ModelProcess) -> None:
    pid = int(moody.predict(texts("pid")).column("label")[0].as_py())
    assert pid == moody.pid != os.getpid()


def test_large_batches_pass(moody: ModelProcess) -> None:
    found = moody.predict(texts(*["good " + "x" * 100_000] * 100))
    assert found.column("label").to_pylist() == ["good"] * 100


def test_reports_its_peak_memory(moody: ModelProcess) -> None:
    moody.predict(texts("good"))
    before = moody.memory()
    assert 10 * 2**20 < before < 2 * 2**30
    moody.close()
    assert moody.memory() >= before


def test_its_output_is_logged(moody: ModelProcess, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="airflow_agentic.model.moody"):
        moody.predict(texts("print"))
        moody.close()
    assert [(record.name, record.message) for record in caplog.records] == [
        ("airflow_agentic.model.moody", "hello from the model")
    ]


def test_a_killed_child_is_unavailable_and_can_be_loaded_again(moody: ModelProcess) -> None:
    with pytest.raises(ModelUnavailableError) as caught:
        moody.predict(texts("die"))
    peak = moody.memory() / 2**20
    assert str(caught.value) == (
        "the process of model 'moody' was killed (SIGKILL), often out of memory; "
        f"raise resources.memory in <python> (peak seen: {peak:.0f} MiB)"
    )
    with pytest.raises(ModelUnavailableError) as caught:
        moody.predict(texts("good"))
    assert str(caught.value) == "the process of model 'moody' is not running; call load() first"
    moody.load()
    assert moody.predict(texts("good")).column("label")[0].as_py() == "good"


def test_a_child_that_exits_says_its_last_words(moody: ModelProcess) -> None:
    with pytest.raises(ModelUnavailableError) as caught:
        moody.predict(texts("exit"))
    assert str(caught.value) == (
        "the process of model 'moody' ended by itself with exit code 7; its last words: 'I am leaving'"
    )


def test_unavailability_ends_a_whole_call(moody: ModelProcess, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError):
        predict_records(moody, moody_card(tmp_path), texts("good", "die"))


def test_a_hung_model_is_stopped(tmp_path: Path) -> None:
    process = ModelProcess(moody_card(tmp_path), allowed_handlers=ALLOWED, timeout=0.3)
    process.load()
    with pytest.raises(ModelUnavailableError) as caught:
        process.predict(texts("hang"))
    assert str(caught.value) == (
        "the process of model 'moody' took longer than 0.3 s and was stopped; "
        "raise batch.timeout or lower batch.rows (<python>)"
    )
    assert process.pid is None


def test_a_greedy_model_is_stopped(tmp_path: Path) -> None:
    process = ModelProcess(moody_card(tmp_path, resources={"memory": "400Mi"}), allowed_handlers=ALLOWED)
    process.load()
    with pytest.raises(ModelUnavailableError) as caught:
        process.predict(texts("grow"))
    text = str(caught.value)
    assert text.startswith("the process of model 'moody' used ")
    assert text.endswith(
        " of memory, resources.memory allows 400 MiB, and it was stopped; raise it in <python> or lower batch.rows"
    )
    assert process.memory() > 400 * 2**20


def test_kill_from_another_thread(moody: ModelProcess) -> None:
    caught: list[BaseException] = []

    def call() -> None:
        try:
            moody.predict(texts("hang"))
        except ModelUnavailableError as error:
            caught.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    while not moody.busy:
        pass
    moody.kill()
    caller.join(10)
    assert [str(error) for error in caught] == ["the process of model 'moody' was stopped by its caller"]


def test_errors_of_loading_are_the_same_as_inline(tmp_path: Path) -> None:
    (tmp_path / "tiny.onnx").write_bytes(b"nothing")
    cards = [
        tiny.tabular_card(tmp_path, framework="onnx", artifact="gone.onnx"),
        tiny.tabular_card(tmp_path, framework="onnx", artifact="tiny.onnx", sha256="0" * 64),
        tiny.tabular_card(tmp_path, framework="onnx", artifact="tiny.onnx"),
        tiny.tabular_card(tmp_path, framework="python", handler="other:thing"),
        tiny.tabular_card(tmp_path, framework="python", handler="tiny_models:nothing"),
    ]
    kinds = [ArtifactError, ChecksumError, ModelLoadError, HandlerNotAllowedError, ModelLoadError]
    for card, kind in zip(cards, kinds, strict=True):
        messages = []
        for open_ in (open_predictor, ModelProcess):
            with pytest.raises(kind) as caught:
                open_(card, allowed_handlers=ALLOWED).load()
            assert type(caught.value) is kind
            messages.append(str(caught.value))
        assert messages[0] == messages[1]


def test_start_follows_the_isolation(tmp_path: Path) -> None:
    inline = start(moody_card(tmp_path, isolation="inline"), allowed_handlers=ALLOWED)
    process = start(moody_card(tmp_path), allowed_handlers=ALLOWED)
    pids = [int(each.predict(texts("pid")).column("label")[0].as_py()) for each in (inline, process)]
    inline.close()
    process.close()
    assert pids[0] == os.getpid() != pids[1]


def test_start_does_not_leave_a_child_behind(tmp_path: Path) -> None:
    process = ModelProcess(tiny.tabular_card(tmp_path, framework="onnx", artifact="gone.onnx"))
    with pytest.raises(ArtifactError):
        process.load()
    assert process.pid is None


@pytest.mark.parametrize("state", ["hang", "stuck"])
def test_a_child_ends_with_its_parent(tmp_path: Path, state: str) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = f"stuck {pipe}" if state == "stuck" else state
    program = (
        "import sys, tiny_models as tiny, test_model_process_contract as here, pathlib, threading\n"
        "process = here.ModelProcess(here.moody_card(pathlib.Path('.')), allowed_handlers=here.ALLOWED)\n"
        "process.load()\n"
        "threading.Thread(target=lambda: process.predict(here.texts(sys.argv[1])), daemon=True).start()\n"
        "print(process.pid, flush=True)\n"
        "threading.Event().wait()\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen(
        [sys.executable, "-c", program, text], stdout=subprocess.PIPE, env=environment, cwd=tmp_path, text=True
    )
    assert parent.stdout is not None
    with parent, parent.stdout:
        child = os.pidfd_open(int(parent.stdout.readline()))
        if state == "stuck":
            pipe.read_text()
        parent.send_signal(signal.SIGKILL)
    import select

    ended = select.poll()
    ended.register(child, select.POLLIN)
    assert ended.poll(20_000)
    os.close(child)


def test_a_child_imports_no_airflow(tmp_path: Path) -> None:
    card = moody_card(tmp_path, runtime={"framework": "python", "handler": "tiny_models:imported"})
    process = ModelProcess(card, allowed_handlers=ALLOWED)
    process.load()
    found = process.predict(texts("airflow", "torch", "tensorflow", "pyarrow")).column("label").to_pylist()
    process.close()
    assert found == ["no", "no", "no", "yes"]
