"""Submit a sweep from this machine: everything a person may have got wrong is found first.

SQLAlchemy loads when the ledger is first needed, not before: `sweep run` starts its programs first.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

import msgspec

from gapless.declaration.control import ControlState
from gapless.declaration.extensions import extension
from gapless.declaration.frozen import FrozenSpace
from gapless.declaration.sweep import FrozenSweep
from gapless.errors import UserMistake
from gapless.local.choice import choose_sweep
from gapless.local.source import Source, check_code, notes_on_space, pack_code
from gapless.storage import layout
from gapless.storage.bundle import Bundle, CodeTooLarge
from gapless.storage.bundle_changes import changes_since
from gapless.storage.code_folder import FileId
from gapless.wiring import DEFAULT_HOME, Home, S3Address, clock, home_address, new_id, open_home
from gapless.wiring.ledger_address import checked_ledger, file_of_ledger

if TYPE_CHECKING:
    from receipts.submit import SubmitReport

__all__ = [
    "Prepared",
    "Wish",
    "open_home_for",
    "own_output",
    "prepare",
    "settle",
    "submit_prepared",
    "tell_of_home",
]

_STDOUT, _STDERR = 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How to submit: which code goes on when it changed, beside or into which earlier sweep."""

    code: Literal["old", "new"] | None = None
    new: bool = False
    extend: str | None = None
    job_size: int | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A sweep that can be submitted: frozen, its code packed and looked at.

    Code too large to travel is needed only where the home does not hold the sweep's code yet.
    """

    frozen: FrozenSweep
    code: Bundle | CodeTooLarge
    wish: Wish
    source: Source

    @property
    def bundle(self) -> Bundle:
        """The packed code; CodeTooLarge."""
        if isinstance(self.code, CodeTooLarge):
            raise self.code
        return self.code

    def sweep_id(self, home: Home) -> str:
        """Name the sweep it becomes, or the one it extends."""
        if self.wish.extend is not None:
            return choose_sweep(home.store, self.wish.extend)
        return self.frozen.id


def prepare(source: Source, wish: Wish) -> Prepared:
    """Freeze the space, pack the code, look for the function; UserMistake. Writes nothing.

    Code that is not to be used (`--code old`) may be in pieces. Whether code too large to travel is
    needed only the home knows: `open_home_for` and `settle` refuse it then.
    """
    frozen = source.sweep.freeze()
    try:
        bundle = pack_code(source, being_written=own_output())
    except CodeTooLarge as error:
        if wish.code == "new":
            raise
        return Prepared(frozen, error, wish, source)
    if wish.code != "old":
        check_code(source, bundle)
    return Prepared(frozen, bundle, wish, source)


def own_output() -> frozenset[FileId]:
    """Name the files this program's own output goes to: `sweep run … > out.txt` is no code."""
    found: set[FileId] = set()
    for descriptor in (_STDOUT, _STDERR):
        try:
            status = os.fstat(descriptor)
        except OSError:
            # It was closed by whoever started this program.
            continue
        if stat.S_ISREG(status.st_mode):
            found.add((status.st_dev, status.st_ino))
    return frozenset(found)


def open_home_for(
    prepared: Prepared,
    location: str | Path | None,
    *,
    state: Path | None,
    ledger: str | None,
    tell: Callable[[str], None],
) -> Home:
    """Open the home, or make it; UserMistake before anything is written, HomeError.

    A home (or its state folder) that is the code folder would be refused by every later command.
    A new home is made when its ledger could be opened, not before. `tell` takes what is waited for,
    should the home's service be away.
    """
    code_folder = prepared.source.code_folder.resolve()
    address = home_address(location)
    for what, option, folder in (
        ("home", "--home", address if isinstance(address, Path) else None),
        ("state folder", "--state", state),
    ):
        if folder is not None and folder.expanduser().resolve() == code_folder:
            raise UserMistake(
                f"the {what} {folder} is the code folder: put it elsewhere ({option}), for example "
                f"into {code_folder / DEFAULT_HOME}; nothing was written"
            )

    def before_making() -> None:
        if isinstance(prepared.code, CodeTooLarge):
            raise prepared.code
        if ledger is not None:
            _try_ledger(ledger, address, state, tell)

    return open_home(
        location,
        state=state,
        ledger=ledger,
        create=True,
        tell=tell,
        before_making=before_making,
    )


