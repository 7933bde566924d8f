"""Commands, as real processes, while the ledger's server is away."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import stamina

from gapless.local.outlasting import outlasting
from gapless.wiring import Home, open_home
from receipts.errors import LedgerBusy, LedgerInterrupted, LedgerRefused, LedgerUnavailable
from tests.services.postgresql import PostgresqlServer
from tests.unit.cli.a_place import Place

_HEARD_S = 100.0
AWAY = LedgerBusy("postgresql://host/db", reason="connection refused")
BROKEN = LedgerInterrupted("postgresql://host/db", reason="terminating", meaning="")


class Listening:
    """A command under way, and what it says on standard error."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def hear(self, words: str) -> None:
        """Wait until it said so."""
        with self._news:
            heard = self._news.wait_for(
                lambda: self._ended or any(words in line for line in self.said), _HEARD_S
            )
            assert heard, self.said
        assert any(words in line for line in self.said), self.said

    def end(self) -> tuple[int, str]:
        """Wait for its end; give its status and standard output."""
        status = self.process.wait(_HEARD_S)
        self._listener.join(_HEARD_S)
        assert self.process.stdout is not None
        return status, self.process.stdout.read()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.said.append(line)
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()


@contextmanager
def started(place: Place, *arguments: str) -> Iterator[Listening]:
    process = place.start(*arguments)
    listening = Listening(process)
    try:
        yield listening
    finally:
        process.kill()
        listening.end()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


@pytest.fixture
def place(tmp_path: Path, postgresql_alone: PostgresqlServer) -> Place:
    place = Place(tmp_path)
    place.environment["GAPLESS_LEDGER"] = postgresql_alone.new_url()
    return place


def test_a_submit_waits_for_the_ledger_s_server_and_says_so(
    place: Place, postgresql_alone: PostgresqlServer
) -> None:
    postgresql_alone.stop()
    with started(place, "submit", "sweep.toml") as submitting:
        submitting.hear("trying again until it works (ctrl-C ends this)")
        postgresql_alone.start()
        status, printed = submitting.end()
        submitting.hear("the ledger answers again")
    assert status == 0
    assert "6 runs sent in 6 jobs" in printed
    assert not any("run the same command again" in line for line in submitting.said)


def test_a_watch_outlasts_the_ledger_s_server(
    place: Place, postgresql_alone: PostgresqlServer
) -> None:
    assert place.do("submit", "sweep.toml").returncode == 0
    with started(place, "reconcile", "--watch") as watching:
        watching.hear("6 in flight")
        postgresql_alone.stop()
        watching.hear("trying again until it works")
        postgresql_alone.start()
        watching.hear("the ledger answers again")
        worked = (
            place.do("node", "--workers", "1", "--idle-exit", "0.1"),
            place.do("aggregate", "--until-complete"),
        )
        assert [each.returncode for each in worked] == [0, 0]
        status, printed = watching.end()
    assert status == 0
    assert "complete: every run has its result" in printed


def test_a_run_waits_for_the_ledger_s_server(
    place: Place, postgresql_alone: PostgresqlServer
) -> None:
    assert place.do("submit", "sweep.toml").returncode == 0
    postgresql_alone.stop()
    with started(place, "run", "sweep.toml", "--workers", "1") as running:
        running.hear("trying again (Ctrl-C ends)")
        postgresql_alone.start()
        status, printed = running.end()
    assert status == 5
    assert "6 of 6 runs stored" in printed


@pytest.mark.parametrize(
    ("home", "command", "words"),
    [
        ("there", "submit", "stopped; the same command goes on from here"),
        ("there", "run", "the same command continues"),
        ("to be made", "submit", "stopped; the same command goes on from here"),
        ("to be made", "run", "stopped; the same command goes on from here"),
    ],
)
def test_a_signal_ends_the_wait_for_the_ledger_s_server(
    home: str, command: str, words: str, place: Place, postgresql_alone: PostgresqlServer
) -> None:
    if home == "there":
        assert place.do("submit", "sweep.toml").returncode == 0
    postgresql_alone.stop()
    with started(place, command, "sweep.toml") as waiting:
        waiting.hear("trying again")
        waiting.process.send_signal(signal.SIGINT)
        status, _ = waiting.end()
        waiting.hear(words)
    assert status == 130
    assert place.home.exists() == (home == "there")
    assert not any("Abort" in line or "Traceback" in line for line in waiting.said)


def test_a_database_that_is_not_there_is_told_at_once(
    place: Place, postgresql_alone: PostgresqlServer
) -> None:
    place.environment["GAPLESS_LEDGER"] = postgresql_alone.url("nowhere")
    told = place.do("submit", "sweep.toml")
    assert told.returncode == 2
    assert "createdb" in told.stderr


def home_in(folder: Path, *, ledger: str | None = "postgresql://host/db") -> tuple[Home, list[str]]:
    told: list[str] = []
    return open_home(folder, ledger=ledger, create=True).for_people(told.append), told


def test_work_whose_lock_was_lost_is_done_again_from_its_start(tmp_path: Path) -> None:
    home, told = home_in(tmp_path / "h")
    left = [AWAY, BROKEN, AWAY]

    def work() -> str:
        if left:
            raise left.pop()
        return "done"

    with stamina.set_testing(True, attempts=9):
        assert outlasting(home, work) == "done"
    assert [text.partition(" (")[0] for text in told] == [
        "the ledger postgresql://host/db cannot be used now",
        "the connection to the ledger postgresql://host/db broke",
        "the ledger answers again",
    ]


@pytest.mark.parametrize("error", [LedgerRefused("no such role"), LedgerUnavailable("disk full")])
def test_what_a_person_has_to_mend_is_not_waited_for(error: Exception, tmp_path: Path) -> None:
    home, told = home_in(tmp_path / "h")

    def work() -> None:
        raise error

    with pytest.raises(type(error)):
        outlasting(home, work)
    assert not told


def test_only_a_person_s_command_waits_and_only_for_a_server(tmp_path: Path) -> None:
    def work() -> None:
        raise AWAY

    program = open_home(tmp_path / "h", ledger="postgresql://host/db", create=True)
    for home in (program, home_in(tmp_path / "h", ledger=None)[0]):
        with pytest.raises(LedgerBusy):
            outlasting(home, work)
