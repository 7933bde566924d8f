"""A real PostgreSQL server from Debian's binaries, for the tests that need one.

It listens on loopback and on a socket in its own folder, with fsync on as people run it. Roles:
`gapless` owns the databases and needs no password, `guarded` needs one. initdb refuses root, so
root's tests run the server as an unprivileged user.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

__all__ = [
    "PASSWORD",
    "PostgresqlServer",
    "postgresql",
    "postgresql_alone",
    "postgresql_url",
    "started",
]

PASSWORD = "correct horse"  # of the role `guarded`
_START_S = 60.0
_TRIES = 3
_ROLES = """
CREATE ROLE gapless LOGIN CREATEDB;
CREATE ROLE guarded LOGIN PASSWORD 'correct horse';
"""
_ENDING = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_EMPTYING = """
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT nspname FROM pg_namespace
        WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
    LOOP EXECUTE format('DROP SCHEMA %I CASCADE', name); END LOOP;
    CREATE SCHEMA public AUTHORIZATION gapless;
END $$
"""
_ACCESS = """\
local all all trust
host all guarded 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""


class PostgresqlServer:
    """A server in a folder of its own; stopped and started by tests."""

    def __init__(self, folder: Path, binaries: Path) -> None:
        """Make the cluster; `folder` is empty and belongs to the user who is to run it."""
        self.folder = folder
        self.port = 0
        self._binaries = binaries
        self._process: subprocess.Popen[bytes] | None = None
        self._do("initdb", f"--pgdata={self._data}", "--username=admin", "--auth=trust",
                 "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")  # fmt: skip
        (self._data / "pg_hba.conf").write_text(_ACCESS, encoding="ascii")

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def pid(self) -> int:
        """The server's own process."""
        assert self._process is not None
        return self._process.pid

    def start(self, *, fsync: bool = True) -> None:
        """Start it and wait until it answers; a second start takes the same port.

        It ends with the thread that calls this.
        """
        for _ in range(_TRIES):
            port = self.port or _free_port()
            self._launch(port, fsync=fsync)
            if self._answers(port):
                self.port = port
                return
            self.stop()
        raise RuntimeError(f"PostgreSQL did not start:\n{self.log()}")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it by its own pid: SIGINT ends all sessions, SIGQUIT is a crash."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(how)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(60)
        self._process = None

    def log(self) -> str:
        """What the server said."""
        return (self.folder / "log").read_text("utf-8", "replace")

    def admin(self, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
        """Connect as the superuser."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="admin", dbname=database, autocommit=True
        )

    def new_database(self) -> str:
        """Make an empty database of the role gapless; give its name."""
        name = f"test_{secrets.token_hex(6)}"
        with self.admin() as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER gapless").format(sql.Identifier(name))
            )
        return name

    def url(self, database: str, *, user: str = "gapless") -> str:
        """Give the address of a database for --ledger."""
        return f"postgresql+psycopg://{user}@127.0.0.1:{self.port}/{database}"

    def new_url(self) -> str:
        """Make an empty database; give its address."""
        return self.url(self.new_database())

    def sql(self, url_or_database: str, *statements: str) -> list[tuple[object, ...]]:
        """Run statements as the superuser; give the rows of the last."""
        database = url_or_database.partition("?")[0].rpartition("/")[2]
        rows: list[tuple[object, ...]] = []
        with self.admin(database) as connection:
            for each in statements:
                cursor = connection.execute(each.encode())
                rows = cursor.fetchall() if cursor.description else []
        return rows

    def _launch(self, port: int, *, fsync: bool) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *_as_unprivileged(),
                    str(self._binaries / "postgres"),
                    *("-D", str(self._data)),
                    *("-c", "listen_addresses=127.0.0.1", "-c", f"port={port}"),
                    *("-c", f"unix_socket_directories={self.folder}"),
                    *("-c", f"fsync={'on' if fsync else 'off'}"),
                    *("-c", "max_connections=40", "-c", "shared_buffers=32MB"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )

    def _answers(self, port: int) -> bool:
        deadline = time.monotonic() + _START_S
        assert self._process is not None
        while self._process.poll() is None and time.monotonic() < deadline:
            ready = subprocess.run(
                [str(self._binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)],
                check=False,
                timeout=30,
            )
            if ready.returncode == 0:
                return True
            # pg_isready has no wait of its own; the process's end is the event looked for.
            try:
                self._process.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
        return False

    def _do(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*_as_unprivileged(), str(self._binaries / program), *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            timeout=120,
        )
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stdout}{done.stderr}")


@contextmanager
def started(binaries: Path) -> Iterator[PostgresqlServer]:
    """Make a cluster in a temporary folder, run it, and leave nothing of it."""
    # Not below pytest's folders: those are closed to the user the server runs as.
    folder = Path(tempfile.mkdtemp(prefix="gapless-pg-"))
    try:
        user = _unprivileged()
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        server = PostgresqlServer(folder, binaries)
        try:
            server.start()
            with server.admin() as connection:
                connection.execute(_ROLES.encode())
            yield server
        finally:
            # What it holds is thrown away: nothing is written out first.
            server.stop(signal.SIGQUIT)
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A running server, one for all tests of a process; each test makes a database of its own."""
    with started(_binaries()) as server:
        yield server


@pytest.fixture
def postgresql_url(postgresql: PostgresqlServer) -> Iterator[str]:
    """The address of an empty database, emptied after the test: a new one costs 300 files."""
    url = postgresql.url("ledgers")
    if not postgresql.sql("postgres", "SELECT 1 FROM pg_database WHERE datname = 'ledgers'"):
        postgresql.sql("postgres", "CREATE DATABASE ledgers OWNER gapless")
    yield url
    postgresql.sql(url, _ENDING, _EMPTYING, "ALTER DATABASE ledgers RESET ALL")


@pytest.fixture
def postgresql_alone() -> Iterator[PostgresqlServer]:
    """A running server for a test that stops it: few files to sync, nobody else's."""
    with started(_binaries()) as server:
        yield server


def _binaries() -> Path:
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3])
    )
    if found:
        return found[-1].parent
    missing = "PostgreSQL is not installed: apt-get install postgresql"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


def _unprivileged() -> pwd.struct_passwd | None:
    """Choose whom to run as; None: as ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("no user postgres or nobody to run PostgreSQL as")


def _as_unprivileged() -> list[str]:
    # The signal ends a server whose tests were killed.
    command = ["setpriv", "--pdeathsig", "INT"]
    user = _unprivileged()
    if user is None:
        return command
    return [*command, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
