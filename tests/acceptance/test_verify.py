"""A flipped byte in a stored shard: found, kept aside, and its runs done again (fault 46)."""

from __future__ import annotations

from pathlib import Path

import pytest

import gapless
from tests.acceptance.programs import Programs, wait_until
from tests.services.servers import Service
from tests.unit.cli.s3_places import S3Place

RUNS = 240
SWEEP = """
name = "flipped"
function = "work:work"
seed = 46
replicates = 4
[space.grid]
a = { range = [0, 60] }
"""
WORK = """
def work(a, *, seed):
    return {"twice": 2 * a, "seen": seed}
"""


@pytest.fixture
def complete(programs: Programs) -> Programs:
    programs.write("sweep.toml", SWEEP)
    programs.write("work.py", WORK)
    assert programs.do("run", "sweep.toml", "--workers", "1").returncode == 0, programs.logs()
    assert programs.do("verify").returncode == 0
    return programs


def shards(programs: Programs) -> list[Path]:
    return sorted(programs.home.glob("sweeps/*/shards/*.h5"))


def flip_a_byte(path: Path) -> bytes:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0x10
    path.write_bytes(data)
    return bytes(data)


def results(programs: Programs) -> list[tuple[int, int, int]]:
    table = gapless.open(programs.home, "flipped").to_pandas()
    return sorted(zip(table["run"], table["twice"], table["seen"], strict=True))


def kept_aside(programs: Programs) -> list[bytes]:
    return [path.read_bytes() for path in programs.home.glob("quarantine/shards/*/*/*.h5")]


def test_sweep_run_does_again_what_verify_found_damaged(complete: Programs) -> None:
    before = results(complete)
    bad = shards(complete)[0]
    damaged = flip_a_byte(bad)
    read = complete.do("results")
    assert read.returncode == 1
    assert "sweep verify" in read.stderr
    found = complete.do("verify")
    assert found.returncode == 4, found.stdout + found.stderr
    assert bad.stem in found.stdout
    assert kept_aside(complete) == [damaged]
    assert not bad.exists()
    again = complete.do("run", "sweep.toml", "--workers", "1")
    assert again.returncode == 0, again.stderr + complete.logs()
    assert complete.do("verify").returncode == 0
    assert results(complete) == before
    assert kept_aside(complete) == [damaged]


def test_separate_programs_do_it_again_while_verify_looks_at_them(complete: Programs) -> None:
    before = results(complete)
    for bad in shards(complete):
        flip_a_byte(bad)
    aggregator = complete.start("aggregate")
    node = complete.start("node", "--workers", "1")
    found = complete.json("verify")
    assert found["exit_status"] == 4
    assert found["sweeps"][0]["lost"] == {"0": RUNS}
    # A second look beside them takes nothing away that is stored meanwhile.
    assert complete.do("reconcile", "--resubmit").returncode == 3
    wait_until(
        lambda: complete.do("verify").returncode == 0, within_s=90, what="complete and verified"
    )
    assert (aggregator.poll(), node.poll()) == (None, None)
    assert results(complete) == before


def test_on_s3_sweep_run_does_again_what_verify_found_damaged(
    tmp_path: Path, ministack: Service
) -> None:
    place = S3Place(tmp_path, ministack)
    place.make_home(settle_s=1.0, lease_s=12.0, rest_s=1.0)
    run = ("run", "sweep.toml", "--workers", "1")
    assert place.do(*run).returncode == 5
    columns = ("results", "--columns", "run,a,b,outcome,sum")
    before = place.json(*columns)["rows"]
    (key,) = [each for each in place.keys("sweeps/") if each.endswith(".h5")]
    where = {"Bucket": place.address.bucket, "Key": f"h/{key}"}
    data = bytearray(place.s3.get_object(**where)["Body"].read())
    data[1000] ^= 1
    # Its checksums are right: somebody else wrote it, or the disk below the service erred.
    place.s3.put_object(**where, Body=bytes(data))
    found = place.do("verify")
    assert found.returncode == 4, found.stdout + found.stderr
    assert key not in place.keys("sweeps/")
    assert len([each for each in place.keys("quarantine/shards/") if each.endswith(".h5")]) == 1
    again = place.do(*run)
    assert again.returncode == 5, again.stderr
    assert place.do("verify").returncode == 0
    assert place.json(*columns)["rows"] == before
