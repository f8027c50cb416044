"""LitServe with a model that sums: one API process and, as LitServe is built, one worker process."""

from __future__ import annotations

import sys
from typing import Any

import litserve
import numpy as np


class Sum(litserve.LitAPI):
    """The sum of each row's numbers."""

    def setup(self, device: str) -> None:
        """Nothing to load."""

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # an annotation would make it a query
        """The one tensor."""
        tensor = request["inputs"][0]
        return np.array(tensor["data"], np.float32).reshape(tensor["shape"])

    def predict(self, array: Any) -> Any:
        """``[rows, …]`` to ``[rows]``."""
        return array.reshape(len(array), -1).sum(axis=1)

    def encode_response(self, total: Any) -> dict[str, Any]:
        """The protocol's form."""
        tensor = {"name": "sum", "shape": list(total.shape), "datatype": "FP32", "data": total.tolist()}
        return {"model_name": "sum", "outputs": [tensor]}


if __name__ == "__main__":
    server = litserve.LitServer(Sum(api_path="/v2/models/sum/infer"), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False, log_level="error"
    )
