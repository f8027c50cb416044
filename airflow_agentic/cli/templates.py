"""The files of a new project: sentiment of texts by two lists of words. Needs no extra and no model to be built."""

from __future__ import annotations

from typing import Final

_DAG: Final = """\
# The Dags of workflows/. (Airflow reads only files that contain the words "airflow" and "dag".)
from airflow_agentic import load_workflows

load_workflows("workflows")
"""

_IGNORE: Final = """\
data/
models/
schema/
workflows/
"""

_WORKFLOW: Final = """\
# yaml-language-server: $schema=../schema/workflow.json
apiVersion: airflow-agentic/v1
kind: Workflow
name: sentiment
description: Is a text positive or negative? A short list of words is asked first, a longer one where that is unsure.

dag:
  schedule: null # a cron expression runs it by itself
  tags: [demo]

input:
  uri: ../data/inbox.jsonl

preprocess:
  - normalize_text

routes:
  - use: {cascade: [few-words, many-words]} # the models' names, cheapest first
    accept: prediction.score >= 0.7 # good enough; otherwise the next is asked

publish:
  uri: answers/
  format: jsonl
"""

_FEW: Final = """\
# yaml-language-server: $schema=../schema/model.json
apiVersion: airflow-agentic/v1
kind: Model
name: few-words
version: "1"
description: A dozen words; knows no negation
task: text-classification
input: text
output:
  classes: [negative, positive]
  score_kind: other
runtime:
  framework: python
  handler: airflow_agentic.contrib.rules:KeywordSentiment
  args:
    positive: [excellent, good, great, happy, love, wonderful]
    negative: [awful, bad, broken, hate, sad, terrible]
isolation: inline # light code: no process of its own
profile: {cost_per_1k: 0.01, latency_ms: 0.1}
"""

_MANY: Final = """\
# yaml-language-server: $schema=../schema/model.json
apiVersion: airflow-agentic/v1
kind: Model
name: many-words
version: "1"
description: Some sixty words and negations
task: text-classification
input: text
output:
  classes: [negative, positive]
  score_kind: other
runtime:
  framework: python
  handler: airflow_agentic.contrib.rules:KeywordSentiment
  args:
    positive:
      [amazing, beautiful, best, better, brilliant, comfortable, delicious, delighted, easy, enjoy, enjoyed,
       excellent, fantastic, fast, friendly, fun, glad, good, great, happy, helpful, kind, like, love, loved, nice,
       perfect, pleasant, pleased, recommend, reliable, superb, thanks, wonderful]
    negative:
      [angry, annoying, awful, bad, boring, broken, confusing, disappointed, disappointing, dirty, expensive, failed,
       hate, horrible, late, lost, noisy, painful, poor, refund, rude, sad, slow, terrible, ugly, unhappy, useless,
       waste, worse, worst, wrong]
    negations: [hardly, never, no, not, "don't", "isn't", "wasn't", without]
isolation: inline
profile: {cost_per_1k: 0.05, latency_ms: 0.1}
"""

_INBOX: Final = """\
{"id": "film", "text": "What a wonderful film, I love it."}
{"id": "order", "text": "My order came late and the box was broken."}
{"id": "hotel", "text": "Not bad at all: friendly people, a nice room and a superb breakfast."}
{"id": "support", "text": "Terrible support. I hate waiting for an hour."}
{"id": "update", "text": "The update is not good, everything is slow and confusing now."}
{"id": "book", "text": "The best book I have read this year, I recommend it."}
"""

TEXT: Final[dict[str, str]] = {
    "agentic.py": _DAG,
    ".airflowignore": _IGNORE,
    "workflows/sentiment.yaml": _WORKFLOW,
    "models/few-words.yaml": _FEW,
    "models/many-words.yaml": _MANY,
    "data/inbox.jsonl": _INBOX,
}
"""Path → text."""
