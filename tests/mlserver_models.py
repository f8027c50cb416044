"""Models for MLServer, copied into its folder: it runs in an environment of its own, without this project."""

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse


class Scores(MLModel):
    """Three logits a row: the first, the second and the third number."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = NumpyCodec.decode_input(payload.inputs[0])
        if not np.isfinite(rows).all() or (rows < 0).any():
            raise InferenceError("a number is negative")
        output = NumpyCodec.encode_output("logits", rows[:, :3].astype(np.float32))
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=[output])


class Lengths(MLModel):
    """How many characters each text has."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        texts = StringCodec.decode_input(payload.inputs[0])
        counted = np.array([[len(text)] for text in texts], np.float64)
        output = NumpyCodec.encode_output("characters", counted)
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=[output])
