"""status and results for the eye and for programs: see gapless/cli/reading.py."""

from __future__ import annotations

import csv
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from gapless.cli.cells import cell
from gapless.results.csv_file import is_results_table, save_csv
from gapless.results.row_table import RowTable, column_names
from tests.unit.cli.a_place import Place

ODD = """
def work(a, b, run):
    run.set("text", "half \\udc80 character")
    run.set("none", float("nan"))
    run.set("endless", float("inf"))
    run.set("large", [0.0] * 100_000)
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def odd(place: Place) -> Place:
    (place.folder / "work.py").write_text(ODD)
    assert place.do("run", "sweep.toml", "--workers", "1").returncode == 0
    return place


def test_cells_are_short_and_say_how_large_an_array_is() -> None:
    assert cell([1, 2]) == "[1, 2]"
    assert cell([0.5] * 3_000_000) == "array(3000000)"
    assert cell([[0.5] * 40] * 30) == "array(30, 40)"
    assert cell("x" * 61) == "x" * 59 + "…"
    assert cell("two\nlines") == "two lines"
    assert (cell(None), cell(1 / 3), cell(True)) == ("", "0.333333", "True")


def test_csv_holds_every_value_whole_and_what_utf8_lacks_escaped(odd: Place) -> None:
    assert odd.do("results", "--csv", "out.csv").returncode == 0
    csv.field_size_limit(10_000_000)
    with (odd.folder / "out.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert rows[5]["text"] == "half \\udc80 character"
    assert rows[5]["large"].count("0.0") == 100_000
    assert odd.do("results", "--csv", "-", "--columns", "text").returncode == 0
    assert not list(odd.folder.glob(".*.part"))


def test_a_whole_table_of_results_is_known_by_its_head_and_a_person_s_own_is_not() -> None:
    names = ",".join(column_names(("n", "node"), ("rms", "loss")))
    assert is_results_table(f"{names}\r\n1,2\r\n".encode())
    for own in (names, f"x{names}\n", "run,n,rms\n", "run,replicate\n", "", "\n", "\0,\xff\n"):
        assert not is_results_table(own.encode("latin-1"))


def test_a_csv_that_cannot_be_finished_leaves_the_earlier_one(tmp_path: Path) -> None:
    class Breaks:
        def __str__(self) -> str:
            raise RuntimeError("the value breaks")

    path = tmp_path / "out.csv"
    save_csv(RowTable(columns=("a",), data=([1, 2],)), path)
    with pytest.raises(RuntimeError, match="breaks"):
        save_csv(RowTable(columns=("a",), data=([1, Breaks()],)), path)
    assert path.read_text().split() == ["a", "1", "2"]
    assert [each.name for each in tmp_path.iterdir()] == ["out.csv"]


def test_json_is_strict_and_excludes_csv(odd: Place) -> None:
    table = odd.json("results", "--columns", "none,endless")
    assert table["rows"] == [[None, None]] * 6
    assert odd.do("results", "--csv", "-", "--json").returncode == 2


def test_text_output_is_short(odd: Place) -> None:
    shown = odd.do("results").stdout
    assert "array(100000)" in shown
    assert max(map(len, shown.splitlines())) < 200


def test_why_runs_failed_is_told_by_run_results_and_json(place: Place) -> None:
    why = "ValueError: three is too much — 2 runs, for example run "
    ran = place.do("run", "sweep.toml", "--workers", "1")
    assert why in ran.stdout
    assert why in place.do("results").stderr
    for document in (place.json("results"), place.json("run", "sweep.toml", status=5)):
        (error,) = document["errors"]
        assert (error["title"], error["runs"]) == ("ValueError: three is too much", 2)


def test_a_complete_sweep_is_called_so(place: Place) -> None:
    assert place.do("run", "sweep.toml", "--workers", "1").returncode == 5
    (sweep,) = place.json("status")["sweeps"]
    assert (sweep["state"], sweep["complete"]) == ("running", True)
    assert "complete" in place.do("status").stdout.splitlines()[1]
    assert "(complete)" in place.do("reconcile").stdout.splitlines()[0]
    assert place.do("pause", "tiny").returncode == 0
    assert "paused" in place.do("status").stdout.splitlines()[1]


def test_on_a_narrow_terminal_status_cuts_neither_ids_nor_headers(place: Place) -> None:
    name = "a-name-of-nearly-forty-characters-12345"
    file = place.folder / "sweep.toml"
    file.write_text(file.read_text().replace('"tiny"', f'"{name}"'))
    sweep = place.json("submit", "sweep.toml")["sweep"]
    shown = _on_a_terminal(place, "status", columns=80)
    assert sweep in shown
    assert "…" not in shown
    header = next(line for line in shown.splitlines() if "runs" in line)
    assert header.split() == ["sweep", "state", "runs", "stored", "in", "flight", "left"]


def _on_a_terminal(place: Place, *arguments: str, columns: int) -> str:
    ours, theirs = pty.openpty()
    try:
        program = subprocess.Popen(
            [str(Path(sys.executable).parent / "sweep"), *arguments],
            cwd=place.folder,
            env={**place.environment, "COLUMNS": str(columns), "TERM": "dumb"},
            stdin=subprocess.DEVNULL,
            stdout=theirs,
        )
        os.close(theirs)
        assert program.wait(60) == 0
        return os.read(ours, 65536).decode()
    finally:
        os.close(ours)
