"""What every predictor must do, whatever its framework."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
import tiny_models as tiny
from oip_server import OipServer

from airflow_agentic.exceptions import ArtifactError, ModelLoadError, ModelUnavailableError
from airflow_agentic.runtime import Predictor, open_predictor, predict_records
from airflow_agentic.tables import PREDICTION, RESULT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_agentic.spec.model import ModelCard

ALLOWED = ["tiny_models"]

pytestmark = [
    pytest.mark.usefixtures("triton_before_tensorflow"),
    # said while the tests make their models, not while one is used
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning"),  # torch 2.14 and newer
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]


class PredictorContract:
    """Inherited by a class per framework, which gives ``card``."""

    tolerance = 1e-5

    @pytest.fixture(scope="class")
    @classmethod
    def card(cls, tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def predictor(cls, card: ModelCard) -> Predictor:
        predictor = open_predictor(card, allowed_handlers=ALLOWED)
        predictor.load()
        return predictor

    @pytest.fixture(scope="class")
    @classmethod
    def records(cls) -> pa.Table:
        return tiny.tabular_records()

    @pytest.fixture(scope="class")
    @classmethod
    def expected(cls) -> np.ndarray:
        return tiny.probabilities(tiny.ROWS)

    def test_is_a_predictor(self, predictor: Predictor) -> None:
        assert isinstance(predictor, Predictor)

    def test_answers_every_record_in_order(self, predictor, records, expected) -> None:
        found = predictor.predict(records)
        assert found.schema.equals(RESULT)
        assert found.column("label").to_pylist() == [tiny.LABELS[place] for place in expected.argmax(axis=1)]
        np.testing.assert_allclose(found.column("score").to_numpy(), expected.max(axis=1), atol=self.tolerance)
        assert found.column("error").null_count == found.num_rows

    def test_scores_are_sorted_and_complete(self, predictor, records, expected) -> None:
        for pairs, row in zip(predictor.predict(records).column("scores").to_pylist(), expected, strict=True):
            assert [pair["label"] for pair in pairs] == [tiny.LABELS[place] for place in np.argsort(-row)]
            np.testing.assert_allclose([pair["p"] for pair in pairs], sorted(row, reverse=True), atol=self.tolerance)

    def test_a_record_alone_is_answered_as_in_a_batch(self, predictor, records) -> None:
        together = predictor.predict(records)
        for row in range(records.num_rows):
            alone = predictor.predict(records.slice(row, 1))
            assert alone.column("label")[0] == together.column("label")[row]
            assert alone.column("score")[0].as_py() == pytest.approx(together.column("score")[row].as_py(), abs=1e-5)

    def test_a_bad_record_does_not_fail_the_others(self, predictor, records) -> None:
        bad = tiny.records([("uri", "memory://nothing")])
        found = predictor.predict(pa.concat_tables([records.slice(0, 2), bad, records.slice(2)]))
        errors = found.column("error").to_pylist()
        assert [place for place, error in enumerate(errors) if error is not None] == [2]
        assert errors[2]["code"] == "wrong_input"
        assert found.column("label")[2].as_py() is None
        labels = found.column("label").to_pylist()
        assert labels[:2] + labels[3:] == predictor.predict(records).column("label").to_pylist()

    def test_only_bad_records(self, predictor, card) -> None:
        found = predictor.predict(tiny.records([("uri", "memory://nothing"), ("uri", "memory://nothing")]))
        kind = "text" if card.input == "text" else "struct"
        assert [error["message"] for error in found.column("error").to_pylist()] == [
            f"the record's input is of kind 'uri'; a model with input {card.input!r} takes {kind}"
        ] * 2

    def test_predictions(self, predictor, card, records, expected) -> None:
        found = predict_records(predictor, card, records, top_k=2)
        assert found.schema.equals(PREDICTION)
        assert found.column("record_id").to_pylist() == records.column("record_id").to_pylist()
        assert found.column("label").to_pylist() == [tiny.LABELS[place] for place in expected.argmax(axis=1)]
        assert {len(scores) for scores in found.column("scores").to_pylist()} == {2}

    def test_a_closed_one_is_unavailable(self, card, records) -> None:
        predictor = open_predictor(card, allowed_handlers=ALLOWED)
        predictor.load()
        predictor.close()
        with pytest.raises(ModelUnavailableError) as caught:
            predictor.predict(records)
        assert str(caught.value) == f"model {card.name!r} is not loaded; call load() first"


class ArtifactContract(PredictorContract):
    """Predictors of an artifact."""

    @pytest.fixture(scope="class")
    @classmethod
    def arrays(cls) -> dict[str, np.ndarray]:
        rows = tiny.ROWS.astype(np.float32)
        rows.flags.writeable = False  # as those of a request are
        return {"": rows}

    def test_runs_arrays_past_encoder_and_decoder(self, predictor, arrays, expected) -> None:
        assert predictor.takes_arrays
        (found,) = predictor.run(arrays).values()
        powers = np.exp(found.astype(np.float64))
        np.testing.assert_allclose(powers / powers.sum(axis=1, keepdims=True), expected, atol=self.tolerance)

    def test_a_missing_artifact(self, card: ModelCard) -> None:
        gone = card.model_copy(update={"runtime": card.runtime.model_copy(update={"artifact": "gone"})})
        with pytest.raises(ArtifactError) as caught:
            open_predictor(gone, allowed_handlers=ALLOWED).load()
        folder = card.folder
        assert str(caught.value) == (
            f"'gone' does not exist: there is no '{folder / 'gone'}'; relative paths start at {str(folder)!r}"
        )

    def test_a_broken_artifact(self, card: ModelCard, tmp_path: Path) -> None:
        name = str(card.runtime.artifact)
        (tmp_path / name).write_bytes(b"no model at all")
        broken = card.model_copy(update={"runtime": card.runtime.model_copy(update={"artifact": str(tmp_path / name)})})
        with pytest.raises(ModelLoadError, match=r"^model 'tiny': "):
            open_predictor(broken, allowed_handlers=ALLOWED).load()

    def test_another_number_of_labels(self, card: ModelCard, records: pa.Table) -> None:
        output = card.output.model_copy(update={"classes": [*tiny.LABELS, "yak"]})
        predictor = open_predictor(card.model_copy(update={"output": output}), allowed_handlers=ALLOWED)
        predictor.load()
        with pytest.raises(ModelLoadError) as caught:
            predictor.predict(records)
        assert str(caught.value) == (
            "model 'tiny' gives 3 numbers a record for 4 labels; "
            "fix output.classes, output.labels or runtime.output_name"
        )


class TestTorchScript(ArtifactContract):
    @pytest.fixture(scope="class")
    @classmethod
    def card(cls, tmp_path_factory):
        import torch

        folder = tmp_path_factory.mktemp("torchscript")
        torch.jit.trace(tiny.torch_network(), torch.zeros(1, 4)).save(str(folder / "tiny.pt"))
        return tiny.tabular_card(folder, framework="torch", artifact="tiny.pt")


class TestTorchStateDict(ArtifactContract):
    @pytest.fixture(scope="class")
    @classmethod
    def card(cls, tmp_path_factory):
        import torch

        folder = tmp_path_factory.mktemp("state")
        torch.save(tiny.torch_network().state_dict(), folder / "tiny.pth")
        return tiny.tabular_card(
            folder, framework="torch", artifact="tiny.pth", **{"class": "tiny_models:make_network"}
        )


class TestTorchExport(ArtifactContract):
    @pytest.fixture(scope="class")
    @classmethod
    def card(cls, tmp_path_factory):
        import torch

        folder = tmp_path_factory.mktemp("export")
        rows = torch.export.Dim("rows", min=1, max=64)
        program = torch.export.export(tiny.torch_network(), (torch.zeros(2, 4),), dynamic_shapes=({0: rows},))
        torch.export.save(program, folder / "tiny.pt2")
        return tiny.tabular_card(folder, framework="torch", artifact="tiny.pt2")


class TestSavedModel(ArtifactContract):
    @pytest.fixture(scope="class")
    @classmethod
    def card(cls, tmp_path_factory):
        import tensorflow as tf

        folder = tmp_path_factory.mktemp("savedmodel")
        module = tiny.tf_module()
        tf.saved_model.save(module, str(folder / "tiny"), signatures=module.__call__.get_concrete_function())
        return tiny.tabular_card(folder, framework="tensorflow", artifact="tiny")


class TestSavedModelWithoutSignature(ArtifactContract):
    @pytest.fixture(scope="class")
    @classmethod
    def card(cls, tmp_path_factory):
        import tensorflow as tf

        folder = tmp_path_factory.mktemp("plain")
        tf.saved_model.save(tiny.tf_module(), str(folder / "tiny"), signatures={})
        return tiny.tabular_card(folder, framework="tensorflow", artifact="tiny")


class TestKeras(ArtifactContract):
    @pytest.fixture(scope="class")
    @classmethod
    def card(cls, tmp_path_factory):
        folder = tmp_path_factory.mktemp("keras")
        tiny.keras_model().save(folder / "tiny.keras")
        return tiny.tabular_card(folder, framework="tensorflow", artifact="tiny.keras")


class TestOnnx(ArtifactContract):
    @pytest.fixture(scope="class")
    @classmethod
    def card(cls, tmp_path_factory):
        folder = tmp_path_factory.mktemp("onnx")
        (folder / "tiny.onnx").write_bytes(tiny.onnx_model().SerializeToString())
        return tiny.tabular_card(folder, framework="onnx", artifact="tiny.onnx")


class TestLiteRT(ArtifactContract):
    @pytest.fixture(scope="class")
    @classmethod
    def card(cls, tmp_path_factory):
        folder = tmp_path_factory.mktemp("litert")
        (folder / "tiny.tflite").write_bytes(tiny.litert_model())
        return tiny.tabular_card(folder, framework="litert", artifact="tiny.tflite")


class TestLiteRTOfFixedBatch(ArtifactContract):
    @pytest.fixture(scope="class")
    @classmethod
    def card(cls, tmp_path_factory):
        import tensorflow as tf

        folder = tmp_path_factory.mktemp("fixed")
        module = tiny.tf_module()
        function = module.__call__.get_concrete_function(tf.TensorSpec([1, 4], tf.float32))
        converted = tf.lite.TFLiteConverter.from_concrete_functions([function], module).convert()
        (folder / "tiny.tflite").write_bytes(converted)
        return tiny.tabular_card(folder, framework="litert", artifact="tiny.tflite")


class TestQuantisedLiteRT(ArtifactContract):
    tolerance = 0.05

    @pytest.fixture(scope="class")
    @classmethod
    def card(cls, tmp_path_factory):
        import tensorflow as tf

        folder = tmp_path_factory.mktemp("quantised")
        module = tiny.tf_module()
        function = module.__call__.get_concrete_function()
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: [[row[None].astype(np.float32)] for row in tiny.ROWS]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
        (folder / "tiny.tflite").write_bytes(converter.convert())
        return tiny.tabular_card(folder, framework="litert", artifact="tiny.tflite")


class TestHandlerFunction(PredictorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def card(cls, tmp_path_factory):
        return tiny.tabular_card(
            tmp_path_factory.mktemp("function"), framework="python", handler="tiny_models:classify"
        )


class TestHandlerClassOfBatches(PredictorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def card(cls, tmp_path_factory):
        folder = tmp_path_factory.mktemp("class")
        return tiny.tabular_card(folder, framework="python", handler="tiny_models:Classifier", args={"factor": 1.0})


class TestHandlerClassOfOne(PredictorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def card(cls, tmp_path_factory):
        return tiny.tabular_card(tmp_path_factory.mktemp("one"), framework="python", handler="tiny_models:OneByOne")


class TestHandlerClassOfArrays(PredictorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def card(cls, tmp_path_factory):
        return tiny.tabular_card(tmp_path_factory.mktemp("of"), framework="python", handler="tiny_models:OfArrays")


class TestOpenInference(PredictorContract):
    """The network is at a server of the protocol."""

    @pytest.fixture(scope="class")
    @classmethod
    def card(cls, tmp_path_factory):
        inputs = [{"name": "row", "datatype": "FP32", "shape": [-1, 4]}]
        server = OipServer(
            models={"net": lambda asked: {"logits": tiny.logits(asked.inputs[0].array)}},
            metadata={"net": {"inputs": inputs}},
        )
        with server.in_thread():
            runtime = {"framework": "open-inference", "model": "net"}
            yield tiny.tabular_card(tmp_path_factory.mktemp("served"), service=server.url, **runtime)

    @pytest.fixture(scope="class")
    @classmethod
    def predictor(cls, card: ModelCard) -> Iterator[Predictor]:
        predictor = open_predictor(card)
        predictor.load()
        yield predictor
        predictor.close()


class TestTransformers(ArtifactContract):
    TEXTS = ("good day", "bad day", "a very good very long day", "day", "night night good", "unknown words here")

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory):
        import torch
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import BertConfig, BertForSequenceClassification

        folder = tmp_path_factory.mktemp("transformers")
        words = ["[PAD]", "[UNK]", "good", "bad", "day", "night", "very", "long", "a"]
        tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        torch.manual_seed(3)
        config = BertConfig(
            vocab_size=len(words),
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=32,
            num_labels=3,
            initializer_range=2.0,
        )
        BertForSequenceClassification(config).save_pretrained(folder / "tiny")
        tokenizer.save(str(folder / "tiny" / "tokenizer.json"))
        return folder

    @pytest.fixture(scope="class")
    @classmethod
    def card(cls, folder):
        return tiny.model_from(
            {
                "name": "tiny",
                "version": "1",
                "task": "text-classification",
                "input": "text",
                "output": {"classes": tiny.LABELS},
                "runtime": {"framework": "transformers", "artifact": "tiny", "activation": "softmax"},
            },
            folder,
        )

    @pytest.fixture(scope="class")
    @classmethod
    def records(cls):
        return tiny.records([("text", text) for text in cls.TEXTS])

    @pytest.fixture(scope="class")
    @classmethod
    def expected(cls, folder):
        import torch
        from tokenizers import Tokenizer
        from transformers import AutoModelForSequenceClassification

        tokenizer = Tokenizer.from_file(str(folder / "tiny" / "tokenizer.json"))
        model = AutoModelForSequenceClassification.from_pretrained(folder / "tiny").eval()
        with torch.no_grad():
            rows = [model(torch.tensor([tokenizer.encode(text).ids])).logits[0].softmax(0) for text in cls.TEXTS]
        return np.array([row.numpy() for row in rows])

    @pytest.fixture(scope="class")
    @classmethod
    def arrays(cls, folder):
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(folder / "tiny" / "tokenizer.json"))
        tokenizer.enable_padding()
        found = tokenizer.encode_batch(list(cls.TEXTS))
        return {
            "input_ids": np.array([one.ids for one in found]),
            "attention_mask": np.array([one.attention_mask for one in found]),
        }