def _try_ledger(
    ledger: str, address: Path | S3Address, state: Path | None, tell: Callable[[str], None]
) -> None:
    """See that a ledger can be opened and is no other home's."""
    from gapless.local.outlasting import outlasting_server  # noqa: PLC0415
    from receipts.errors import LedgerDamaged  # noqa: PLC0415
    from receipts.new_home import check_for_new_home  # noqa: PLC0415

    url = checked_ledger(ledger)
    file = file_of_ledger(url)
    made = {address, None if state is None else state.expanduser().absolute()}
    if file is not None and file.absolute().parent in made:
        # That folder is made with the home.
        return
    place = address.url if isinstance(address, S3Address) else str(address)
    # A damaged one is moved aside by who submits.
    with contextlib.suppress(LedgerDamaged):
        outlasting_server(tell, lambda: check_for_new_home(url, place=place))


def tell_of_home(home: Home, file: Path | None, *, by_default: bool) -> list[str]:
    """Say that the home is new, and, when nobody named it, what lies beside the sweep file."""
    notes = [f"a new home: {home.location}"] if home.is_new else []
    if by_default and file is not None and not home.is_remote:
        folder = Path(home.location).resolve()
        try:
            beside = sorted(path.parent for path in file.resolve().parent.glob(f"*/{layout.HOME}"))
        except OSError:
            beside = []
        others = [str(each) for each in beside if each != folder]
        if others and folder.parent != file.resolve().parent:
            notes.append(
                f"the home used is {home.location}, below the folder you are in; beside the sweep "
                f"file lies {' and '.join(others[:3])}: --home names it"
            )
    return notes


def settle(home: Home, prepared: Prepared) -> tuple[Prepared, list[str]]:
    """Choose the sweep and the code where that needs no decision of a person; with notes on it."""
    prepared, extended = _take_as_extended(home, prepared)
    prepared, added = _keep_code_if_only_more(home, prepared)
    # Of what is stored already it was said before.
    repeated = [] if home.store.exists(prepared.frozen.id) else notes_on_space(prepared.source)
    return prepared, [*repeated, *(note for note in (extended, added) if note)]


def _take_as_extended(home: Home, prepared: Prepared) -> tuple[Prepared, str]:
    """Take a wider sweep as the one that was extended to it: nothing of it is lacking there."""
    declaration, wish = prepared.frozen.declaration, prepared.wish
    if wish.new or wish.extend is not None or home.store.exists(prepared.frozen.id):
        return prepared, ""
    for earlier_id in home.store.ids_named(declaration.name):
        if home.store.control(earlier_id).state is ControlState.CANCELLED:
            continue
        stored = home.store.load(earlier_id)
        earlier = stored.declaration
        as_there = msgspec.structs.replace(
            declaration, space=earlier.space, replicates=earlier.replicates
        )
        if as_there.digest != earlier.digest or len(stored.segments) == 1:
            continue
        space = FrozenSpace.from_json(declaration.space, prepared.frozen.objects.__getitem__)
        if extension(
            earlier,
            stored.segments,
            space,
            replicates=declaration.replicates,
            fetch=home.store.get_object,
        ):
            continue
        taken = replace(prepared, wish=replace(wish, extend=earlier_id))
        return taken, f"sweep {earlier_id} was extended to these runs and goes on"
    return prepared, ""


