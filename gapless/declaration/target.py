"""What a sweep calls for each run: a Python function or a command."""

from __future__ import annotations

import inspect
import keyword
import re
import string
from collections.abc import Iterable

import msgspec

from gapless.declaration.document import nearest
from gapless.declaration.errors import DeclarationError

__all__ = [
    "PLACEHOLDERS",
    "CommandTarget",
    "FunctionTarget",
    "Target",
    "command_mistakes",
    "function_name",
    "word_parts",
]

FUNCTION_EXPECTED = 'a function like "module:name"'
PLACEHOLDERS = ("seed", "replicate", "run", "run_dir")
"""What a command may name beside its parameters."""

_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_WHOLE_BRACES = re.compile(r"\{\{|\}\}|\{[^{}]*\}")


class FunctionTarget(msgspec.Struct, frozen=True, kw_only=True, tag="function", tag_field="kind"):
    """A Python function, written "module:name"."""

    function: str

    @property
    def module(self) -> str:
        """The module's dotted name."""
        return self.function.partition(":")[0]

    @property
    def name(self) -> str:
        """The function's name in its module."""
        return self.function.partition(":")[2]


class CommandTarget(msgspec.Struct, frozen=True, kw_only=True, tag="command", tag_field="kind"):
    """A program with its arguments; {name} stands for a value, {{ for a brace; no shell."""

    command: tuple[str, ...]


Target = FunctionTarget | CommandTarget


def function_name(function: object) -> str:
    """Give "module:name" of a function or of such text; DeclarationError with advice."""
    if isinstance(function, str):
        return _checked_text(function)
    name = getattr(function, "__qualname__", "")
    module = getattr(function, "__module__", "")
    if not callable(function) or not name or not module or inspect.ismethod(function):
        raise DeclarationError(
            f"found {function!r:.80}, expected a function at the top level of a module; "
            "wrap it in one (def) and give that"
        )
    if "<lambda>" in name or "<locals>" in name or "." in name:
        what = "a lambda" if name.endswith("<lambda>") else f"{name}, which is made in another one"
        raise DeclarationError(
            f"found {what}, expected a function at the top level of a module: nodes import it by "
            "its name; move it out (def) and pass its values in fixed"
        )
    if module == "__main__":
        raise DeclarationError(
            f"found {name} of the program or notebook that is running, which nodes cannot import; "
            f"expected a function of a module: put {name} into a file of its own, say work.py, "
            f'and give "work:{name}"'
        )
    return f"{module}:{name}"


def word_parts(word: str) -> list[tuple[str, str | None]]:
    """Cut a word of a command into (text, name of the value that follows or None).

    ValueError says what stands there that is no {name}: nothing but a name may stand in braces.
    """
    try:
        found = list(string.Formatter().parse(word))
    except ValueError:
        raise ValueError(
            f"found a single brace {_place_of_brace(word)}, expected {{name}}; a plain brace is "
            "written twice, {{ or }}"
        ) from None
    for _, name, form, conversion in found:
        if name is not None and not name.isidentifier():
            raise ValueError(
                f"found {{{name[:40]}… in {word!r:.80}, expected {{name}}; a plain brace is "
                "written twice, {{ or }}"
            )
        if name is not None and (form or conversion):
            written = name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
            raise ValueError(
                f"found {{{written}}}, expected {{{name}}}: values are written in full, the "
                "program may shorten them"
            )
    return [(text, name) for text, name, _, _ in found]


def _place_of_brace(word: str) -> str:
    """Say where the first brace stands that neither is doubled nor encloses a name."""
    rest = _WHOLE_BRACES.sub(lambda found: " " * len(found[0]), word)
    place = min((rest.find(brace) for brace in "{}" if brace in rest), default=0)
    return f"at character {place + 1}, {word[max(0, place - 20) : place + 20]!r}"


def command_mistakes(command: Iterable[str], parameters: Iterable[str]) -> list[str]:
    """Say what is wrong with the words of a command; empty when nothing is."""
    known = {*parameters, *PLACEHOLDERS}
    mistakes: list[str] = []
    for index, word in enumerate(command):
        if "\0" in word:
            mistakes.append(f"found NUL in {word!r:.80}, which no word of a command can hold")
            continue
        if index == 0 and not word.strip():
            mistakes.append("found no program, expected its name or path as the first word")
        try:
            names = [name for _, name in word_parts(word) if name is not None]
        except ValueError as error:
            mistakes.append(str(error))
            continue
        for name in names:
            if name not in known:
                close = nearest(name, known)
                wanted = f"{{{close}}}" if close else "one of " + ", ".join(sorted(known))
                mistakes.append(f"found {{{name}}}, expected {wanted}; {{{{ is a plain brace")
    return mistakes


def _checked_text(function: str) -> str:
    module, colon, name = function.partition(":")
    good = _MODULE.fullmatch(module) and name.isidentifier() and not keyword.iskeyword(name)
    if good and not any(keyword.iskeyword(part) for part in module.split(".")):
        if module.endswith(".py"):
            raise _no_function(function, f'"{module.removesuffix(".py")}:{name}", without .py')
        return function
    if not colon and _MODULE.fullmatch(function) and "." in function:
        head, _, tail = function.rpartition(".")
        raise _no_function(function, f'"{head}:{tail}", with a colon before the function')
    if "/" in module:
        path = module.removesuffix(".py").removeprefix("./").replace("/", ".")
        raise _no_function(function, f'"{path}:{name or "name"}", a module instead of a path')
    raise _no_function(function, FUNCTION_EXPECTED)


def _no_function(found: str, expected: str) -> DeclarationError:
    return DeclarationError(f'found "{found[:80]}", expected {expected}')
