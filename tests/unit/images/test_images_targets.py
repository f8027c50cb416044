"""From cards and frameworks to what the engine is asked to do."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fake_engine import FakeEngine, files, inspected, small_wheel

import airflow_agentic
from airflow_agentic.artifacts.digests import file_digest, tree_digest
from airflow_agentic.exceptions import ArtifactError, ChecksumError, ImageError
from airflow_agentic.images import RECIPES, Engine, Sources, Target, build
from airflow_agentic.registry.info import card_digest
from airflow_agentic.runtime.artifacts import resolve
from airflow_agentic.spec.load import model_from

if TYPE_CHECKING:
    from airflow_agentic.images import Built
    from airflow_agentic.spec.model import ModelCard

VERSION = airflow_agentic.__version__
REQUIRES = ("apache-airflow>=3.1", "numpy>=1.26", 'onnxruntime>=1.19; extra == "onnx"', 'torch>=2.6; extra == "torch"')


@pytest.fixture
def fake(tmp_path: Path) -> FakeEngine:
    home = tmp_path / "engine"
    home.mkdir()
    return FakeEngine(home)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A project's folder of cards, with files around it."""
    for name, content in {
        "built/net.onnx": "net",
        "built/labels.txt": "a\nb\n",
        "built/tokenizer.json": "{}",
        "built/saved/graph": "graph",
        "built/saved/deep/part": "part",
    }.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    folder = tmp_path / "project" / "models"
    folder.mkdir()
    return folder


def card(models: Path, *, runtime: dict[str, Any], **changed: Any) -> ModelCard:
    given: dict[str, Any] = {
        "name": "net",
        "version": "1",
        "task": "sizing",
        "input": "tensor",
        "output": {"value": "size"},
        "runtime": runtime,
    }
    return model_from(given | changed, models)


def make(fake: FakeEngine, target: Target, tmp_path: Path, **sources: Any) -> Built:
    fake.answer("image inspect", _json(inspected(target.reference)))
    wheel = sources.pop("wheel", None) or small_wheel(tmp_path, requires=REQUIRES)
    (made,) = build([target], Engine(command=fake.command, say=_quiet), Sources(wheel=wheel, **sources))
    return made


def _json(*entries: dict[str, Any]) -> str:
    import json

    return json.dumps(entries)


def _quiet(line: str) -> None:
    del line


def test_the_context_of_a_frameworks_image(fake: FakeEngine, tmp_path: Path) -> None:
    target = Target.of_framework("onnx")

    made = make(fake, target, tmp_path)

    context = fake.context(f"airflow-agentic/onnx:{VERSION}")
    found = files(context.joinpath("requirements")) | files(context.joinpath("packages"))
    assert found == {"light.txt": "numpy>=1.26\n", "framework.txt": "onnxruntime>=1.19\n", "requirements.txt": ""}
    assert (context / "Dockerfile").read_text() == RECIPES["onnx"].dockerfile.read_text()
    assert [file.name for file in (context / "wheel").iterdir()] == [f"airflow_agentic-{VERSION}-py3-none-any.whl"]
    assert list((context / "models").iterdir()) == []
    assert made.files == ()


def test_the_command_for_a_framework(fake: FakeEngine, tmp_path: Path) -> None:
    make(fake, Target.of_framework("litert"), tmp_path)

    built, asked = fake.calls
    assert built[:-1] == ["build", "--tag", f"airflow-agentic/onnx:{VERSION}", "--build-arg", f"VERSION={VERSION}"]
    assert asked == ["image", "inspect", f"airflow-agentic/onnx:{VERSION}"]


def test_what_it_is_built_from_can_be_chosen(fake: FakeEngine, tmp_path: Path) -> None:
    sources = {"base_image": "registry.example.org/python:3.12", "torch_index": "https://example.org/cpu"}
    for framework in ("transformers", "tensorflow"):
        make(
            fake,
            Target.of_framework(framework, repository="registry.example.org:5000/ml", tag="next"),
            tmp_path,
            **sources,
        )

    torch, tensorflow = [call for call in fake.calls if call[0] == "build"]
    assert torch[:-1] == [
        "build",
        "--tag",
        "registry.example.org:5000/ml/torch:next",
        "--build-arg",
        "BASE_IMAGE=registry.example.org/python:3.12",
        "--build-arg",
        "TORCH_INDEX=https://example.org/cpu",
        "--build-arg",
        f"VERSION={VERSION}",
    ]
    assert "TORCH_INDEX=https://example.org/cpu" not in tensorflow  # its Dockerfile has no such argument


