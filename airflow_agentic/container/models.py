"""Model files in the artifact store, by their digest: for containers that do not have them.

``{base}/.models/{sha256}/`` holds the files of one artifact and, written last, ``files.json``: the artifact's name and
the paths in it. Content never changes under a digest, so several writers do the same work and nothing is locked.
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Final

from airflow_agentic.artifacts import NotFoundError, Store
from airflow_agentic.artifacts.digests import tree_files
from airflow_agentic.exceptions import ArtifactError, ChecksumError
from airflow_agentic.runtime.artifacts import cached, default_cache, new_entry

FOLDER: Final = ".models"
LIST: Final = "files.json"


def published(store: Store, sha256: str) -> bool:
    """Whether the store has the file or folder of this digest.

    :param store: at the artifact store's base.
    """
    return store.child(FOLDER, sha256).exists(LIST)


def publish(store: Store, path: Path, sha256: str) -> None:
    """Copy a model's file or folder into the store, unless it is there.

    :param store: at the artifact store's base.
    :param sha256: its digest, as :func:`tree_digest` gives it.
    """
    if published(store, sha256):
        return
    place = store.child(FOLDER, sha256)
    files = sorted(tree_files(path)) if path.is_dir() else [path]
    names = [file.relative_to(path.parent).as_posix() for file in files]
    for file, name in zip(files, names, strict=True):
        place.upload(file, name)
    place.write(LIST, json.dumps({"name": path.name, "files": names}).encode())


def fetch(base: str, sha256: str, cache: Path | None = None) -> Path:
    """Copy a model's file or folder from the store into the cache, unless it is there; returns its path.

    :param base: URI of the artifact store.
    :raises ArtifactError: the store has none of this digest.
    :raises ChecksumError: what it has is something else.
    """
    found = cached(sha256, cache_dir=cache)
    if found is not None:
        return found
    place = Store.open(base).child(FOLDER, sha256)
    try:
        listed = json.loads(place.read(LIST))
    except NotFoundError as error:
        raise ArtifactError(
            f"the artifact store {base} holds no model file of SHA-256 {sha256}: run the Airflow task again, which "
            "copies it there, or bake it into the image with `airflow-agentic images build`"
        ) from error
    model_name: str = listed["name"]
    for name in (model_name, *listed["files"]):
        if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute():
            raise ArtifactError(f"{place.uri(LIST)} names {name!r}, which climbs out of its folder: delete it")
    entry = (cache or default_cache()) / sha256
    anew = f"delete {place.uri(LIST)}, then run the Airflow task again, which copies the model there anew"
    try:
        with new_entry(entry, model_name, uri=place.uri(model_name), sha256=sha256) as model:
            for name in listed["files"]:
                place.download(name, model.parent / name)
    except NotFoundError as error:
        raise ArtifactError(f"the artifact store lost a file of {model_name!r}: {error}; {anew}") from error
    except ChecksumError as error:
        raise ChecksumError(f"the artifact store's copy of {model_name!r} was changed: {anew}. {error}") from error
    return entry / model_name
