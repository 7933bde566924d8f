from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.programs import Programs


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    found = Programs(tmp_path)
    yield found
    found.stop_everything()
