"""``airflow-agentic images``: container images that run models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airflow_agentic.cli.options import JsonOption, ProjectOption

if TYPE_CHECKING:
    from airflow_agentic.images import Built, Engine, Image, Target

app = typer.Typer(no_args_is_help=True, help="Container images that run models: build, list.")

EngineOption = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="COMMAND",
        envvar="AIRFLOW_AGENTIC_ENGINE",
        help="The container engine: docker, or a command that takes its arguments, as podman does.",
    ),
]


@app.command()
def build(
    cards: Annotated[
        list[str] | None, typer.Argument(metavar="CARD", help="Models, by name: an image each, files baked in.")
    ] = None,
    *,
    framework: Annotated[
        list[str] | None,
        typer.Option("--framework", metavar="NAME", help="A framework's image, without models. Repeatable."),
    ] = None,
    repository: Annotated[
        str, typer.Option("--repository", metavar="PREFIX", help="What the names begin with: registry.example.org/ml.")
    ] = "airflow-agentic",
    tag: Annotated[
        str | None, typer.Option("--tag", help="In place of the card's version, or of this project's.")
    ] = None,
    push: Annotated[bool, typer.Option("--push", help="Send each image to its registry.")] = False,
    package: Annotated[
        list[str] | None,
        typer.Option(
            "--package",
            metavar="REQUIREMENT",
            help="A further package, as pip takes it, or the path of a wheel: a handler's code. Repeatable.",
        ),
    ] = None,
    wheel: Annotated[
        Path | None,
        typer.Option("--wheel", metavar="FILE", help="This project's wheel, in place of one made from the code here."),
    ] = None,
    base_image: Annotated[
        str | None, typer.Option("--base-image", metavar="IMAGE", help="In place of python:3.11-slim-bookworm.")
    ] = None,
    torch_index: Annotated[
        str | None,
        typer.Option(
            "--torch-index",
            metavar="URL",
            envvar="TORCH_INDEX",
            help="A further index to look for torch in, as one with builds for CPUs.",
        ),
    ] = None,
    engine: EngineOption = "docker",
    project: ProjectOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Build images for models or frameworks. What the engine prints goes to stderr."""
    from airflow_agentic.exceptions import InputError
    from airflow_agentic.images import Sources
    from airflow_agentic.images import build as build_images

    targets = _targets(cards or [], framework or [], project, repository, tag)
    if not targets:
        raise InputError("nothing to build: name models of the project, or a --framework")
    command = _engine(engine)
    sources = Sources(base_image=base_image, torch_index=torch_index, packages=tuple(package or ()), wheel=wheel)
    done = []
    for made in build_images(targets, command, sources):
        if push:
            command.push(made.image.reference)
        done.append(made)
        if not as_json:
            _say(made, pushed=push)
    if as_json:
        typer.echo(json.dumps([_built(made) for made in done], indent=2, ensure_ascii=False))


@app.command("list")
def list_(*, engine: EngineOption = "docker", as_json: JsonOption = False) -> None:
    """List the images of this project that the engine has."""
    from airflow_agentic.cli.render import aligned
    from airflow_agentic.cli.runs import size

    images = _engine(engine).images()
    if as_json:
        typer.echo(json.dumps([_document(image) for image in images], indent=2, ensure_ascii=False))
        return
    rows = [
        (
            image.name,
            image.tag,
            image.framework,
            image.model or "–",
            image.version or "–",
            (image.digest or "–")[:12],
            size(image.size),
        )
        for image in images
    ]
    headings = ("image", "tag", "framework", "model", "version", "digest", "size")
    for line in aligned([headings, *rows]) if rows else ["no images; make one with `airflow-agentic images build`"]:
        typer.echo(line)


def _engine(command: str) -> Engine:
    from airflow_agentic.images import Engine

    return Engine(command=command, say=lambda line: typer.echo(line, err=True))


def _targets(cards: list[str], frameworks: list[str], project: Path, repository: str, tag: str | None) -> list[Target]:
    from airflow_agentic.cli.models import find
    from airflow_agentic.images import Target
    from airflow_agentic.project import Project

    named = [Target.of_framework(name, repository=repository, tag=tag) for name in frameworks]
    if cards:
        registry = Project.find(project).registry
        named += [Target.of_card(find(registry, name), repository=repository, tag=tag) for name in cards]
    return named


def _document(image: Image) -> dict[str, Any]:
    names = ("reference", "name", "tag", "framework", "model", "version", "digest", "size", "id")
    return {name: getattr(image, name) for name in names}


def _built(made: Built) -> dict[str, Any]:
    files = [
        {"key": file.key, "uri": file.uri, "path": f"/models/{file.sha256}/{file.name}", "sha256": file.sha256}
        for file in made.files
    ]
    return {**_document(made.image), "files": files}


def _say(made: Built, *, pushed: bool) -> None:
    from airflow_agentic.cli.render import counted
    from airflow_agentic.cli.runs import size

    inside = f"{counted(len(made.files), 'file')} baked in, " if made.image.model is not None else ""
    what = "built and pushed" if pushed else "built"
    typer.echo(f"{what} {made.image.reference} ({made.image.framework}, {inside}{size(made.image.size)})")
