"""MLServer with a model that sums, in its own process: no parallel workers."""

from __future__ import annotations

import asyncio
import sys

from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Sum(MLModel):
    """The sum of each row's numbers."""

    async def load(self) -> bool:
        """Nothing to load."""
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """``[rows, …]`` to ``sum [rows]``."""
        array = self.decode(payload.inputs[0], default_codec=NumpyCodec)
        total = array.reshape(len(array), -1).sum(axis=1)
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("sum", total)])


async def main(port: int) -> None:
    """Serve until it is ended."""
    settings = Settings(
        debug=False, host="127.0.0.1", http_port=port, grpc_port=port + 1, metrics_port=port + 2, parallel_workers=0
    )
    await MLServer(settings).start([ModelSettings(name="sum", implementation=Sum)])


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
