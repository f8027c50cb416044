"""What ``docs/how-to/helm.md`` shows is what the chart takes, gives and prints."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest
import yaml
from cases import CARD, WORKFLOW
from rendered import CHART, objects, one, templates

PAGE: Final = (CHART.parents[1] / "docs" / "how-to" / "helm.md").read_text()
BLOCKS: Final = re.findall(r"^```yml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
OURS: Final = [yaml.safe_load(block) for block in BLOCKS if block.startswith("# values.yaml\n")]
AIRFLOWS: Final = [yaml.safe_load(block) for block in BLOCKS if block.startswith("# values of Airflow's chart\n")]
PROJECT: Final[dict[str, Any]] = {
    "project": {"cards": {"words.yaml": CARD}, "workflows": {"reviews.yaml": WORKFLOW}},
}


def test_every_block_is_one_or_the_other() -> None:
    assert (len(OURS), len(AIRFLOWS)) == (5, 2)
    assert len(OURS) + len(AIRFLOWS) == len(BLOCKS) == PAGE.count("```yml")


@pytest.mark.parametrize("values", OURS, ids=lambda values: next(iter(values)))
def test_values_are_taken(values: dict[str, Any]) -> None:
    assert objects(PROJECT | values)


def test_the_lines_for_airflows_chart_are_those_that_helm_prints() -> None:
    notes = templates(PROJECT)["NOTES.txt"]
    printed = yaml.safe_load("\n".join(re.findall(r"^  ((?:volumes|volumeMounts): .*)$", notes, re.MULTILINE)))
    assert {key: AIRFLOWS[0][key] for key in printed} == printed


def test_the_account_given_to_airflow_is_the_charts() -> None:
    account = one("ServiceAccount", "airflow-agentic-airflow")["metadata"]["name"]
    assert {value["serviceAccount"]["name"] for value in AIRFLOWS[1].values()} == {account}


def test_the_table_of_rights_is_the_role() -> None:
    rows = re.findall(r"^\| Airflow \| ([a-z, ]+) \| ([a-z/]+) \|", PAGE, re.MULTILINE)
    rules = one("Role", "airflow-agentic-airflow", PROJECT | OURS[0])["rules"]
    assert {resource: verbs.split(", ") for verbs, resource in rows} == {
        resource: rule["verbs"] for rule in rules for resource in rule["resources"]
    }


def test_the_refusals_shown_are_the_guards() -> None:
    (shown,) = re.findall(r"^```text\n(these values.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    values: dict[str, Any] = {
        **PROJECT,
        "modelServers": [{"name": "words", "card": "word.yaml", "version": "1", "image": "i:1"}],
        "artifacts": {"uri": "file:///runs"},
    }
    with pytest.raises(Exception, match="these values cannot work") as caught:
        templates(values)
    assert shown.strip() in str(caught.value)


def test_the_labels_shown_are_those_of_the_pods() -> None:
    pod = one("Deployment", "airflow-agentic-words", PROJECT | OURS[0])["spec"]["template"]["metadata"]
    shown = re.findall(r"^\| `([a-z./-]+)` \| ", PAGE, re.MULTILINE)
    assert [label for label in shown if label not in pod["labels"]] == []
    (annotation,) = re.findall(r"annotation `([a-z/-]+)`", PAGE)
    assert annotation in pod["annotations"]
