"""Finding the user's function in the unpacked code, and what it wants to be given."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from compute_node.errors import WorkerStartError
from gapless.declaration.target import FunctionTarget

__all__ = ["UserFunction", "load_function"]

_GIVEN = ("seed", "run")
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True, slots=True)
class UserFunction:
    """The function to call, and whether its signature names `seed` and `run`.

    `positional`: the arguments that may go by position, in their order; calling so is cheaper.
    """

    call: Callable[..., Any]
    wants_seed: bool
    wants_run: bool
    positional: tuple[str, ...] = ()


def load_function(
    target: FunctionTarget, *, code_folder: str, names: Collection[str]
) -> UserFunction:
    """Import the target from the code folder; WorkerStartError says why it cannot be called.

    `names` are the parameters it will be given, the fixed ones included.
    """
    sys.path.insert(0, code_folder)
    try:
        function = getattr(importlib.import_module(target.module), target.name)
    except BaseException as error:
        text = "".join(traceback.format_exception(error, limit=-12))
        raise WorkerStartError(f"{target.function} cannot be imported:\n{text}") from error
    if not callable(function):
        raise WorkerStartError(f"{target.function} is {type(function).__qualname__}, no function")
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):
        return UserFunction(function, wants_seed=False, wants_run=False)
    parameters = signature.parameters
    given = set(names) | {name for name in _GIVEN if name in parameters}
    try:
        signature.bind(**dict.fromkeys(given))
    except TypeError as error:
        raise WorkerStartError(
            f"{target.function}{signature} cannot be called with the parameters "
            f"{', '.join(sorted(names)) or '(none)'}: {error}"
        ) from error
    wanted = {name for name in _GIVEN if name in parameters and parameters[name].kind in _NAMED}
    return UserFunction(
        function,
        wants_seed="seed" in wanted,
        wants_run="run" in wanted,
        positional=_positional(function),
    )


def _positional(function: Callable[..., Any]) -> tuple[str, ...]:
    """Give the arguments that go by position; none of what only looks like a plain function."""
    if type(function) is not FunctionType or hasattr(function, "__wrapped__"):
        return ()
    code = function.__code__
    return code.co_varnames[: code.co_argcount]
