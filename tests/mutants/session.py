"""What is known of each mutant: a SQLite file, so a run goes on where it stopped."""

from __future__ import annotations

import dataclasses
import enum
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.mutant import Mutant

__all__ = ["Known", "Session", "Verdict"]

_TABLES = """
create table if not exists mutants (
    id text primary key, module text, name text, place text, operator text, text text,
    before text, after text, first integer, last integer, number integer,
    commit_id text, verdict text, killer text, seconds real
);
create table if not exists facts (key text primary key, value text);
"""


class Verdict(enum.Enum):
    """What became of a mutant; without one it was not tried yet."""

    TESTS = "killed by tests"
    SIMULATOR = "killed by the simulator"
    TIMED_OUT = "timed out"
    SURVIVED = "survived"
    NOT_RUN = "could not be put in"

    @property
    def killed(self) -> bool:
        """Tell whether somebody noticed it; what hangs is noticed by whoever waits."""
        return self in {Verdict.TESTS, Verdict.SIMULATOR, Verdict.TIMED_OUT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A mutant's row: `commit_id` is the commit of the verdict, `killer` the test or seed of it."""

    id: str
    module: str
    name: str
    place: str
    operator: str
    text: str
    before: str
    after: str
    first: int
    commit_id: str | None
    verdict: Verdict | None
    killer: str
    seconds: float


class Session:
    """The file of one campaign."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._open() as database:
            database.executescript(_TABLES)

    def know(self, module: str, mutants: Iterable[Mutant]) -> None:
        """Take in what a module's mutants are now; what was found of those that stay, stays."""
        mutants = list(mutants)
        with self._open() as database:
            there = {
                each
                for (each,) in database.execute(
                    "select id from mutants where module = ?", (module,)
                )
            }
            gone = there - {each.id for each in mutants}
            database.executemany("delete from mutants where id = ?", [(each,) for each in gone])
            database.executemany(
                "insert into mutants (id, module, name, place, operator, text, before, after,"
                " first, last, number) values (:id, :module, :name, :place, :operator, :text,"
                " :before, :after, :first, :last, :number)"
                " on conflict (id) do update set first = excluded.first, last = excluded.last,"
                " number = excluded.number",
                [dataclasses.asdict(each) | {"place": each.place.value} for each in mutants],
            )

    def forget_other_modules(self, modules: Iterable[str]) -> None:
        """Drop the mutants of modules that are mutated no more."""
        with self._open() as database:
            kept = json.dumps(list(modules))
            database.execute(
                "delete from mutants where module not in (select value from json_each(?))", (kept,)
            )

    def record(
        self, each: str, verdict: Verdict, *, commit_id: str, killer: str, seconds: float
    ) -> None:
        """Keep what became of a mutant."""
        with self._open() as database:
            database.execute(
                "update mutants set commit_id = ?, verdict = ?, killer = ?, seconds = ?"
                " where id = ?",
                (commit_id, verdict.name, killer, seconds, each),
            )

    def all(self) -> list[Known]:
        """Give every mutant, by module and line."""
        with self._open() as database:
            return list(_known(database))

    def fact(self, key: str) -> str:
        """Give a fact about the campaign, "" when it is not known."""
        with self._open() as database:
            row = database.execute("select value from facts where key = ?", (key,)).fetchone()
        return str(row[0]) if row else ""

    def set_fact(self, key: str, value: str) -> None:
        """Keep a fact about the campaign."""
        with self._open() as database:
            database.execute("insert or replace into facts values (?, ?)", (key, value))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=30.0)) as database, database:
            yield database


def _known(database: sqlite3.Connection) -> Iterator[Known]:
    rows = database.execute(
        "select id, module, name, place, operator, text, before, after, first, commit_id, verdict,"
        " killer, seconds from mutants order by module, first, number"
    )
    for row in rows:
        yield Known(
            id=row[0],
            module=row[1],
            name=row[2],
            place=row[3],
            operator=row[4],
            text=row[5],
            before=row[6],
            after=row[7],
            first=row[8],
            commit_id=row[9],
            verdict=Verdict[row[10]] if row[10] else None,
            killer=row[11] or "",
            seconds=row[12] or 0.0,
        )
