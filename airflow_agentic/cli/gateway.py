"""``airflow-agentic gateway``: answer requests over HTTP."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from airflow_agentic.cli.artifacts import DeploymentOption
from airflow_agentic.cli.options import HandlersOption, ProjectOption, UrisOption, listed
from airflow_agentic.exceptions import MissingExtraError

if TYPE_CHECKING:
    from airflow_agentic.serving.access import Authenticator
    from airflow_agentic.serving.airflow_api import AirflowLogin
    from airflow_agentic.serving.gateway.app import Gateway
    from airflow_agentic.serving.gateway.dags import DagRuns

PREFIX = "AIRFLOW_AGENTIC_GATEWAY_"

HostOption = Annotated[
    str, typer.Option(envvar=f"{PREFIX}HOST", help="An address or name of this machine; without tokens a loopback.")
]
PortOption = Annotated[int, typer.Option(envvar=f"{PREFIX}PORT", min=0, max=65535, help="0 takes a free one.")]
WorkflowsOption = Annotated[
    list[str] | None, typer.Option("--workflow", "-w", metavar="NAME", help="Serve this one. Repeatable; else all.")
]
TokensOption = Annotated[
    Path | None,
    typer.Option(envvar=f"{PREFIX}TOKENS", metavar="FILE", help="Clients and the digests of their bearer tokens."),
]
JwksOption = Annotated[
    str | None,
    typer.Option(envvar=f"{PREFIX}JWKS", metavar="URL", help="Keys of who issues JWT; with --issuer, --audience."),
]
IssuerOption = Annotated[str, typer.Option(envvar=f"{PREFIX}ISSUER", help="Of the JWT that are taken.")]
AudienceOption = Annotated[str, typer.Option(envvar=f"{PREFIX}AUDIENCE", help="That the JWT must be made for.")]
JobsOption = Annotated[
    str,
    typer.Option(
        envvar=f"{PREFIX}JOBS",
        metavar="URL",
        help="Where jobs and idempotency keys are kept: sqlite:////path/jobs.db or postgresql+psycopg2://…; "
        "by default in memory, until the gateway ends.",
    ),
]
AirflowUrlOption = Annotated[
    str | None,
    typer.Option(envvar=f"{PREFIX}AIRFLOW_URL", metavar="URL", help="Of Airflow's API server, for mode dag."),
]
AirflowTokenOption = Annotated[
    Path | None, typer.Option(envvar=f"{PREFIX}AIRFLOW_TOKEN_FILE", metavar="FILE", help="Holds Airflow's token.")
]
AirflowUserOption = Annotated[
    str | None,
    typer.Option(envvar=f"{PREFIX}AIRFLOW_USER", help=f"Instead of a token; its password is {PREFIX}AIRFLOW_PASSWORD."),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        metavar="URI",
        envvar=["AIRFLOW_AGENTIC_ARTIFACTS", "AIRFLOW__AGENTIC__ARTIFACTS"],
        help="The artifact store that Dag runs leave their answers in.",
    ),
]
LimitsOption = Annotated[
    list[str] | None,
    typer.Option(envvar=f"{PREFIX}LIMITS", metavar="NAME=VALUE", help="As body_bytes=128Mi or running=32. Repeatable."),
]


def gateway(
    *,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8000,
    workflow: WorkflowsOption = None,
    tokens: TokensOption = None,
    jwks: JwksOption = None,
    issuer: IssuerOption = "",
    audience: AudienceOption = "",
    jobs: JobsOption = "sqlite://",
    airflow_url: AirflowUrlOption = None,
    airflow_token_file: AirflowTokenOption = None,
    airflow_user: AirflowUserOption = None,
    artifacts: StoreOption = None,
    deployment: DeploymentOption = "default",
    limit: LimitsOption = None,
    project: ProjectOption = Path(),
    allow_handler: HandlersOption = None,
    allow_uri: UrisOption = None,
) -> None:
    """Answer requests over HTTP: POST /predict runs a workflow.

    Serves the project as it is now; changed workflows and cards count after a restart. SIGTERM and Ctrl-C let running
    requests end.
    """
    try:
        from airflow_agentic.serving.gateway.app import Gateway
        from airflow_agentic.serving.gateway.catalog import Catalog
        from airflow_agentic.serving.gateway.problems import refusal
        from airflow_agentic.serving.gateway.settings import Limits, Settings
        from airflow_agentic.serving.listening import Server, bind, serve
    except ImportError as error:
        raise MissingExtraError(str(error.name), "serving") from error
    from airflow_agentic.coordinator import ModelPool
    from airflow_agentic.project import Project
    from airflow_agentic.serving.access import addresses
    from airflow_agentic.serving.jobs import SqlJobs

    _log()
    authenticator = _authenticator(tokens, jwks, issuer, audience)
    places = addresses(host, authenticated=authenticator is not None)
    settings = Settings(allowed_uris=listed(allow_uri), limits=Limits.of(listed(limit)))
    handlers = listed(allow_handler)
    pool = ModelPool(allowed_handlers=handlers, patient=True)
    home = Project.find(project, handlers)
    catalog = Catalog.load(home, pool, names=listed(workflow))
    for file, problem in catalog.broken.items():
        typer.secho(f"{file} is not served:\n{problem}", fg="red", err=True)
    dags = _dags(_login(airflow_url, airflow_token_file, airflow_user), artifacts, deployment)
    app = Gateway(catalog, settings, store=SqlJobs.open(jobs), authenticator=authenticator, dags=dags)
    sockets = bind(places, port)
    url = _url(host, sockets[0].getsockname()[1])
    limits = settings.limits
    server = Server(
        app,
        refusal=refusal,
        delay=limits.drain_delay_seconds,
        grace=limits.drain_seconds,
        head_seconds=limits.head_seconds,
    )
    serve(server, sockets, app.running(lambda: _say(app, url, home.root)))
    typer.echo("the gateway has stopped", err=True)


def _authenticator(tokens: Path | None, jwks: str | None, issuer: str, audience: str) -> Authenticator | None:
    from airflow_agentic.serving.access import JwtAuthenticator, JwtRules, TokenFile

    if tokens is not None and jwks is not None:
        raise typer.BadParameter("give --tokens or --jwks, not both", param_hint="--tokens")
    if tokens is not None:
        return TokenFile(tokens)
    if jwks is None:
        if issuer or audience:
            raise typer.BadParameter("--issuer and --audience belong to --jwks", param_hint="--jwks")
        return None
    return JwtAuthenticator(JwtRules(issuer=issuer, audience=audience, jwks=jwks))


def _login(url: str | None, token_file: Path | None, user: str | None) -> AirflowLogin | None:
    from airflow_agentic.serving.airflow_api import AirflowLogin

    if url is None:
        if token_file is not None or user is not None:
            raise typer.BadParameter("a login belongs to an Airflow; give its URL", param_hint="--airflow-url")
        return None
    password = os.environ.get(f"{PREFIX}AIRFLOW_PASSWORD")
    return AirflowLogin(url=url, token_file=token_file, user=user, password=None if user is None else password)


def _dags(login: AirflowLogin | None, artifacts: str | None, deployment: str) -> DagRuns | None:
    from airflow_agentic.artifacts import Store
    from airflow_agentic.serving.airflow_api import AirflowApi
    from airflow_agentic.serving.gateway.dags import DagRuns

    if login is None:
        return None
    if artifacts is None:
        raise typer.BadParameter("answers of Dag runs lie in an artifact store; name it", param_hint="--artifacts")
    return DagRuns(AirflowApi(login), Store.open(artifacts), deployment)


def _log() -> None:
    """The gateway's lines go to stderr, and nothing of uvicorn's but warnings."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log = logging.getLogger("airflow_agentic.gateway")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(handler)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def _url(host: str, port: int) -> str:
    name = host if host not in {"", "*", "0.0.0.0", "::"} else "localhost"  # noqa: S104  # compared, not bound
    return f"http://{f'[{name}]' if ':' in name else name}:{port}"


def _say(app: Gateway, url: str, root: Path) -> None:
    from airflow_agentic.spec.load import shown

    names = ", ".join(sorted(app.catalog.served))
    typer.echo(f"gateway on {url} serves {names} from {shown(root)}; Ctrl-C ends it", err=True)
    typer.echo(f"models load now: {url}/health/ready says how far they are. Try:", err=True)
    token = " -H 'Authorization: Bearer TOKEN'" if app.door.authenticator is not None else ""
    data = '{"task":"text-analysis","input":"This is a test sentence."}'
    typer.echo(f"  curl -X POST {url}/predict -H 'Content-Type: application/json'{token} -d '{data}'", err=True)
