"""The chart as Helm renders it, in process: objects, or the message with which it refuses the values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml
from services import require

try:
    import helm_python as helm
except ImportError:  # a platform without a wheel
    helm = None

if TYPE_CHECKING:
    from collections.abc import Iterator

Values = dict[str, Any]
CHART: Final = Path(__file__).resolve().parents[2] / "charts" / "airflow-agentic"
RELEASE: Final = "airflow-agentic"
NAMESPACE: Final = "models"


class UniqueLoader(yaml.SafeLoader):
    """YAML in which no key stands twice: what Kubernetes would drop in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        assert not twice, f"{twice} stands twice{node.start_mark}"
        return super().construct_mapping(node, deep)


def templates(values: Values | None = None, *, chart: Path = CHART, release: str = RELEASE) -> dict[str, str]:
    """What each template gives, by its path in the chart."""
    require(helm is not None, "needs Helm as a library: pip install helm-python-sdk")
    with helm.Chart.load(chart) as loaded:
        texts = loaded.render(values or {}, name=release, namespace=NAMESPACE)
    return {path.removeprefix("airflow-agentic/templates/"): text for path, text in texts.items()}


def objects(values: Values | None = None, *, chart: Path = CHART, release: str = RELEASE) -> list[Values]:
    """Every object that the chart makes of the values."""
    found: list[Values] = []
    for path, text in templates(values, chart=chart, release=release).items():
        if path.endswith(".yaml"):
            found += [one for one in yaml.load_all(text, UniqueLoader) if one is not None]
    return found


def kinds(values: Values | None = None, *, chart: Path = CHART) -> set[str]:
    """``Kind/name`` of every object."""
    return {f"{one['kind']}/{one['metadata']['name']}" for one in objects(values, chart=chart)}


def one(kind: str, name: str, values: Values | None = None, *, chart: Path = CHART) -> Values:
    """The object of that kind and name."""
    (found,) = [
        item for item in objects(values, chart=chart) if (item["kind"], item["metadata"]["name"]) == (kind, name)
    ]
    return found


def refused(values: Values, *, chart: Path = CHART) -> list[str]:
    """The problems that the guard lists."""
    with pytest.raises(Exception, match="these values cannot work") as caught:
        templates(values, chart=chart)
    _, _, listed = str(caught.value).partition("these values cannot work:\n- ")
    return listed.strip().split("\n- ")


def invalid(values: Values) -> str:
    """What Helm says of values that the schema refuses."""
    require(helm is not None, "needs Helm as a library: pip install helm-python-sdk")
    with pytest.raises(helm.HelmValuesError) as caught:
        templates(values)
    return str(caught.value)


def pods(found: list[Values]) -> Iterator[Values]:
    """The pod template or pod in each object that has one."""
    for item in found:
        if item["kind"] == "Pod":
            yield item
        elif "template" in item.get("spec", {}):
            yield item["spec"]["template"]
