"""Batch inference: the product's path against a bare loop over the same model.

Floor: what a careful person writes by hand in one process. It opens the same artifact with the same framework and
threads, decodes the same JPEGs with Pillow (or tokenises the same texts with ``tokenizers``) in the same batch size,
prepares the same tensor with NumPy, calls the model, and keeps label and probability of the best class of every
record. No Arrow, no checks, no five best classes, no isolation of bad records: all that is the product's to pay for.

Subject: ``predict_records`` over the card's predictor in this process (*inline*), and over ``ModelProcess``
(*process*). Slices of the records are answered in turns by all three, each with its own loaded model.
"""

from __future__ import annotations

import io
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from airflow_agentic.pipeline.inputs import inline_records
from airflow_agentic.runtime import ModelProcess, Predictor, open_predictor, predict_records
from airflow_agentic.spec.load import load_model
from airflow_agentic.spec.model import ModelCard
from benchmarks.base import ROOT, Pairs, Result, in_python, timed

RECORDS: Final = 2048
SLICE: Final = 256
"""Records a turn: eight turns of 256."""
DAGS: Final = ROOT / "dags"
INLINE_GOAL: Final = 0.95
PROCESS_GOAL: Final = 0.90

Answer = tuple[str, float]


def run() -> list[Result]:
    """Records a second of both models, inline and in a process.

    A model is measured in a Python of its own: two frameworks do not share one.
    """
    return [Result(**found) for name in MODELS for found in in_python("benchmarks.inference", name)]


def measure(name: str) -> list[Result]:
    """Both results of one model."""
    make, bare = MODELS[name]
    values = make()
    card = load_model(DAGS / "models" / f"{name}.yaml")
    records = inline_records(values, task=card.task, allowed_uris=None)
    floor = bare(card)
    inline = open_predictor(card)
    inline.load()
    process = ModelProcess(card)
    process.load()
    subjects = {"inline": inline, "process": process}
    try:
        times = _turns(card, values, records, floor, subjects)
    finally:
        process.close()
        inline.close()
    return [
        _result(card, "inline", INLINE_GOAL, Pairs(floor=times["floor"], subject=times["inline"])),
        _result(card, "process", PROCESS_GOAL, Pairs(floor=times["floor"], subject=times["process"])),
    ]


def _turns(
    card: ModelCard, values: list[Any], records: pa.Table, floor: Callable[[list[Any]], list[Answer]], subjects: Any
) -> dict[str, list[float]]:
    works: dict[str, Callable[[int], Any]] = {"floor": lambda start: floor(values[start : start + SLICE])}
    for kind, predictor in subjects.items():
        works[kind] = partial(_predicted, predictor, card, records)
    for work in works.values():
        work(0)
    expected = [label for label, _ in works["floor"](0)]
    for kind in subjects:
        if works[kind](0).column("label").to_pylist() != expected:
            raise AssertionError(f"{card.name}: the {kind} labels differ from the bare loop's")
    times: dict[str, list[float]] = {kind: [] for kind in works}
    for turn, start in enumerate(range(0, len(values), SLICE)):
        for kind in [*works][turn % 3 :] + [*works][: turn % 3]:
            times[kind].append(timed(partial(works[kind], start)))
    return times


def _predicted(predictor: Predictor, card: ModelCard, records: pa.Table, start: int) -> pa.Table:
    return predict_records(predictor, card, records.slice(start, SLICE))


def _result(card: ModelCard, kind: str, goal: float, times: Pairs) -> Result:
    ratio = 1.0 / times.ratio
    return Result(
        name=f"batch inference, {kind}, {card.name}, {RECORDS:,} records",
        value=round(RECORDS / sum(times.subject), 1),
        unit="records/s",
        floor=round(RECORDS / sum(times.floor), 1),
        ratio=round(ratio, 3),
        goal=f"≥ {goal:.2f}× a bare loop",
        met=ratio >= goal,
        note=f"batches of {card.batch.rows}, {card.runtime.threads} thread(s)",
    )


