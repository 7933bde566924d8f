"""A world in memory, and one in a folder: every test runs in both. A ledger of a later version."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from receipts import migrate, tables
from receipts.ledger import open_ledger
from tests.unit.receipts.world import World


@pytest.fixture(params=["memory", "folder"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    folder = tmp_path / "home" if request.param == "folder" else None
    if folder is not None:
        folder.mkdir()
    ledger = open_ledger("sqlite://" if folder is None else folder)
    opened = World(ledger, folder)
    yield opened
    ledger.close()
    opened.queues.close()


@pytest.fixture
def later_migrations(tmp_path: Path) -> Path:
    """The shipped migrations and one more, as a later version would bring it."""
    folder = tmp_path / "migrations"
    shutil.copytree(migrate.FOLDER, folder)
    (folder / "versions" / "v9999_note.py").write_text(
        "import sqlalchemy as sa\n"
        "from alembic import op\n"
        "revision = '9999'\n"
        f"down_revision = '{tables.HEAD}'\n"
        "def upgrade():\n"
        "    op.add_column('sweeps', sa.Column('note', sa.String(9), server_default='none'))\n",
        encoding="utf-8",
    )
    return folder
