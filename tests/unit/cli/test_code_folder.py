"""What happens in a code folder while its sweep goes on, and what the commands say to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.a_place import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def put_too_large(place: Place) -> None:
    """Add more than may travel; the file has a hole, so it takes no room."""
    with (place.folder / "big.csv").open("wb") as file:
        file.truncate(60_000_000)


def widen(place: Place) -> None:
    path = place.folder / "sweep.toml"
    path.write_text(path.read_text().replace("[1, 2, 3]", "[1, 2, 3, 4]"))


def test_a_large_file_beside_the_code_does_not_stop_a_sweep_and_is_told_once(place: Place) -> None:
    sweep = place.json("submit", "sweep.toml")["sweep"]
    put_too_large(place)
    again = place.do("submit", "sweep.toml")
    assert again.returncode == 0, again.stderr
    assert "(big.csv added): the stored code goes on" in again.stderr
    assert "big.csv" not in place.do("submit", "sweep.toml").stderr
    assert place.json("submit", "sweep.toml", "--code", "old")["sweep"] == sweep
    widen(place)
    refused = place.do("submit", "sweep.toml")
    assert refused.returncode == 2
    assert f"--extend {sweep}" in refused.stderr
    wider = place.json("submit", "sweep.toml", "--extend", "tiny", "--code", "old")
    assert (wider["sweep"], wider["runs_sent"]) == (sweep, 2)


def test_a_sweep_runs_to_its_end_though_a_large_file_was_added(place: Place) -> None:
    assert place.do("submit", "sweep.toml").returncode == 0
    put_too_large(place)
    document = place.json("run", "sweep.toml", "--workers", "1", status=5)
    assert (document["complete"], document["stored"]) == (True, 6)


@pytest.mark.parametrize("flags", [[], ["--code", "old"], ["--new"]])
def test_code_too_large_is_refused_at_a_first_submit_and_makes_no_home(
    place: Place, flags: list[str]
) -> None:
    put_too_large(place)
    for command in ("submit", "run"):
        answer = place.do(command, "sweep.toml", *flags)
        assert answer.returncode == 2
        assert "60.0 MB, more than the 50 MB that travel" in answer.stderr
    assert not place.home.exists()


def test_code_too_large_is_refused_where_it_would_be_used(place: Place) -> None:
    assert place.do("submit", "sweep.toml").returncode == 0
    put_too_large(place)
    for flags in (["--code", "new"], ["--test", "1"]):
        answer = place.do("submit", "sweep.toml", *flags)
        assert answer.returncode == 2
        assert "more than the 50 MB that travel" in answer.stderr
    with (place.folder / "work.py").open("a") as file:
        file.write("# other code\n")
    answer = place.do("submit", "sweep.toml")
    assert answer.returncode == 2
    assert "(work.py changed, big.csv added): `--code old` goes on" in answer.stderr
    widen(place)
    other = place.do("submit", "sweep.toml", "--new")
    assert other.returncode == 2
    assert "more than the 50 MB that travel" in other.stderr


def test_a_table_of_results_that_is_written_again_does_not_stop_a_sweep(place: Place) -> None:
    other = (place.folder / "sweep.toml").read_text().replace('"tiny"', '"other"')
    (place.folder / "other.toml").write_text(other)
    assert place.do("run", "sweep.toml", "--workers", "1").returncode == 5
    write = ("results", "tiny", "--csv", "out.csv")
    assert place.do(*write, "--limit", "2").returncode == 0
    assert place.do("submit", "other.toml").returncode == 0
    assert place.do(*write).returncode == 0
    again = place.do("submit", "other.toml")
    assert again.returncode == 0, again.stderr
    assert "holds other files, but no other code" in again.stderr
    assert "(out.csv rewritten): the stored code goes on" in again.stderr
    (place.folder / "out.csv").write_text("a,b\n1,2\n")
    refused = place.do("submit", "other.toml")
    assert refused.returncode == 2
    assert "(out.csv changed)" in refused.stderr


def test_a_changed_file_stops_no_sweep_once_it_is_named_in_an_ignore_file(place: Place) -> None:
    (place.folder / "plot.txt").write_text("first")
    assert place.do("submit", "sweep.toml").returncode == 0
    (place.folder / "plot.txt").write_text("second")
    refused = place.do("submit", "sweep.toml")
    assert refused.returncode == 2
    assert "is named in .gaplessignore" in refused.stderr
    for lines in ("plot.txt\n", "plot.txt\n*.png\n"):
        (place.folder / ".gaplessignore").write_text(lines)
        again = place.do("submit", "sweep.toml")
        assert again.returncode == 0, again.stderr
        assert "plot.txt left out" in again.stderr
    (place.folder / "work.py").rename(place.folder / "worked.py")
    gone = place.do("submit", "sweep.toml")
    assert gone.returncode == 2
