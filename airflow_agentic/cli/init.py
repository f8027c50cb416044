"""``airflow-agentic init``: a new project that runs at once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

_BUILT: Final = "built"


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The new folder; it must not exist, or be empty.")],
    *,
    example: Annotated[
        Literal["text", "full"],
        typer.Option(
            help="text: sentiment by two lists of words, runs at once. full: photos and texts over models of five "
            "frameworks, which must be built first."
        ),
    ] = "text",
) -> None:
    """Make a new project: a workflow, model cards, a Dag file and some input."""
    from airflow_agentic.exceptions import InputError

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{str(folder)!r} is not empty; name a new folder")
    files = _write_text(folder) if example == "text" else _copy_full(folder)
    _write_schemas(folder)
    for path in files:
        typer.echo(f"  {path}")
    typer.echo(f"made {folder} ({example} example). Next:")
    for command in _next(folder, example):
        typer.echo(f"  {command}")


def _write_text(folder: Path) -> list[Path]:
    from airflow_agentic.cli.templates import TEXT

    for name, text in TEXT.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return [folder / name for name in TEXT]


def _copy_full(folder: Path) -> list[Path]:
    """The example that comes with the distribution, without its built models."""
    import airflow_agentic
    from airflow_agentic.exceptions import InputError

    source = Path(airflow_agentic.__file__).parent / "example_dags"
    if not (source / "workflows").is_dir():
        raise InputError("this installation has no full example; use --example text")
    shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(_BUILT, "__pycache__", "*.pyc"))
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _write_schemas(folder: Path) -> None:
    from airflow_agentic.spec.jsonschema import write_schemas

    write_schemas(folder / "schema")


def _next(folder: Path, example: str) -> list[str]:
    if example == "full":
        return [
            "make models                          builds the models, in a checkout of airflow-agentic",
            f"cp -r dags/{_BUILT} {folder}",
            f"airflow-agentic validate {folder}",
        ]
    return [
        f"cd {folder}",
        'airflow-agentic --input "What a wonderful film."',
        "airflow-agentic run                  answers data/inbox.jsonl",
        "airflow-agentic plan                 shows which model is asked when",
        "airflow-agentic validate             after every change",
        "and put the folder into Airflow's Dag folder: agentic.py makes the Dag",
    ]
