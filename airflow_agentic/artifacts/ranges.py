"""Parts of an object of the artifact store, as a file."""

from __future__ import annotations

import io
from typing import Any


class Ranges(io.RawIOBase):
    """An object as a file of which only what is asked for is fetched.

    :param objects: an ``obstore`` store; what it raises is its own.
    """

    def __init__(self, objects: Any, path: str) -> None:
        super().__init__()
        self._objects = objects
        self._path = path
        self._size: int = objects.head(path)["size"]
        self._place = 0

    def seekable(self) -> bool:
        """See :class:`io.RawIOBase`."""
        return True

    def readable(self) -> bool:
        """See :class:`io.RawIOBase`."""
        return True

    def tell(self) -> int:
        """See :class:`io.RawIOBase`."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See :class:`io.RawIOBase`."""
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        return self._place

    def read(self, size: int = -1) -> bytes:
        """See :class:`io.RawIOBase`."""
        end = self._size if size < 0 else min(self._size, self._place + size)
        if end <= self._place:
            return b""
        data = bytes(self._objects.get_range(self._path, start=self._place, end=end))
        self._place = end
        return data
