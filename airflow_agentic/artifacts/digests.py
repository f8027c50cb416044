"""Digests: what a value or a file is named by.

A digest is the SHA-256, in hex, of the bytes of a file or of a value's canonical JSON. Two values have one digest
exactly if they are the same JSON: ``1`` and ``1.0`` differ, the order of keys does not count.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_agentic.exceptions import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Iterator


def digest(value: Any) -> str:
    """The digest of a value made of ``dict``, ``list``, ``str``, ``int``, ``float``, ``bool`` and ``None``.

    Floats are written as the shortest text that reads back as the same float.

    :raises TypeError: something else is inside (a tuple, a set, a key that is no string); says where.
    :raises ValueError: a float is not finite; JSON has no word for it.
    """
    _check(value, "$")
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's bytes.

    :raises ArtifactError: the file cannot be read.
    """
    if not path.is_file():
        raise ArtifactError(f"{str(path)!r} cannot be digested: it is no file; check the path")
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArtifactError(f"{str(path)!r} cannot be digested: {error.strerror}; make it readable") from error


def tree_digest(path: Path) -> str:
    """The digest of a model's artifact.

    Of a file: its SHA-256. Of a folder: the digest of the sorted list of (relative POSIX path, SHA-256) of all files
    in it; names of folders, permissions and times do not count. A link to a file counts as the file.

    :raises ArtifactError: the path does not exist, or the folder holds what cannot be digested (a link to a folder,
        a broken link, a device).
    """
    if not path.is_dir():
        return file_digest(path)
    return digest(sorted([file.relative_to(path).as_posix(), file_digest(file)] for file in tree_files(path)))


def tree_files(folder: Path) -> Iterator[Path]:
    """The files of a folder that its digest covers.

    :raises ArtifactError: as :func:`tree_digest`.
    """
    for name, folders, files in os.walk(folder, onerror=_refuse):
        here = Path(name)
        for link in (here / child for child in folders):
            if link.is_symlink():  # os.walk would leave it out, and its content could change under the same digest
                raise ArtifactError(
                    f"{str(folder)!r} cannot be digested: {str(link)!r} links to a folder; put the folder there"
                )
        yield from (here / child for child in files)


def _refuse(error: OSError) -> None:
    raise ArtifactError(f"{error.filename!r} cannot be digested: {error.strerror}; make it readable") from error


def _check(value: Any, path: str) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TypeError(
                    f"{path} has the key {key!r}, which JSON confuses with {str(key)!r}: use strings as keys"
                )
            _check(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check(inner, f"{path}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{path} is {value!r}, which JSON cannot say: use a finite number or None")
    elif value is not None and not isinstance(value, (str, int, float)):
        raise TypeError(f"{path} is of type {type(value).__name__!r}, which has no canonical JSON: convert it first")
