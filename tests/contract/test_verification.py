"""Verification on every backend of Blobs: what is bad is kept aside, what is sound counts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gapless.declaration.runset import RunSet
from gapless.results.coverage import CoverageReader
from gapless.results.findings import Action, Mode
from gapless.results.shard_judgement import Found
from gapless.storage import layout
from gapless.storage.blobs import Blobs
from tests.contract.test_blobs import BACKENDS
from tests.unit.results.verified_home import VerifiedHome


@pytest.fixture(params=sorted(BACKENDS))
def blobs(request: pytest.FixtureRequest) -> Iterator[Blobs]:
    yield from BACKENDS[request.param](request)


def verify_later(home: VerifiedHome, mode: Mode = Mode.MEND, readers: int = 3):
    newest_s = max(blob.written_at_s for blob in home.blobs.list(""))
    return home.verify(mode, clock=lambda: newest_s + 100.0, readers=readers)


def test_bad_shards_go_aside_and_all_that_is_sound_counts(blobs: Blobs) -> None:
    home = VerifiedHome(blobs=blobs)
    home.keep_runs(0, 10)
    bad, gone, lying, orphan = (home.keep_runs(s, s + 10) for s in (10, 20, 30, 40))
    home.flip(home.shard_key(bad), 4000)
    blobs.delete(home.shard_key(gone))
    home.change_manifest(lying, sha256="0" * 64)
    blobs.delete(home.manifest_key(orphan))
    done = verify_later(home)
    assert {each.name: (each.found, each.action) for each in done.findings} == {
        bad.shard_id: (Found.CHANGED, Action.SET_ASIDE),
        gone.shard_id: (Found.GONE, Action.SET_ASIDE),
        lying.shard_id: (Found.WRONG_MANIFEST, Action.MANIFEST_MADE_ANEW),
        orphan.shard_id: (Found.NO_MANIFEST, Action.ADOPTED),
    }
    assert done.lost == {0: RunSet.span(10, 30)}
    sound = RunSet.span(0, 10) | RunSet.span(30, 50)
    assert done.coverage.final() == sound
    assert CoverageReader(blobs, home.sweep_id).refresh().final() == sound
    assert len(home.aside()) == 4
    again = verify_later(home)
    assert (again.findings, again.rows) == ([], 30)


def test_looking_writes_nothing(blobs: Blobs) -> None:
    home = VerifiedHome(blobs=blobs)
    bad = home.keep_runs(0, 10)
    home.flip(home.shard_key(bad), 4000)
    before = home.objects()
    assert verify_later(home, Mode.LOOK).lost == {0: RunSet.span(0, 10)}
    assert home.objects() == before


def test_many_shards_are_read_at_once_and_counted_once(blobs: Blobs) -> None:
    home = VerifiedHome(blobs=blobs)
    for start in range(0, 100, 5):
        home.keep_runs(start, start + 5)
    done = verify_later(home, readers=6)
    assert (done.findings, done.shards, done.rows) == ([], 20, 100)
    assert done.coverage.final() == RunSet.span(0, 100)
    assert home.objects(layout.set_aside_prefix(home.sweep_id)) == {}
