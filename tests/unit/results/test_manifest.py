import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.declaration.errors import DamagedMessage, NewerFormat
from gapless.declaration.runset import RunSet
from gapless.results.manifest import Manifest, decode_manifest, encode_manifest
from gapless.results.origin import Origin
from gapless.results.outcome import Outcome

GOLDEN = Path(__file__).parent / "golden" / "manifest-1.json"


def golden_manifest():
    return Manifest(
        sweep="walk-0123abcd",
        shard="20260131T120000250000Z-agg-1-000007",
        origin=Origin("2026-01-31T12:00:00.250000Z", "agg-1", 7),
        sha256="ab" * 32,
        size_bytes=4096,
        rows=1013,
        counts={Outcome.OK: 1010, Outcome.FAILED: 2, Outcome.TIMEOUT: 0, Outcome.LOST: 1},
        coverage={
            (0, Outcome.OK): RunSet.span(0, 1000) | RunSet.of(2**40),
            (0, Outcome.FAILED): RunSet.of(5, 1001),
            (2, Outcome.OK): RunSet.span(5, 10),
            (2, Outcome.LOST): RunSet.of(1001),
        },
        replaces=("20260131T110000000000Z-agg-1-000001",),
    )


def test_a_manifest_of_format_1_is_read_for_ever():
    assert decode_manifest(GOLDEN.read_bytes()) == golden_manifest()


def test_a_manifest_is_written_as_it_always_was():
    assert encode_manifest(golden_manifest()) == GOLDEN.read_bytes()


def test_the_json_has_the_keys_of_the_format():
    wire = json.loads(encode_manifest(golden_manifest()))
    assert list(wire) == [
        *("format", "sweep", "shard", "origin", "sha256", "bytes", "rows"),
        *("counts", "coverage", "replaces"),
    ]
    assert wire["counts"] == {"ok": 1010, "failed": 2, "timeout": 0, "lost": 1}
    assert list(wire["coverage"]) == ["0", "2"]


def changed(**changes):
    wire = json.loads(encode_manifest(golden_manifest()))
    return json.dumps({**wire, **changes}).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "something/1"},
        {"format": 1},
        {"sha256": "abc"},
        {"bytes": 0},
        {"rows": 1012},
        {"rows": "1013"},
        {"counts": {"ok": 1013}},
        {"counts": {"ok": 1014, "failed": -1}},
        {"counts": {"odd": 1013}},
        {"coverage": {"0": {"ok": "!"}}},
        {"coverage": {"x": {}}},
        {"coverage": {"0": {"odd": RunSet.of(1).to_text()}}},
        {"coverage": {}},
        {"origin": {"flushed_at": "now", "aggregator": "a", "number": 1}},
        {"replaces": None},
    ],
)
def test_a_manifest_that_does_not_fit_together_is_damaged(changes):
    with pytest.raises(DamagedMessage):
        decode_manifest(changed(**changes))


@given(st.binary(max_size=200))
def test_any_other_bytes_are_damaged(data):
    with pytest.raises(DamagedMessage):
        decode_manifest(data)


def test_a_key_a_later_minor_version_added_is_ignored():
    assert decode_manifest(changed(added=[1])) == golden_manifest()


def test_a_later_major_version_is_not_read():
    with pytest.raises(NewerFormat, match="manifest of format 2"):
        decode_manifest(changed(format="gapless.manifest/2"))


def test_manifests_and_coverage_are_read_without_h5py():
    code = "import sys, gapless.results.coverage; print('h5py' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert found.stdout.strip() == "False"
