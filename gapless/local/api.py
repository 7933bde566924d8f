"""The Python face: run, submit and open a sweep as the commands of the same names do.

What loads SQLAlchemy is imported where it is used, so that opening results stays quick.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gapless.declaration.sweep import Sweep
from gapless.errors import UserMistake
from gapless.local.choice import choose_sweep
from gapless.local.python_words import in_python, python_words
from gapless.results.reader import Results
from gapless.wiring import Home, core_count, read_home

if TYPE_CHECKING:
    from gapless.local.source import Source
    from gapless.local.submission import Prepared

__all__ = ["open", "run", "submit"]


def run(  # noqa: PLR0913 - an argument is an option of the command
    sweep: Sweep | str | Path,
    *,
    home: str | Path | None = None,
    state: str | Path | None = None,
    ledger: str | None = None,
    workers: int | None = None,
    code: Literal["old", "new"] | None = None,
    new: bool = False,
    extend: str | None = None,
    progress: bool = True,
) -> Results:
    """Run a sweep (or a sweep file) on this machine until it is complete, and give its results.

    `home`: a folder or s3://bucket/prefix (None: GAPLESS_HOME, else ./sweeps); `state`: a local
    folder for queue and ledger when the home is not on a disk of this machine (None: GAPLESS_STATE,
    else the home, or a folder of the user's); `ledger`: the address of a database for the ledger
    (None: GAPLESS_LEDGER, else SQLite); `workers`: processes (None: all cores);
    `code`, `new`, `extend`: as the options of `sweep run`. Runs that are not ok are no error here:
    see `Results.errors`. Safe to repeat: the same call continues. KeyboardInterrupt when a person
    stopped it, after an orderly end.
    """
    from gapless.local.progress import Silence, watcher_for_stderr  # noqa: PLC0415
    from gapless.local.running import RunSettings, run_here  # noqa: PLC0415
    from gapless.local.submission import Wish, prepare, tell_of_home  # noqa: PLC0415

    _refuse_in_worker("gapless.run")
    with python_words():
        source = _source(sweep)
        prepared = prepare(source, Wish(code=code, new=new, extend=extend))
        opened = _opened(prepared, home, state, ledger)
        watcher = watcher_for_stderr(in_python) if progress else Silence()
        for note in tell_of_home(opened, source.file, by_default=home is None):
            watcher.note(note)
        summary = run_here(
            opened,
            prepared,
            settings=RunSettings(workers=workers or core_count()),
            watcher=watcher,
        )
    if not summary.complete:
        raise KeyboardInterrupt
    return Results(opened.for_readers(_tell).blobs, summary.sweep_id)


def submit(
    sweep: Sweep | str | Path,
    *,
    home: str | Path | None = None,
    state: str | Path | None = None,
    ledger: str | None = None,
    job_size: int | None = None,
    code: Literal["old", "new"] | None = None,
    new: bool = False,
    extend: str | None = None,
) -> Results:
    """Put a sweep (or a sweep file) into a home and its jobs into the queue; give its results.

    The arguments are those of `run`; `job_size`: runs a job (None: from run_time, else from the
    number of runs). Nodes and aggregators do the work: `Results.refresh` looks again. Safe to
    repeat: only what was not sent yet is sent.
    """
    from gapless.local.submission import (  # noqa: PLC0415
        Wish,
        prepare,
        settle,
        submit_prepared,
    )

    _refuse_in_worker("gapless.submit")
    wish = Wish(code=code, new=new, extend=extend, job_size=job_size)
    with python_words():
        prepared = prepare(_source(sweep), wish)
        opened = _opened(prepared, home, state, ledger).for_people(_tell)
        prepared, _ = settle(opened, prepared)
        report = submit_prepared(opened, prepared)
    return Results(opened.blobs, report.sweep_id)


def open(  # noqa: A001 - the verb of the documentation
    home: str | Path | None = None,
    sweep: str | None = None,
    *,
    damaged: Literal["raise", "skip"] = "raise",
) -> Results:
    """Open the stored results of a sweep, complete or not.

    `home`: a folder or s3://bucket/prefix (None: GAPLESS_HOME, else ./sweeps); `sweep`: an id, a
    name or the beginning of an id (None: the home's only sweep). `damaged`: "raise" ShardDamaged
    for a shard whose bytes are not those that were written, or "skip" it (see `.skipped`). Reads
    only.
    """
    with python_words():
        opened = read_home(home, tell=_tell).for_readers(_tell)
        return Results(opened.blobs, choose_sweep(opened.store, sweep), damaged=damaged)


def _opened(
    prepared: Prepared, home: str | Path | None, state: str | Path | None, ledger: str | None
) -> Home:
    from gapless.local.submission import open_home_for  # noqa: PLC0415

    place = state or os.environ.get("GAPLESS_STATE")
    return open_home_for(
        prepared,
        home,
        state=Path(place) if place else None,
        ledger=ledger or os.environ.get("GAPLESS_LEDGER"),
        tell=_tell,
    )


def _tell(text: str) -> None:
    sys.stderr.write(in_python(text) + "\n")
    sys.stderr.flush()


def _refuse_in_worker(what: str) -> None:
    """Refuse to start a sweep where runs are done: each worker would start it again, for ever."""
    if os.environ.get("GAPLESS_IN_WORKER"):
        raise UserMistake(
            f"{what} was called inside a gapless worker, which imports the module of the sweep's "
            'function: put the call under `if __name__ == "__main__":`, or into a file of its own'
        )


def _source(sweep: Sweep | str | Path) -> Source:
    from gapless.local.source import Source, read_sweep  # noqa: PLC0415

    return Source(sweep) if isinstance(sweep, Sweep) else read_sweep(Path(sweep))
