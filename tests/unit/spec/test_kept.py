"""URIs of models that registries keep."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import card

from airflow_agentic.exceptions import ArtifactError, SpecError
from airflow_agentic.runtime.artifacts import resolve
from airflow_agentic.spec.explain import MisfitError
from airflow_agentic.spec.kept import HubUri, RegistryUri, parse

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REGISTRY_FORM = "write models:/NAME/VERSION or models:/NAME@ALIAS, and /path/to/the/file in the model's folder"
HUB_FORM = "write hf://ORG/NAME@COMMIT, and /path/to/the/file in the repository"


@pytest.mark.parametrize(
    ("uri", "expected", "name"),
    [
        ("models:/net/3", RegistryUri(model="net", version="3", alias=None, path=""), "net"),
        (
            "models:/main.ml.net/12/data/model.pth",
            RegistryUri(model="main.ml.net", version="12", alias=None, path="data/model.pth"),
            "model.pth",
        ),
        ("models:/my net@live", RegistryUri(model="my net", version=None, alias="live", path=""), "my net"),
        ("models:/net@live/m.onnx", RegistryUri(model="net", version=None, alias="live", path="m.onnx"), "m.onnx"),
        (f"hf://acme/shoes@{COMMIT}", HubUri(repository="acme/shoes", commit=COMMIT, path=""), "shoes"),
        (f"hf://a/b@{COMMIT}/onnx/m.onnx", HubUri(repository="a/b", commit=COMMIT, path="onnx/m.onnx"), "m.onnx"),
    ],
)
def test_what_they_name(uri: str, expected: RegistryUri | HubUri, name: str) -> None:
    found = parse(uri)
    assert found == expected
    assert (str(found), found.name) == (uri, name)


@pytest.mark.parametrize(
    "uri", ["model.onnx", "models/net.onnx", "s3://bucket/models:/net", "hf/model", "package://a/b"]
)
def test_other_uris(uri: str) -> None:
    assert parse(uri) is None


STAGE = "write its number, or give it an alias and write models:/net@ALIAS"
QUOTED = "write names as they are, without quotes or %-codes"


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("models:/net", f"'models:/net' names no version\n{REGISTRY_FORM}"),
        ("models:/net/v3", f"'v3' is no version of a model\n{REGISTRY_FORM}"),
        ("models:/net/0", f"'0' is no version of a model\n{REGISTRY_FORM}"),
        ("models:/net/latest", f"'models:/net/latest' is whatever was registered last\n{STAGE}"),
        (
            "models:/net/Production",
            f"'models:/net/Production' names the stage 'Production'; MLflow has deprecated stages\n{STAGE}",
        ),
        ("models:/net@", f"'models:/net@' names no alias\n{REGISTRY_FORM}"),
        ("models:/@live", f"'models:/@live' names no alias\n{REGISTRY_FORM}"),
        ("models:/net@a b", f"'models:/net@a b' names no alias\n{REGISTRY_FORM}"),
        ("models:net/1", f"'models:net/1' cannot be understood\n{REGISTRY_FORM}"),
        ("models:/net/1/", f"'models:/net/1/' has an empty part, '.' or '..'\n{REGISTRY_FORM}"),
        ("models:/net/1/../../x", f"'models:/net/1/../../x' has an empty part, '.' or '..'\n{REGISTRY_FORM}"),
        ("models:/net/1/./x", f"'models:/net/1/./x' has an empty part, '.' or '..'\n{REGISTRY_FORM}"),
        ("models:/net/1/a%2e", f"'models:/net/1/a%2e' holds '%'\n{QUOTED}"),
        ("models:/net/1/a?b", f"'models:/net/1/a?b' holds '?'\n{QUOTED}"),
        ("models:/net/1/a\\b", f"'models:/net/1/a\\\\b' holds '\\\\'\n{QUOTED}"),
        ("models:/net/1/a\nb", f"'models:/net/1/a\\nb' holds '\\n'\n{QUOTED}"),
        (
            "models://profile@databricks/net/1",
            "'models://profile@databricks/net/1' names a server\n"
            "write models:/NAME/VERSION; MLFLOW_REGISTRY_URI says which registry",
        ),
        ("hf://shoes", f"'hf://shoes' names no model of the hub\n{HUB_FORM}"),
        (f"hf://shoes@{COMMIT}/m", f"'hf://shoes@{COMMIT}/m' names no model of the hub\n{HUB_FORM}"),
        (f"hf://datasets/a/b@{COMMIT}", f"'hf://datasets/a/b@{COMMIT}' names no model of the hub\n{HUB_FORM}"),
        ("hf:/a/b", f"'hf:/a/b' cannot be understood\n{HUB_FORM}"),
        (f"hf://a/b@{COMMIT}/../c", f"'hf://a/b@{COMMIT}/../c' has an empty part, '.' or '..'\n{HUB_FORM}"),
        (f"hf://a/b@{COMMIT}//c", f"'hf://a/b@{COMMIT}//c' has an empty part, '.' or '..'\n{HUB_FORM}"),
    ],
)
def test_what_is_refused(uri: str, why: str) -> None:
    with pytest.raises(MisfitError) as caught:
        parse(uri)
    assert str(caught.value) == why
    with pytest.raises(ArtifactError) as again:  # also where no card was validated
        resolve(uri, base=Path())
    assert str(again.value) == why.replace("\n", "; ")


@pytest.mark.parametrize(
    ("uri", "why", "asked"),
    [
        ("hf://a/b", "without a commit it can change", ""),
        ("hf://a/b/model.onnx", "without a commit it can change", ""),
        ("hf://a/b@main/model.onnx", "'main' is no commit: a branch or tag can move", ", revision='main'"),
        ("hf://a/b@0123456", "'0123456' is no commit: a branch or tag can move", ", revision='0123456'"),
    ],
)
def test_the_hub_s_models_are_pinned_by_commit(uri: str, why: str, asked: str) -> None:
    with pytest.raises(SpecError) as caught:
        card(runtime={"framework": "onnx", "artifact": uri, "text": {}})
    (problem,) = caught.value.problems
    assert (problem.path, problem.message) == ("runtime.artifact", f"{uri!r} is not pinned: {why}")
    assert problem.hint == (
        "write hf://a/b@COMMIT with the commit's 40 hexadecimal digits; this prints them: "
        f"python -c \"from huggingface_hub import model_info; print(model_info('a/b'{asked}).sha)\""
    )


def test_labels_and_tokenizers_too() -> None:
    with pytest.raises(SpecError) as caught:
        card(
            output={"classes": "space", "labels": "models:/net/Staging/labels.txt"},
            runtime={"framework": "onnx", "artifact": "a.onnx", "text": {"tokenizer": "hf://a/b/tokenizer.json"}},
        )
    assert [problem.path for problem in caught.value.problems] == ["output.labels", "runtime.text.tokenizer"]
