"""The command line's shape: which commands there are, and what all of them share."""

from __future__ import annotations

import logging
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from airflow_agentic.cli import (
    artifacts,
    dags,
    exits,
    gateway,
    images,
    init,
    lock,
    models,
    plan,
    profile,
    run,
    schema,
    serve,
    validate,
)
from airflow_agentic.exceptions import AgenticError

_OWN_OPTIONS: Final = frozenset({"--help", "-h", "--version", "--install-completion", "--show-completion"})
_DEBUG: Final = "--debug"


class RunByDefault(TyperGroup):
    """Options without a command are those of ``run``; an error of ours is a message and an exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put ``run`` before its options, and ``--debug``, which may stand anywhere, first."""
        rest = [argument for argument in args if argument != _DEBUG]
        if rest and rest[0].startswith("-") and rest[0] not in _OWN_OPTIONS:
            rest.insert(0, "run")
        return super().parse_args(ctx, [_DEBUG, *rest] if _DEBUG in args else rest)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(exits.INTERRUPTED) from None
        except AgenticError as error:
            if ctx.params.get("debug"):
                logging.getLogger(__name__).exception("the traceback, as --debug asks")
            exits.report(error)
            raise typer.Exit(exits.exit_code(error)) from None


app = typer.Typer(
    cls=RunByDefault,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Multi-model inference: each record is routed to the right model, the answers are combined.",
    epilog=(
        "Without a command, options are those of run: airflow-agentic --task image-classification --input cat.jpg. "
        + exits.HELP
    ),
)


def _version(wanted: bool) -> None:
    if wanted:
        from airflow_agentic import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def common(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option(_DEBUG, help="Show tracebacks and what model processes print.")] = False,
) -> None:
    """What every command shares."""
    del version
    if debug:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")


app.command("run", epilog=exits.HELP)(run.run)
app.command("validate")(validate.validate)
app.command("plan")(plan.plan)
app.command("lock")(lock.lock)
app.add_typer(models.app, name="models")
models.app.command("profile")(profile.profile)
app.add_typer(dags.app, name="dags")
app.add_typer(artifacts.app, name="artifacts")
app.add_typer(images.app, name="images")
app.command("gateway")(gateway.gateway)
app.command("serve")(serve.serve)
app.command("init")(init.init)
app.command("schema")(schema.schema)
