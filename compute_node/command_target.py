"""A command in the place of a function: called with a run's values, it gives what it recorded."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from compute_node.command_failures import (
    CommandFailure,
    TargetUnfit,
    ended_badly,
    not_started,
)
from compute_node.command_folder import CommandFolder
from compute_node.command_process import Ended, run_process
from compute_node.command_words import CommandWords, parameter_environment, value_text
from compute_node.errors import WorkerStartError
from compute_node.full_output import RunFile, keep_full_output
from compute_node.hdf5_apart import read_hdf5_apart
from compute_node.output import Output, join_outputs, read_open
from compute_node.recorded_values import Recorded
from compute_node.run_api import Run
from compute_node.values_file import KEPT, OUTPUT, STDOUT, ValuesFile, read_stdout
from gapless.declaration.target import CommandTarget

__all__ = ["Command", "load_command"]


def load_command(
    target: CommandTarget,
    *,
    sweep: str,
    code_folder: str,
    run_folder: Path,
    files_folder: Path,
    stderr: int,
    memory_bytes: int | None,
    started: Callable[[int], None],
) -> Command:
    """Find the program on this machine; WorkerStartError says why it cannot be run.

    `stderr` is what the worker's standard error goes to; whole outputs are kept in `files_folder`.
    `started` is told the process id of each command, and 0 when it is gone.
    """
    words = CommandWords(target.command)
    program: str | None = None
    if words.program is not None:
        try:
            program = find_program(words.program, code_folder)
            _check_interpreter(program)
        except _NoProgram as error:
            raise WorkerStartError(f"the command {words.program} cannot be run: {error}") from error
    run_folder.mkdir(parents=True, exist_ok=True)
    stdout = os.open(
        run_folder / STDOUT, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600
    )
    return Command(
        words,
        program=program,
        sweep=sweep,
        code_folder=code_folder,
        run_folder=run_folder,
        files_folder=files_folder,
        stdout=stdout,
        stderr=stderr,
        memory_bytes=memory_bytes,
        started=started,
    )


class Command:
    """Called with `run`, starts the command, waits for it and gives the values it recorded.

    CommandFailure when it did not end well; what it recorded by then is set in `run`. TargetUnfit
    when this machine cannot run the program at all. Not to be used by two threads.
    """

    def __init__(  # noqa: PLR0913 - where everything of a worker lies
        self,
        words: CommandWords,
        *,
        program: str | None,
        sweep: str,
        code_folder: str,
        run_folder: Path,
        files_folder: Path,
        stdout: int,
        stderr: int,
        memory_bytes: int | None,
        started: Callable[[int], None],
    ) -> None:
        self._words = words
        self._program = program
        self._code_folder = code_folder
        self._folder = CommandFolder(run_folder)
        self._kept_path = run_folder / KEPT
        self._files_folder = files_folder
        self._kept_numbers = itertools.count(1)
        self._stdout = stdout
        self._stderr = stderr
        self._memory_bytes = memory_bytes
        self._started = started
        self._environment = {
            **os.environb,
            b"GAPLESS_SWEEP": os.fsencode(sweep),
            b"GAPLESS_CODE_DIR": os.fsencode(code_folder),
        }

    def __call__(self, /, *, run: Run, **_parameters: Any) -> dict[str, Any]:
        """Do one run."""
        folder = self._folder.path
        program, words, environment = self._prepared(run, folder)
        values = ValuesFile(folder / OUTPUT, kept=self._kept_path, read_hdf5=read_hdf5_apart)
        try:
            ended = run_process(
                program,
                words,
                environment=environment,
                stdout=self._stdout,
                memory_bytes=self._memory_bytes,
                started=self._started,
                look=values.look,
            )
        except OSError as error:
            raise self._start_failure(program, words, error) from error
        finally:
            self._started(0)
        try:
            return self._judged(program, ended, run, values)
        finally:
            values.forget()
            self._folder.empty()
            if os.fstat(self._stdout).st_size:
                os.ftruncate(self._stdout, 0)

    def _prepared(self, run: Run, folder: Path) -> tuple[str, list[bytes], dict[bytes, bytes]]:
        texts = {name: value_text(value) for name, value in run.parameters.items()}
        texts |= {
            "seed": str(run.seed),
            "replicate": str(run.replicate),
            "run": str(run.number),
            "run_dir": str(folder),
        }
        words = self._words.fill(texts)
        variables = {
            **parameter_environment(run.parameters),
            "GAPLESS_SEED": texts["seed"],
            "GAPLESS_RUN": texts["run"],
            "GAPLESS_REPLICATE": texts["replicate"],
            "GAPLESS_ATTEMPT": str(run.attempt),
            "GAPLESS_RUN_DIR": texts["run_dir"],
            "GAPLESS_OUTPUT": str(folder / OUTPUT),
        }
        try:
            encoded = [_encoded(word, "a word of the command") for word in words]
            environment = self._environment | {
                name.encode("ascii"): _encoded(value, f"the variable {name}")
                for name, value in variables.items()
            }
        except ValueError as error:
            raise not_started(words[0], str(error), code="text") from error
        if self._program is not None:
            return self._program, encoded, environment
        try:
            return find_program(words[0], self._code_folder), encoded, environment
        except _NoProgram as error:
            raise not_started(words[0], str(error), code="not found") from error

    def _start_failure(
        self, program: str, words: list[bytes], error: OSError
    ) -> CommandFailure | TargetUnfit:
        if error.errno == errno.E2BIG:
            longest = max(words, key=len)
            text = (
                f"its arguments and its environment are longer than this system takes (the longest "
                f"argument has {len(longest):,} bytes): put large values into a file of the code "
                "folder and pass its name"
            )
            return not_started(program, text, code="E2BIG")
        reason = _START_ADVICE.get(error.errno or 0, error.strerror or str(error))
        if self._program is not None:
            return TargetUnfit(f"the command {program} cannot be run: {reason}")
        return not_started(program, reason, code=errno.errorcode.get(error.errno or 0, ""))

    def _judged(self, program: str, ended: Ended, run: Run, values: ValuesFile) -> dict[str, Any]:
        recorded, problem = values.last()
        if recorded is None and not problem:
            recorded = read_stdout(self._stdout)
        recorded = recorded or Recorded()
        refusals = [f"$GAPLESS_OUTPUT {problem}"] if problem else []
        refusals += [
            f"the value {ascii(name)[:80]}: {why}" for name, why in recorded.refused.items()
        ]
        if ended.status == 0 and not refusals:
            return recorded.values
        for name, value in recorded.values.items():
            run.set(name, value)
        stderr = read_open(self._stderr)
        output = join_outputs(read_open(self._stdout), stderr)
        failure = ended_badly(
            program,
            ended,
            said=stderr.tail or stderr.head or output.tail or output.head,
            refused="; ".join(refusals),
            output=output,
        )
        failure.full_output = self._kept_output(output, run)
        raise failure

    def _kept_output(self, shown: Output, run: Run) -> RunFile | None:
        streams = [("standard output", self._stdout), ("standard error", self._stderr)]
        return keep_full_output(
            [each for each in streams if os.fstat(each[1]).st_size],
            shown,
            run=run.number,
            attempt=run.attempt,
            folder=self._files_folder,
            name=f"{self._kept_path.parent.name}-{next(self._kept_numbers)}.gz",
        )


class _NoProgram(Exception):
    """Nothing to start; the text says why."""


_START_ADVICE = {
    errno.ENOENT: "it, or the program its first line (#!) names, is not on this machine",
    errno.EACCES: "it may not be executed here (is its folder on a disk mounted noexec?)",
    errno.ENOEXEC: "it is no program for this machine: made for another processor, or a script "
    "whose first line (#!) does not name its program",
}


def find_program(word: str, code_folder: str) -> str:
    """Give the path of a program: with a slash in the code folder, without on PATH."""
    if not word:
        raise _NoProgram("its first word is empty, expected a program")
    if "/" in word:
        path = Path(code_folder or os.sep) / os.path.normpath(word)
        if not Path(word).is_absolute() and not code_folder:
            raise _NoProgram("it lies in the code folder, and the sweep has none")
        if not path.is_file():
            raise _NoProgram(f"there is no file {path} on this machine")
        if not os.access(path, os.X_OK):
            raise _NoProgram(f"{path} is not executable (chmod +x)")
        return str(path)
    found = shutil.which(word)
    if found is None:
        hint = f'; one of the code folder is written "./{word}"' if code_folder else ""
        raise _NoProgram(f"it is not on the PATH of this machine ({os.environ.get('PATH')}){hint}")
    return found


def _check_interpreter(path: str) -> None:
    """Look whether the program a script names is here; _NoProgram."""
    try:
        with Path(path).open("rb") as file:
            first = file.readline(256)
    except OSError:
        return
    if not first.startswith(b"#!"):
        return
    words = [os.fsdecode(word) for word in first[2:].split()]
    if words and not os.access(words[0], os.X_OK):
        raise _NoProgram(f"its first line names {words[0]}, which is not on this machine")
    if len(words) == 2 and Path(words[0]).name == "env" and not shutil.which(words[1]):
        raise _NoProgram(f"its first line names {words[1]}, which is not on this machine's PATH")


def _encoded(text: str, what: str) -> bytes:
    if "\0" in text:
        raise ValueError(f"{what} would hold NUL, which no program can be given: {text!r:.80}")
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"{what} would hold half a character: {ascii(text)[:80]}") from None
