"""Open a home, whichever kind its address names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gapless.errors import MissingExtra
from gapless.wiring.address import S3Address, home_address
from gapless.wiring.folder_home import open_folder_home, read_folder_home
from gapless.wiring.home import Home
from gapless.wiring.ledger_address import checked_ledger

__all__ = ["open_home", "read_home"]


def open_home(
    location: str | Path | None,
    *,
    state: Path | None = None,
    ledger: str | None = None,
    create: bool,
    tell: Callable[[str], None] | None = None,
    before_making: Callable[[], None] | None = None,
    if_unwritable: str = "choose another with --home",
) -> Home:
    """Open the home at `location` (None: GAPLESS_HOME, else ./sweeps), making it when `create`.

    `ledger`: the address of a database (None: SQLite in the state folder). With `tell`, a service
    that cannot be reached is waited for; `tell` takes what for. `before_making` is called when the
    home is to be made, before anything is written. UserMistake; HomeError when the home is not
    there, cannot be written (`if_unwritable` is what a person then does next), is of a newer format
    or would lie within another. Safe to repeat.
    """
    address = home_address(location)
    url = None if ledger is None else checked_ledger(ledger)
    if isinstance(address, S3Address):
        return _open_s3(
            address, state=state, ledger=url, create=create, tell=tell, before_making=before_making
        )
    return open_folder_home(
        address,
        state=state,
        ledger=url,
        create=create,
        before_making=before_making,
        if_unwritable=if_unwritable,
    )


def read_home(
    location: str | Path | None,
    *,
    state: Path | None = None,
    ledger: str | None = None,
    tell: Callable[[str], None] | None = None,
) -> Home:
    """Open a home that is there to read it: it may lie on a medium that cannot be written."""
    address = home_address(location)
    url = None if ledger is None else checked_ledger(ledger)
    if isinstance(address, S3Address):
        return _open_s3(address, state=state, ledger=url, create=False, tell=tell)
    return read_folder_home(address, state=state, ledger=url)


def _open_s3(
    address: S3Address,
    *,
    state: Path | None,
    ledger: str | None,
    create: bool,
    tell: Callable[[str], None] | None,
    before_making: Callable[[], None] | None = None,
) -> Home:
    # Here, so that a folder home never loads boto3.
    try:
        from gapless.wiring.s3_home import open_s3_home  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"boto3", "botocore"}:
            raise
        raise MissingExtra(purpose=f"the home {address.url}", extra="aws") from error
    return open_s3_home(
        address, state=state, ledger=ledger, create=create, tell=tell, before_making=before_making
    )
