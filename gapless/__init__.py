"""gapless: parameter sweeps without gaps.

The face of the library. Every name is loaded when it is first used (PEP 562), so that `import
gapless` costs nothing; `gapless.zip` and `gapless.range` make spaces and are not the builtins.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # what type checkers take for true; importing typing takes milliseconds
if TYPE_CHECKING:
    from typing import Any

    from gapless.declaration.errors import DeclarationError
    from gapless.declaration.space import (
        Space,
        choice,
        geomspace,
        integers,
        linspace,
        logspace,
        loguniform,
        uniform,
    )
    from gapless.declaration.space import range_ as range  # noqa: A004 - as in the sweep file
    from gapless.declaration.sweep import Limits, Sweep
    from gapless.errors import GaplessError, MissingExtra, UserMistake
    from gapless.local.api import open, run, submit  # noqa: A004 - the verb of the documentation

    grid = Space.grid
    points = Space.points
    sample = Space.sample
    single = Space.single
    table = Space.table
    zip = Space.zip_  # noqa: A001 - as in the sweep file

__all__ = [
    "DeclarationError",
    "GaplessError",
    "Limits",
    "MissingExtra",
    "Space",
    "Sweep",
    "UserMistake",
    "choice",
    "geomspace",
    "grid",
    "integers",
    "linspace",
    "logspace",
    "loguniform",
    "open",
    "points",
    "range",
    "run",
    "sample",
    "single",
    "submit",
    "table",
    "uniform",
    "zip",
]

_SPACE = "gapless.declaration.space"
_SWEEP = "gapless.declaration.sweep"
_LOCAL = "gapless.local.api"
_ERRORS = "gapless.errors"

_PLACES = {
    "DeclarationError": ("gapless.declaration.errors", "DeclarationError"),
    "GaplessError": (_ERRORS, "GaplessError"),
    "Limits": (_SWEEP, "Limits"),
    "MissingExtra": (_ERRORS, "MissingExtra"),
    "Space": (_SPACE, "Space"),
    "Sweep": (_SWEEP, "Sweep"),
    "UserMistake": (_ERRORS, "UserMistake"),
    "choice": (_SPACE, "choice"),
    "geomspace": (_SPACE, "geomspace"),
    "grid": (_SPACE, "Space.grid"),
    "integers": (_SPACE, "integers"),
    "linspace": (_SPACE, "linspace"),
    "loguniform": (_SPACE, "loguniform"),
    "logspace": (_SPACE, "logspace"),
    "open": (_LOCAL, "open"),
    "points": (_SPACE, "Space.points"),
    "range": (_SPACE, "range_"),
    "run": (_LOCAL, "run"),
    "sample": (_SPACE, "Space.sample"),
    "single": (_SPACE, "Space.single"),
    "submit": (_LOCAL, "submit"),
    "table": (_SPACE, "Space.table"),
    "uniform": (_SPACE, "uniform"),
    "zip": (_SPACE, "Space.zip_"),
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("gapless")
    if name not in _PLACES:
        raise AttributeError(f"module 'gapless' has no attribute {name!r}")
    module, path = _PLACES[name]
    value = import_module(module)
    for part in path.split("."):
        value = getattr(value, part)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
