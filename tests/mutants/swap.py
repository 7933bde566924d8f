"""Put a mutant into the running program.

A function keeps its identity and gets the mutant's code, so whoever imported it, subclassed its
class or holds a bound method runs the mutant. No file changes.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Iterator

from tests.mutants.mutant import Mutant, Place

__all__ = ["BrokenAtImport", "NoSuchPlace", "put_in"]

_LITERAL = (int, float, str, bytes, bool, types.NoneType)


class NoSuchPlace(LookupError):
    """The running module has nothing where the mutant belongs."""


class BrokenAtImport(Exception):
    """The mutant's module cannot even be imported."""


def put_in(mutant: Mutant, mutated: str) -> None:
    """Change the imported module to what `mutated`, its whole text, says."""
    module = sys.modules[mutant.module.removesuffix(".py").replace("/", ".")]
    match mutant.place:
        case Place.BODY:
            function = _function(module, mutant.name)
            code = compile(mutated, str(module.__file__), "exec", dont_inherit=True)
            function.__code__ = _found(code, function.__code__)
        case Place.DEFAULT:
            new = _function(_imported(module, mutated), mutant.name)
            _take_defaults(_function(module, mutant.name), new)
        case Place.FIELD:
            owner = mutant.name.rpartition(".")[0]
            new = _function(_imported(module, mutated), f"{owner}.__init__")
            _take_defaults(_function(module, f"{owner}.__init__"), new)
        case Place.CONSTANT:
            _replace(module, mutant.name, getattr(_imported(module, mutated), mutant.name))


def _function(module: types.ModuleType, name: str) -> types.FunctionType:
    found: object = module
    for word in name.split("."):
        try:
            found = vars(found)[word]
        except (KeyError, TypeError) as error:
            raise NoSuchPlace(f"{module.__name__} has no {name}") from error
    if isinstance(found, property):
        found = found.fget
    elif isinstance(found, functools.cached_property):
        found = found.func
    elif isinstance(found, staticmethod | classmethod):
        found = found.__func__
    found = inspect.unwrap(found)  # type: ignore[arg-type]
    if not isinstance(found, types.FunctionType):
        raise NoSuchPlace(f"{name} of {module.__name__} is no function")
    return found


def _found(code: types.CodeType, old: types.CodeType) -> types.CodeType:
    """Find the new code of a function: its name and first line are the old ones."""
    for each in _every(code):
        if (each.co_qualname, each.co_firstlineno) == (old.co_qualname, old.co_firstlineno):
            if len(each.co_freevars) != len(old.co_freevars):
                raise NoSuchPlace(f"{old.co_qualname} closes over other variables now")
            return each
    raise NoSuchPlace(f"no code of {old.co_qualname} at line {old.co_firstlineno}")


def _every(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            yield from _every(each)


def _imported(module: types.ModuleType, mutated: str) -> types.ModuleType:
    """Run the mutant's text as a module of its own."""
    code = compile(mutated, str(module.__file__), "exec", dont_inherit=True)
    new = types.ModuleType(module.__name__)
    new.__file__, new.__package__ = module.__file__, module.__package__
    sys.modules[module.__name__] = new  # dataclasses look the module of a class up by its name
    try:
        exec(code, new.__dict__)
    except Exception as error:
        raise BrokenAtImport(repr(error)) from error
    finally:
        sys.modules[module.__name__] = module
    return new


def _take_defaults(old: types.FunctionType, new: types.FunctionType) -> None:
    # A default that is an object of the module stays: the copy's class is another.
    if new.__defaults__ is not None and old.__defaults__ is not None:
        pairs = zip(old.__defaults__, new.__defaults__, strict=True)
        old.__defaults__ = tuple(now if isinstance(now, _LITERAL) else was for was, now in pairs)
    if new.__kwdefaults__ is not None:
        kept = dict(old.__kwdefaults__ or {})
        taken = {
            name: each for name, each in new.__kwdefaults__.items() if isinstance(each, _LITERAL)
        }
        old.__kwdefaults__ = kept | taken


def _replace(module: types.ModuleType, name: str, value: object) -> None:
    """Change a constant where it stands and wherever it was imported to."""
    old = getattr(module, name)
    for each in list(sys.modules.values()):
        if vars(each).get(name) is old:
            setattr(each, name, value)
    setattr(module, name, value)