def test_every_file_a_card_names_is_baked_in_by_its_digest(fake: FakeEngine, models: Path, tmp_path: Path) -> None:
    runtime = {
        "framework": "onnx",
        "artifact": "../built/net.onnx",
        "sha256": file_digest(models.parent / "built" / "net.onnx"),
        "text": {"tokenizer": "../built/tokenizer.json"},
    }
    one = card(models, runtime=runtime, input="text", output={"classes": "ab", "labels": "../built/labels.txt"})

    made = make(fake, Target.of_card(one), tmp_path)

    digests = {
        name: file_digest(models.parent / "built" / name) for name in ("net.onnx", "tokenizer.json", "labels.txt")
    }
    inside = fake.context("airflow-agentic/net:1") / "models"
    assert files(inside) == {
        f"{digests['net.onnx']}/net.onnx": "net",
        f"{digests['tokenizer.json']}/tokenizer.json": "{}",
        f"{digests['labels.txt']}/labels.txt": "a\nb\n",
    }
    assert [(file.key, file.uri, file.sha256, file.name) for file in made.files] == [
        ("runtime.artifact", "../built/net.onnx", digests["net.onnx"], "net.onnx"),
        ("runtime.text.tokenizer", "../built/tokenizer.json", digests["tokenizer.json"], "tokenizer.json"),
        ("output.labels", "../built/labels.txt", digests["labels.txt"], "labels.txt"),
    ]


@pytest.mark.parametrize("uri", ["../built/saved", "file://{built}/saved"])
def test_a_folder_is_baked_in_whole_and_found_where_the_card_is_not(
    fake: FakeEngine, models: Path, tmp_path: Path, uri: str
) -> None:
    given = uri.format(built=models.parent / "built")
    one = card(models, runtime={"framework": "tensorflow", "artifact": given})
    digest = tree_digest(models.parent / "built" / "saved")

    make(fake, Target.of_card(one), tmp_path)

    cache = fake.context("airflow-agentic/net:1") / "models"
    (models.parent / "built").rename(tmp_path / "gone")
    found = resolve(given, base=Path("/nowhere"), sha256=digest, cache_dir=cache)
    assert found == cache / digest / "saved"
    assert files(found) == {"graph": "graph", "deep/part": "part"}


def test_links_are_followed(fake: FakeEngine, models: Path, tmp_path: Path) -> None:
    saved = models.parent / "built" / "saved"
    (saved / "weights").symlink_to("../net.onnx")
    make(
        fake, Target.of_card(card(models, runtime={"framework": "tensorflow", "artifact": "../built/saved"})), tmp_path
    )

    inside = fake.context("airflow-agentic/net:1") / "models" / tree_digest(saved) / "saved"
    assert (inside / "weights").read_text() == "net"
    assert not (inside / "weights").is_symlink()


def test_what_is_baked_in_is_readable_by_every_user(fake: FakeEngine, models: Path, tmp_path: Path) -> None:
    (models.parent / "built" / "saved" / "graph").chmod(0o600)
    before = os.umask(0o077)
    try:
        one = card(models, runtime={"framework": "tensorflow", "artifact": "../built/saved"})
        make(fake, Target.of_card(one), tmp_path)
    finally:
        os.umask(before)
    context = fake.context("airflow-agentic/net:1")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in context.rglob("*") if path.is_file()}
    folders = {stat.S_IMODE(path.stat().st_mode) for path in (context, *context.rglob("*")) if path.is_dir()}
    assert (modes, folders) == ({0o644}, {0o755})


def test_a_file_of_a_package_and_a_remote_one(
    fake: FakeEngine, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    package = tmp_path / "site" / "tiny_weights"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "net.onnx").write_text("packaged")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("AIRFLOW_AGENTIC_CACHE", str(tmp_path / "cache"))
    store = fsspec.filesystem("memory")
    store.pipe("/bucket/labels.txt", b"remote\n")
    runtime = {"framework": "onnx", "artifact": "package://tiny_weights/net.onnx"}
    one = card(models, runtime=runtime, output={"classes": "ab", "labels": "memory://bucket/labels.txt"})
    try:
        make(fake, Target.of_card(one), tmp_path)
    finally:
        store.rm("/bucket", recursive=True)

    inside = files(fake.context("airflow-agentic/net:1") / "models")
    assert {name.partition("/")[2]: content for name, content in inside.items()} == {
        "net.onnx": "packaged",
        "labels.txt": "remote\n",
    }


def test_the_labels_of_a_cards_image(fake: FakeEngine, models: Path, tmp_path: Path) -> None:
    one = card(models, runtime={"framework": "litert", "artifact": "../built/net.onnx"}, version="1.2+cpu")
    make(fake, Target.of_card(one), tmp_path)

    built = fake.calls[0]
    assert built[1:3] == ["--tag", "airflow-agentic/net:1.2_cpu"]
    assert [built[place + 1] for place, word in enumerate(built) if word == "--label"] == [
        "airflow-agentic.framework=litert",
        "airflow-agentic.model=net",
        "airflow-agentic.model-version=1.2+cpu",
        f"airflow-agentic.model-digest={card_digest(one, file_digest(models.parent / 'built' / 'net.onnx'))}",
        "org.opencontainers.image.title=net",
        "org.opencontainers.image.version=1.2+cpu",
    ]


