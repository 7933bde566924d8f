"""Removing a sweep for good: see gapless/local/removal.py and gapless/cli/removing.py."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from gapless.declaration.control import ControlState
from gapless.declaration.space import Space
from gapless.declaration.sweep import Sweep
from gapless.errors import UserMistake
from gapless.local.choice import SweepUnknown
from gapless.local.removal import choose_removable, remove_sweep
from gapless.storage import layout
from gapless.storage.folder import FolderBlobs
from gapless.storage.sweeps import SweepStore
from gapless.wiring import Home, clock, new_id, open_home
from receipts.submit import submit
from tests.services.servers import Service
from tests.unit.cli.a_place import Place
from tests.unit.cli.s3_places import S3Place

SWEEP = Sweep(name="walk", function="work:work", space=Space.grid(a=[1, 2]))


class Killed(BaseException):
    """The program was killed here."""


class BlobsThatDie(FolderBlobs):
    """Blobs whose program is killed before a certain delete."""

    def __init__(self, path: Path, *, before_delete: int) -> None:
        super().__init__(path)
        self.left = before_delete

    def delete(self, key: str) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1
        super().delete(key)


def submitted(folder: Path) -> tuple[Home, str]:
    home = open_home(folder, create=True)
    frozen = SWEEP.freeze()
    send(home)
    home.blobs.put(layout.shard(frozen.id, "s"), b"results")
    home.blobs.put(layout.quarantine(frozen.id, "q"), b"bad")
    return home, frozen.id


def send(home: Home) -> int:
    with closing(home.ledger()) as ledger, closing(home.queues()) as queues:
        report = submit(
            SWEEP.freeze(),
            None,
            ledger=ledger,
            queues=queues,
            store=home.store,
            clock=clock,
            new_id=new_id,
        )
    return report.runs_sent


def cancel(home: Home, sweep_id: str) -> None:
    home.store.set_control(sweep_id, state=ControlState.CANCELLED, at_s=0.0)


def keys(home: Home) -> list[str]:
    return [blob.key for prefix in ("sweeps/", "quarantine/") for blob in home.blobs.list(prefix)]


def test_a_sweep_that_somebody_waits_for_is_not_removed(tmp_path: Path) -> None:
    home, sweep_id = submitted(tmp_path / "h")
    before = keys(home)
    with pytest.raises(UserMistake, match=rf"2 of 2 runs.*`sweep cancel {sweep_id}` first"):
        choose_removable(home, "walk")
    assert keys(home) == before


def test_removing_leaves_nothing_of_the_sweep_and_all_of_others(tmp_path: Path) -> None:
    home, sweep_id = submitted(tmp_path / "h")
    other = Sweep(name="other", function="work:work", space=Space.grid(a=[1]))
    home.store.store(other.freeze(), None, 0.0)
    home.blobs.put(layout.object_("0" * 64), b"shared")
    cancel(home, sweep_id)
    gone = [key for key in keys(home) if sweep_id in key]
    done = remove_sweep(home, choose_removable(home, "walk"))
    assert (done.objects, done.ledger_known) == (len(gone), True)
    assert keys(home)
    assert not any(sweep_id in key for key in keys(home))
    assert home.blobs.get(layout.object_("0" * 64)) == b"shared"
    for folder in ("sweeps", "quarantine"):
        assert not list((tmp_path / "h" / folder).rglob(f"*{sweep_id}"))
    with closing(home.ledger()) as ledger:
        assert ledger.sweep(sweep_id) is None
    with closing(home.queues()) as queues:
        assert queues.facts(layout.jobs_queue(sweep_id)).visible == 0


def test_a_removed_sweep_can_be_submitted_again_as_a_new_one(tmp_path: Path) -> None:
    home, sweep_id = submitted(tmp_path / "h")
    cancel(home, sweep_id)
    remove_sweep(home, choose_removable(home, sweep_id))
    assert send(home) == 2


@pytest.mark.parametrize("deletes", range(6))
def test_a_removal_that_was_killed_is_finished_by_the_same_command(
    deletes: int, tmp_path: Path
) -> None:
    home, sweep_id = submitted(tmp_path / "h")
    cancel(home, sweep_id)
    assert len(keys(home)) == 6
    dying = BlobsThatDie(tmp_path / "h", before_delete=deletes)
    with pytest.raises(Killed):
        remove_sweep(
            replace(home, blobs=dying, store=SweepStore(dying)), choose_removable(home, sweep_id)
        )
    # After the first delete there is no such sweep any more, whatever else is left.
    assert home.store.exists(sweep_id) == (deletes == 0)
    again = choose_removable(home, sweep_id)
    assert again.is_litter == (deletes > 0)
    remove_sweep(home, again)
    assert keys(home) == []


def test_removing_what_is_gone_is_no_error_and_what_never_was_named_is(tmp_path: Path) -> None:
    home, sweep_id = submitted(tmp_path / "h")
    cancel(home, sweep_id)
    for _ in range(2):
        done = remove_sweep(home, choose_removable(home, sweep_id))
    assert done.objects == 0
    with pytest.raises(SweepUnknown):
        choose_removable(home, "walk")


def test_a_ledger_that_is_not_here_is_not_made_by_removing(tmp_path: Path) -> None:
    home, sweep_id = submitted(tmp_path / "h")
    cancel(home, sweep_id)
    elsewhere = open_home(tmp_path / "h", ledger=f"sqlite:///{tmp_path}/other.db", create=False)
    assert not remove_sweep(elsewhere, choose_removable(elsewhere, sweep_id)).ledger_known
    assert not (tmp_path / "other.db").exists()


def test_the_command_asks_and_without_a_terminal_wants_to_be_told(tmp_path: Path) -> None:
    place = Place(tmp_path)
    assert place.do("run", "sweep.toml", "--workers", "1").returncode == 5
    refused = place.do("remove", "tiny")
    assert refused.returncode == 2
    assert "6 stored results" in refused.stderr
    assert "--yes` does it" in refused.stderr
    assert answer_at_a_terminal(place, "n\n", "remove", "tiny") == 1
    assert place.json("status")["sweeps"][0]["stored"] == 6
    assert answer_at_a_terminal(place, "y\n", "remove", "tiny") == 0
    assert place.json("status")["sweeps"] == []


def test_the_command_says_what_it_deleted(tmp_path: Path) -> None:
    place = Place(tmp_path)
    sweep_id = place.json("submit", "sweep.toml")["sweep"]
    refused = place.do("remove", "tiny", "--yes")
    assert refused.returncode == 2
    assert f"`sweep cancel {sweep_id}` first" in refused.stderr
    assert place.do("cancel", "tiny").returncode == 0
    removed = place.do("remove", "tiny", "--yes")
    assert removed.returncode == 0, removed.stderr
    assert f"{sweep_id} is removed: " in removed.stdout
    assert "objects" in removed.stdout
    again = place.do("remove", sweep_id, "--yes")
    assert again.returncode == 0, again.stderr
    assert "nothing was stored of it" in again.stdout


def test_on_s3_queues_and_objects_go(tmp_path: Path, moto_server: Service) -> None:
    place = S3Place(tmp_path, moto_server)
    sweep_id = place.json("submit", "sweep.toml")["sweep"]
    assert place.do("cancel", "tiny").returncode == 0
    # What a removal leaves that died after sweep.json was deleted.
    place.s3.delete_object(Bucket=place.address.bucket, Key=f"h/{layout.sweep(sweep_id)}")
    assert place.keys("sweeps/")
    removed = place.do("remove", sweep_id, "--yes")
    assert removed.returncode == 0, removed.stderr
    assert place.keys("sweeps/") == place.keys("quarantine/") == []
    assert place.queues() == []
    assert place.keys("objects/")


def answer_at_a_terminal(place: Place, words: str, *arguments: str) -> int:
    mine, its = pty.openpty()
    try:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "sweep"), *arguments],
            cwd=place.folder,
            env=place.environment,
            stdin=its,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        os.write(mine, words.encode())
        _, said = process.communicate(timeout=60)
        assert b"for good?" in said
        return process.returncode
    finally:
        os.close(mine)
        os.close(its)
