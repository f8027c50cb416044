"""This code as a wheel, and what that requires.

In a checkout the wheel is built from it. Elsewhere the installed package is packed again: the image then holds exactly
the code that made it, whatever index that came from, and nothing is downloaded.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from email import message_from_string
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

import airflow_agentic
from airflow_agentic.exceptions import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message

NAME: Final = "airflow-agentic"
NOT_SHIPPED: Final = ("__pycache__", "built", "answers", "node_modules", ".downloads")
"""Folders of a checkout that no wheel holds."""

_PACKAGE: Final = Path(airflow_agentic.__file__).resolve().parent
_FILES: Final = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")
_OF_AN_INSTALLATION: Final = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"})
_EXTRA: Final = re.compile(r"""\s*(?:\band\b)?\s*\(?extra\s*==\s*['"]([\w.-]+)['"]\)?\s*$""")
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


def checkout() -> Path | None:
    """The checkout that this code runs from, if it does: there the Dockerfiles are linked into the package."""
    return _PACKAGE.parent if (_PACKAGE / "dockerfiles").is_symlink() else None


def revision() -> str | None:
    """The checkout's commit, with ``-dirty`` where files differ from it; ``None`` where it cannot be known."""
    root = checkout()
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False) if root else None
    except FileNotFoundError:
        return None
    return found.stdout.strip() if found is not None and found.returncode == 0 else None


def make_wheel(folder: Path) -> Path:
    """This code as a wheel in ``folder``.

    :raises ImageError: it cannot be built, or the installation is not whole.
    """
    root = checkout()
    return _packed(folder) if root is None else _built(root, folder)


def checked_wheel(path: Path) -> Path:
    """``path``, if it is a wheel of this project in this version.

    :raises ImageError: it is not.
    """
    try:
        found = _metadata(path)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ImageError(f"{str(path)!r} cannot be read as a wheel: {error}") from error
    name, version = found["Name"], found["Version"]
    if (name, version) != (NAME, airflow_agentic.__version__):
        raise ImageError(
            f"{str(path)!r} is {name} {version}, and this is {NAME} {airflow_agentic.__version__}: "
            "an image gets the version that makes it; use the command of that version"
        )
    return path


def copy_checkout(root: Path, target: Path) -> None:
    """Copy what a build needs of the checkout ``root`` into the folder ``target``, which it makes.

    A build in place would leave metadata there that registers every entry point twice.
    """
    package = root / NAME.replace("-", "_")
    linked = sorted(link.resolve().name for link in package.iterdir() if link.is_symlink())
    for name in (package.name, *linked):
        shutil.copytree(root / name, target / name, symlinks=True, ignore=shutil.ignore_patterns(*NOT_SHIPPED))
    for name in _FILES:
        shutil.copy(root / name, target)


def requirements(wheel: Path, *, extras: tuple[str, ...] | None = None) -> list[str]:
    """What ``wheel`` requires, as lines for pip: without Airflow, or of some ``extras`` (not of those that they name).

    The wheel's own metadata is read: ``setup.cfg`` stays the only list.
    """
    found: dict[str, None] = {}
    for line in _metadata(wheel).get_all("Requires-Dist") or []:
        match = _EXTRA.search(line)
        wanted = match is None if extras is None else match is not None and match[1] in extras
        if wanted and not re.match(rf"(apache-airflow\b(?!-)|{NAME}\[)", line):
            found[_EXTRA.sub("", line).rstrip("; ")] = None
    return list(found)


def _metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_string(archive.read(name).decode("utf-8"))


def _built(root: Path, folder: Path) -> Path:
    with tempfile.TemporaryDirectory(prefix="airflow-agentic-wheel-") as temporary:
        tree = Path(temporary) / "tree"
        copy_checkout(root, tree)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(tree)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        said = (made.stderr or made.stdout).strip()
        raise ImageError(f"no wheel can be built from the checkout {str(root)!r}: {said}")
    return next(folder.glob("*.whl"))


def _packed(folder: Path) -> Path:
    try:
        installed = metadata.distribution(NAME)
    except metadata.PackageNotFoundError:
        raise ImageError(
            f"{NAME} is neither a checkout nor installed here, so no wheel can be made; install it"
        ) from None
    wheel = folder / f"{NAME.replace('-', '_')}-{installed.version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        record = []
        for name, content in _installed_files(installed):
            archive.writestr(_entry(name), content)
            hashed = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={hashed},{len(content)}\n")
        info = next((name.partition(",")[0] for name in record if ".dist-info/METADATA," in name), None)
        if info is None:
            raise ImageError(f"the installed {NAME} {installed.version} has no list of its files; install it again")
        name = str(PurePosixPath(info).with_name("RECORD"))
        archive.writestr(_entry(name), "".join([*record, f"{name},,\n"]))
    return wheel


def _installed_files(installed: metadata.Distribution) -> Iterator[tuple[str, bytes]]:
    for file in sorted(installed.files or []):
        ours = file.parts[0] == _PACKAGE.name or (file.parts[0].endswith(".dist-info") and ".." not in file.parts)
        if ours and "__pycache__" not in file.parts and file.name not in _OF_AN_INSTALLATION:
            yield file.as_posix(), Path(str(file.locate())).read_bytes()


def _entry(name: str) -> zipfile.ZipInfo:
    """The same files make the same wheel."""
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    return entry
