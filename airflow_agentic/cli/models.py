"""``airflow-agentic models``: the model cards."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airflow_agentic.cli.options import JsonOption, ProjectOption

if TYPE_CHECKING:
    from airflow_agentic.registry import ModelInfo, Registry
    from airflow_agentic.spec.model import ModelCard

app = typer.Typer(no_args_is_help=True, help="Model cards: list, show, profile.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The model's name.")]


@app.command("list")
def list_(
    *,
    task: Annotated[str | None, typer.Option("--task", "-t", help="Only models that do this.")] = None,
    project: ProjectOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """List the models, with the figures that their cards declare."""
    from airflow_agentic.project import Project

    registry = Project.find(project).registry
    cards = [card for card in registry.cards.values() if task in {None, card.task}]
    if as_json:
        typer.echo(json.dumps([_entry(card) for card in cards], indent=2, ensure_ascii=False))
    elif cards:
        _table([_entry(card) for card in cards])
    else:
        typer.echo("no model card" + (f" does {task!r}" if task else ""))
    for name in registry.broken:
        typer.secho(f"{name}: has an error; see `airflow-agentic validate`", fg="red", err=True)


def _entry(card: ModelCard) -> dict[str, Any]:
    return {
        "name": card.name,
        "version": card.version,
        "task": card.task,
        "framework": card.runtime.framework,
        "input": card.input,
        "quality": card.profile.quality,
        "cost_per_1k": card.profile.cost_per_1k,
        "latency_ms": card.profile.latency_ms,
        "source": card.source.file,
    }


def _table(entries: list[dict[str, Any]]) -> None:
    from airflow_agentic.cli.render import aligned

    def cell(value: Any) -> str:
        return "–" if value is None else f"{value:g}" if isinstance(value, float | int) else str(value)

    headings = [{"cost_per_1k": "cost/1k", "latency_ms": "ms"}.get(name, name) for name in entries[0]]
    lines = aligned([headings, *(list(map(cell, entry.values())) for entry in entries)])
    typer.secho(lines[0], bold=True)
    for line in lines[1:]:
        typer.echo(line)


@app.command()
def show(name: NameArgument, *, project: ProjectOption = Path(), as_json: JsonOption = False) -> None:
    """Show a model: its card, its digests and whether it can run here."""
    from airflow_agentic.project import Project

    card = find(Project.find(project).registry, name)
    state = observe(card)
    if as_json:
        typer.echo(json.dumps(state.document(), indent=2, ensure_ascii=False))
        return
    for line in state.lines():
        typer.echo(line)


def find(registry: Registry, name: str) -> ModelCard:
    """The card called ``name``.

    :raises InputError: there is none.
    :raises SpecError: it has an error.
    """
    from airflow_agentic.exceptions import InputError
    from airflow_agentic.spec.base import nearest

    if name in registry.broken:
        raise registry.broken[name]
    if name not in registry.cards:
        near = nearest(name, registry.cards)
        hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(registry.cards) or 'none'}"
        raise InputError(f"no model is called {name!r}; {hint}")
    return registry.cards[name]


@dataclass(frozen=True, kw_only=True)
class State:
    """A model as it is here and now."""

    card: ModelCard
    info: ModelInfo
    """With health, measured profile and full digest."""
    artifact: str | None
    """SHA-256 of the artifact (of a folder: of its tree); ``None`` where there is no local one."""

    def document(self) -> dict[str, Any]:
        """For machines."""
        return {
            "card": self.card.model_dump(mode="json", by_alias=True, exclude_unset=True),
            "file": self.card.source.file,
            "digest": self.info.digest,
            "artifact_sha256": self.artifact,
            "healthy": self.info.healthy,
            "why_unhealthy": self.info.why_unhealthy,
            "figures": {name: getattr(self.info, name) for name in ("cost", "latency_ms", "quality")},
        }

    def lines(self) -> list[str]:
        """For people."""
        import yaml

        from airflow_agentic.cli.render import aligned

        facts = [
            ("file", self.card.source.file),
            ("digest", self.info.digest),
            ("artifact", f"sha256 {self.artifact}" if self.artifact else "–"),
            ("health", "can run here" if self.info.healthy else f"cannot run here: {self.info.why_unhealthy}"),
            ("figures", _figures(self.card, self.info)),
        ]
        card = self.card.model_dump(mode="json", by_alias=True, exclude_unset=True)
        text: str = yaml.safe_dump(card, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None)
        return [*aligned(facts), "", *text.rstrip("\n").split("\n")]


def _figures(card: ModelCard, info: ModelInfo) -> str:
    parts = [f"cost {info.cost * 1000.0:g} per 1,000 records"]
    parts += [] if info.latency_ms is None else [f"{info.latency_ms:g} ms"]
    parts += [] if info.quality is None else [f"quality {info.quality:g}"]
    declared = (card.cost, card.profile.latency_ms, card.profile.quality)
    how = "declared" if declared == (info.cost, info.latency_ms, info.quality) else "measured by models profile"
    return f"{', '.join(parts)} ({how})"


def observe(card: ModelCard) -> State:
    """Digests and health, found as a run's snapshot finds them."""
    from airflow_agentic.artifacts.digests import tree_digest
    from airflow_agentic.exceptions import ArtifactError
    from airflow_agentic.execution.freeze import snapshot
    from airflow_agentic.plan import Plan
    from airflow_agentic.registry import ModelInfo
    from airflow_agentic.runtime.artifacts import is_local, resolve

    plan = Plan(
        workflow=card.name,
        nodes=(),
        models={card.name: ModelInfo.of(card)},
        cards={card.name: card.model_dump(mode="json", by_alias=True, exclude_unset=True)},
        folders={card.name: str(card.folder.resolve())},
        columns={},
    )
    artifact, uri = card.runtime.sha256, card.runtime.artifact
    if uri is not None and is_local(uri):
        try:
            artifact = tree_digest(resolve(uri, base=card.folder))
        except ArtifactError:
            artifact = None  # the snapshot says why
    return State(card=card, info=snapshot(plan).models[card.name], artifact=artifact)
