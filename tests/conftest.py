"""What holds for every test: no real account, and retries of blips neither wait nor hide."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import stamina

from tests.chaos.small_disk import NoSmallDisk, SmallDisk
from tests.chaos.small_disk import small_disk as mounted
from tests.services.fixtures import ministack, moto_server, on_ministack, on_moto
from tests.services.postgresql import postgresql, postgresql_alone, postgresql_url
from tests.services.servers import ACCOUNT_SETTINGS

__all__ = [
    "ministack",
    "moto_server",
    "no_patience",
    "on_ministack",
    "on_moto",
    "postgresql",
    "postgresql_alone",
    "postgresql_url",
    "small_disk",
]


def pytest_configure() -> None:
    """Forget the account of the person who runs the tests, here and in every program started."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(ACCOUNT_SETTINGS)
    # How fast a machine is, is measured in bench/ and asserted nowhere.
    hypothesis.settings.register_profile("untimed", hypothesis.settings(), deadline=None)
    hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def no_patience() -> Iterator[None]:
    with stamina.set_testing(True, attempts=1):
        yield


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Give a disk of 8 MiB of its own; needs the right to mount."""
    try:
        with mounted(tmp_path / "disk", size_bytes=8 << 20, keep_in=tmp_path / "kept") as disk:
            yield disk
    except NoSmallDisk as why:
        pytest.skip(str(why))
