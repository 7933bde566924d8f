"""Commands that are printed can be pasted: see gapless/cli/advice.py."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest
import typer

from gapless.cli.advice import advised, advising, pasteable, places_given
from gapless.cli.output import end_stopped, end_with
from gapless.local.python_words import in_python
from tests.unit.cli.a_place import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_places_given_by_flag_stand_in_every_command_quoted() -> None:
    text = "run `sweep reconcile x --rebuild` or `sweep results x`; `--new` is no command"
    assert pasteable(text) == text
    with places_given({"home": "a b", "state": "s"}):
        assert advised("resume", "x") == "sweep resume x --home 'a b' --state s"
        assert pasteable(text) == (
            "run `sweep reconcile x --rebuild --home 'a b' --state s` or "
            "`sweep results x --home 'a b'`; `--new` is no command"
        )


def test_the_ledger_stands_only_in_commands_that_use_one() -> None:
    with places_given({"ledger": "sqlite:////a b.db"}):
        assert advised("reconcile", "x") == "sweep reconcile x --ledger 'sqlite:////a b.db'"
        assert pasteable("`sweep cancel x`, `sweep node`") == "`sweep cancel x`, `sweep node`"


def test_a_password_is_not_printed_and_the_command_says_which_variable_to_set() -> None:
    with places_given({"home": "h", "ledger": "postgresql://me:secret@host/db"}):
        expected = (
            "GAPLESS_LEDGER='postgresql://me:***@host/db' sweep reconcile x --resubmit --home h"
        )
        assert advised("reconcile", "x", "--resubmit") == expected
        once = pasteable("run `sweep reconcile x --resubmit`")
        assert once == f"run `{expected}`"
        assert pasteable(once) == once


def test_a_place_that_stands_in_a_command_already_is_not_added() -> None:
    with places_given({"home": "mine"}):
        assert pasteable("`sweep run FILE --home other`") == "`sweep run FILE --home other`"


def test_the_advice_after_failures_works_when_pasted(place: Place) -> None:
    ran = place.do("run", "sweep.toml", "--home", "a home", "--state", "state", "--workers", "1")
    assert ran.returncode == 5, ran.stderr
    (reading,) = re.findall(r"read them: (.*)", ran.stdout)
    assert place.shell(reading).returncode == 0
    commands = re.findall(r"^  (sweep .*)$", ran.stderr, re.MULTILINE)
    assert len(commands) == 2
    (place.folder / "work.py").write_text("def work(a, b):\n    return {'sum': a + b}\n")
    for command in commands:
        answer = place.shell(command)
        assert answer.returncode == 0, answer.stderr
    assert "6 ok" in answer.stdout


def test_an_error_names_the_places_too_unless_the_environment_does(place: Place) -> None:
    assert place.do("submit", "sweep.toml", "--home", "h").returncode == 0
    for ledger in (place.folder / "h").glob("ledger.db*"):
        ledger.unlink()
    told = place.do("reconcile", "--home", "h")
    (command,) = re.findall(r"`(sweep reconcile [^`]*)`", told.stderr)
    assert command.endswith("--rebuild --home h")
    assert place.shell(command).returncode == 3
    place.environment["GAPLESS_HOME"] = "h"
    assert "--home" not in place.do("pause", "tiny").stderr


def test_options_that_name_places_are_arguments_in_python() -> None:
    told = "--ledger names another, or --home; --state or --ledger, if one was given"
    assert in_python(told) == "ledger= names another, or home=; state= or ledger=, if one was given"


def test_python_is_advised_in_its_own_words() -> None:
    told = "`--code old` or `--code new`, `--extend tiny-1234abcd`, `--new`; `sweep resume tiny`"
    assert in_python(told) == (
        'code="old" or code="new", extend="tiny-1234abcd", new=True; `sweep resume tiny`'
    )


@pytest.mark.parametrize("stopped_by", [KeyboardInterrupt, typer.Abort])
def test_a_command_that_a_person_stops_ends_with_our_words(
    stopped_by: type[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise stopped_by

    app = typer.Typer(add_completion=False)
    app.command()(
        advising(
            command,
            on_error=partial(end_with, "sweep"),
            on_stop=partial(end_stopped, "sweep"),
        )
    )
    with pytest.raises(SystemExit) as ended:
        app([])
    assert ended.value.code == 130
    assert "sweep: stopped; the same command goes on from here" in capsys.readouterr().err
