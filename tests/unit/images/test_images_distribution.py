from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from fake_engine import files, small_wheel

import airflow_agentic
from airflow_agentic.exceptions import ImageError
from airflow_agentic.images import distribution
from airflow_agentic.images.distribution import checked_wheel, copy_checkout, requirements, revision

REQUIRES = (
    "apache-airflow<4,>=3.1",
    "numpy>=1.26",
    "pyarrow>=16",
    'apache-airflow-providers-celery; extra == "dev"',
    'onnxruntime>=1.19; extra == "onnx"',
    'pillow>=10; extra == "onnx"',
    'pillow>=10; extra == "torch"',
    'airflow-agentic[onnx]; extra == "torch"',
    'tensorflow-cpu>=2.16; platform_machine == "x86_64" and extra == "tensorflow"',
    "tensorflow>=2.16; (platform_machine != 'x86_64') and extra == 'tensorflow'",
    'tomli>=2; python_version < "3.11"',
)


def test_what_a_wheel_requires_without_airflow(tmp_path: Path) -> None:
    wheel = small_wheel(tmp_path, requires=REQUIRES)
    assert requirements(wheel) == ["numpy>=1.26", "pyarrow>=16", 'tomli>=2; python_version < "3.11"']


def test_what_its_extras_require_each_once(tmp_path: Path) -> None:
    wheel = small_wheel(tmp_path, requires=REQUIRES)
    assert requirements(wheel, extras=("onnx", "torch")) == ["onnxruntime>=1.19", "pillow>=10"]
    assert requirements(wheel, extras=("tensorflow",)) == [
        'tensorflow-cpu>=2.16; platform_machine == "x86_64"',
        "tensorflow>=2.16; (platform_machine != 'x86_64')",
    ]
    assert requirements(wheel, extras=()) == []


def test_a_wheel_of_another_version_is_refused(tmp_path: Path) -> None:
    other = small_wheel(tmp_path, version="0.0.1")
    with pytest.raises(ImageError) as caught:
        checked_wheel(other)
    assert str(caught.value) == (
        f"{str(other)!r} is airflow-agentic 0.0.1, and this is airflow-agentic {airflow_agentic.__version__}: "
        "an image gets the version that makes it; use the command of that version"
    )
    own = small_wheel(tmp_path)
    assert checked_wheel(own) == own


@pytest.mark.parametrize("content", [None, b"no zip"])
def test_what_is_no_wheel_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "some.whl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError) as caught:
        checked_wheel(path)
    assert str(caught.value).startswith(f"{str(path)!r} cannot be read as a wheel: ")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout in small, which this code believes to be its own."""
    root = tmp_path / "checkout"
    for name in ("airflow_agentic/__init__.py", "docker/python.Dockerfile", "dags/agentic.py", "dags/built/big.bin"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "airflow_agentic" / "dockerfiles").symlink_to("../docker")
    (root / "airflow_agentic" / "example_dags").symlink_to("../dags")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        (root / name).write_text(name)
    monkeypatch.setattr(distribution, "_PACKAGE", root / "airflow_agentic")
    return root


def test_what_is_built_from_a_checkout(checkout: Path, tmp_path: Path) -> None:
    copy_checkout(checkout, tmp_path / "copy")
    assert (tmp_path / "copy" / "airflow_agentic" / "dockerfiles").readlink() == Path("../docker")
    assert sorted(files(tmp_path / "copy")) == [
        "LICENSE",
        "README.md",
        "airflow_agentic/__init__.py",
        "dags/agentic.py",
        "docker/python.Dockerfile",
        "pyproject.toml",
        "setup.cfg",
    ]


def test_the_revision_is_the_commit_and_says_where_files_differ(checkout: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        command = ["git", "-C", str(checkout), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert revision() is None
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "first")
    git("tag", "v1", "-m", "a tag is no commit")
    assert revision() == git("rev-parse", "HEAD")
    (checkout / "LICENSE").write_text("another")
    assert revision() == git("rev-parse", "HEAD") + "-dirty"


def test_an_installation_knows_no_revision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(distribution, "_PACKAGE", tmp_path)
    assert revision() is None


def test_a_checkout_that_cannot_be_built(checkout: Path, tmp_path: Path) -> None:
    (checkout / "pyproject.toml").write_text("not [toml")
    with pytest.raises(ImageError) as caught:
        distribution.make_wheel(tmp_path)
    assert str(caught.value).startswith(f"no wheel can be built from the checkout {str(checkout)!r}: ")
    assert "TOMLDecodeError" in str(caught.value)
