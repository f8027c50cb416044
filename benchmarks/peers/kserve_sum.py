"""The KServe SDK's server with a model that sums, in its own process."""

from __future__ import annotations

import sys
from typing import Any

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer


class Sum(Model):
    """The sum of each row's numbers."""

    def load(self) -> bool:
        """Nothing to load."""
        self.ready = True
        return True

    def predict(self, payload: InferRequest, headers: Any = None, response_headers: Any = None) -> InferResponse:
        """``[rows, …]`` to ``sum [rows]``."""
        array = payload.inputs[0].as_numpy()
        total = array.reshape(len(array), -1).sum(axis=1)
        output = InferOutput("sum", list(total.shape), "FP32")
        output.set_data_from_numpy(total, binary_data=False)
        return InferResponse(payload.id or "", self.name, [output])


if __name__ == "__main__":
    model = Sum("sum")
    model.load()
    ModelServer(http_port=int(sys.argv[1]), enable_grpc=False, workers=1, access_log_format=None).start([model])
