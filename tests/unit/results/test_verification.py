"""What verification finds in stored shards, what it does about it, and what it leaves alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import h5py
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gapless.declaration.extensions import extension
from gapless.declaration.frozen import FrozenSpace
from gapless.declaration.runset import RunSet
from gapless.declaration.space import Space
from gapless.declaration.sweep import Sweep
from gapless.errors import UserMistake
from gapless.results.coverage import CoverageReader, missing
from gapless.results.coverage_cache import CachedShard, CoverageCache, encode_cache
from gapless.results.findings import Action, Finding, Mode, Verification
from gapless.results.manifest import decode_manifest, encode_manifest
from gapless.results.origin import Origin
from gapless.results.outcome import Outcome
from gapless.results.reader import Results
from gapless.results.setting_aside import read_notes
from gapless.results.shard import EncodedShard
from gapless.results.shard_judgement import Found
from gapless.results.shard_seal import sealed
from gapless.storage import layout
from gapless.storage.errors import ArrivedDamaged, StorageRefused, StorageUnavailable
from gapless.storage.folder import FolderBlobs
from tests.unit.results.samples import block_of
from tests.unit.results.verified_home import LATER_S, Died, DyingBlobs, OddReads, VerifiedHome

OK, FAILED = Outcome.OK, Outcome.FAILED


@pytest.fixture
def home() -> VerifiedHome:
    return VerifiedHome()


def only(done: Verification) -> Finding:
    (finding,) = done.findings
    return finding


def covered(home: VerifiedHome) -> RunSet:
    return CoverageReader(home.blobs, home.sweep_id).refresh().final()


def manifest_of(home: VerifiedHome, shard: EncodedShard):
    return decode_manifest(home.blobs.get(home.manifest_key(shard)))


def cut_short(home: VerifiedHome, shard: EncodedShard) -> None:
    home.blobs.put(home.shard_key(shard), shard.data[:-1000])


def emptied(home: VerifiedHome, shard: EncodedShard) -> None:
    home.blobs.put(home.shard_key(shard), b"")


def grown(home: VerifiedHome, shard: EncodedShard) -> None:
    home.blobs.put(home.shard_key(shard), shard.data + b"x")


def flipped_at(part: float) -> Callable[[VerifiedHome, EncodedShard], None]:
    def flipped(home: VerifiedHome, shard: EncodedShard) -> None:
        home.flip(home.shard_key(shard), int(part * (len(shard.data) - 1)))

    return flipped


def zeroed(home: VerifiedHome, shard: EncodedShard) -> None:
    # What a file system may give back after a loss of power.
    home.blobs.put(home.shard_key(shard), bytes(len(shard.data)))


def other_shard(home: VerifiedHome, shard: EncodedShard) -> None:
    other = home.shard(block_of({1: {"y": 1.0}}))
    home.blobs.put(home.shard_key(shard), other.data)


DAMAGES = {
    "a bit of its first byte": flipped_at(0.0),
    "a bit in its middle": flipped_at(0.5),
    "a bit of its seal": flipped_at(1.0),
    "cut short": cut_short,
    "empty": emptied,
    "longer": grown,
    "zeros": zeroed,
    "another shard's file": other_shard,
}


def test_sound_shards_are_counted_from_their_rows(home: VerifiedHome) -> None:
    home.keep_runs(0, 60)
    home.keep_runs(50, 90, epoch=1)
    home.keep_failed(90, 91)
    done = home.verify()
    assert done.findings == []
    assert not done.lost
    assert (done.shards, done.rows, done.total) == (3, 102, 100)
    assert done.size_bytes == sum(len(d) for k, d in home.objects().items() if k.endswith(".h5"))
    assert dict(done.coverage.by) == {
        (0, OK): RunSet.span(0, 60),
        (1, OK): RunSet.span(50, 90),
        (0, FAILED): RunSet.of(90, 91),
    }


def test_a_sweep_of_which_nothing_is_stored_has_nothing_wrong(home: VerifiedHome) -> None:
    done = home.verify()
    assert (done.shards, done.rows, done.findings) == (0, 0, [])


def test_a_sweep_that_is_not_there_is_a_mistake(home: VerifiedHome) -> None:
    home.sweep_id = "none-01234567"
    with pytest.raises(UserMistake, match="none-01234567"):
        home.verify()


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_shard_is_set_aside_and_its_runs_are_gaps(
    home: VerifiedHome, damage: Callable[[VerifiedHome, EncodedShard], None]
) -> None:
    sound, bad = home.keep_runs(0, 60), home.keep_runs(50, 100)
    damage(home, bad)
    data, manifest = home.blobs.get(home.shard_key(bad)), home.blobs.get(home.manifest_key(bad))
    done = home.verify()
    finding = only(done)
    assert (finding.name, finding.found) == (bad.shard_id, Found.CHANGED)
    assert finding.action is Action.SET_ASIDE
    assert not finding.is_unverified
    # 50 to 59 are in the other shard too.
    assert done.lost == {0: RunSet.span(60, 100)}
    assert covered(home) == RunSet.span(0, 60)
    assert sorted(home.aside().values()) == sorted([data, manifest])
    shards = home.objects(layout.shards_prefix(home.sweep_id))
    assert sorted(shards) == sorted([home.shard_key(sound), home.manifest_key(sound)])
    again = home.verify()
    assert (again.findings, again.lost) == ([], {})


def test_the_note_says_why_and_where_each_file_lay(home: VerifiedHome) -> None:
    bad = home.keep_runs(0, 10)
    home.flip(home.shard_key(bad), 3000)
    finding = only(home.verify())
    (note,) = read_notes(home.blobs, home.sweep_id)
    assert note.name == bad.shard_id
    assert "sha256" in note.why
    assert note.set_aside_at_s == LATER_S
    assert finding.note in home.objects("quarantine/")
    for key, copy in note.kept.items():
        home.blobs.put(key, home.blobs.get(copy))
    home.flip(home.shard_key(bad), 3000)
    assert home.verify().findings == []
    assert covered(home) == RunSet.span(0, 10)


def test_runs_asked_for_anew_become_gaps_at_their_epoch(home: VerifiedHome) -> None:
    home.keep_runs(0, 100)
    home.ask(1, 7, 8)
    bad = home.keep_runs(7, 9, epoch=1)
    home.flip(home.shard_key(bad), 100)
    assert home.verify().lost == {1: RunSet.of(7, 8)}
    coverage = CoverageReader(home.blobs, home.sweep_id).refresh()
    asked = home.store.asked(home.sweep_id)
    assert missing(home.sweep.runs.all, asked, coverage) == {1: RunSet.of(7, 8)}


def test_what_a_later_epoch_holds_is_not_lost(home: VerifiedHome) -> None:
    bad = home.keep_runs(0, 10)
    home.keep_runs(0, 10, epoch=1)
    home.flip(home.shard_key(bad), 100)
    done = home.verify()
    assert only(done).action is Action.SET_ASIDE
    assert done.lost == {}


def test_a_missing_shard_is_found_and_its_manifest_set_aside(home: VerifiedHome) -> None:
    bad = home.keep_runs(0, 10)
    home.blobs.delete(home.shard_key(bad))
    done = home.verify()
    assert (only(done).found, only(done).action) == (Found.GONE, Action.SET_ASIDE)
    assert done.lost == {0: RunSet.span(0, 10)}
    assert home.objects(layout.shards_prefix(home.sweep_id)) == {}


def test_looking_finds_the_same_and_changes_nothing(home: VerifiedHome) -> None:
    home.keep_runs(0, 10)
    bad, gone, lying = home.keep_runs(10, 20), home.keep_runs(20, 30), home.keep_runs(30, 40)
    home.flip(home.shard_key(bad), 99)
    home.blobs.delete(home.shard_key(gone))
    home.change_manifest(lying, coverage={(0, OK): RunSet.span(90, 100)})
    orphan = home.keep_runs(40, 50)
    home.blobs.delete(home.manifest_key(orphan))
    before = home.objects()
    done = home.verify(Mode.LOOK)
    assert home.objects() == before
    assert {each.name: each.found for each in done.findings} == {
        bad.shard_id: Found.CHANGED,
        gone.shard_id: Found.GONE,
        lying.shard_id: Found.WRONG_MANIFEST,
        orphan.shard_id: Found.NO_MANIFEST,
    }
    assert {each.action for each in done.findings} == {Action.LEFT}
    assert done.lost == {0: RunSet.span(10, 30) | RunSet.span(90, 100)}
    assert done.coverage.final() == RunSet.span(0, 10) | RunSet.span(30, 40)


MANIFEST_CHANGES = {
    "more runs": {"coverage": {(0, OK): RunSet.span(0, 11)}, "rows": 11, "counts": {OK: 11}},
    "fewer runs": {"coverage": {(0, OK): RunSet.span(0, 9)}},
    "other runs": {"coverage": {(0, OK): RunSet.span(90, 100)}},
    "another epoch": {"coverage": {(3, OK): RunSet.span(0, 10)}},
    "another outcome": {"coverage": {(0, FAILED): RunSet.span(0, 10)}, "counts": {FAILED: 10}},
    "more rows": {"rows": 12, "counts": {OK: 12}},
    "another sha256": {"sha256": "0" * 64},
    "another size": {"size_bytes": 17},
    "another origin": {"origin": Origin.at(1.0, "agg-9", 9)},
    "replaces": {"replaces": ("20260101T000000000000Z-agg-1-000001",)},
    "another sweep": {"sweep": "walk-00000000"},
    "another shard": {"shard": "20260101T000000000000Z-agg-1-000001"},
}


@pytest.mark.parametrize("changes", MANIFEST_CHANGES.values(), ids=MANIFEST_CHANGES.keys())
def test_a_manifest_that_is_not_its_shards_is_made_anew_from_the_rows(
    home: VerifiedHome, changes: dict[str, object]
) -> None:
    shard = home.keep_runs(0, 10)
    home.store_manifest(shard, msgspec.structs.replace(shard.manifest, **changes))
    wrong = home.blobs.get(home.manifest_key(shard))
    done = home.verify()
    assert (only(done).found, only(done).action) == (
        Found.WRONG_MANIFEST,
        Action.MANIFEST_MADE_ANEW,
    )
    assert manifest_of(home, shard) == shard.manifest
    assert list(home.aside().values()) == [wrong]
    assert covered(home) == RunSet.span(0, 10)
    assert home.verify().findings == []


def test_runs_that_only_a_wrong_manifest_claimed_are_lost(home: VerifiedHome) -> None:
    shard = home.keep_runs(0, 10)
    home.change_manifest(shard, coverage={(0, OK): RunSet.span(5, 15)})
    assert home.verify().lost == {0: RunSet.span(10, 15)}
    assert covered(home) == RunSet.span(0, 10)


@pytest.mark.parametrize(
    "garbage", [b"", b"{}", b"\x00" * 300, b'{"format": "gapless.manifest/x"}']
)
def test_an_unreadable_manifest_of_a_whole_shard_is_made_anew(
    home: VerifiedHome, garbage: bytes
) -> None:
    shard = home.keep_runs(0, 10)
    home.blobs.put(home.manifest_key(shard), garbage)
    assert only(home.verify()).action is Action.MANIFEST_MADE_ANEW
    assert manifest_of(home, shard) == shard.manifest
    assert list(home.aside().values()) == [garbage]


def test_a_bad_shard_with_an_unreadable_manifest_is_set_aside(home: VerifiedHome) -> None:
    shard = home.keep_runs(0, 10)
    home.blobs.put(home.manifest_key(shard), b"garbage")
    home.flip(home.shard_key(shard), 77)
    done = home.verify()
    assert (only(done).found, only(done).action) == (Found.CHANGED, Action.SET_ASIDE)
    assert len(home.aside()) == 2


def test_a_shard_that_takes_over_anothers_name_and_hash_is_seen_through(
    home: VerifiedHome,
) -> None:
    # Its bytes are damaged and its manifest was made to fit: HDF5 must never see it.
    import hashlib

    shard = home.keep_runs(0, 10)
    home.flip(home.shard_key(shard), 2000)
    data = home.blobs.get(home.shard_key(shard))
    home.change_manifest(shard, sha256=hashlib.sha256(data).hexdigest())
    assert only(home.verify()).found is Found.CHANGED


def test_a_whole_shard_without_manifest_is_adopted(home: VerifiedHome) -> None:
    shard = home.keep_runs(0, 10)
    home.blobs.delete(home.manifest_key(shard))
    done = home.verify()
    assert (only(done).found, only(done).action) == (Found.NO_MANIFEST, Action.ADOPTED)
    assert manifest_of(home, shard) == shard.manifest
    assert done.coverage.final() == RunSet.span(0, 10)


def test_a_shard_that_is_just_being_stored_is_left_to_its_aggregator(home: VerifiedHome) -> None:
    shard = home.keep_runs(0, 10)
    home.blobs.delete(home.manifest_key(shard))
    bad = home.keep_runs(10, 20)
    home.blobs.delete(home.manifest_key(bad))
    cut_short(home, bad)
    before = home.objects()
    done = home.verify(clock=lambda: 130.0)
    assert {each.action for each in done.findings} == {Action.LEFT}
    assert done.unverified == []
    assert done.coverage.final() == RunSet()
    assert home.objects() == before


def test_a_damaged_shard_without_manifest_is_set_aside_when_it_has_lain_long(
    home: VerifiedHome,
) -> None:
    bad = home.keep_runs(10, 20)
    home.blobs.delete(home.manifest_key(bad))
    cut_short(home, bad)
    assert only(home.verify()).action is Action.SET_ASIDE
    assert len(home.aside()) == 1


def copy_under(home: VerifiedHome, shard: EncodedShard, name: str) -> dict[str, bytes]:
    """Copy a shard's files to another name, as `cp` does; give what was put there."""
    copies = {
        layout.shard(home.sweep_id, name): home.blobs.get(home.shard_key(shard)),
        layout.manifest(home.sweep_id, name): home.blobs.get(home.manifest_key(shard)),
    }
    for key, data in copies.items():
        home.blobs.put(key, data)
    return copies


