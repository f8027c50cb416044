"""The step ``image_info``: what an image's header says, without decoding its pixels."""

from __future__ import annotations

import io
import mimetypes
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

import fsspec
import pyarrow as pa
import pyarrow.compute as pc

from airflow_agentic.exceptions import MissingExtraError
from airflow_agentic.foreign import open_image, open_local
from airflow_agentic.pipeline.steps.base import (
    StepModel,
    input_field,
    register,
    usable,
    usable_one,
    with_column,
    with_errors,
)
from airflow_agentic.pipeline.uris import is_remote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MAGIC: Final = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
_REMOTE_READERS: Final = 16


class _Info(NamedTuple):
    width: int | None = None
    height: int | None = None
    type: str | None = None
    bytes: int | None = None
    problem: str | None = None


@register("image_info")
class ImageInfo(StepModel):
    """Size and type of images given as bytes or URI; a broken or unreadable one becomes the error ``bad_image``.

    What is no image (by its name; without a telling name by its first bytes) gets nulls.
    """

    def columns(self) -> Mapping[str, pa.DataType]:
        """``image_width`` and ``image_height`` in pixels, ``image_type`` (``jpeg``, ``png``…), ``image_bytes``."""
        return {
            "image_width": pa.int64(),
            "image_height": pa.int64(),
            "image_type": pa.string(),
            "image_bytes": pa.int64(),
        }

    def apply(self, records: pa.Table) -> pa.Table:
        """See :class:`~airflow_agentic.pipeline.steps.base.Step`."""
        infos = [_Info()] * len(records)
        rows = pc.indices_nonzero(usable(records, "bytes", "uri")).to_pylist()
        data, uris = input_field(records, "data"), input_field(records, "uri")
        if rows:
            with _headers_only(), ThreadPoolExecutor(_REMOTE_READERS) as pool:
                ahead = {
                    row: pool.submit(_of_uri, uri) for row in rows if (uri := uris[row].as_py()) and is_remote(uri)
                }
                for row in rows:
                    uri = uris[row].as_py()
                    if row in ahead:
                        infos[row] = ahead[row].result()
                    else:
                        infos[row] = _of_bytes(data[row].as_buffer()) if uri is None else _of_uri(uri)
        for name, kind in self.columns().items():
            values = [getattr(info, name.removeprefix("image_")) for info in infos]
            records = with_column(records, name, values, kind)
        problems = pa.array([info.problem for info in infos], pa.string())
        return with_errors(records, "bad_image", problems.is_valid(), problems)

    def apply_one(self, record: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What cannot be an image needs no reading."""
        return None if usable_one(record, "bytes", "uri") else {**record, **dict.fromkeys(self.columns())}


@contextmanager
def _headers_only() -> Iterator[None]:
    """Pillow at hand, and its warning about large images off: no pixel is decoded here."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("pillow", "image") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def _of_bytes(data: Any) -> _Info:
    view = memoryview(data)
    start = bytes(view[:12])
    looks = start.startswith(_MAGIC) or (start[:4] == b"RIFF" and start[8:] == b"WEBP")
    return _read(io.BytesIO(view), len(view), "the bytes", is_image=looks)


def _of_uri(uri: str) -> _Info:
    guess = mimetypes.guess_type(uri.partition("?")[0] if is_remote(uri) else uri)[0]
    is_image = guess is not None and guess.startswith("image/")
    if guess is not None and not is_image:
        return _Info()
    try:
        if not is_remote(uri):
            with open_local(uri) as file:
                return _read(file, os.fstat(file.fileno()).st_size, uri, is_image=is_image)
        system, path = fsspec.core.url_to_fs(uri)
        with system.open(path, "rb", cache_type="readahead", block_size=2**16) as file:
            return _read(file, system.info(path).get("size"), uri, is_image=is_image)
    except (OSError, ValueError, ImportError) as error:
        reason = getattr(error, "strerror", None) or error
        return _Info(problem=f"{uri} cannot be read ({reason}); check that it exists and may be read")


def _read(file: IO[bytes], size: int | None, name: str, *, is_image: bool) -> _Info:
    from PIL import Image, UnidentifiedImageError

    try:
        with open_image(file) as image:
            return _Info(image.width, image.height, (image.format or "").lower() or None, size)
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        return _Info(problem=f"the header of {name} claims more than {limit:,} pixels; give a smaller image")
    except Exception as error:  # noqa: BLE001  # a hostile header raises anything from struct.error to SyntaxError inside Pillow
        if not is_image:
            return _Info()
        reason = "unknown format" if isinstance(error, UnidentifiedImageError) else error
        return _Info(problem=f"the header of {name} is no image's ({reason}); the file may be cut off or misnamed")
