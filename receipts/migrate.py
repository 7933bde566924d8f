"""Bring an older ledger to the tables of this program; only here is alembic imported."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from receipts.errors import ForeignLedger

__all__ = ["FOLDER", "upgrade"]

FOLDER = Path(__file__).parent / "migrations"


def upgrade(connection: sa.Connection, *, location: str, found: str, folder: Path = FOLDER) -> None:
    """Run the migrations after version `found` ("": none yet), all in the caller's transaction.

    A crash in the middle leaves the old version. ForeignLedger when `found` is not among them.
    """
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    if found:
        try:
            ScriptDirectory.from_config(config).get_revision(found)
        except CommandError as error:
            raise ForeignLedger(
                f"the ledger {location} is of version {found[:40]!r}, which this program does not "
                "know: a newer gapless wrote it. Update gapless here"
            ) from error
    command.upgrade(config, "head")