NEVER_FLUSHED = "20260101T000000000000Z-agg-9-000009"


@pytest.mark.parametrize("name", ["copy", NEVER_FLUSHED])
@pytest.mark.parametrize("ending", ["both", "h5", "json"])
def test_a_copy_of_a_shard_that_is_there_is_set_aside_and_nothing_is_lost(
    home: VerifiedHome, name: str, ending: str
) -> None:
    shard = home.keep_runs(0, 10)
    copies = copy_under(home, shard, name)
    for key in [*copies]:
        if ending != "both" and not key.endswith(ending):
            home.blobs.delete(key)
            del copies[key]
    looked = home.verify(Mode.LOOK)
    assert (only(looked).action, looked.unverified) == (Action.LEFT, [])
    done = home.verify()
    finding = only(done)
    assert finding.action is Action.SET_ASIDE
    if (name, ending) != (NEVER_FLUSHED, "json"):
        assert finding.found is Found.MISNAMED
        assert shard.shard_id in finding.why
    assert (done.lost, done.unverified, done.rows) == ({}, [], 10)
    assert covered(home) == RunSet.span(0, 10)
    assert sorted(home.aside().values()) == sorted(copies.values())
    assert home.verify().findings == []
    assert CoverageReader(home.blobs, home.sweep_id).problems == {}


