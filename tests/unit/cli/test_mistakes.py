"""What a stranger got wrong, and what the commands say to it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gapless.wiring import read_home
from tests.unit.cli.a_place import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_module_that_runs_its_own_sweep_when_imported_starts_no_second_one(place: Place) -> None:
    (place.folder / "boom.py").write_text(
        "import gapless\n"
        "def work(a):\n    return a\n"
        "gapless.run(gapless.Sweep(name='boom', function='boom:work',\n"
        "            space=gapless.grid(a=[1, 2])), home='h', workers=1)\n"
    )
    answer = place.python("boom.py")
    assert answer.returncode == 1
    assert 'if __name__ == "__main__":' in answer.stderr
    assert "SweepUnfit" in answer.stderr
    assert 'mend it, then run it again with code="new"; if a library' in answer.stderr


def test_code_that_cannot_be_imported_ends_a_run_at_once_and_is_told_once(place: Place) -> None:
    (place.folder / "work.py").write_text("import nothing_like_it\ndef work(a, b):\n    return 1\n")
    answer = place.do("run", "sweep.toml", "--workers", "1", "--home", "h")
    assert answer.returncode == 1
    assert answer.stderr.splitlines()[-1] == (
        "mend it, then `sweep run sweep.toml --code new --home h`; if a library is missing, "
        "install it and repeat the same command"
    )
    assert answer.stderr.count("No module named 'nothing_like_it'") == 1
    assert "started again" not in answer.stderr
    trial = place.do("submit", "sweep.toml", "--test", "2")
    assert trial.returncode == 5
    assert trial.stderr.count("No module named 'nothing_like_it'") == 1
    assert "nothing was submitted" in trial.stderr


@pytest.mark.parametrize("flags", [["--home", "."], ["--state", "."]])
def test_the_code_folder_is_no_home_and_nothing_is_written(place: Place, flags: list[str]) -> None:
    for command in ("run", "submit"):
        answer = place.do(command, "sweep.toml", *flags)
        assert answer.returncode == 2
        assert "is the code folder" in answer.stderr
    assert sorted(each.name for each in place.folder.iterdir()) == ["sweep.toml", "work.py"]


def test_a_state_folder_keeps_the_ignore_file_a_person_wrote(place: Place) -> None:
    state = place.folder / "state"
    state.mkdir()
    (state / ".gaplessignore").write_text("*.log\n")
    assert place.do("submit", "sweep.toml", "--state", "state").returncode == 0
    assert (state / ".gaplessignore").read_text() == "*.log\n"


def test_a_new_home_is_told_and_so_is_another_one_beside_the_sweep_file(place: Place) -> None:
    assert "a new home: " in place.do("submit", "sweep.toml").stderr
    assert "a new home" not in place.do("submit", "sweep.toml").stderr
    elsewhere = place.folder / "elsewhere"
    elsewhere.mkdir()
    told = place.shell(f"cd {elsewhere} && sweep submit ../sweep.toml").stderr
    assert f"a new home: {elsewhere / 'sweeps'}" in told
    assert f"beside the sweep file lies {place.home}" in told


def test_a_sweep_that_was_extended_goes_on_by_its_wider_file(place: Place) -> None:
    first = place.json("submit", "sweep.toml")["sweep"]
    wider = (place.folder / "sweep.toml").read_text().replace("[1, 2, 3]", "[1, 2, 3, 4]")
    (place.folder / "wider.toml").write_text(wider)
    refused = place.do("submit", "wider.toml")
    assert refused.returncode == 2
    assert f"--extend {first}" in refused.stderr
    assert place.json("submit", "wider.toml", "--extend", "tiny")["runs_sent"] == 2
    again = place.json("submit", "wider.toml")
    assert (again["sweep"], again["runs_sent"], again["total"]) == (first, 0, 8)


def test_a_dry_run_finds_mistakes_in_code_and_space_and_names_the_file(place: Place) -> None:
    (place.folder / "work.py").write_text("def other(a, b):\n    return 1\n")
    answer = place.do("submit", "sweep.toml", "--dry-run")
    assert answer.returncode == 2
    assert "sweep.toml: function: " in answer.stderr
    text = (place.folder / "sweep.toml").read_text()
    text = text.replace("work:work", "work:other")
    text = text.replace("[space.grid]", "[space]\nwhere = 'a > 9'\n[space.grid]")
    (place.folder / "sweep.toml").write_text(text)
    answer = place.do("submit", "sweep.toml", "--dry-run")
    assert answer.returncode == 2
    assert "sweep.toml: space: where 'a > 9' keeps none" in answer.stderr


def test_added_files_are_told_once_a_change(place: Place) -> None:
    assert place.do("submit", "sweep.toml").returncode == 0
    for name in ("one.txt", "two.txt"):
        (place.folder / name).write_text("what a person wrote beside the code")
        assert name in place.do("submit", "sweep.toml").stderr
        assert name not in place.do("submit", "sweep.toml").stderr


def test_a_reconcile_that_lacks_its_state_folder_makes_no_ledger_in_the_home(place: Place) -> None:
    assert place.do("submit", "sweep.toml", "--state", "state").returncode == 0
    before = sorted(each.name for each in place.home.iterdir())
    for command in (["reconcile"], ["resubmit", "tiny", "--outcome", "ok"]):
        answer = place.do(*command)
        assert answer.returncode == 1
        assert "--state" in answer.stderr
    assert place.do("cancel", "tiny").returncode == 0
    assert sorted(each.name for each in place.home.iterdir()) == before


def test_a_script_that_changed_is_told_in_python_words(place: Place) -> None:
    script = "import gapless\nprint(gapless.submit('sweep.toml', home='h'))\n"
    (place.folder / "go.py").write_text(script)
    assert place.python("go.py").returncode == 0
    (place.folder / "go.py").write_text(script + "# more\n")
    answer = place.python("go.py")
    assert answer.returncode == 1
    assert 'code="old"' in answer.stderr
    assert "--code" not in answer.stderr


def test_a_change_made_by_submitting_again_has_a_time(place: Place) -> None:
    sweep = place.json("submit", "sweep.toml")["sweep"]
    with (place.folder / "sweep.toml").open("a") as file:
        file.write("[limits]\nattempts = 7\n")
    assert place.json("submit", "sweep.toml")["changed"] == ["limits"]
    control = read_home(place.home).store.control(sweep)
    assert control.at_s > 1e9


def test_node_and_aggregator_say_what_they_serve_and_why_they_leave(place: Place) -> None:
    assert place.do("submit", "sweep.toml").returncode == 0
    node = place.do("node", "--workers", "1", "--idle-exit", "1").stderr
    assert re.search(r"1 worker; every sweep of the home .*sweeps", node)
    assert "leaving (there was no more work): 6 runs done, 0 given back" in node
    aggregator = place.do("aggregate", "tiny", "--until-complete").stderr
    assert re.search(r"aggregator .*; tiny-\w+ of the home", aggregator)
    assert "6 rows stored" in aggregator.splitlines()[-1]


def test_help_is_plain_and_the_package_is_a_program(place: Place) -> None:
    assert "<" not in place.do("node", "--help").stdout
    assert "(30s)" not in place.do("node", "--help").stdout
    assert "one of" in place.do("resubmit", "--help").stdout
    assert place.shell("python -m gapless --version").stdout.startswith("gapless ")


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ("[space.grid]\na = { range = [0, 1000000000000] }\nb = [1]", "values, more than"),
        (
            (
                "replicates = 10000\n[space]\nwhere = 'a >= b'\n[space.grid]\n"
                "a = { range = [0, 2000] }\nb = { range = [0, 2000] }"
            ),
            "runs, expected at most 10,000,000,000",
        ),
        (
            (
                "[space]\nwhere = 'a > b'\n[space.grid]\na = { range = [0, 100000] }\n"
                "b = { range = [0, 100000] }"
            ),
            "would look at 10,000,000,000 candidates",
        ),
    ],
)
def test_a_dry_run_shows_the_size_of_what_submit_refuses_and_ends_as_submit_does(
    place: Place, space: str, said: str
) -> None:
    head = (place.folder / "sweep.toml").read_text().partition("[space.grid]")[0]
    (place.folder / "sweep.toml").write_text(head + space)
    for flags in (["--dry-run"], ["--dry-run", "--json"], []):
        answer = place.do("submit", "sweep.toml", *flags)
        assert answer.returncode == 2
        last = answer.stderr.splitlines()[-1]
        assert "sweep.toml: space: " in last
        assert said in last
    assert "points" in place.do("submit", "sweep.toml", "--dry-run").stdout
    assert not place.home.exists()


def test_values_that_stand_twice_on_an_axis_are_told_once(place: Place) -> None:
    text = (place.folder / "sweep.toml").read_text().replace("[1, 2, 3]", "[1, 2, 3, 2, 1]")
    (place.folder / "sweep.toml").write_text(text)
    said = "sweep.toml: space: a: 2 of the values stood before on this axis and are dropped"
    assert said in place.do("submit", "sweep.toml", "--dry-run").stderr
    assert said in place.do("submit", "sweep.toml").stderr
    again = place.do("submit", "sweep.toml")
    assert (again.returncode, said in again.stderr) == (0, False)
