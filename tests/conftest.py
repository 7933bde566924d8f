"""What holds for every test: retries of blips neither wait nor hide what a test does."""

from collections.abc import Iterator

import pytest
import stamina


@pytest.fixture(autouse=True)
def no_patience() -> Iterator[None]:
    with stamina.set_testing(True, attempts=1):
        yield