@pytest.mark.parametrize("other", ["gone", "damaged"])
def test_the_only_whole_copy_of_a_shard_is_left_where_it_is_without_force(
    home: VerifiedHome, other: str
) -> None:
    shard = home.keep_runs(0, 10)
    copies = copy_under(home, shard, "copy")
    if other == "gone":
        home.blobs.delete(home.shard_key(shard))
        home.blobs.delete(home.manifest_key(shard))
    else:
        home.flip(home.shard_key(shard), 500)
    done = home.verify()
    (finding,) = [each for each in done.findings if each.name == "copy"]
    assert (finding.found, finding.action) == (Found.MISNAMED, Action.LEFT)
    assert done.unverified == [finding]
    assert home.objects(layout.shards_prefix(home.sweep_id)) == copies
    for key, data in copies.items():
        # What the person is told to do.
        home.blobs.put(key.replace("copy.", f"{shard.shard_id}."), data)
    assert only(home.verify()).action is Action.SET_ASIDE
    assert covered(home) == RunSet.span(0, 10)


def test_the_only_whole_copy_of_a_shard_is_set_aside_by_force(home: VerifiedHome) -> None:
    shard = home.keep_runs(0, 10)
    copies = copy_under(home, shard, "copy")
    home.blobs.delete(home.shard_key(shard))
    home.blobs.delete(home.manifest_key(shard))
    done = home.verify(Mode.FORCE)
    assert (only(done).found, only(done).action) == (Found.MISNAMED, Action.SET_ASIDE)
    assert sorted(home.aside().values()) == sorted(copies.values())
    assert covered(home) == RunSet()
    assert home.verify().findings == []


