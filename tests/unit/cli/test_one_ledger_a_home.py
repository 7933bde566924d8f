"""A ledger named by its address, when a home is made: see gapless/local/submission.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.a_place import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_second_home_of_one_ledger_is_refused_and_not_made(place: Place) -> None:
    url = f"sqlite:///{place.folder}/shared.db"
    assert place.do("submit", "sweep.toml", "--ledger", url).returncode == 0
    for command in ("submit", "run"):
        told = place.do(command, "sweep.toml", "--ledger", url, "--home", "second")
        assert told.returncode == 2, told.stderr
        assert "is that of the home" in told.stderr
        assert f"({place.home})" in told.stderr
        assert not (place.folder / "second").exists()
    # A home that is there already, without this ledger.
    assert place.do("submit", "sweep.toml", "--home", "second").returncode == 0
    told = place.do("reconcile", "--ledger", url, "--home", "second")
    assert told.returncode == 2, told.stderr
    assert "each home needs a ledger of its own" in told.stderr
    assert place.do("submit", "sweep.toml", "--ledger", url).returncode == 0


def test_a_home_that_was_moved_keeps_its_ledger(place: Place) -> None:
    url = f"sqlite:///{place.folder}/mine.db"
    assert place.do("submit", "sweep.toml", "--ledger", url).returncode == 0
    place.home.rename(place.folder / "moved")
    again = place.do("submit", "sweep.toml", "--ledger", url, "--home", "moved")
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize("command", ["submit", "run"])
@pytest.mark.parametrize(
    ("ledger", "said"),
    [
        ("sqlite:///missing/l.db", "with four"),
        ("sqlite:////missing/folder/l.db", "/missing/folder is missing"),
        ("postgresql://me@nowhere.invalid/db", "see to the name of the host"),
        ("mysql://me@host/db", "names mysql"),
    ],
)
def test_a_misspelt_ledger_leaves_no_new_home_behind(
    place: Place, command: str, ledger: str, said: str
) -> None:
    before = sorted(place.folder.iterdir())
    told = place.do(command, "sweep.toml", "--ledger", ledger)
    assert told.returncode in {1, 2}, told.stderr
    assert said in told.stderr
    assert "Traceback" not in told.stderr
    assert sorted(place.folder.iterdir()) == before


def test_a_ledger_may_lie_in_the_folders_that_are_made_with_the_home(place: Place) -> None:
    url = f"sqlite:///{place.folder}/state/mine.db"
    done = place.do("submit", "sweep.toml", "--state", "state", "--ledger", url)
    assert done.returncode == 0, done.stderr
    url = f"sqlite:///{place.folder}/other/mine.db"
    done = place.do("submit", "sweep.toml", "--home", "other", "--ledger", url)
    assert done.returncode == 0, done.stderr


def test_a_home_in_a_home_is_refused(place: Place) -> None:
    assert place.do("submit", "sweep.toml").returncode == 0
    told = place.do("submit", "sweep.toml", "--home", "sweeps/sweeps/inner")
    assert told.returncode == 1, told.stderr
    assert f"would lie within the home {place.home}" in told.stderr
