"""Tabular classification: the Statlog image segments (2,310 rows of 18 numbers, 7 classes; in the wheel ``river``).

No pretrained model is used: both networks are trained here, in seconds, on the same rows.
"""

from __future__ import annotations

import csv
import io
import json
import random
import zipfile
from typing import Any, Final

from scripts.models.base import BUILT, SEED, Target, member

CLASSES: Final = ("brickface", "cement", "foliage", "grass", "path", "sky", "window")
SIZES: Final = {"train": 1386, "validation": 231, "test": 693}
HIDDEN: Final = 64
EPOCHS: Final = 120
_TARGET: Final = "category"

Row = dict[str, float]


def split(name: str) -> list[tuple[Row, str]]:
    """The rows of ``train``, ``validation`` or ``test`` and their classes, shuffled by a fixed seed."""
    rows = _rows()
    random.Random(SEED).shuffle(rows)
    start = 0
    for part, size in SIZES.items():
        if part == name:
            return rows[start : start + size]
        start += size
    raise ValueError(f"{name!r} is no split; one of {', '.join(SIZES)}")


def build_torch() -> None:
    """A state dict of ``airflow_agentic.runtime.modules:MLP``; logits."""
    import torch

    from airflow_agentic.runtime.modules import MLP

    torch.manual_seed(SEED)
    (x, y), (x_validation, y_validation) = _scaled("train"), _scaled("validation")
    inputs, wanted = torch.tensor(x), torch.tensor(y)
    model = MLP([x.shape[1], HIDDEN, len(CLASSES)])
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, weight_decay=1e-4)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(inputs)).split(64):  # type: ignore[no-untyped-call]  # torch's own is untyped
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(inputs[chosen]), wanted[chosen])
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own is untyped
            optimizer.step()
    right = (model(torch.tensor(x_validation)).argmax(1) == torch.tensor(y_validation)).float().mean()
    print(f"  validation {right:.3f}", flush=True)
    torch.save(model.state_dict(), BUILT / "segment.pth")


def build_keras() -> None:
    """A ``.keras`` file with the same layers; probabilities."""
    import keras

    keras.utils.set_random_seed(SEED)
    x, y = _scaled("train")
    layers = [keras.layers.Dense(HIDDEN, activation="relu"), keras.layers.Dense(len(CLASSES), activation="softmax")]
    model = keras.Sequential([keras.Input(shape=(x.shape[1],), name="features"), *layers])
    model.compile(optimizer=keras.optimizers.Adam(3e-3), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(
        x, y, validation_data=_scaled("validation"), epochs=EPOCHS // 2, batch_size=64, verbose=0, shuffle=True
    )
    print(f"  validation {history.history['val_accuracy'][-1]:.3f}", flush=True)
    model.save(BUILT / "segment.keras", include_optimizer=False)


def scaling() -> dict[str, list[Any]]:
    """Columns, means and scales of the training rows: what the two cards' ``runtime.tabular`` hold.

    Rounded to 4 digits here, so that training and cards use the same numbers. A column that never varies has scale 1.
    """
    import numpy as np

    rows = [row for row, _ in split("train")]
    columns = list(rows[0])
    values = np.array([[row[column] for column in columns] for row in rows])
    scales = [round(float(scale), 4) or 1.0 for scale in values.std(axis=0)]
    return {"columns": columns, "mean": [round(float(mean), 4) for mean in values.mean(axis=0)], "scale": scales}


def _scaled(name: str) -> tuple[Any, Any]:
    """float32 ``[rows, 18]`` and int64 ``[rows]``."""
    import numpy as np

    used, rows = scaling(), split(name)
    values = np.array([[row[column] for column in used["columns"]] for row, _ in rows])
    scaled = (values - np.array(used["mean"])) / np.array(used["scale"])
    return scaled.astype(np.float32), np.array([CLASSES.index(label) for _, label in rows], dtype=np.int64)


def _rows() -> list[tuple[Row, str]]:
    with zipfile.ZipFile(io.BytesIO(member("river", "datasets/segment.csv.zip"))) as archive:
        text = archive.read(archive.namelist()[0]).decode()
    rows = csv.DictReader(io.StringIO(text))
    return [({key: float(value) for key, value in row.items() if key != _TARGET}, row[_TARGET]) for row in rows]


TARGETS = (
    Target(
        name="segment-torch",
        build=build_torch,
        outputs=("segment.pth",),
        modules=("tabular.py",),
        inputs=("torch",),
        archives=("river",),
    ),
    Target(
        name="segment-keras",
        build=build_keras,
        outputs=("segment.keras",),
        modules=("tabular.py",),
        inputs=("tensorflow-cpu", "keras"),
        archives=("river",),
    ),
)

if __name__ == "__main__":  # prints what the cards hold
    print(json.dumps(scaling()))