def test_a_damaged_copy_under_another_name_is_set_aside(home: VerifiedHome) -> None:
    shard = home.keep_runs(0, 10)
    copy_under(home, shard, "copy")
    home.flip(layout.shard(home.sweep_id, "copy"), 500)
    assert only(home.verify()).action is Action.SET_ASIDE
    assert covered(home) == RunSet.span(0, 10)
    assert home.verify().findings == []


def test_a_shard_that_says_to_be_a_path_is_no_copy_of_what_lies_there(home: VerifiedHome) -> None:
    odd = shard_named(home.keep_runs(0, 10).data, "../../home")
    home.blobs.put(layout.shard(home.sweep_id, "copy"), odd)
    assert only(home.verify()).action is Action.LEFT
    assert only(home.verify(Mode.FORCE)).action is Action.SET_ASIDE


def shard_named(data: bytes, name: str) -> bytes:
    """Write another name into the bytes of a shard, sealed as an aggregator does."""
    with h5py.File.in_memory(data) as file:
        file.attrs["shard"] = name
        file.flush()
        return sealed(file.id.get_file_image())


def test_no_finding_outlasts_force_that_force_is_for(home: VerifiedHome) -> None:
    # Of a name that no aggregator gives.
    home.blobs.put(layout.shard(home.sweep_id, "mine"), sealed(b"no HDF5"))
    assert only(home.verify()).is_unverified
    assert only(home.verify(Mode.FORCE)).action is Action.SET_ASIDE
    assert home.verify().findings == []


@pytest.mark.parametrize("name", ["backup.h5", "notes.json", "readme.txt"])
def test_files_of_somebody_else_are_left_where_they_are(home: VerifiedHome, name: str) -> None:
    home.keep_runs(0, 10)
    key = layout.shards_prefix(home.sweep_id) + name
    home.blobs.put(key, b"mine")
    done = home.verify()
    assert done.unverified == []
    assert home.blobs.get(key) == b"mine"
    assert home.aside() == {}


def test_a_manifest_of_a_later_version_is_left_and_not_verified(home: VerifiedHome) -> None:
    shard = home.keep_runs(0, 10)
    text = home.blobs.get(home.manifest_key(shard)).replace(b"manifest/1", b"manifest/2")
    home.blobs.put(home.manifest_key(shard), text)
    before = home.objects()
    for mode in (Mode.MEND, Mode.FORCE):
        done = home.verify(mode)
        assert only(done).found is Found.NEWER
        assert only(done).is_unverified
        assert "update" in only(done).why
    assert home.objects() == before


def with_attribute(shard: EncodedShard, name: str, value: str) -> bytes:
    """The same shard with another attribute, sealed anew."""
    hdf5 = shard.data[: shard.data.rindex(b"\ngapless.seal/1")]
    with h5py.File("changed", "w", driver="core", backing_store=False) as file:
        with h5py.File(h5py.h5f.open_file_image(hdf5)) as source:
            for each in source:
                source.copy(each, file)
            for key, each in source.attrs.items():
                file.attrs[key] = each
        file.attrs[name] = value
        file.flush()
        return sealed(file.id.get_file_image())


