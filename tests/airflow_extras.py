"""Dags and workflows that the Airflow tests add to the project: light models, one purpose each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import yaml

FOLDER: Final = "extras"

CARD: Final = {
    "apiVersion": "airflow-agentic/v1",
    "kind": "Model",
    "name": "words",
    "version": "1",
    "task": "text-analysis",
    "input": "text",
    "output": {"classes": ["negative", "positive"]},
    "runtime": {
        "framework": "python",
        "handler": "airflow_agentic.contrib.rules:KeywordSentiment",
        "args": {"positive": ["good", "wonderful"], "negative": ["bad", "awful"]},
    },
    "isolation": "inline",
}

WORKFLOWS: Final[dict[str, dict[str, Any]]] = {
    "reviews": {"input": "../reviews.jsonl", "shard": {"rows": 2}, "parallelism": 2},
    "reviews-compact": {"input": "../reviews.jsonl", "layout": "compact", "shard": {"rows": 2}},
    "daily": {
        "dag": {
            "schedule": "0 0 * * *",
            "start_date": "2026-01-01",
            "end_date": "2026-01-02",
            "catchup": True,
            "max_active_runs": 1,
            "is_paused_upon_creation": False,
        },
        "window": "interval",
        "input": "../days/{window.start}.jsonl",
        "layout": "compact",
    },
    "after-reviews": {
        "dag": {"schedule": {"asset": "airflow-agentic/reviews-compact"}, "is_paused_upon_creation": False},
        "input": "../reviews.jsonl",
        "layout": "compact",
    },
    "on-delivery": {
        "dag": {"schedule": {"asset": "delivery"}, "is_paused_upon_creation": False},
        "input": "../reviews.jsonl",
        "layout": "compact",
    },
    "misspelt": {"routes": [{"name": "main", "use": "wrods"}]},
}

LOADER: Final = "from airflow_agentic import load_workflows  # airflow dag\n\nload_workflows('workflows')\n"

FOLLOWER: Final = """
from airflow.sdk import Asset, dag, task

reviews = Asset(name="airflow-agentic/reviews-compact", uri="x-airflow-agentic://workflow/reviews-compact")

@dag(schedule=[reviews], is_paused_upon_creation=False)
def follower():
    @task
    def seen(**context):
        return [dict(event.extra) for event in context["triggering_asset_events"][reviews]]

    seen()

follower()
"""

OWN: Final = """
from airflow.sdk import dag, task
from airflow_agentic.operators import ModelOperator

@dag(schedule=None)
def own():
    @task
    def collect():
        return ["a good day", "an awful one"]

    listed = ModelOperator(task_id="listed", model="words", records=collect())
    ModelOperator(task_id="from-file", model="words", records="reviews.jsonl", task="text-analysis") << listed

    @task.agentic_model(model={"cascade": ["words", "words"], "accept": "prediction.score > 0.7"})
    def decorated(names, word, dag_run):
        return [f"{name} is {word} and wonderful in {dag_run.dag_id}" for name in names]

    decorated(["this", "that"], word="good")

own()
"""


def add(dags: Path) -> None:
    """Write all of it below the Dags folder, unless it is there: tests of several files may share an Airflow."""
    folder = dags / FOLDER
    if folder.exists():
        return
    for name in ("workflows", "models", "days"):
        (folder / name).mkdir(parents=True)
    (folder / "models" / "words.yaml").write_text(yaml.safe_dump(CARD))
    for name, said in WORKFLOWS.items():
        head = {"apiVersion": "airflow-agentic/v1", "kind": "Workflow", "name": name}
        content = {**head, "routes": [{"name": "main", "use": "words"}], **said}
        (folder / "workflows" / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    texts = ["a good film", "a bad film", "wonderful, wonderful", "an awful mess", "a wonderful, bad film", "a film"]
    write_records(folder / "reviews.jsonl", texts)
    for day in (1, 2):
        write_records(folder / "days" / f"2026-01-0{day}T00:00:00+00:00.jsonl", ["a good day"] * day)
    for name, text in (("loader", LOADER), ("follower", FOLLOWER), ("own", OWN)):
        (folder / f"{name}.py").write_text(text)


def write_records(path: Path, texts: list[str]) -> None:
    """Texts as records ``r0``, ``r1``…"""
    path.write_text("".join(json.dumps({"record_id": f"r{i}", "text": text}) + "\n" for i, text in enumerate(texts)))
