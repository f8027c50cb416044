"""One Airflow's history: it runs by itself, gets our wheel, works with it, and loses it again."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlparse

import airflow_extras
import yaml
from environment import OURS, Environment, call

from scripts.airflow_server import DAGS_FOLDER, AirflowServer

if TYPE_CHECKING:
    from collections.abc import Mapping

PLAIN: Final = """
from airflow.sdk import dag, task

@dag(schedule=None)
def plain():
    @task
    def one():
        return 1

    one()

plain()
"""
"""The Dag of somebody who knows nothing of us."""

BUNDLE: Final = "second"
TEAM: Final = "red"
BUNDLED: Final = "bundled"
BUNDLES: Final = {
    "local": "airflow.dag_processing.bundles.local.LocalDagBundle",
    "git": "airflow.providers.git.bundles.git.GitDagBundle",
}
CONNECTION: Final = "agentic_store_default"
MAINTENANCE: Final = "upkeep"
UPKEEP: Final = f"""
from airflow_agentic import maintenance_dag

dag = maintenance_dag({MAINTENANCE!r})
"""


@dataclass(frozen=True, kw_only=True)
class History:
    """What is done with one environment, and what is remembered of it.

    :param teams: whether this Airflow knows teams.
    :param examples: whether it shows the examples of providers; elsewhere its own are left out, which take minutes.
    """

    environment: Environment
    teams: bool
    examples: bool
    frozen: dict[str, dict[str, str]] = field(default_factory=dict)
    """The installed versions: ``before`` our wheel came, ``with`` it, and ``after`` it went."""

    @property
    def dags(self) -> Path:
        """The Dags folder with our workflows in it."""
        return self.environment.folder / "dags"

    @property
    def store(self) -> str:
        """The artifact store that our connection names."""
        return (self.environment.folder / "store").as_uri()

    def begin(self) -> None:
        """Airflow alone: its database is made, a Dag has run."""
        self.environment.create()
        plain = self.environment.folder / "plain"
        for folder in (plain, self.dags):
            folder.mkdir()
            (folder / "plain.py").write_text(PLAIN)
        alone = self.alone()
        alone.command("db", "migrate")
        alone.command("dags", "test", "plain")
        if self.teams:
            self.together().command("teams", "create", TEAM)
        self.frozen["before"] = self.environment.frozen()

    def install(self, wheel: Path) -> None:
        """Install the wheel with what models in pods and behind services need, and write Dags that use it."""
        self.environment.install(f"{wheel}[kubernetes,serving]")
        self.frozen["with"] = self.environment.frozen()
        airflow_extras.add(self.dags)
        (self.dags / f"{MAINTENANCE}.py").write_text(UPKEEP)
        second = self.environment.folder / BUNDLE
        for name in ("workflows", "models"):
            (second / name).mkdir(parents=True)
        (second / "models" / "words.yaml").write_text(yaml.safe_dump(airflow_extras.CARD))
        spec = {"apiVersion": "airflow-agentic/v1", "kind": "Workflow", "name": BUNDLED, "layout": "compact"}
        spec |= {"input": "../texts.jsonl", "routes": [{"name": "main", "use": "words"}]}
        (second / "workflows" / f"{BUNDLED}.yaml").write_text(yaml.safe_dump(spec))
        airflow_extras.write_records(second / "texts.jsonl", ["a good film", "a bad film"])
        (second / "loader.py").write_text(airflow_extras.LOADER)
        git = ("git", "-C", second, "-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
        for arguments in (
            ("init", "--quiet", "--initial-branch=main"),
            ("add", "."),
            ("commit", "--quiet", "-m", "One"),
        ):
            call(*git, *arguments)

    def alone(self) -> AirflowServer:
        """Airflow without us: before and after."""
        environment = self.environment
        folder = environment.folder / "plain"
        settings = {"AIRFLOW__CORE__LOAD_EXAMPLES": str(self.examples)}
        return AirflowServer(
            home=environment.home, dags=folder, python=environment.python, keep=True, settings=settings
        )

    def together(self) -> AirflowServer:
        """Airflow with us: two bundles, Airflow's examples, our connection.

        The second bundle is a git repository, and a team's where there are teams.
        """
        environment = self.environment
        return AirflowServer(
            home=environment.home, dags=self.dags, python=environment.python, keep=True, settings=self.settings()
        )

    def settings(self) -> Mapping[str, str]:
        """What :meth:`together` adds to the environment."""
        team = {"team_name": TEAM} if self.teams else {}
        bundles: list[dict[str, Any]] = [
            {"name": DAGS_FOLDER, "classpath": BUNDLES["local"], "kwargs": {}},
            {
                "name": BUNDLE,
                "classpath": BUNDLES["git"],
                "kwargs": {"tracking_ref": "main", "git_conn_id": "git_default"},
                **team,
            },
        ]
        connection = {"conn_type": "agentic_store", "extra": {"uri": self.store}}
        repository = {"conn_type": "git", "host": str(self.environment.folder / BUNDLE)}
        return {
            "AIRFLOW__CORE__LOAD_EXAMPLES": str(self.examples),
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles),
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(self.environment.folder / "bundles"),
            "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "2",
            "AIRFLOW__AGENTIC__ARTIFACTS_CONN_ID": CONNECTION,
            f"AIRFLOW_CONN_{CONNECTION.upper()}": json.dumps(connection),
            "AIRFLOW_CONN_GIT_DEFAULT": json.dumps(repository),
            **({"AIRFLOW__CORE__MULTI_TEAM": "True"} if self.teams else {}),
            **({"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"admin:admin:{TEAM}"} if self.teams else {}),
        }

    @property
    def commit(self) -> str:
        """Of the second bundle."""
        return call("git", "-C", self.environment.folder / BUNDLE, "rev-parse", "HEAD").strip()

    def stored(self) -> dict[str, dict[str, Any]]:
        """What ``airflow-agentic artifacts list`` says of the runs, by place."""
        own = Path(self.environment.python).with_name(OURS)
        listed = json.loads(call(own, "artifacts", "list", "--json", "--artifacts", self.store))
        return {one["run"]: one for one in listed}

    def age(self, place: str, *, days: float) -> None:
        """Let a run have been written ``days`` ago."""
        then = time.time() - days * 86400
        for path in Path(unquote(urlparse(self.stored()[place]["uri"]).path)).rglob("*"):
            os.utime(path, (then, then))

    def uninstall(self) -> None:
        """Remove our distribution."""
        self.environment.uninstall(OURS)
        self.frozen["after"] = self.environment.frozen()