def fit_manifest(home: VerifiedHome, shard: EncodedShard, data: bytes) -> None:
    import hashlib

    home.blobs.put(home.shard_key(shard), data)
    home.change_manifest(shard, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))


def test_a_shard_of_a_later_version_is_left_and_not_verified(home: VerifiedHome) -> None:
    shard = home.keep_runs(0, 10)
    fit_manifest(home, shard, with_attribute(shard, "format", "gapless.shard/2"))
    before = home.objects()
    assert only(home.verify(Mode.FORCE)).found is Found.NEWER
    assert home.objects() == before


def test_a_shard_with_a_seal_of_a_later_version_is_left_when_its_manifest_promises_it(
    home: VerifiedHome,
) -> None:
    shard = home.keep_runs(0, 10)
    fit_manifest(home, shard, shard.data.replace(b"gapless.seal/1", b"gapless.seal/2"))
    before = home.objects()
    assert only(home.verify(Mode.FORCE)).found is Found.NEWER
    assert home.objects() == before


def test_a_flipped_version_of_the_seal_is_damage_where_the_manifest_says_so(
    home: VerifiedHome,
) -> None:
    shard = home.keep_runs(0, 10)
    changed = shard.data.replace(b"gapless.seal/1", b"gapless.seal/3")
    home.blobs.put(home.shard_key(shard), changed)
    assert only(home.verify()).found is Found.CHANGED


def foreign_sweep(home: VerifiedHome) -> EncodedShard:
    return home.keep_runs(0, 10, sweep_id="walk-00000000")


def foreign_declaration(home: VerifiedHome) -> EncodedShard:
    other = Sweep(name="walk", function="walk:run", space=Space.grid(n=[1])).freeze()
    return home.keep_runs(0, 10, declaration_json=other.declaration.encode())


def undeclared_runs(home: VerifiedHome) -> EncodedShard:
    larger = VerifiedHome(points=200)
    shard = larger.shard(
        block_of({150: {"y": 1.0}}), declaration_json=home.sweep.declaration.encode()
    )
    shard = larger.shard(
        block_of({150: {"y": 1.0}}),
        declaration_json=home.sweep.declaration.encode(),
        sweep_id=home.sweep_id,
    )
    return home.keep(shard)


def other_values(name: str) -> Callable[[VerifiedHome], EncodedShard]:
    class Odd:
        def __init__(self, runs) -> None:
            self.replicates = runs.replicates
            self._runs = runs

        def parameters(self, numbers):
            columns = self._runs.parameters(numbers)
            column = columns[name]
            return {**columns, name: type(column)(column.values[::-1], column.kind)}

    def foreign(home: VerifiedHome) -> EncodedShard:
        return home.keep_runs(0, 40, runs=Odd(home.sweep.runs))

    return foreign


def other_replicates(home: VerifiedHome) -> EncodedShard:
    class Odd:
        parameters = staticmethod(home.sweep.runs.parameters)

        def replicates(self, numbers):
            return home.sweep.runs.replicates(numbers) + 1

    return home.keep_runs(0, 10, runs=Odd())


def other_parameters(home: VerifiedHome) -> EncodedShard:
    class Odd:
        replicates = staticmethod(home.sweep.runs.replicates)

        def parameters(self, numbers):
            columns = dict(home.sweep.runs.parameters(numbers))
            return {"beta": columns.pop("alpha"), **columns}

    return home.keep_runs(0, 10, runs=Odd())


FOREIGN = {
    "another sweep": foreign_sweep,
    "another declaration": foreign_declaration,
    "runs nobody declared": undeclared_runs,
    "another integer": other_values("n"),
    "another float": other_values("alpha"),
    "another mixed value": other_values("model"),
    "another replicate": other_replicates,
    "another parameter": other_parameters,
}


@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN.keys())
def test_rows_that_the_sweep_does_not_declare_are_found_and_moved_only_by_force(
    home: VerifiedHome, make: Callable[[VerifiedHome], EncodedShard]
) -> None:
    shard = make(home)
    home.change_manifest(shard, sweep=home.sweep_id)
    before = home.objects()
    done = home.verify()
    assert (only(done).found, only(done).action) == (Found.FOREIGN, Action.LEFT)
    assert only(done).is_unverified
    assert home.objects() == before
    forced = home.verify(Mode.FORCE)
    assert (only(forced).action, forced.unverified) == (Action.SET_ASIDE, [])
    assert home.aside()[next(iter(k for k in home.aside() if k.endswith(".h5")))] == shard.data
    assert covered(home) == RunSet()


def test_a_sealed_file_without_results_is_moved_only_by_force(home: VerifiedHome) -> None:
    shard = home.keep_runs(0, 10)
    fit_manifest(home, shard, sealed(b"not HDF5 at all"))
    done = home.verify()
    assert (only(done).found, only(done).action) == (Found.UNREADABLE, Action.LEFT)
    assert only(home.verify(Mode.FORCE)).action is Action.SET_ASIDE
    assert covered(home) == RunSet()


