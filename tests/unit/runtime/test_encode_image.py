from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from runtime_samples import card, records

from airflow_agentic.exceptions import MissingExtraError, ModelLoadError
from airflow_agentic.runtime import encode_image
from airflow_agentic.runtime.encode import Encoded, open_encoder
from airflow_agentic.runtime.encode_image import ImageEncoder

if TYPE_CHECKING:
    from airflow_agentic.spec.model import ModelCard


def image_card(framework: str = "tensorflow", **image: Any) -> ModelCard:
    return card(input="image", runtime={"framework": framework, "artifact": "m", "image": {"resize": 8, **image}})


def picture(width: int = 12, height: int = 9, mode: str = "RGB") -> Image.Image:
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    return Image.fromarray(np.random.default_rng(width * height).integers(0, 256, shape, np.uint8))


def png(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def encode(spec: ModelCard, *inputs: bytes | str) -> Encoded:
    given = [("bytes" if isinstance(value, bytes) else "uri", value) for value in inputs]
    return open_encoder(spec, Path)(records(*given))


def pixels(spec: ModelCard, *inputs: bytes | str) -> np.ndarray:
    found = encode(spec, *inputs)
    assert not found.errors
    return np.asarray(found.arrays[""])


@pytest.mark.parametrize("size", [(12, 9), (9, 12), (40, 30), (8, 8), (7, 31)])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_the_shorter_side_is_resized_and_the_centre_kept(size: tuple[int, int], interpolation: str) -> None:
    image = picture(*size)
    spec = image_card(resize=10, crop=8, interpolation=interpolation, dtype="uint8")
    factor = 10 / min(size)
    width, height = round(size[0] * factor), round(size[1] * factor)
    left, top = (width - 8) // 2, (height - 8) // 2
    whole = image.resize((width, height), Image.Resampling[interpolation.upper()])
    expected = np.asarray(whole.crop((left, top, left + 8, top + 8)))
    np.testing.assert_array_equal(pixels(spec, png(image))[0], expected)


def test_without_crop_the_image_is_squeezed() -> None:
    image = picture(12, 9)
    expected = np.asarray(image.resize((8, 8), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(pixels(image_card(dtype="uint8"), png(image))[0], expected)


def test_pixels_are_normalised() -> None:
    image = picture(8, 8)
    found = pixels(image_card(mean=[1, 2, 3], scale=[2, 4, 8]), png(image))
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found[0], (np.asarray(image) - [1.0, 2.0, 3.0]) / [2.0, 4.0, 8.0], rtol=1e-6)
    np.testing.assert_allclose(pixels(image_card(), png(image))[0], np.asarray(image) / 255.0, rtol=1e-6)


@pytest.mark.parametrize(("framework", "first"), [("torch", True), ("onnx", True), ("tensorflow", False)])
def test_axis_order_follows_the_framework(framework: str, first: bool) -> None:
    image = picture(8, 8)
    found = pixels(image_card(framework, mean=[1, 2, 3]), png(image))
    expected = (np.asarray(image) - [1.0, 2.0, 3.0]) / 255.0
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found[0], expected.transpose(2, 0, 1) if first else expected, rtol=1e-5, atol=1e-6)


def test_axis_order_can_be_set() -> None:
    assert pixels(image_card("torch", layout="nhwc"), png(picture())).shape == (1, 8, 8, 3)


def test_colours() -> None:
    image = picture(8, 8)
    array = np.asarray(image)
    np.testing.assert_array_equal(pixels(image_card(color="bgr", dtype="uint8"), png(image))[0], array[..., ::-1])
    grey = pixels(image_card(color="grey", dtype="uint8"), png(image))
    np.testing.assert_array_equal(grey[0, ..., 0], np.asarray(image.convert("L")))


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    image = picture(8, 8).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "TIFF" if mode == "CMYK" else "PNG")
    assert pixels(image_card(), buffer.getvalue()).shape == (1, 8, 8, 3)


def test_a_palette_with_transparency_gives_no_warning() -> None:
    image = picture(8, 8).convert("P")
    assert pixels(image_card(), png(image, transparency=bytes(range(256)))).shape == (1, 8, 8, 3)


def test_uris(tmp_path: Path) -> None:
    image = png(picture())
    (tmp_path / "a b.png").write_bytes(image)
    path = tmp_path / "a b.png"
    found = pixels(image_card(), image, str(path), f"file://{path}")
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_bad_images_among_good_ones(tmp_path: Path) -> None:
    good = png(picture())
    found = encode(image_card(), b"no image", good, good[: len(good) // 2], str(tmp_path / "gone.png"), b"", good)
    assert found.rows == 2
    assert found.arrays[""].shape == (2, 8, 8, 3)
    assert {row: error.code for row, error in found.errors.items()} == {
        0: "bad_image",
        2: "bad_image",
        3: "unreadable",
        4: "bad_image",
    }
    assert str(found.errors[0]) == "the image cannot be decoded: it is no image of a known kind"


def test_images_that_are_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode_image, "MAX_PIXELS", 100)
    found = encode(image_card(), png(picture(11, 10)))
    assert str(found.errors[0]) == "the image has 11 x 10 pixels; at most 100 are read"


@pytest.mark.parametrize("limit", [60, 40])
def test_pillows_own_guard(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)  # warns above, raises above its double
    found = encode(image_card(), png(picture(11, 10)))
    assert str(found.errors[0]) == "the image has more than 89,478,485 pixels"


def test_a_very_narrow_image_is_not_blown_up() -> None:
    found = encode(image_card(resize=4096, crop=8), png(picture(20_000, 1)))
    assert str(found.errors[0]) == "the image is too narrow: 20000 x 1 pixels"


def test_a_crop_larger_than_the_image() -> None:
    with pytest.raises(ModelLoadError) as caught:
        ImageEncoder(image_card(resize=8, crop=9))
    assert str(caught.value) == (
        "model 'm': runtime.image.crop 9 is larger than resize 8; make resize at least as large"
    )


def test_numbers_for_other_channels() -> None:
    with pytest.raises(ModelLoadError) as caught:
        ImageEncoder(image_card(mean=[1, 2]))
    assert str(caught.value) == (
        "model 'm': runtime.image.mean has 2 numbers for 3 channels; write one number, or one a channel"
    )


def test_without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(MissingExtraError) as caught:
        ImageEncoder(image_card())
    assert str(caught.value) == (
        "'pillow' is not installed here; install it with: pip install 'airflow-agentic[image]'"
    )
