"""Look at a ledger before a home is made: a misspelt address must leave no home behind."""

from __future__ import annotations

from receipts import sqlite_file
from receipts.errors import ForeignLedger
from receipts.ledger import file_of, open_ledger
from receipts.ownership import lies_at
from receipts.postgresql_address import names_postgresql, read_address

__all__ = ["check_for_new_home"]


def check_for_new_home(location: str, *, place: str) -> None:
    """See that a home to be made at `place` can keep its ledger at an address.

    The ledger is opened, made when missing, and stays nobody's. ForeignLedger when another home
    keeps it; what open_ledger raises.
    """
    open_ledger(location).close()
    if names_postgresql(location):
        from receipts.postgresql_opening import home_of_schema  # noqa: PLC0415

        named = home_of_schema(read_address(location))
    else:
        path = file_of(location)
        named = None if path is None else sqlite_file.home_of_file(path)
    # Another program may be making the very home at this moment.
    if named is not None and not lies_at(named, place):
        raise ForeignLedger(
            f"the ledger at this address is that of the home {named}; each home needs a ledger of "
            f"its own. No home was made at {place}: leave --ledger (GAPLESS_LEDGER) out, name "
            "another file, or, in PostgreSQL, another schema, as in --ledger '…?schema=NAME'"
        )
