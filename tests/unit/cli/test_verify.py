"""`sweep verify`: what it says, what it does, what it ends with.

Most tests call the program in this process, with the same command line: starting it anew takes a
second each time. The first test of a folder home and the one on S3 start real ones.
"""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import gapless
from gapless.aws import AwsClients
from gapless.cli import app
from gapless.declaration.runset import RunSet
from gapless.declaration.space import Space
from gapless.declaration.sweep import FrozenSweep, Sweep
from gapless.results.coverage import CoverageReader
from gapless.storage import layout
from gapless.storage.blobs import Blobs
from gapless.storage.s3 import S3Blobs
from gapless.wiring import Home, open_home
from receipts.ledger import NewReceipt, State, Why
from receipts.submit import submit
from tests.services.servers import Service
from tests.unit.cli.a_place import GAPLESS_VARIABLES, Place
from tests.unit.cli.s3_places import S3Place
from tests.unit.receipts.world import CODE
from tests.unit.results.verified_home import VerifiedHome

BY_NAME = ("verify", "walk")


@dataclass(frozen=True)
class Answer:
    """What a command printed, and its exit status."""

    returncode: int
    stdout: str
    stderr: str


class Here:
    """Gives commands within this process."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def do(self, *arguments: str) -> Answer:
        """Give a command."""
        result = CliRunner().invoke(app, list(arguments), env={"GAPLESS_HOME": str(self.home)})
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return Answer(result.exit_code, result.stdout, result.stderr)

    def json(self, *arguments: str, status: int = 0) -> Any:
        """Give a command with --json and read its document."""
        answer = self.do(*arguments, "--json")
        assert answer.returncode == status, answer.stderr
        return json.loads(answer.stdout)


class Sweep100(VerifiedHome):
    """A sweep of 100 runs that was submitted and whose jobs are done: its shards are to be kept."""

    def __init__(self, home: Home) -> None:
        self._home = home
        super().__init__(blobs=home.blobs)

    def store_sweep(self) -> None:
        enter(self.frozen, self._home)
        with closing(self._home.queues()) as queues:
            jobs = layout.jobs_queue(self.sweep_id)
            taken = queues.receive([jobs], most=10, wait_s=0.0, lease_s=900.0)
            assert all(answer.ok for answer in queues.delete([each.lease for each in taken]))


def enter(frozen: FrozenSweep, home: Home) -> None:
    """Submit a sweep, in one job."""
    with closing(home.ledger()) as ledger, closing(home.queues()) as queues:
        submit(
            frozen,
            CODE,
            ledger=ledger,
            queues=queues,
            store=home.store,
            clock=time.time,
            new_id=lambda: uuid.uuid4().hex,
            job_size=100,
        )


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    for name in GAPLESS_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return Here(tmp_path / "sweeps")


@pytest.fixture
def home(place: Here) -> Sweep100:
    return Sweep100(open_home(place.home, create=True))


def covered(blobs: Blobs, sweep_id: str) -> RunSet:
    return CoverageReader(blobs, sweep_id).refresh().final()


def one(document: Any) -> Any:
    (found,) = document["sweeps"]
    return found


def test_a_complete_sweep_ends_with_0_and_says_what_was_read_at_which_rate(tmp_path: Path) -> None:
    place = Place(tmp_path)
    home = Sweep100(open_home(place.home, create=True))
    home.keep_runs(0, 60)
    home.keep_runs(60, 100)
    answer = place.do("verify")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert f"{home.sweep_id}: 2 shards read, 100 rows" in answer.stdout
    assert "rows/s" in answer.stdout
    assert "complete: every run has its result" in answer.stdout
    assert answer.stderr == ""


def test_a_bad_shards_runs_are_gaps_and_reconcile_sends_them(place: Here, home: Sweep100) -> None:
    home.keep_runs(0, 60)
    bad = home.keep_runs(60, 100)
    home.flip(home.shard_key(bad), 5000)
    answer = place.do("verify", "--home", str(place.home))
    assert answer.returncode == 4, answer.stdout + answer.stderr
    assert f"shard {bad.shard_id} (changed)" in answer.stdout
    assert "set aside (see quarantine/shards/" in answer.stdout
    assert "60-99" in answer.stdout
    assert f"`sweep reconcile {home.sweep_id} --resubmit --home {place.home}`" in answer.stdout
    assert place.do("reconcile").returncode == 4
    sent = place.json("reconcile", "--resubmit", status=3)
    assert sent["resubmitted"] == 40
    assert place.do("verify").returncode == 3


def test_looking_only_says_what_would_be_gaps(place: Here, home: Sweep100) -> None:
    home.keep_runs(0, 60)
    bad = home.keep_runs(60, 100)
    home.flip(home.shard_key(bad), 5000)
    before = home.objects("sweeps/")
    answer = place.do("verify", "--dry-run")
    assert answer.returncode == 4
    assert "40 runs would be gaps; nothing was changed" in answer.stdout
    assert home.objects("sweeps/") == before
    assert home.aside() == {}


def test_looking_only_leaves_what_a_killed_aggregator_and_a_killed_submit_left(
    place: Place, home: Sweep100
) -> None:
    shard = home.keep_runs(0, 100)
    orphan = place.home / layout.shard(home.sweep_id, shard.shard_id)
    (place.home / layout.manifest(home.sweep_id, shard.shard_id)).unlink()
    os.utime(orphan, (time.time() - 600, time.time() - 600))
    with closing(open_home(place.home, create=False).ledger()) as ledger:
        # As a resubmit leaves it that was killed between its receipt and its job.
        job = {"job": "another", "why": Why.RESUBMIT, "generation": 0, "created_at_s": 1.0}
        ledger.write([NewReceipt(sweep=home.sweep_id, epoch=0, runs=RunSet.of(7), **job)])
        before = home.objects("sweeps/")
        assert place.do("verify", "--dry-run").returncode != 0
        assert home.objects("sweeps/") == before
        assert ledger.count(home.sweep_id, State.PENDING) == 1
        assert place.json("reconcile")["adopted_shards"] == [shard.shard_id]
        assert home.objects("sweeps/") != before
        assert ledger.count(home.sweep_id, State.PENDING) == 0


@pytest.mark.parametrize("has_ledger", [True, False])
def test_looking_only_the_verdict_is_what_would_be_true(
    place: Here, home: Sweep100, has_ledger: bool
) -> None:
    home.keep_runs(0, 60)
    bad = home.keep_runs(60, 100)
    home.flip(home.shard_key(bad), 5000)
    if not has_ledger:
        for path in place.home.glob("ledger.db*"):
            path.unlink()
    answer = place.do("verify", "--dry-run")
    assert answer.returncode == 4
    assert "(complete)" not in answer.stdout
    assert "complete: every" not in answer.stdout
    assert "not complete: 40 runs would lack a result: 60-99" in answer.stdout
    found = one(place.json("verify", "--dry-run", status=4))
    assert found["lacking"] == 40
    if has_ledger:
        assert re.search(r"gaps +40  60-99$", answer.stdout, re.MULTILINE)
        assert re.search(r"stored +60  60 ok$", answer.stdout, re.MULTILINE)
        assert (found["reconcile"]["complete"], found["reconcile"]["gaps"]) == (False, 40)


def test_looking_only_at_a_cancelled_sweep_promises_no_gaps_to_send(
    place: Here, home: Sweep100
) -> None:
    bad = home.keep_runs(0, 100)
    home.flip(home.shard_key(bad), 5000)
    assert place.do("cancel", "walk").returncode == 0
    found = one(place.json("verify", "--dry-run", status=4))
    assert (found["reconcile"]["gaps"], found["reconcile"]["cancelled"]) == (0, 100)


def test_looking_only_what_another_shard_has_too_stays_complete(
    place: Here, home: Sweep100
) -> None:
    home.keep_runs(0, 100)
    bad = home.keep_runs(60, 100)
    home.flip(home.shard_key(bad), 5000)
    answer = place.do("verify", "--dry-run")
    assert answer.returncode == 0, answer.stdout
    assert "complete: every run has its result" in answer.stdout
    assert "nothing was changed" in answer.stdout


def test_the_document_holds_all_that_was_found(place: Here, home: Sweep100) -> None:
    home.keep_runs(0, 60)
    home.keep_failed(0)
    bad = home.keep_runs(60, 100)
    home.flip(home.shard_key(bad), 5000)
    document = place.json("verify", status=4)
    found = one(document)
    assert document["exit_status"] == found["exit_status"] == 4
    assert (found["sweep"], found["total"], found["shards"]) == (home.sweep_id, 100, 3)
    assert (found["rows"], found["lacking"], found["mode"]) == (61, 40, "mend")
    assert found["coverage"] == {"0": {"ok": 60, "failed": 1}}
    assert found["lost"] == {"0": 40}
    assert found["lost_ranges"] == {"0": [[60, 99]]}
    (finding,) = found["findings"]
    assert finding["name"] == bad.shard_id
    assert (finding["found"], finding["action"]) == ("changed", "set aside")
    assert (place.home / finding["note"]).is_file()
    assert (found["without_receipt"], found["unasked"], found["no_ledger"]) == (0, 0, "")
    assert found["reconcile"]["gaps"] == 40


def test_a_file_that_is_as_it_was_written_is_moved_only_by_force(
    place: Here, home: Sweep100
) -> None:
    home.keep_runs(0, 100)
    home.keep(home.shard(sweep_id="walk-00000000"))
    (name,) = [b.key for b in home.blobs.list("sweeps/") if b.key.endswith("000002.json")]
    text = home.blobs.get(name).replace(b"walk-00000000", home.sweep_id.encode())
    home.blobs.put(name, text)
    answer = place.do("verify")
    assert answer.returncode == 1, answer.stdout + answer.stderr
    assert f"`sweep verify {home.sweep_id} --force`" in answer.stdout
    assert place.do("verify", "--force").returncode == 0
    assert len(home.aside()) == 2


@pytest.mark.parametrize("endings", [("h5", "json"), ("h5",), ("json",)])
def test_what_status_and_reconcile_say_of_a_misnamed_copy_verify_sees_to(
    place: Here, home: Sweep100, endings: tuple[str, ...]
) -> None:
    shard = home.keep_runs(0, 100)
    folder = place.home / "sweeps" / home.sweep_id / "shards"
    for ending in endings:
        copy = folder / f"copy.{ending}"
        copy.write_bytes((folder / f"{shard.shard_id}.{ending}").read_bytes())
        # Long enough ago: an aggregator may still be about to write a manifest.
        os.utime(copy, (1e9, 1e9))
    told = place.do("reconcile").stderr + place.do("status").stderr
    assert shard.shard_id in told
    answer = place.do("verify")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert f"shard copy (misnamed): {of(endings)} shard {shard.shard_id}" in answer.stdout
    assert "set aside" in answer.stdout
    assert "complete: every run has its result" in answer.stdout
    assert place.do("reconcile").stderr + place.do("status").stderr == ""


def of(endings: tuple[str, ...]) -> str:
    return "it is" if "h5" in endings else "its manifest is of"


def test_force_is_advised_for_the_only_copy_of_a_shard_and_not_after_it(
    place: Here, home: Sweep100
) -> None:
    shard = home.keep_runs(0, 100)
    folder = place.home / "sweeps" / home.sweep_id / "shards"
    for ending in ("h5", "json"):
        (folder / f"{shard.shard_id}.{ending}").rename(folder / f"copy.{ending}")
    answer = place.do("verify")
    assert answer.returncode == 1
    assert "rename them as they say" in answer.stdout
    assert "--force` sets them aside" in answer.stdout
    (finding,) = one(place.json("verify", "--dry-run", status=1))["findings"]
    assert (finding["name"], finding["found"]) == ("copy", "misnamed")
    forced = place.do("verify", "--force")
    assert forced.returncode == 4, forced.stdout + forced.stderr
    assert "--force" not in forced.stdout
    assert len(home.aside()) == 2


@pytest.mark.parametrize("name", ["mine.json", "mine.h5"])
def test_somebodys_own_file_among_the_shards_troubles_nobody(
    place: Here, home: Sweep100, name: str
) -> None:
    home.keep_runs(0, 100)
    own = place.home / "sweeps" / home.sweep_id / "shards" / name
    own.write_bytes(b"mine")
    os.utime(own, (1e9, 1e9))
    assert place.do("verify").returncode == 0
    assert place.do("reconcile").stderr + place.do("status").stderr == ""
    assert own.read_bytes() == b"mine"


def test_without_a_ledger_the_home_alone_is_verified(place: Here, home: Sweep100) -> None:
    home.keep_runs(0, 100)
    for path in place.home.glob("ledger.db*"):
        path.unlink()
    answer = place.do("verify")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "compared with the declaration alone" in answer.stderr
    assert not (place.home / "ledger.db").exists()
    (key,) = [each for each in home.objects("sweeps/") if each.endswith(".h5")]
    home.flip(key, 300)
    answer = place.do("verify")
    assert answer.returncode == 1, answer.stdout + answer.stderr
    assert "not complete: 100 runs without a result: 0-99" in answer.stdout


def test_a_ledger_that_lacks_receipts_is_told(place: Here, home: Sweep100) -> None:
    home.keep_runs(0, 100)
    opened = open_home(place.home, create=False)
    with closing(opened.ledger()) as ledger:
        row = ledger.sweep(home.sweep_id)
        assert row is not None
        ledger.forget_sweep(home.sweep_id)
        ledger.record_sweep(row)
    answer = place.do("verify")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "100 runs (0-99) have no receipt" in answer.stderr
    assert "that no receipt asked for" in answer.stderr
    assert place.do("reconcile", "--rebuild").returncode == 0
    assert place.do("verify").stderr == ""


def test_all_sweeps_of_the_home_are_verified_and_the_worst_counts(
    place: Here, home: Sweep100
) -> None:
    home.keep_runs(0, 100)
    other = Sweep(name="other", function="a:a", space=Space.grid(n=[1, 2])).freeze()
    enter(other, open_home(place.home, create=False))
    assert place.do("verify").returncode == 3
    assert [each["exit_status"] for each in place.json("verify", status=3)["sweeps"]] == [3, 0]
    assert place.do(*BY_NAME).returncode == 0
    (key,) = [each for each in home.objects("sweeps/") if each.endswith(".h5")]
    home.flip(key, 300)
    assert place.do("verify").returncode == 4


def test_a_home_without_sweeps_has_nothing_wrong(place: Here) -> None:
    open_home(place.home, create=True)
    answer = place.do("verify")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "holds no sweep yet" in answer.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [(("verify", "--dry-run", "--force"), "--dry-run"), (("verify", "other"), "other")],
)
def test_bad_usage_is_told_with_status_2(
    place: Here, home: Sweep100, words: tuple[str, ...], said: str
) -> None:
    answer = place.do(*words)
    assert answer.returncode == 2
    assert said in answer.stderr


def test_a_removed_sweep_leaves_nothing_aside(place: Here, home: Sweep100) -> None:
    bad = home.keep_runs(0, 100)
    home.flip(home.shard_key(bad), 300)
    assert place.do("verify").returncode == 4
    assert home.aside()
    assert place.do("cancel", "walk").returncode == 0
    assert place.do("remove", "walk", "--yes").returncode == 0
    assert home.objects("quarantine/") == {}


def test_reading_a_damaged_shard_says_that_verify_sets_it_aside(
    place: Here, home: Sweep100
) -> None:
    bad = home.keep_runs(0, 100)
    home.flip(home.shard_key(bad), 300)
    answer = place.do("results", "--home", str(place.home))
    assert answer.returncode == 1
    assert f"`sweep verify --home {place.home}`" in answer.stderr
    skipping = f"`sweep results {home.sweep_id} --skip-damaged --home {place.home}`"
    assert skipping in answer.stderr
    assert "damaged=" not in answer.stderr


def test_results_of_the_other_shards_are_shown_without_the_damaged_one(
    place: Here, home: Sweep100, tmp_path: Path
) -> None:
    home.keep_runs(0, 5)
    bad = home.keep_runs(5, 10)
    home.flip(home.shard_key(bad), 300)
    document = place.json("results", "--skip-damaged")
    assert [row[0] for row in document["rows"]] == list(range(5))
    assert document["skipped"] == [bad.shard_id]
    target = tmp_path / "out.csv"
    for words in (("results",), ("results", "--csv", str(target))):
        assert place.do(*words).returncode == 1
        assert not target.exists()
        answer = place.do(*words, "--skip-damaged")
        assert answer.returncode == 0, answer.stderr
        assert f"left out: 1 damaged shard ({bad.shard_id})" in answer.stderr
        assert f"`sweep verify {home.sweep_id}`" in answer.stderr
        assert "first" not in answer.stderr
    assert len(target.read_text().splitlines()) == 6
    found = gapless.open(place.home, home.sweep_id, damaged="skip")
    assert (len(found), found.skipped) == (5, (bad.shard_id,))


def test_nothing_is_left_out_where_nothing_is_damaged(place: Here, home: Sweep100) -> None:
    home.keep_runs(0, 5)
    assert place.json("results", "--skip-damaged")["skipped"] == []
    assert "left out" not in place.do("results", "--skip-damaged").stderr


def test_on_s3_a_bad_shards_runs_are_gaps_though_the_queues_cannot_show_it(
    tmp_path: Path, on_moto: Service, moto_server: Service
) -> None:
    place = S3Place(tmp_path, moto_server)
    place.make_home()
    state = tmp_path / "state"
    place.environment["GAPLESS_STATE"] = str(state)
    home = Sweep100(open_home(place.url, state=state, create=False))
    home.keep_runs(0, 60)
    bad = home.keep_runs(60, 100)
    clients = AwsClients("s3")
    blobs = S3Blobs(place.address.bucket, "h", clients=clients)
    data = bytearray(bad.data)
    data[len(data) // 2] ^= 8
    blobs.put(home.shard_key(bad), bytes(data))
    answer = place.do("verify")
    assert answer.returncode == 4, answer.stdout + answer.stderr
    assert f"shard {bad.shard_id} (changed)" in answer.stdout
    assert covered(blobs, home.sweep_id) == RunSet.span(0, 60)
    assert max(map(len, home.aside().values())) == len(data)
    clients.close()
