"""Whether a bundle holds the program that a command names. Only what is certain is a mistake."""

from __future__ import annotations

import posixpath
import shutil
from collections.abc import Iterator, Mapping

from gapless.declaration.document import nearest
from gapless.declaration.sweep import CommandTarget
from gapless.declaration.target import word_parts
from gapless.storage.bundle import BundleFiles

__all__ = ["command_check"]


def command_check(files: Mapping[str, bytes], target: CommandTarget) -> Iterator[str]:
    """Say what is wrong with the first word of a command, a line each.

    A word with values in it, a path from the root and a name for the PATH are left to the nodes:
    their machines may hold what this one lacks.
    """
    parts = word_parts(target.command[0])
    if any(name is not None for _, name in parts):
        return
    program = "".join(text for text, _ in parts)
    first = program.split()[0] if program.split() else program
    if "/" not in program:
        if shutil.which(program) is None:
            yield from _bare(files, program, first)
        return
    if program.startswith("/"):
        return
    path = posixpath.normpath(program)
    if path.startswith("../"):
        yield (
            f'found "{program}", expected a program of the code folder: what lies above it does '
            "not travel; take a folder above as `code`"
        )
    elif path not in files:
        yield from _missing(files, program, path, first)
    elif isinstance(files, BundleFiles) and not files.executable(path):
        yield f'found "{program}", which is not executable: chmod +x {path}'


def _bare(files: Mapping[str, bytes], program: str, first: str) -> Iterator[str]:
    if program in files:
        yield (
            f'found "{program}", expected "./{program}": a name without a slash is looked for on '
            "the PATH"
        )
    elif first != program and (first in files or shutil.which(first)):
        yield _one_word_each(program, first)


def _missing(files: Mapping[str, bytes], program: str, path: str, first: str) -> Iterator[str]:
    if first != program and posixpath.normpath(first) in files:
        yield _one_word_each(program, first)
        return
    close = nearest(path, list(files))
    hint = f'did you mean "./{close}"?' if close else "is `code` the right folder?"
    yield (
        f'found "{program}", expected a program of the code folder: there is no {path} among the '
        f"{len(files)} files that travel (ignored ones do not); {hint}"
    )


def _one_word_each(program: str, first: str) -> str:
    rest = ", ".join(f'"{word}"' for word in program.split()[1:])
    return (
        f'found one word "{program}", expected a word for each argument, as no shell takes it '
        f'apart: ["{first}", {rest}, …]'
    )