def _photos() -> list[bytes]:
    folder = DAGS / "data" / "images"
    files = [(folder / f"{name}.jpg").read_bytes() for name in ("astronaut", "chelsea", "coffee", "rocket")]
    return list(itertools.islice(itertools.cycle(files), RECORDS))


def _texts() -> list[str]:
    """Texts of 4 to 40 words, the same in every run."""
    random = np.random.default_rng(0)
    words = ("the", "film", "was", "a", "wonderful", "slow", "dull", "story", "and", "never", "made", "me", "laugh")
    return [" ".join(random.choice(words, random.integers(4, 41))) for _ in range(RECORDS)]


def _batches(values: list[Any], rows: int) -> Iterator[list[Any]]:
    for start in range(0, len(values), rows):
        yield values[start : start + rows]


def _bare_image(card: ModelCard) -> Callable[[list[bytes]], list[Answer]]:
    import tensorflow as tf
    from PIL import Image

    tf.config.threading.set_intra_op_parallelism_threads(card.runtime.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = tf.saved_model.load(str(_path(card, card.runtime.artifact)))
    signature = model.signatures["serving_default"]
    (name,) = signature.structured_input_signature[1]
    labels = _path(card, card.output.labels).read_text().splitlines()

    def pixels(content: bytes) -> Any:
        with Image.open(io.BytesIO(content)) as opened:
            width, height = opened.size
            factor = 256 / min(width, height)
            image = opened.convert("RGB").resize(
                (round(width * factor), round(height * factor)), Image.Resampling.BICUBIC
            )
            left, top = (image.width - 224) // 2, (image.height - 224) // 2
            return np.asarray(image.crop((left, top, left + 224, top + 224)))

    def answer(values: list[bytes], kept: Any = model) -> list[Answer]:  # a signature does not keep its variables
        found: list[Answer] = []
        for batch in _batches(values, card.batch.rows):
            images = (np.stack([pixels(content) for content in batch]).astype(np.float32) - 127.0) / 128.0
            (logits,) = signature(**{name: tf.constant(images)}).values()
            found += _best(logits.numpy(), labels)
        return found

    return answer


def _bare_text(card: ModelCard) -> Callable[[list[str]], list[Answer]]:
    import torch
    from tokenizers import Tokenizer

    torch.set_num_threads(card.runtime.threads)
    module = torch.export.load(_path(card, card.runtime.artifact)).module()
    text = card.runtime.text
    tokenizer = Tokenizer.from_file(str(_path(card, text.tokenizer if text else None)))
    tokenizer.enable_truncation(128)
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id("[PAD]"), pad_token="[PAD]")
    labels = list(card.output.classes or [])

    def answer(values: list[str]) -> list[Answer]:
        found: list[Answer] = []
        with torch.inference_mode():
            for batch in _batches(values, card.batch.rows):
                tokens = tokenizer.encode_batch_fast(batch)
                ids = torch.tensor([one.ids for one in tokens])
                mask = torch.tensor([one.attention_mask for one in tokens])
                found += _best(module(input_ids=ids, attention_mask=mask).numpy(), labels)
        return found

    return answer


def _best(logits: Any, labels: list[str]) -> list[Answer]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores = powers / powers.sum(axis=1, keepdims=True)
    best = scores.argmax(axis=1)
    return [
        (labels[place], float(score)) for place, score in zip(best, scores[np.arange(len(best)), best], strict=True)
    ]


MODELS: Final[dict[str, tuple[Callable[[], list[Any]], Callable[[ModelCard], Callable[[list[Any]], list[Answer]]]]]] = {
    "lite0-tf": (_photos, _bare_image),
    "minilm-torch": (_texts, _bare_text),
}


def _path(card: ModelCard, name: str | None) -> Path:
    return card.folder / str(name)


if __name__ == "__main__":
    print(json.dumps([asdict(result) for result in measure(sys.argv[1])]))
