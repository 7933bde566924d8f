"""Homes of a folder: see gapless/wiring."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gapless.errors import UserMistake
from gapless.storage.errors import HomeError
from gapless.storage.home import HomeRecord
from gapless.wiring import open_home, program_id, read_home
from receipts.errors import ForeignLedger


def test_a_home_is_made_once_and_opened_again(tmp_path: Path) -> None:
    made = open_home(tmp_path / "home", create=True)
    again = open_home(tmp_path / "home", create=False)
    assert again.record == made.record
    assert again.queue_file == tmp_path / "home" / "queue.db"
    assert [each.name for each in (tmp_path / "home").iterdir()] == ["home.json"]


def test_a_home_that_is_not_there_is_told_and_not_made(tmp_path: Path) -> None:
    for opening in (read_home, lambda place: open_home(place, create=False)):
        with pytest.raises(HomeError, match="no home is there"):
            opening(tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_a_home_that_is_a_file_or_below_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "home"):
        with pytest.raises(HomeError, match="home"):
            open_home(place, create=True)


def test_a_home_that_cannot_be_written_can_be_read(tmp_path: Path) -> None:
    home = tmp_path / "home"
    open_home(home, create=True)
    home.chmod(0o555)
    try:
        if os.geteuid() != 0:
            with pytest.raises(HomeError, match="cannot be written"):
                open_home(home, create=False)
        assert read_home(home).store.ids() == []
    finally:
        home.chmod(0o755)


def test_a_state_folder_holds_queue_and_ledger_of_one_home_only(tmp_path: Path) -> None:
    state = tmp_path / "state"
    home = open_home(tmp_path / "home", state=state, create=True)
    assert home.queue_file == state / "queue.db"
    assert home.ledger_file == state / "ledger.db"
    open_home(tmp_path / "home", state=state, create=False)
    with pytest.raises(HomeError, match="belongs to the home"):
        open_home(tmp_path / "other", state=state, create=True)


def test_the_home_of_the_environment_is_used_when_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAPLESS_HOME", str(tmp_path / "named"))
    assert open_home(None, create=True).folder == tmp_path / "named"


def test_no_home_is_made_within_another_one(tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    open_home(outer, create=True)
    link = tmp_path / "link"
    link.symlink_to(outer)
    for inner in (outer / "sweeps" / "x" / "inner", link / "inner"):
        with pytest.raises(HomeError, match=f"{inner}: it would lie within the home {tmp_path}/"):
            open_home(inner, create=True)
        assert not inner.exists()


def test_a_home_within_another_one_that_is_there_goes_on(tmp_path: Path) -> None:
    open_home(tmp_path / "outer" / "inner", create=True)
    open_home(tmp_path / "outer", create=True)
    assert not open_home(tmp_path / "outer" / "inner", create=True).is_new
    assert not open_home(tmp_path / "outer" / "inner", create=False).is_new


def test_a_home_json_of_another_program_does_not_keep_homes_from_being_made_below(
    tmp_path: Path,
) -> None:
    (tmp_path / "home.json").write_text('{"rooms": 4}')
    assert open_home(tmp_path / "home", create=True).is_new
    with pytest.raises(HomeError, match=f"home {tmp_path}: its home.json is no record of a home"):
        open_home(tmp_path, create=True)


def test_a_home_without_an_id_keeps_its_own_ledger_when_it_is_moved(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "home.json").write_bytes(HomeRecord().encode())
    open_home(tmp_path / "old", create=False).ledger().close()
    (tmp_path / "old").rename(tmp_path / "moved")
    open_home(tmp_path / "moved", create=False).ledger().close()
    # One that is named by its address may be anybody's.
    url = f"sqlite:///{tmp_path}/l.db"
    open_home(tmp_path / "moved", ledger=url, create=False).ledger().close()
    with pytest.raises(ForeignLedger, match=f"of the home {tmp_path}/moved"):
        open_home(tmp_path / "other", ledger=url, create=True).ledger()


def test_what_is_looked_at_before_a_home_is_made_is_looked_at_once_and_leaves_none(
    tmp_path: Path,
) -> None:
    def refuse() -> None:
        raise UserMistake("not so")

    with pytest.raises(UserMistake, match="not so"):
        open_home(tmp_path / "home", create=True, before_making=refuse)
    assert list(tmp_path.iterdir()) == []
    open_home(tmp_path / "home", create=True)
    assert not open_home(tmp_path / "home", create=True, before_making=refuse).is_new


def test_nodes_never_unpack_into_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GAPLESS_CACHE", raising=False)
    home = open_home(tmp_path / "home", create=True)
    assert not home.node_work_folder.is_relative_to(home.folder)
    monkeypatch.setenv("GAPLESS_CACHE", str(tmp_path / "cache"))
    assert open_home(tmp_path / "home", create=True).node_work_folder == tmp_path / "cache"


def test_two_programs_of_a_machine_have_two_ids() -> None:
    assert program_id("node") != program_id("node")
    assert program_id("node").isascii()
