"""``airflow-agentic artifacts``: the runs in the artifact store, how long they are kept, and erasure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from airflow_agentic.cli import exits
from airflow_agentic.cli.options import JsonOption

if TYPE_CHECKING:
    from airflow_agentic.artifacts import Store
    from airflow_agentic.execution.erasure import Erased
    from airflow_agentic.execution.retention import Pruned

app = typer.Typer(no_args_is_help=True, help="Runs in the artifact store: list, show, prune, erase.")

ArtifactsOption = Annotated[
    str,
    typer.Option(
        "--artifacts",
        metavar="URI",
        envvar=["AIRFLOW_AGENTIC_ARTIFACTS", "AIRFLOW__AGENTIC__ARTIFACTS"],
        help="The artifact store's base URI. Credentials come from the environment (AWS_…, GOOGLE_…, AZURE_…).",
    ),
]
DeploymentOption = Annotated[
    str,
    typer.Option(
        "--deployment",
        envvar=["AIRFLOW_AGENTIC_DEPLOYMENT", "AIRFLOW__AGENTIC__DEPLOYMENT"],
        help="The first folder below it.",
    ),
]
DagOption = Annotated[str | None, typer.Option("--dag", help="Only runs of this Dag.")]
WorkflowOption = Annotated[str | None, typer.Option("--workflow", "-w", help="Only runs of this workflow.")]


@app.command("list")
def list_(
    *,
    artifacts: ArtifactsOption,
    deployment: DeploymentOption = "default",
    dag: DagOption = None,
    workflow: WorkflowOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the runs, with how far each has come and when it was last written."""
    from airflow_agentic.cli.runs import document, overview
    from airflow_agentic.execution.runs import find_runs

    runs = [run for run in find_runs(_store(artifacts), deployment, dag_id=dag) if workflow in {None, run.workflow}]
    if as_json:
        typer.echo(json.dumps([document(run) for run in runs], indent=2, ensure_ascii=False))
        return
    for line in overview(runs) if runs else ["no runs"]:
        typer.echo(line)


@app.command()
def show(
    run: Annotated[str, typer.Argument(metavar="DAG/RUN", help="As `artifacts list` names it.")],
    *,
    artifacts: ArtifactsOption,
    deployment: DeploymentOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Show a run: its plan, what each node has committed, answers by model, errors by code, where the answers lie."""
    from airflow_agentic.artifacts import Store
    from airflow_agentic.cli.runs import document, lines
    from airflow_agentic.execution.report import report
    from airflow_agentic.execution.runs import RunPlace, find_run

    found = find_run(_store(artifacts), deployment, RunPlace.parse(run))
    made = None if found.tombstone is not None else report(found, Store.open)
    if as_json:
        typer.echo(json.dumps(document(found, made), indent=2, ensure_ascii=False))
        return
    for line in lines(found, made):
        typer.echo(line)


@app.command()
def prune(
    *,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than",
            metavar="DURATION",
            help="Runs that were last written longer ago, as 30d, whatever their workflows say. "
            "Without it, each by its workflow's retention.",
        ),
    ] = None,
    default: Annotated[
        str,
        typer.Option(
            "--retention",
            metavar="DURATION",
            envvar=["AIRFLOW_AGENTIC_RETENTION", "AIRFLOW__AGENTIC__RETENTION"],
            help="Of runs whose workflow says none; empty keeps them.",
        ),
    ] = "",
    workflow: WorkflowOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    artifacts: ArtifactsOption,
    deployment: DeploymentOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Delete the data of old runs; each leaves a small object that says that it has expired.

    Answers published to an absolute URI are yours and stay.
    """
    from airflow_agentic.cli.render import counted
    from airflow_agentic.cli.runs import size
    from airflow_agentic.execution import retention

    found: list[Pruned] = []
    pruned = retention.prune(
        _store(artifacts),
        deployment,
        older_than=retention.kept("--older-than", older_than),
        default=retention.kept("--retention", default),
        workflow=workflow,
        dry_run=dry_run,
    )
    for one in pruned:
        found.append(one)
        if not as_json:
            verb = "would expire" if dry_run else "expired"
            typer.echo(f"{verb} {one.place}: {one.why} ({size(one.bytes)})")
    if as_json:
        entries = [
            {"run": str(one.place), "workflow": one.workflow, "records": one.records}
            | {"why": one.why, "objects": one.objects, "bytes": one.bytes}
            for one in found
        ]
        typer.echo(json.dumps({"dry_run": dry_run, "expired": entries}, indent=2, ensure_ascii=False))
        return
    freed = "would be freed" if dry_run else "freed"
    typer.echo(f"{counted(len(found), 'run')}, {size(sum(one.bytes for one in found))} {freed}")


@app.command()
def erase(
    record_id: Annotated[str, typer.Argument(metavar="RECORD_ID", help="As it stands in the answers.")],
    *,
    dag: DagOption = None,
    run: Annotated[str | None, typer.Option("--run", help="Only this run of --dag.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    artifacts: ArtifactsOption,
    deployment: DeploymentOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Erase a record's content from every file of its runs; the runs stay whole. Exit 4 if something was out of reach.

    It does not reach the input itself, Airflow's database and logs, backups and old versions of objects.
    """
    from airflow_agentic.artifacts import Store
    from airflow_agentic.exceptions import InputError
    from airflow_agentic.execution import erasure

    if run is not None and dag is None:
        raise InputError(f"--run {run!r} names no run by itself: give its Dag with --dag")
    base = _store(artifacts)
    if not yes:
        _confirm(record_id, "/".join(part for part in (base.child(deployment).base, dag, run) if part), as_json)
    found: list[Erased] = []
    for one in erasure.erase(base, deployment, record_id, Store.open, dag_id=dag, run_id=run):
        found.append(one)
        if not as_json:
            _say_erased(one)
    if as_json:
        entries = [
            {
                "run": str(one.place),
                "state": one.state,
                "files": one.files,
                "rows": one.rows,
                "unreached": list(one.unreached),
            }
            for one in found
        ]
        typer.echo(json.dumps({"erased": entries}, indent=2, ensure_ascii=False))
    elif not found:
        typer.echo("no run holds the record")
    if any(one.unreached for one in found):
        raise typer.Exit(exits.MODEL)


def _confirm(record_id: str, where: str, as_json: bool) -> None:
    from airflow_agentic.exceptions import InputError

    if as_json:
        raise InputError("--json erases nothing without --yes: nobody can be asked")
    question = f"Erase the record {record_id!r} from every run in {where}? This cannot be undone."
    try:
        agreed = typer.confirm(question)
    except typer.Abort:
        agreed = False
    if not agreed:
        typer.echo("nothing was erased", err=True)
        raise typer.Exit(exits.INTERRUPTED)


def _say_erased(one: Erased) -> None:
    from airflow_agentic.cli.render import counted

    typer.echo(f"erased {counted(one.rows, 'row')} in {counted(one.files, 'file')} of {one.place}")
    if one.state in {"running", "partly"}:
        typer.secho(f"  it is {one.state}: if Airflow goes on with it, erase again after it", fg="yellow", err=True)
    for problem in one.unreached:
        typer.secho(f"  out of reach: {problem}", fg="red", err=True)


def _store(uri: str) -> Store:
    from airflow_agentic.artifacts import Store

    return Store.open(uri)
