"""Images to float tensors.

Decoding is Pillow's, to RGB without regard to EXIF rotation, as the models were trained. The whole image is
resized before it is cut: resizing only what is kept is faster, but not the same to the last bit.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from airflow_agentic.exceptions import MissingExtraError, ModelLoadError, RecordError
from airflow_agentic.foreign import MAX_PIXELS, open_image
from airflow_agentic.runtime import inputs
from airflow_agentic.runtime.encode import Encoded, each

if TYPE_CHECKING:
    import pyarrow as pa

    from airflow_agentic.spec.model import ImageEncoding, ModelCard

_BROKEN: Final = (OSError, ValueError, SyntaxError, EOFError, TypeError, KeyError, IndexError, struct.error, zlib.error)
"""What Pillow's readers raise for files that are not what they claim."""


class ImageEncoder:
    """Decode, resize, crop and normalise; ``[rows, height, width, channels]`` or channels first."""

    def __init__(self, card: ModelCard) -> None:
        try:
            from PIL import Image
        except ImportError:
            raise MissingExtraError("pillow", "image") from None
        spec = card.runtime.image
        if spec is None:  # the card's own check refuses this
            raise ModelLoadError(f"model {card.name!r}: input 'image' needs runtime.image")
        if spec.crop is not None and spec.crop > spec.resize:
            raise ModelLoadError(
                f"model {card.name!r}: runtime.image.crop {spec.crop} is larger than resize {spec.resize}; "
                "make resize at least as large"
            )
        self._image = Image
        self._spec = spec
        self._side = spec.crop or spec.resize
        self._filter = Image.Resampling[spec.interpolation.upper()]
        default = "nchw" if card.runtime.framework in {"torch", "onnx"} else "nhwc"
        self._first = (spec.layout or default) == "nchw"
        self._mean, self._scale = _per_channel(card, spec)
        self._name = card.runtime.input_name or ""

    def __call__(self, batch: pa.Table) -> Encoded:
        values, errors = inputs.payloads(batch, "image")
        pixels, errors = each(values, errors, self.pixels)
        return Encoded(arrays={self._name: self._normalise(pixels)}, rows=len(pixels), errors=errors)

    def pixels(self, value: bytes | str) -> npt.NDArray[np.uint8]:
        """The resized image, ``[side, side, channels]``.

        :raises RecordError: ``unreadable``, or ``bad_image``: broken, no image, or too large.
        """
        content = inputs.read(value)
        try:
            with open_image(io.BytesIO(content)) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise RecordError(
                        "bad_image",
                        f"the image has {image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are read",
                    )
                resized = self._resize(self._coloured(image))
        except RecordError:
            raise
        except (self._image.DecompressionBombError, self._image.DecompressionBombWarning) as error:
            raise RecordError("bad_image", f"the image has more than {MAX_PIXELS:,} pixels") from error
        except _BROKEN as error:
            raise RecordError("bad_image", f"the image cannot be decoded: {_said(error)}") from error
        array = np.asarray(resized)
        return array[..., None] if array.ndim == 2 else array

    def _coloured(self, image: Any) -> Any:
        wanted = "L" if self._spec.color == "grey" else "RGB"
        if image.mode == wanted:
            return image
        if image.mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")  # Pillow warns of a direct way from such a palette
        return image.convert(wanted)

    def _resize(self, image: Any) -> Any:
        side = self._side
        if self._spec.crop is None:
            return image.resize((side, side), self._filter)
        width, height = image.size
        factor = self._spec.resize / min(width, height)
        new_width, new_height = max(round(width * factor), side), max(round(height * factor), side)
        left, top = (new_width - side) // 2, (new_height - side) // 2
        if new_width * new_height > MAX_PIXELS:
            raise RecordError("bad_image", f"the image is too narrow: {width} x {height} pixels")
        whole = image.resize((new_width, new_height), self._filter)
        return whole.crop((left, top, left + side, top + side))

    def _normalise(self, pixels: list[npt.NDArray[np.uint8]]) -> npt.NDArray[Any]:
        channels = 1 if self._spec.color == "grey" else 3
        array = np.stack(pixels) if pixels else np.empty((0, self._side, self._side, channels), np.uint8)
        if self._spec.color == "bgr":
            array = array[..., ::-1]
        if self._first:
            array = array.transpose(0, 3, 1, 2)
        if self._spec.dtype == "uint8":
            return np.ascontiguousarray(array)
        floats = np.subtract(array, self._mean, dtype=np.float32, order="C")
        return np.divide(floats, self._scale, out=floats)


def _per_channel(card: ModelCard, spec: ImageEncoding) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    channels = 1 if spec.color == "grey" else 3
    first = (spec.layout or ("nchw" if card.runtime.framework in {"torch", "onnx"} else "nhwc")) == "nchw"
    found = []
    for name in ("mean", "scale"):
        numbers = getattr(spec, name)
        if len(numbers) not in {1, channels}:
            raise ModelLoadError(
                f"model {card.name!r}: runtime.image.{name} has {len(numbers)} numbers for {channels} channels; "
                "write one number, or one a channel"
            )
        array = np.array(numbers, np.float32)
        found.append(array.reshape(-1, 1, 1) if first else array)
    return found[0], found[1]


def _said(error: BaseException) -> str:
    """Pillow's words without the object's address, which differs from run to run."""
    text = str(error)
    return "it is no image of a known kind" if "cannot identify image file" in text else text or type(error).__name__