def _keep_code_if_only_more(home: Home, prepared: Prepared) -> tuple[Prepared, str]:
    """Go on with the stored code when the folder holds all of it and more; with a note on that.

    Logs, pictures and tables appear in a code folder while its sweep runs: new files beside
    unchanged ones are no other code, however large they are. Nor is a table of results that was
    written again (it travels, because the code of a next sweep may read it), nor a file that was
    named in an ignore file since. `--code new` takes them along.
    """
    sweep_id, code = prepared.sweep_id(home), prepared.code
    if not home.store.exists(sweep_id):
        if isinstance(code, CodeTooLarge):
            _refuse_too_large(home, prepared, code)
        return prepared, ""
    if prepared.wish.code is not None:
        return prepared, ""
    stored_sha = home.store.control(sweep_id).code
    if stored_sha is None or stored_sha == code.sha256:
        return prepared, ""
    changes = changes_since(
        stored_sha, code.files, home.store.get_object, is_table=_is_results_table
    )
    if changes is not None:
        changes = changes.beside(prepared.source.code_folder)
    if not changes or not changes.code_as_it_was:
        if isinstance(code, CodeTooLarge):
            from receipts.errors import CodeChanged  # noqa: PLC0415

            raise CodeChanged(sweep_id, changes=changes)
        return prepared, ""
    holds = "more" if changes.additions_only else "other files, but no other code,"
    note = (
        f"the code folder holds {holds} than when the sweep was submitted ({changes}): the stored "
        "code goes on (--code new takes them along, .gaplessignore leaves them out)"
    )
    kept = replace(prepared, wish=replace(prepared.wish, code="old"))
    return kept, note if _is_news(home, sweep_id, code.sha256) else ""


def _is_results_table(head: bytes) -> bool:
    from gapless.results.csv_file import is_results_table  # noqa: PLC0415

    return is_results_table(head)


def _refuse_too_large(home: Home, prepared: Prepared, code: CodeTooLarge) -> NoReturn:
    """Refuse code that a new sweep needs; an earlier sweep of its name may be what was meant."""
    from receipts.submit import refuse_changed  # noqa: PLC0415

    if not prepared.wish.new:
        refuse_changed(prepared.frozen.declaration, home.store)
    raise code


def _is_news(home: Home, sweep_id: str, sha256: str) -> bool:
    """Tell whether this state of the code folder was not told of yet, and take it as told."""
    told = home.logs_folder / f"{sweep_id}-told.txt"
    with contextlib.suppress(OSError):
        if told.exists() and told.read_text("ascii") == sha256:
            return False
        told.parent.mkdir(parents=True, exist_ok=True)
        told.write_text(sha256, "ascii")
    return True


def submit_prepared(home: Home, prepared: Prepared) -> SubmitReport:
    """Submit; a ledger that was lost or damaged is made anew from the home. Safe to repeat."""
    from gapless.local.accounting import rebuild_ledger  # noqa: PLC0415
    from gapless.local.outlasting import outlasting  # noqa: PLC0415
    from receipts.errors import LedgerDamaged, LedgerLacksSweep, LedgerLost  # noqa: PLC0415

    def work() -> SubmitReport:
        try:
            return _submit(home, prepared)
        except (LedgerLacksSweep, LedgerLost, LedgerDamaged):
            rebuild_ledger(home)
            return _submit(home, prepared)

    return outlasting(home, work)


def _submit(home: Home, prepared: Prepared) -> SubmitReport:
    from receipts.submit import submit  # noqa: PLC0415

    wish = prepared.wish
    with closing(home.ledger()) as ledger, closing(home.queues()) as queues:
        return submit(
            prepared.frozen,
            None if isinstance(prepared.code, CodeTooLarge) else prepared.code,
            ledger=ledger,
            queues=queues,
            store=home.store,
            clock=clock,
            new_id=new_id,
            job_size=wish.job_size,
            code=wish.code,
            new=wish.new,
            extend=None if wish.extend is None else prepared.sweep_id(home),
        )
