"""Fixtures that start real servers: one of each kind a test process, when first asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from tests.services.servers import (
    Service,
    ServiceMissing,
    aws_environment,
    started_ministack,
    started_moto,
)

__all__ = ["ministack", "moto_server", "on_ministack", "on_moto", "started_or_skip"]


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """An AWS stand-in, a real server: use names of your own, other tests use it too."""
    yield from started_or_skip(started_ministack, tmp_path_factory.mktemp("ministack"))


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Another AWS stand-in; its queues grow slow beyond some hundred messages."""
    yield from started_or_skip(started_moto, tmp_path_factory.mktemp("moto"))


@pytest.fixture
def on_ministack(ministack: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    """Let clients that this test makes in this process reach ministack."""
    _point_at(ministack, monkeypatch)
    return ministack


@pytest.fixture
def on_moto(moto_server: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    """Let clients that this test makes in this process reach moto's server."""
    _point_at(moto_server, monkeypatch)
    return moto_server


def _point_at(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in aws_environment(service.url).items():
        monkeypatch.setenv(name, value)


def started_or_skip(
    start: Callable[[Path], AbstractContextManager[Service]], folder: Path
) -> Iterator[Service]:
    """Run a server while the fixture lives; without its program skip at home, fail in CI."""
    with ExitStack() as stack:
        try:
            service = stack.enter_context(start(folder))
        except ServiceMissing as missing:
            if os.environ.get("CI") == "true":
                pytest.fail(str(missing))
            pytest.skip(str(missing))
        yield service
