"""Three Airflows, one after the other. Each fixture is the next chapter of one history."""

from __future__ import annotations

import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest
from environment import RELEASES, Environment, Release, read_only
from history import History
from services import require
from table import rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scripts.airflow_server import AirflowServer


@pytest.fixture(scope="module", params=RELEASES, ids=lambda release: release.minor)
def release(request: pytest.FixtureRequest) -> Release:
    """One of the Airflows."""
    found: Release = request.param
    return found


@pytest.fixture
def there(request: pytest.FixtureRequest, release: Release) -> bool:
    """Whether this Airflow has the feature that the test's mark names, as the documentation says."""
    mark = request.node.get_closest_marker("feature")
    cells = {row.feature: row.cells for row in rows()}[mark.args[0]]
    return {"yes": True, "no": False}[cells[release.minor]]


@pytest.fixture(scope="session")
def beginnings(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Release, Future[History]]]:
    """The Airflows that are asked for, made one after the other while tests look at those before."""
    require(find_spec("uv"), "needs uv: pip install uv")
    require(shutil.which("git"), "needs git: apt-get install git")
    params = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    pool = ThreadPoolExecutor(max_workers=1)
    yield {
        release: pool.submit(begin, release, tmp_path_factory.mktemp(f"airflow-{release.minor}-"))
        for release in RELEASES
        if any(each.get("release") == release for each in params)
    }
    pool.shutdown(cancel_futures=True)


def begin(release: Release, folder: Path) -> History:
    """Airflow is installed, initialised, and has run."""
    cells = {row.feature: row.cells[release.minor] == "yes" for row in rows()}
    teams, examples = cells["multi-team"], cells["example Dags of providers with `load_examples`"]
    history = History(environment=Environment(folder=folder, release=release), teams=teams, examples=examples)
    history.begin()
    return history


@pytest.fixture(scope="module")
def history(release: Release, beginnings: dict[Release, Future[History]]) -> Iterator[History]:
    """Airflow as it is before we come; its environment is deleted in the end."""
    found = beginnings[release].result()
    yield found
    found.environment.remove()


@pytest.fixture(scope="module")
def installed(history: History, wheel: Path) -> History:
    """Our wheel is installed into it."""
    history.install(wheel)
    return history


@pytest.fixture(scope="module")
def facts(installed: History) -> dict[str, Any]:
    """What a look around inside finds."""
    settings = {**installed.settings(), "AIRFLOW__CORE__LOAD_EXAMPLES": "True"}
    return installed.environment.probe(installed.dags, settings)


@pytest.fixture(scope="module")
def server(installed: History) -> Iterator[AirflowServer]:
    """It runs with us. Its Dags folder is read-only."""
    with read_only(installed.dags), installed.together() as server:
        yield server