def test_a_card_without_files(fake: FakeEngine, models: Path, tmp_path: Path) -> None:
    one = card(models, runtime={"framework": "python", "handler": "some.where:code"})
    assert make(fake, Target.of_card(one), tmp_path).files == ()
    assert (fake.context("airflow-agentic/net:1") / "Dockerfile").read_text() == RECIPES[
        "python"
    ].dockerfile.read_text()


def test_further_packages(fake: FakeEngine, tmp_path: Path) -> None:
    own = tmp_path / "my_company-1-py3-none-any.whl"
    own.write_text("wheel")
    make(fake, Target.of_framework("python"), tmp_path, packages=("vaderSentiment==3.3.2", str(own)))

    assert files(fake.context(f"airflow-agentic/python:{VERSION}") / "packages") == {
        "requirements.txt": f"vaderSentiment==3.3.2\n/requirements/packages/{own.name}\n",
        own.name: "wheel",
    }
    with pytest.raises(ImageError) as caught:
        make(fake, Target.of_framework("python"), tmp_path, packages=("gone.whl",))
    assert str(caught.value) == (
        "the package 'gone.whl' does not exist; name a wheel, or a requirement as pip takes it"
    )


@pytest.mark.parametrize(
    ("runtime", "error"),
    [
        ({"framework": "onnx", "artifact": "../built/gone.onnx"}, ArtifactError),
        ({"framework": "onnx", "artifact": "../built/net.onnx", "sha256": "0" * 64}, ChecksumError),
    ],
)
def test_nothing_is_built_without_the_right_files(
    fake: FakeEngine, models: Path, tmp_path: Path, runtime: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        make(fake, Target.of_card(card(models, runtime=runtime)), tmp_path)
    assert fake.calls == []


def test_the_revision_is_that_of_the_code_not_of_a_given_wheel(
    fake: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = small_wheel(tmp_path)
    monkeypatch.setattr("airflow_agentic.images.targets.make_wheel", lambda folder: wheel)
    monkeypatch.setattr("airflow_agentic.images.targets.revision", lambda: "abc-dirty")
    fake.answer("image inspect", _json(inspected(f"airflow-agentic/python:{VERSION}")))
    list(build([Target.of_framework("python")], Engine(command=fake.command, say=_quiet)))
    make(fake, Target.of_framework("python", tag="given"), tmp_path, wheel=wheel)

    ours, given = [call for call in fake.calls if call[0] == "build"]
    assert "REVISION=abc-dirty" in ours
    assert [word for word in given if word.startswith("REVISION=")] == []


def test_an_unknown_framework() -> None:
    with pytest.raises(ImageError) as caught:
        Target.of_framework("tensorflw")
    assert str(caught.value) == "no image is made for framework 'tensorflw'; did you mean 'tensorflow'?"
    with pytest.raises(ImageError) as caught:
        Target.of_framework("jax")
    assert str(caught.value) == (
        "no image is made for framework 'jax'; there are: python, open-inference, onnx, litert, torch, transformers, "
        "tensorflow"
    )


@pytest.mark.parametrize("name", ["a..b", "a___b", "a-.b"])
def test_a_card_whose_name_no_image_can_have(models: Path, name: str) -> None:
    one = card(models, runtime={"framework": "python", "handler": "some.where:code"}, name=name)
    with pytest.raises(ImageError) as caught:
        Target.of_card(one)
    assert str(caught.value) == (
        f"'airflow-agentic/{name}' is no name of an image: lower-case letters, digits and single '.', '_', '-' between "
        "them; give another --repository, or the card another name"
    )


@pytest.mark.parametrize(
    "repository", ["ml", "localhost:5000", "registry.example.org/a/b-c", "Registry.example.org/ml/"]
)
def test_repositories(repository: str) -> None:
    reference = Target.of_framework("python", repository=repository, tag="1").reference
    assert reference == f"{repository.rstrip('/')}/python:1"


@pytest.mark.parametrize("repository", ["", "https://example.org", "a/B", "a b", "a:1/b:2"])
def test_no_repositories(repository: str) -> None:
    with pytest.raises(ImageError, match="is no name of an image"):
        Target.of_framework("python", repository=repository)


def test_a_tag_that_is_none() -> None:
    with pytest.raises(ImageError) as caught:
        Target.of_framework("python", tag="a b")
    assert str(caught.value) == "'a b' is no tag of an image: letters, digits, '.', '_' and '-', at most 128"
