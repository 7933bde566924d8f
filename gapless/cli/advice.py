"""Commands that we print, worded so that they work when pasted.

A person who gave --home, --state or --ledger by flag has to give them again; what came from the
environment or is the default holds for the next command too. A password is never printed: where the
ledger's address holds one, the command shows which variable to set.
"""

from __future__ import annotations

import functools
import inspect
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn

import typer

from gapless.errors import GaplessError

__all__ = ["advised", "advising", "pasteable", "places_given"]

_COMMAND = re.compile(r"`(sweep (\w+)\b[^`\n]*)`")
_PLACES = ("home", "state", "ledger")
_WITHOUT_STATE = frozenset({"results"})
_WITH_LEDGER = frozenset({"run", "submit", "reconcile", "resubmit", "remove", "verify"})

_given: ContextVar[Mapping[str, str]] = ContextVar("_given", default={})  # noqa: B039 - never changed


def advised(*words: object) -> str:
    """Word a command: `sweep`, these words, and the places the person gave by flag."""
    return _with_places(f"sweep {shlex.join(str(word) for word in words)}", str(words[0]))


def pasteable(text: str) -> str:
    """Complete every command in a text (`sweep …`, in backticks) by the places given by flag."""
    return _COMMAND.sub(lambda found: f"`{_with_places(found[1], found[2])}`", text)


@contextmanager
def places_given(places: Mapping[str, str]) -> Iterator[None]:
    """Let `home`, `state` and `ledger`, given by flag, stand in every command printed meanwhile."""
    token = _given.set(places)
    try:
        yield
    finally:
        _given.reset(token)


def advising(
    command: Callable[..., Any],
    *,
    on_error: Callable[[str, GaplessError], NoReturn],
    on_stop: Callable[[], NoReturn],
) -> Callable[..., Any]:
    """Wrap a command of Typer so that what it prints names the places it was given by flag.

    `on_error` gets the message of an error of ours, completed, and the error; `on_stop` is called
    when a person stops the command (Ctrl-C), wherever it waits.
    """
    signature = inspect.signature(command, eval_str=True)

    @functools.wraps(command)
    def with_places(*, _context: typer.Context, **arguments: Any) -> Any:
        places = {
            name: str(arguments[name])
            for name in _PLACES
            if arguments.get(name) is not None and _by_flag(_context, name)
        }
        with places_given(places):
            try:
                return command(**arguments)
            except GaplessError as error:
                on_error(pasteable(str(error)), error)
            except (KeyboardInterrupt, typer.Abort):
                # Abort: Typer's word for it at a question.
                on_stop()

    context = inspect.Parameter(
        "_context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context
    )
    parameters = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in signature.parameters.values()
    ]
    with_places.__signature__ = signature.replace(parameters=[*parameters, context])  # type: ignore[attr-defined]
    with_places.__annotations__ = {each.name: each.annotation for each in [*parameters, context]}
    return with_places


def _by_flag(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _with_places(command: str, verb: str) -> str:
    for name, value in _given.get().items():
        option = f"--{name}"
        if f"{option} " in command or not _takes(verb, name):
            continue
        if name == "ledger":
            command = _with_ledger(command, value)
        else:
            command = f"{command} {option} {shlex.quote(value)}"
    return command


def _takes(verb: str, place: str) -> bool:
    if place == "ledger":
        return verb in _WITH_LEDGER
    return place != "state" or verb not in _WITHOUT_STATE


def _with_ledger(command: str, url: str) -> str:
    # Here: the face of the program must not load what only this needs.
    from gapless.wiring.ledger_address import holds_secret, shown_ledger  # noqa: PLC0415

    if holds_secret(url):
        return f"GAPLESS_LEDGER={shlex.quote(shown_ledger(url))} {command}"
    return f"{command} --ledger {shlex.quote(url)}"