def test_runs_added_by_an_extension_meanwhile_are_no_foreign_ones(home: VerifiedHome) -> None:
    home.keep_runs(0, 10)
    sweep = home.sweep
    wider = Sweep(
        name="walk",
        function="walk:walk",
        space=Space.grid(
            n=[*range(home.points // 4), 0.25], alpha=[0.5, 1.5], model=["a", None], label=["x"]
        ),
    ).freeze()
    space = FrozenSpace.from_json(wider.declaration.space, wider.objects.__getitem__)
    added = extension(
        sweep.declaration, sweep.segments, space, replicates=1, fetch=home.store.get_object
    )
    assert added is not None

    def extend(done: Verification) -> None:
        # Between the first shard and the second: by a submit of somebody else.
        if done.shards == 1:
            home.store.add_segment(home.sweep_id, added.segment, added.objects)
            home.keep_runs(98, 104)

    done = home.verify(on_shard=extend)
    assert done.findings == []
    assert (done.shards, done.total) == (2, 104)
    # The kind of column n is another one now than in the first shard: the values are the same.
    assert home.verify().findings == []


def test_shards_stored_while_it_reads_are_read_too(home: VerifiedHome) -> None:
    home.keep_runs(0, 10)

    def store_more(done: Verification) -> None:
        if done.shards < 4:
            home.keep_runs(10 * done.shards, 10 * done.shards + 10)

    done = home.verify(on_shard=store_more)
    assert (done.shards, done.listed, done.rows) == (4, 4, 40)
    assert done.coverage.final() == RunSet.span(0, 40)


def test_a_shard_that_gets_its_manifest_meanwhile_is_counted(home: VerifiedHome) -> None:
    home.keep_runs(0, 10)
    young = home.keep_runs(10, 20)
    home.blobs.delete(home.manifest_key(young))

    def finish(done: Verification) -> None:
        home.blobs.put(home.manifest_key(young), encode_manifest(young.manifest))

    done = home.verify(clock=lambda: 130.0, on_shard=finish)
    assert (done.findings, done.shards) == ([], 2)
    assert done.coverage.final() == RunSet.span(0, 20)


def test_it_ends_though_shards_are_stored_without_end(home: VerifiedHome) -> None:
    home.keep_runs(0, 10)
    done = home.verify(on_shard=lambda done: home.keep_runs(0, 10))
    assert done.shards == 10


def test_a_shard_that_somebody_removes_meanwhile_is_no_finding(home: VerifiedHome) -> None:
    home.keep_runs(0, 10)
    second = home.keep_runs(10, 20)

    def remove(done: Verification) -> None:
        home.blobs.delete(home.shard_key(second))
        home.blobs.delete(home.manifest_key(second))

    done = home.verify(on_shard=remove)
    assert (done.findings, done.shards) == ([], 1)


def test_a_shard_that_another_took_over_may_be_half_removed(home: VerifiedHome) -> None:
    old = home.keep_runs(0, 10)
    new = home.shard(block_of({run: {"y": 1.0} for run in range(10)}))
    data = with_attribute(new, "replaces", [old.shard_id])  # type: ignore[arg-type]
    fit_manifest(home, new, data)
    home.change_manifest(
        new, sha256=manifest_of(home, new).sha256, size_bytes=len(data), replaces=(old.shard_id,)
    )
    home.blobs.delete(home.shard_key(old))
    before = home.objects()
    done = home.verify()
    assert done.findings == []
    assert home.objects() == before


def test_one_bad_read_is_no_damage(home: VerifiedHome) -> None:
    shard = home.keep_runs(0, 10)
    key = home.shard_key(shard)

    def odd(name: str, data: bytes, count: int) -> bytes:
        return data[:-1] + b"?" if name == key and count == 1 else data

    reads = OddReads(home.blobs, odd)
    done = home.verify(blobs=reads)
    assert done.findings == []
    assert done.rows == 10
    assert reads.reads[key] == 2


def test_one_bad_read_of_a_manifest_is_no_damage(home: VerifiedHome) -> None:
    shard = home.keep_runs(0, 10)
    before = home.objects()

    def odd(name: str, data: bytes, count: int) -> bytes:
        return b"?" if name.endswith(".json") and "/shards/" in name and count == 1 else data

    assert home.verify(blobs=OddReads(home.blobs, odd)).findings == []
    assert home.objects() == before
    assert manifest_of(home, shard) == shard.manifest


def test_reads_that_differ_each_time_condemn_nothing(home: VerifiedHome) -> None:
    home.keep_runs(0, 10)
    before = home.objects()

    def odd(name: str, data: bytes, count: int) -> bytes:
        return data + b"?" * count if name.endswith(".h5") else data

    done = home.verify(Mode.FORCE, blobs=OddReads(home.blobs, odd))
    assert (only(done).found, only(done).action) == (Found.UNSTEADY, Action.LEFT)
    assert only(done).is_unverified
    assert home.objects() == before


def test_a_read_error_that_passes_is_outlasted(home: VerifiedHome) -> None:
    home.keep_runs(0, 10)

    def odd(name: str, data: bytes, count: int) -> bytes:
        if name.endswith(".h5") and count == 1:
            raise StorageUnavailable("Input/output error")
        return data

    assert home.verify(blobs=OddReads(home.blobs, odd)).findings == []


def test_a_shard_that_cannot_be_read_is_told_and_the_others_are_verified(
    home: VerifiedHome,
) -> None:
    bad = home.keep_runs(0, 10)
    home.keep_runs(10, 20)
    before = home.objects()

    def odd(name: str, data: bytes, count: int) -> bytes:
        if name == home.shard_key(bad):
            raise StorageUnavailable("Input/output error")
        return data

    done = home.verify(blobs=OddReads(home.blobs, odd))
    assert (only(done).found, only(done).name) == (Found.AWAY, bad.shard_id)
    assert "Input/output error" in only(done).why
    assert only(done).is_unverified
    assert done.rows == 10
    assert home.objects() == before


def test_what_storage_knows_to_be_damaged_is_moved_only_by_force(home: VerifiedHome) -> None:
    bad = home.keep_runs(0, 10)
    home.flip(home.shard_key(bad), 9)
    before = home.objects()

    def odd(name: str, data: bytes, count: int) -> bytes:
        if name == home.shard_key(bad):
            raise ArrivedDamaged("another checksum")
        return data

    done = home.verify(blobs=OddReads(home.blobs, odd))
    assert (only(done).found, only(done).action) == (Found.DOUBTFUL, Action.LEFT)
    assert only(done).is_unverified
    assert home.objects() == before
    done = home.verify(Mode.FORCE, blobs=OddReads(home.blobs, odd))
    assert only(done).action is Action.SET_ASIDE
    assert before[home.shard_key(bad)] in home.aside().values()


def test_what_only_arrived_damaged_is_sound(home: VerifiedHome) -> None:
    # Parts of an object are compared with no checksum; the seal tells that these are whole.
    home.keep_runs(0, 10)

    def odd(name: str, data: bytes, count: int) -> bytes:
        if name.endswith(".h5"):
            raise ArrivedDamaged("another checksum")
        return data

    assert home.verify(blobs=OddReads(home.blobs, odd)).findings == []


def test_what_storage_refuses_ends_it(home: VerifiedHome) -> None:
    home.keep_runs(0, 10)

    def odd(name: str, data: bytes, count: int) -> bytes:
        if name.endswith(".h5"):
            raise StorageRefused("403")
        return data

    with pytest.raises(StorageRefused):
        home.verify(blobs=OddReads(home.blobs, odd))


def test_where_no_copy_can_be_made_nothing_is_deleted(home: VerifiedHome) -> None:
    bad = home.keep_runs(0, 10)
    home.flip(home.shard_key(bad), 9)
    before = home.objects()

    class Full(OddReads):
        def put_if_absent(self, key: str, data: bytes) -> bool:
            raise StorageUnavailable("no space left on device")

    done = home.verify(blobs=Full(home.blobs, lambda key, data, count: data))
    assert only(done).action is Action.FAILED
    assert only(done).is_unverified
    assert "no space left" in only(done).why
    assert home.objects() == before
    # It still counts, so nothing is a gap.
    assert done.lost == {}


@pytest.mark.parametrize("spoil", ["shard", "manifest", "both", "gone", "forced"])
def test_killed_between_any_two_writes_it_is_finished_by_the_next(spoil: str) -> None:
    writes = 0
    while True:
        home = VerifiedHome()
        home.keep_runs(0, 10)
        bad = home.keep_runs(10, 20) if spoil != "forced" else undeclared_runs(home)
        shard, manifest = home.shard_key(bad), home.manifest_key(bad)
        if spoil in {"shard", "both"}:
            home.flip(shard, 500)
        if spoil in {"manifest", "both"}:
            home.blobs.put(manifest, b"garbage")
        if spoil == "gone":
            home.blobs.delete(shard)
        mode = Mode.FORCE if spoil == "forced" else Mode.MEND
        files = {data for key, data in home.objects().items() if key in {shard, manifest}}
        try:
            home.verify(mode, blobs=DyingBlobs(home.blobs, writes))
            died = False
        except Died:
            died = True
        # At no moment is a bad file nowhere, or a run that is sound not covered.
        kept = set(home.aside().values()) | set(home.objects("sweeps/").values())
        assert files <= kept
        assert RunSet.span(0, 10).issubset(covered(home))
        home.verify(mode)
        assert home.verify(mode).findings == []
        expected = RunSet.span(0, 20) if spoil == "manifest" else RunSet.span(0, 10)
        assert covered(home) == expected
        assert files <= set(home.aside().values()) | set(home.objects("sweeps/").values())
        # Whatever was repeated, each file was kept once.
        assert len(home.aside()) == len(set(home.aside().values()))
        if not died:
            break
        writes += 1
    assert writes >= 2


def test_a_cache_that_claims_too_much_is_set_aside(home: VerifiedHome) -> None:
    first, second = home.keep_runs(0, 10), home.keep_runs(10, 20)
    shards = tuple(CachedShard.of(each.manifest) for each in (first, second))

    def cache(runs: RunSet, agg: str = "agg-1") -> str:
        key = layout.coverage(home.sweep_id, agg)
        coverage = {(0, OK): runs}
        home.blobs.put(
            key,
            encode_cache(
                CoverageCache(sweep=home.sweep_id, aggregator=agg, shards=shards, coverage=coverage)
            ),
        )
        return key

    cache(RunSet.span(0, 20), "agg-2")
    lying = cache(RunSet.span(5, 25))
    assert covered(home) == RunSet.span(0, 25)
    assert only(home.verify(Mode.LOOK)).found is Found.WRONG_CACHE
    done = home.verify()
    assert (done.caches, only(done).name, only(done).action) == (2, "agg-1", Action.SET_ASIDE)
    assert covered(home) == RunSet.span(0, 20)
    assert lying not in home.objects()
    assert len(home.aside()) == 1
    assert home.verify().findings == []


def test_a_cache_that_says_another_number_of_rows_is_set_aside(home: VerifiedHome) -> None:
    shard = home.keep_runs(0, 10)
    entry = CachedShard.of(shard.manifest)
    odd = CachedShard(
        shard=entry.shard, size_bytes=entry.size_bytes, manifest_bytes=entry.manifest_bytes, rows=11
    )
    key = layout.coverage(home.sweep_id, "agg-1")
    coverage = {(0, OK): RunSet.span(0, 10)}
    home.blobs.put(
        key,
        encode_cache(
            CoverageCache(sweep=home.sweep_id, aggregator="agg-1", shards=(odd,), coverage=coverage)
        ),
    )
    assert only(home.verify()).found is Found.WRONG_CACHE


def test_a_cache_of_shards_that_are_gone_is_void_and_left(home: VerifiedHome) -> None:
    bad = home.keep_runs(0, 10)
    coverage = {(0, OK): RunSet.span(0, 10)}
    key = layout.coverage(home.sweep_id, "agg-1")
    cache = CoverageCache(
        sweep=home.sweep_id,
        aggregator="agg-1",
        shards=(CachedShard.of(bad.manifest),),
        coverage=coverage,
    )
    home.blobs.put(key, encode_cache(cache))
    home.flip(home.shard_key(bad), 100)
    done = home.verify()
    assert only(done).name == bad.shard_id
    assert covered(home) == RunSet()
    assert key in home.objects()


def test_a_cache_nobody_can_read_is_set_aside(home: VerifiedHome) -> None:
    home.blobs.put(layout.coverage(home.sweep_id, "agg-1"), b"garbage")
    assert only(home.verify()).action is Action.SET_ASIDE
    assert list(home.aside().values()) == [b"garbage"]


def test_a_reader_that_was_open_sees_the_gap(home: VerifiedHome) -> None:
    home.keep_runs(0, 10)
    bad = home.keep_runs(10, 20)
    results = Results(home.blobs, home.sweep_id)
    home.flip(home.shard_key(bad), 100)
    home.verify()
    results.refresh()
    assert results.stored_count == 10
    assert results.runs.tolist() == list(range(10))


def test_several_readers_find_the_same(tmp_path) -> None:
    home = VerifiedHome(blobs=FolderBlobs(tmp_path / "home"))
    home.blobs.put(layout.HOME, b"{}")
    shards = [home.keep_runs(5 * number, 5 * number + 5) for number in range(20)]
    for bad in shards[3::7]:
        home.flip(home.shard_key(bad), 200)
    one = home.verify(Mode.LOOK)
    many = home.verify(Mode.LOOK, readers=4)
    assert one.findings == many.findings
    assert (one.rows, one.lost, one.coverage.by) == (many.rows, many.lost, many.coverage.by)
    assert len(many.findings) == 3


_HOME = VerifiedHome()
_SHARD = _HOME.keep_runs(0, 40)
_HOME.keep_failed(40, 41)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(at=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255))
def test_any_flipped_byte_of_a_shard_is_found(at: float, mask: int) -> None:
    key = _HOME.shard_key(_SHARD)
    before = _HOME.flip(key, math.floor(at * len(_SHARD.data)), mask)
    try:
        done = _HOME.verify(Mode.LOOK)
    finally:
        _HOME.blobs.put(key, before)
    assert (only(done).found, only(done).name) == (Found.CHANGED, _SHARD.shard_id)
    assert done.lost == {0: RunSet.span(0, 40)}
    assert done.coverage.final() == RunSet.of(40, 41)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(at=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255))
def test_any_flipped_byte_of_a_manifest_is_found_or_means_the_same(at: float, mask: int) -> None:
    key = _HOME.manifest_key(_SHARD)
    text = _HOME.blobs.get(key)
    _HOME.flip(key, math.floor(at * len(text)), mask)
    try:
        done = _HOME.verify(Mode.LOOK)
        changed = _HOME.blobs.get(key)
    finally:
        _HOME.blobs.put(key, text)
    if not done.findings:
        # A blank, or a letter of a name that no reader asks for.
        assert decode_manifest(changed) == _SHARD.manifest
        return
    assert only(done).found in {Found.WRONG_MANIFEST, Found.NEWER}
    if only(done).found is Found.WRONG_MANIFEST:
        assert done.coverage.final() == RunSet.span(0, 42)
