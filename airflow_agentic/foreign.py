"""Files that records name: content from outside, opened with care.

What lies behind a record's URI is chosen by whoever wrote the record. A pipe would be waited for without end, a device
or a very large file would fill the memory, and some image formats are opened by starting a program. So only regular
files are opened, only so much is read of one, and only image formats that Pillow decodes by itself.

Preprocessing and model processes use it; it never imports Airflow.
"""

from __future__ import annotations

import errno
import functools
import os
import stat
from typing import IO, Any, Final

from airflow_agentic.exceptions import RecordError

MAX_BYTES: Final = 256 * 2**20
"""Larger files are refused before they are read: one record must not take a worker's memory."""
MAX_PIXELS: Final = 89_478_485
"""Larger images are refused before they are decoded (Pillow's own limit for a warning: 256 MiB of RGB)."""
IMAGE_FORMATS: Final = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "ICO", "JPEG2000", "AVIF")
"""Pillow knows more: for EPS it starts Ghostscript, and the rest are rare and little tested against hostile files."""


def open_local(path: str) -> IO[bytes]:
    """A regular file, open for reading; returns at once, also for a pipe that nobody writes to.

    :raises OSError: it cannot be opened, or is a folder, pipe, socket or device.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return open(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    raise OSError(errno.EINVAL, "It is a pipe, socket or device, not a regular file", path)


def read(uri: str, *, most: int | None = None) -> bytes:
    """The content of a local path or a URI that fsspec reads.

    :param most: bytes; :data:`MAX_BYTES` by default.
    :raises RecordError: ``unreadable``; ``too_large``, it has more than that.
    """
    most = MAX_BYTES if most is None else most
    try:
        if "://" not in uri:
            with open_local(uri) as file:
                return _bounded(file, os.fstat(file.fileno()).st_size, uri, most)
        import fsspec

        with fsspec.open(uri, "rb") as file:
            return _bounded(file, getattr(file, "size", None), uri, most)
    except RecordError:
        raise
    except (OSError, ValueError, ImportError) as error:
        why = f"{type(error).__name__}: {error}"
        raise RecordError("unreadable", f"the input's URI {uri!r} cannot be read: {why}") from error


def _bounded(file: IO[bytes], size: int | None, uri: str, most: int) -> bytes:
    """All of ``file``; a size that is not known, or wrong, does not lift the limit."""
    told = size or most
    if told <= most:
        content = file.read(told + 1)  # not the limit: that much memory would be taken first
        if len(content) > told:
            content += file.read(most + 1 - len(content))
        if len(content) <= most:
            return content
    raise RecordError(
        "too_large", f"the input's URI {uri!r} has more than {most:,} bytes, which is the most that is read"
    )


def open_image(file: IO[bytes]) -> Any:
    """A Pillow image of a known format; only its header is read.

    :raises ImportError: Pillow is not installed.
    """
    from PIL import Image

    return Image.open(file, formats=_formats())


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of :data:`IMAGE_FORMATS` that this Pillow was built with."""
    from PIL import Image

    Image.init()
    return tuple(name for name in IMAGE_FORMATS if name in Image.OPEN)
