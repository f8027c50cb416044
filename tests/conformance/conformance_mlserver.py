"""The suite's models for MLServer, copied into its folder: it runs in an environment of its own."""

from typing import Any

from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class _Model(MLModel):
    def answer(self, payload: InferenceRequest, outputs: list[ResponseOutput]) -> InferenceResponse:
        return InferenceResponse(model_name=self.name, model_version=self.version, id=payload.id, outputs=outputs)


class Echo(_Model):
    """Gives its only input, whatever it is, as ``output``."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        (given,) = payload.inputs
        output = ResponseOutput(name="output", shape=given.shape, datatype=given.datatype, data=given.data)
        return self.answer(payload, [output])


class Sum(_Model):
    """``sum`` [rows] of ``a`` and ``b``, FP32 [rows, 2]: by row, those of ``b`` ten times."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        arrays: dict[str, Any] = {one.name: NumpyCodec.decode_input(one) for one in payload.inputs}
        total = arrays["a"].sum(axis=1) + 10 * arrays["b"].sum(axis=1)
        shape = [len(total)]
        return self.answer(payload, [ResponseOutput(name="sum", shape=shape, datatype="FP32", data=total.tolist())])


class Label(_Model):
    """Of each text ``label``, its first letter or ``-``, and ``length`` in characters."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        texts = StringCodec.decode_input(payload.inputs[0])
        labels, lengths = [(text[:1] or "-").encode() for text in texts], [len(text) for text in texts]
        shape = [len(texts)]
        label = ResponseOutput(name="label", shape=shape, datatype="BYTES", data=labels)
        length = ResponseOutput(name="length", shape=shape, datatype="INT64", data=lengths)
        return self.answer(payload, [label, length])
