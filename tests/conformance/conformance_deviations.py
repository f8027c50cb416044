"""In what a server is known to differ from the suite's rules, and why; by target and rule.

A rule that fails and is not here, and one that is here and holds, fail the suite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import pytest

_MLSERVER: Final[Mapping[str, Sequence[str]]] = {
    "health over REST has no body": (
        "test_live_body",
        *(f"test_model_ready[{model}{path}]" for model in ("echo", "sum", "label") for path in ("", "-/versions/3")),
    ),
    "metadata lists no versions, although they may be asked for": ("test_versions_may_be_asked",),
    "platform is empty unless the model's settings say one": ("test_platform_has_project_and_format",),
    "the request's outputs are not looked at: all that the model gives are in the answer": (
        "test_only_the_outputs_that_are_asked[label]",
        "test_only_the_outputs_that_are_asked[length]",
        "test_grpc_only_the_outputs_that_are_asked[label]",
        "test_grpc_only_the_outputs_that_are_asked[length]",
        "test_a_wrong_request[output unknown]",
        "test_grpc_a_wrong_request[output]",
    ),
    "what its schema refuses is a 422 (a path: 405) with FastAPI's 'detail' instead of 'error'": (
        *(f"test_a_wrong_request[no {what}]" for what in ("JSON", "object", "inputs", "name", "shape", "datatype")),
        "test_a_wrong_request[no data]",
        "test_a_wrong_request[unknown datatype]",
        "test_a_wrong_request[fraction of a length]",
        "test_a_wrong_request[id no string]",
        "test_inference_is_a_post[/v2/models/sum/infer]",
        "test_inference_is_a_post[/v2/models/sum/versions/3/infer]",
    ),
    "shape and data are not compared before the model's code decodes them; its exception is a 500 without 'error'": (
        "test_a_wrong_request[empty inputs]",
        "test_a_wrong_request[too few elements]",
        "test_a_wrong_request[too many elements]",
        "test_a_wrong_request[another nesting]",
        "test_a_wrong_request[object as data]",
    ),
    "inputs are not compared with the model's metadata": (
        "test_a_wrong_request[input missing]",
        "test_a_wrong_request[input unknown]",
        "test_a_wrong_request[input twice]",
        "test_a_wrong_request[another datatype]",
        "test_a_wrong_request[another shape]",
    ),
    "a negative length is taken as NumPy's: as many as fit": ("test_a_wrong_request[negative length]",),
    "parameters may be anything": ("test_a_wrong_request[parameter nested]",),
    "elements are not compared with the datatype": (
        "test_a_number_that_does_not_fit[UINT8-[256, 0]]",
        "test_a_number_that_does_not_fit[INT8-[-129, 0]]",
        "test_a_number_that_does_not_fit[UINT32-[-1, 0]]",
        "test_a_number_that_does_not_fit[INT64-[9223372036854775808, 0]]",
        "test_a_number_that_does_not_fit[FP32-[1e+39, 0]]",
        "test_grpc_a_number_that_does_not_fit",
        "test_an_element_of_another_type_is_an_error_or_coerced[INT32-[1, '2']]",
        "test_an_element_of_another_type_is_an_error_or_coerced[INT32-[1, 1.5]]",
        "test_an_element_of_another_type_is_an_error_or_coerced[FP32-[1, '2']]",
        "test_an_element_of_another_type_is_an_error_or_coerced[BOOL-[True, 2]]",
        "test_an_element_of_another_type_is_an_error_or_coerced[BYTES-['a', 1]]",
    ),
    "ModelReady of a model that is not there is UNKNOWN": (
        "test_grpc_metadata_of_what_is_not_there[nobody-ModelReady]",
        "test_grpc_metadata_of_what_is_not_there[sum-9-ModelReady]",
    ),
    "a request that cannot be read is INTERNAL": (
        "test_grpc_every_datatype[FP16-typed]",
        *(f"test_grpc_a_wrong_request[{what}]" for what in ("datatype", "few", "negative", "no inputs")),
        "test_grpc_a_wrong_request[input missing]",
        "test_grpc_a_wrong_request[raw too few]",
        "test_grpc_a_wrong_request[raw cut]",
    ),
    "contents of another datatype, and more contents than inputs, are taken": (
        "test_grpc_a_wrong_request[field]",
        "test_grpc_a_wrong_request[raw and typed]",
        "test_grpc_a_wrong_request[raw too many]",
    ),
    "an id that is not ASCII fails the call: it becomes metadata of gRPC": (
        "test_grpc_what_a_response_says_of_the_request[4 \\xe9]",
    ),
}
"""Seen in MLServer 1.7.1."""

DEVIATIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "mlserver": {rule: reason for reason, rules in _MLSERVER.items() for rule in rules}
}


def rule_of(item: pytest.Item) -> str:
    """The name of a test without its target: ``test_json[FP32]``."""
    name, _, rest = item.name.partition("[")
    left = [part for part in rest.removesuffix("]").split("-") if part and rest]
    for target in ("airflow-agentic", *DEVIATIONS):
        parts = target.split("-")
        if left[: len(parts)] == parts:
            left = left[len(parts) :]
    return f"{name}[{'-'.join(left)}]" if left else name
