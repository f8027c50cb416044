"""The Hugging Face hub, by ``huggingface_hub``; it reads ``HF_TOKEN`` and ``HF_ENDPOINT`` from the environment."""

from __future__ import annotations

import contextlib
import glob
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from airflow_agentic.exceptions import ArtifactError, MissingExtraError, StoreError

if TYPE_CHECKING:
    from airflow_agentic.spec.kept import HubUri

_REFUSED: Final = frozenset({401, 403})
_BUSY: Final = frozenset({408, 425, 429})
_BOOKS: Final = ".cache/huggingface"
"""Where the client notes what it has done, in the folder itself."""


def get(uri: HubUri, target: Path) -> None:
    """Copy the file or folder to ``target``."""
    try:
        import huggingface_hub  # noqa: F401
    except ImportError:
        raise MissingExtraError("huggingface_hub", "huggingface") from None
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as temporary:
        folder = Path(temporary) / "files"
        folder.mkdir()
        _download(uri, folder)
        if not (folder / uri.path).exists():
            raise ArtifactError(
                f"{str(uri)!r} does not exist: {uri.repository!r} has no {uri.path!r} at this commit; correct the card"
            )
        (folder / uri.path).rename(target)


def _download(uri: HubUri, folder: Path) -> None:
    import huggingface_hub
    from huggingface_hub import errors

    exact = glob.escape(uri.path)
    patterns = [exact, f"{exact}/*"] if uri.path else None
    try:
        huggingface_hub.snapshot_download(
            uri.repository, revision=uri.commit, local_dir=folder, allow_patterns=patterns
        )
    except errors.GatedRepoError as error:
        raise ArtifactError(
            f"{str(uri)!r} is refused by the hub: accept the terms of {uri.repository!r} on its page, and set HF_TOKEN "
            "to a token of that account"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ArtifactError(
            f"{str(uri)!r} does not exist: {uri.repository!r} has no such commit; correct the card"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ArtifactError(
            f"{str(uri)!r} does not exist, or is private: if it is, set HF_TOKEN to a token that may read it"
        ) from error
    except errors.HfHubHTTPError as error:
        raise refusal(uri, error) from error
    except errors.LocalEntryNotFoundError as error:  # what it says of every failure to connect
        raise _unreached(uri, error) from error
    shutil.rmtree(folder / _BOOKS, ignore_errors=True)
    with contextlib.suppress(OSError):  # it is the repository's own, and not empty
        (folder / _BOOKS).parent.rmdir()


def refusal(uri: HubUri, error: Exception) -> ArtifactError:
    """What an answer of the hub with an error's status means: whether to try again, or what to set."""
    status = getattr(getattr(error, "response", None), "status_code", 0)
    if status in _REFUSED:
        return ArtifactError(f"{str(uri)!r} is refused by the hub: set HF_TOKEN to a token that may read it ({error})")
    if 400 <= status < 500 and status not in _BUSY:
        return ArtifactError(f"{str(uri)!r} cannot be read: {error}")
    return _away(uri, error)


def _away(uri: HubUri, error: BaseException) -> StoreError:
    return StoreError(
        f"{str(uri)!r} cannot be read: look whether the hub, or what HF_ENDPOINT names, answers here ({error})"
    )


def _unreached(uri: HubUri, error: Exception) -> ArtifactError:
    from huggingface_hub import errors

    cause = error.__cause__
    if isinstance(cause, errors.OfflineModeIsEnabled):
        return ArtifactError(
            f"{str(uri)!r} is not in the cache, and HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE forbids to fetch it: unset "
            "it, or put the file into the cache"
        )
    if isinstance(cause, errors.HfHubHTTPError):
        return refusal(uri, cause)
    return _away(uri, cause or error)
