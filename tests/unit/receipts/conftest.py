"""A world in memory, and one in a folder: every test runs in both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
