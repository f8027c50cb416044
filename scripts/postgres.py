"""A PostgreSQL of its own, from the machine's installation: in a folder and on a port of its own.

SQLite has one writer: an Airflow whose processes are killed at random answers 500 on it (*database is locked*).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from scripts.airflow_server import free_port

if TYPE_CHECKING:
    from types import TracebackType

INSTALLED: Final = "/usr/lib/postgresql/*/bin"
"""Where Debian has the server's programs; they are not on PATH there."""
USER: Final = "airflow"
OWNER: Final = "postgres"
"""PostgreSQL refuses to run as root; Debian's package makes this user."""
STOP_SECONDS: Final = 20.0


class PostgresError(RuntimeError):
    """PostgreSQL is not installed, or did not start."""


class PostgresServer:
    """One PostgreSQL with an empty database, which user :data:`USER` reaches without a password.

    :param home: its folder, removed first; a temporary one, removed by :meth:`stop`, where absent. As root, the user
        :data:`OWNER` must be able to reach it: below a folder of mode 700, such as pytest's, it cannot.
    """

    def __init__(self, *, home: Path | None = None) -> None:
        self._given = home
        self.home = Path()
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """For SQLAlchemy, with the driver psycopg2."""
        return f"postgresql+psycopg2://{USER}@127.0.0.1:{self.port}/postgres"

    @property
    def log(self) -> Path:
        """What it says."""
        return self.home / "postgres.log"

    def start(self, *, timeout: float = 60) -> Self:
        """Make the database and start the server.

        :raises PostgresError: it is not installed, or does not answer in time; the message has its log's end.
        """
        folder = programs()
        if folder is None:
            raise PostgresError(f"no PostgreSQL server on PATH or in {INSTALLED}: apt-get install postgresql")
        self._make_home()
        data = self.home / "data"
        try:
            self._call(folder / "initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
            self.port = free_port()
            options = ("fsync=off", "listen_addresses=127.0.0.1", f"unix_socket_directories={self.home}")
            settings = [part for option in options for part in ("-c", option)]
            command = [folder / "postgres", "-D", data, "-p", str(self.port), *settings]
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    command,
                    cwd=self.home,
                    user=_owner(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C is for whoever started it, who then stops it
                )
            self._wait(folder / "pg_isready", timeout)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End it at once, and all its processes."""
        if self._process is not None:
            for sign in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):  # fast, immediate, and by force
                self._process.send_signal(sign)
                try:
                    self._process.wait(STOP_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    continue
            self._process = None
        if self._given is None and self.home != Path():
            shutil.rmtree(self.home, ignore_errors=True)

    def _make_home(self) -> None:
        if self._given is None:
            self.home = Path(tempfile.mkdtemp(prefix="postgres-"))
        else:
            self.home = self._given.resolve()
            shutil.rmtree(self.home, ignore_errors=True)
            self.home.mkdir(parents=True)
        if (owner := _owner()) is not None:
            shutil.chown(self.home, owner)

    def _call(self, *command: str | Path) -> None:
        done = subprocess.run(command, cwd=self.home, user=_owner(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise PostgresError(f"{Path(command[0]).name} failed in {str(self.home)!r}: {done.stderr or done.stdout}")

    def _wait(self, probe: Path, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        question = [probe, "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(question, cwd=self.home, check=False).returncode:
            ended = self._process is None or self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
                raise PostgresError(f"PostgreSQL does not answer on port {self.port}:\n{tail}")
            time.sleep(0.1)


def programs() -> Path | None:
    """The folder with the server's programs, of the newest version; ``None`` where it is not installed."""
    found = shutil.which("postgres")
    if found is not None:
        return Path(found).resolve().parent
    folders = sorted(Path("/").glob(INSTALLED.lstrip("/")), key=lambda folder: int(folder.parent.name))
    return folders[-1] if folders else None


def _owner() -> str | None:
    return OWNER if os.geteuid() == 0 else None
