"""The trigger form of a workflow's Dag."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from airflow.sdk import Param

from airflow_agentic.registry.info import ModelInfo
from airflow_agentic.spec.workflow import MAX_INLINE_RECORDS, WorkflowSpec

_FROM_TEXT: Final = frozenset({"text", "json", "bytes"})
_ON_ERROR: Final = {
    "keep": "keep them as error rows",
    "fallback": "ask the fallback, then keep them as error rows",
    "dead_letter": "also write them to a folder of their own",
    "fail": "fail the run",
}


def form(workflow: WorkflowSpec, models: Iterable[ModelInfo]) -> dict[str, Param]:
    """One parameter a field, in the order of the form. Those without a section are open, the other sections closed.

    :param models: the workflow's; text is asked for if one of them takes it.
    """
    choices = ["fallback" if workflow.on_error == "fallback" else "keep", "dead_letter", "fail"]
    own = workflow.input.uri if workflow.input is not None else None
    fields = {
        **_text(sorted({model.task for model in models if model.input in _FROM_TEXT})),
        "uri": Param(
            None,
            type=["null", "string"],
            title="File, folder or URI",
            description=f"Read this instead of {own}."
            if own
            else "What to read: JSONL, Parquet, CSV, text, or a folder of files.",
        ),
        "limit": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            maximum=1_000_000_000,
            title="At most this many records",
            description="Empty: all of them.",
        ),
        "records": Param(
            None,
            type=["null", "array"],
            items={"type": ["string", "object"]},
            maxItems=MAX_INLINE_RECORDS,
            title="Records as JSON",
            description="Texts, and objects with one of text, uri, bytes (base64) or input; also record_id, task, and "
            "feature columns. Instead of the workflow's input.",
            section="Records",
        ),
        "on_error": Param(
            workflow.on_error,
            type="string",
            enum=choices,
            values_display={name: _ON_ERROR[name] for name in choices},
            title="Records without an answer",
            description="Where the run fails, all answers are committed first.",
            section="Behaviour",
        ),
        "recompute": Param(
            False,
            type="boolean",
            title="Compute everything again",
            description="Reuse nothing when this run's Airflow tasks are cleared.",
            section="Behaviour",
        ),
    }
    if workflow.window.kind == "interval" or "{window." in (own or ""):
        for name, said in (("start", "from here"), ("end", "to here")):
            fields[f"window_{name}"] = Param(
                None,
                type=["null", "string"],
                format="date-time",
                title=f"Window {name}",
                description=f"Records {said}; empty: the run's data interval.",
                section="Window",
            )
    return fields


def _text(tasks: list[str]) -> dict[str, Param]:
    if not tasks:
        return {}
    return {
        "text": Param(
            None,
            type=["null", "string"],
            format="multiline",
            title="Text to answer",
            description="One record a line, instead of the workflow's input.",
        ),
        "task": Param(
            None,
            type=["null", "string"],
            enum=[None, *tasks],
            values_display={"None": "not stated", **{task: task for task in tasks}},  # the UI calls what is absent None
            title="Task of that text",
            description="What the models shall do with it; routes look at record.task.",
        ),
    }
