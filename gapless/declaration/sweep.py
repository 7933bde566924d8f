"""A sweep as a person declares it, and as it is frozen at submit.

`Sweep` is what a person writes, in Python or in a file. `freeze()` evaluates every formula once;
what results is `Declaration` (the identity, sweep.json), the first segment of run numbers, and the
objects both name by hash.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from gapless.declaration.canonical import canonical_json, digest_of
from gapless.declaration.columns import plain
from gapless.declaration.document import Mistakes
from gapless.declaration.errors import DamagedMessage, DeclarationError
from gapless.declaration.formats import decode_record, encode_record
from gapless.declaration.limits import MAX_PRIORITY, Limits
from gapless.declaration.runs import Segment, first_segment
from gapless.declaration.runset import MAX_RUNS
from gapless.declaration.space import Space
from gapless.declaration.target import (
    CommandTarget,
    FunctionTarget,
    Target,
    command_mistakes,
    function_name,
)
from gapless.declaration.wording import describe

__all__ = [
    "MAX_NAME",
    "MAX_PRIORITY",
    "RESERVED_PARAMETERS",
    "CommandTarget",
    "Declaration",
    "FrozenSweep",
    "FunctionTarget",
    "Limits",
    "Sweep",
    "Target",
    "is_sweep_name",
]

MAX_NAME = 40
"""Longest name of a sweep (with 8 of its digest, a prefix and a suffix it names a queue)."""
NAME_EXPECTED = (
    f"lower-case letters, digits and hyphens, at most {MAX_NAME}, a letter or digit first"
)
RESERVED_PARAMETERS = ("seed", "run", "setup", "replicate", "run_dir")
"""Names that user code gets from gapless and that no parameter may have."""

_MAJOR = 1
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*", re.ASCII)
_SEED_MODES = ("point", "common")
_ORDERS = ("shuffled", "declared")


class Declaration(Struct, frozen=True, kw_only=True):
    """What a sweep is: everything its results depend on, except the code. Kept as sweep.json.

    `space` is the frozen space's JSON, `seed` the root seed (0 <= seed < 2**63).
    """

    name: str
    target: Target
    fixed: dict[str, Any]
    space: Any
    replicates: Annotated[int, Meta(ge=1)]
    seed: Annotated[int, Meta(ge=0)]
    seed_mode: Literal["point", "common"]
    order: Literal["shuffled", "declared"]

    @property
    def digest(self) -> str:
        """The sha256 (hexadecimal) of every field, in canonical JSON, and of nothing else."""
        return digest_of(_fields(self))

    @property
    def id(self) -> str:
        """The sweep's id: its name and 8 digits of its digest."""
        return f"{self.name}-{self.digest[:8]}"

    def encode(self) -> bytes:
        """Write sweep.json."""
        return encode_record(self, kind="sweep", major=_MAJOR)

    @classmethod
    def decode(cls, data: bytes) -> Declaration:
        """Read sweep.json; DamagedMessage or NewerFormat."""
        declaration = decode_record(data, cls, kind="sweep", known=_MAJOR)
        if not is_sweep_name(declaration.name):
            raise DamagedMessage(f"a sweep is called {declaration.name[:80]!r}")
        if declaration.replicates > MAX_RUNS or declaration.seed >= 2**63:
            raise DamagedMessage(f"sweep {declaration.name} has an impossible number")
        return declaration


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenSweep:
    """A sweep ready to be stored; `objects` holds what the declaration names by sha256.

    `code` is the folder that is shipped (relative to where the person stands), `source` names the
    file it was read from, for messages.
    """

    declaration: Declaration
    segment: Segment
    objects: Mapping[str, bytes]
    limits: Limits
    run_time_s: float | None
    priority: int
    code: str
    source: str

    @property
    def id(self) -> str:
        """The sweep's id."""
        return self.declaration.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A sweep as declared: a function or a command, called for every point and replicate.

    `function` is "module:name" or a function of an importable module; `command` a program and its
    arguments with {name} for values. `fixed` holds parameters with one value. `seed_mode` "common"
    gives the same seed to a replicate of every point. `order` "shuffled" makes early results a fair
    sample of the space. `run_time_s` (seconds) is a hint for the size of jobs, `code` the folder
    that is shipped with it. DeclarationError lists every mistake, one a line.
    """

    name: str
    space: Space
    function: str | Callable[..., Any] | None = None
    command: tuple[str, ...] | None = None
    replicates: int = 1
    seed: int = 0
    seed_mode: Literal["point", "common"] = "point"
    order: Literal["shuffled", "declared"] = "shuffled"
    fixed: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    run_time_s: float | None = None
    code: str = "."
    priority: int = 0
    source: str = "gapless.Sweep"

    def __post_init__(self) -> None:
        for key in ("replicates", "seed", "priority", "run_time_s"):
            # Numbers of numpy count as the plain ones they hold.
            object.__setattr__(self, key, plain(getattr(self, key)))
        mistakes = Mistakes(self.source)
        _check_name(self.name, mistakes)
        _check_numbers(self, mistakes)
        if not isinstance(self.space, Space):
            mistakes.add("space", found=describe(self.space), expected="a space, like gapless.grid")
        else:
            _check_parameters(self, mistakes)
            _check_target(self, mistakes)
        if not isinstance(self.limits, Limits):
            mistakes.add("limits", found=describe(self.limits), expected="gapless.Limits(…)")
        mistakes.raise_if_any()

    @property
    def target(self) -> Target:
        """What is called for each run."""
        if self.command is not None:
            return CommandTarget(command=tuple(self.command))
        assert isinstance(self.function, str)
        return FunctionTarget(function=self.function)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Every parameter's name: the space's, then the fixed ones."""
        return (*self.space.names, *self.fixed)

    def check_estimate(self, points: int) -> None:
        """Check a space of about so many points as `freeze` would; DeclarationError, at once."""
        try:
            self.space.check_walk()
        except DeclarationError as error:
            raise _with_place(error, self.source, "space") from error
        mistakes = Mistakes(self.source)
        self._bound_runs(points, mistakes, about="about ")
        mistakes.raise_if_any()

    def _bound_runs(self, points: int, mistakes: Mistakes, *, about: str) -> None:
        total = points * self.replicates
        if total > MAX_RUNS:
            mistakes.say(
                "space",
                f"found {about}{points:,} points x {self.replicates:,} replicates = {total:,} "
                f"runs, expected at most {MAX_RUNS:,}: look at it with `sweep submit --dry-run`, "
                "then take fewer values or [space.sample]",
            )

    def freeze(self) -> FrozenSweep:
        """Evaluate every formula of the space; DeclarationError when no or too many runs result."""
        try:
            frozen = self.space.freeze()
        except DeclarationError as error:
            raise _with_place(error, self.source, "space") from error
        mistakes = Mistakes(self.source)
        total = len(frozen) * self.replicates
        if total == 0:
            mistakes.add(
                "space", found="no point", expected="at least one (is `where` too strict?)"
            )
        self._bound_runs(len(frozen), mistakes, about="")
        mistakes.raise_if_any()
        declaration = Declaration(
            name=self.name,
            target=self.target,
            fixed=dict(self.fixed),
            space=frozen.to_json(),
            replicates=self.replicates,
            seed=self.seed,
            seed_mode=self.seed_mode,
            order=self.order,
        )
        return FrozenSweep(
            declaration=declaration,
            segment=first_segment(declaration),
            objects=frozen.objects,
            limits=self.limits,
            run_time_s=self.run_time_s,
            priority=self.priority,
            code=self.code,
            source=self.source,
        )


def _fields(declaration: Declaration) -> dict[str, Any]:
    target: dict[str, Any]
    match declaration.target:
        case FunctionTarget(function=function):
            target = {"kind": "function", "function": function}
        case CommandTarget(command=command):
            target = {"kind": "command", "command": list(command)}
    return {
        "name": declaration.name,
        "target": target,
        "fixed": declaration.fixed,
        "space": declaration.space,
        "replicates": declaration.replicates,
        "seed": declaration.seed,
        "seed_mode": declaration.seed_mode,
        "order": declaration.order,
    }


def is_sweep_name(name: object) -> bool:
    """Tell whether a sweep may be called so."""
    return isinstance(name, str) and bool(_NAME.fullmatch(name)) and len(name) <= MAX_NAME


def _check_name(name: object, mistakes: Mistakes) -> None:
    if not is_sweep_name(name):
        mistakes.add("name", found=describe(name), expected=NAME_EXPECTED)


def _check_numbers(sweep: Sweep, mistakes: Mistakes) -> None:
    for key, value, least, most in (
        ("replicates", sweep.replicates, 1, MAX_RUNS),
        ("seed", sweep.seed, 0, 2**63 - 1),
        ("priority", sweep.priority, -MAX_PRIORITY, MAX_PRIORITY),
    ):
        if type(value) is not int or not least <= value <= most:
            expected = f"a whole number from {least} to {most}"
            mistakes.add(key, found=describe(value), expected=expected)
    for key, word, words in (
        ("seed_mode", sweep.seed_mode, _SEED_MODES),
        ("order", sweep.order, _ORDERS),
    ):
        if word not in words:
            expected = " or ".join(f'"{each}"' for each in words)
            mistakes.add(key, found=describe(word), expected=expected)
    run_time_s: object = sweep.run_time_s
    if run_time_s is not None and not (
        isinstance(run_time_s, int | float)
        and not isinstance(run_time_s, bool)
        and 0 < run_time_s < 1e9
    ):
        mistakes.add("run_time", found=describe(run_time_s), expected="seconds above 0")


def _check_parameters(sweep: Sweep, mistakes: Mistakes) -> None:
    for name in sweep.space.names:
        _check_parameter(f"space: the parameter {name}", name, mistakes)
        if name in sweep.fixed:
            mistakes.say(f"fixed.{name}", "is a parameter of the space too, expected one of them")
    fixed: dict[str, Any] = {}
    for name, value in sweep.fixed.items():
        _check_parameter(f"fixed.{name}", name, mistakes)
        try:
            fixed[name] = plain(value)
            canonical_json(fixed[name])
        except DeclarationError as error:
            mistakes.say(f"fixed.{name}", str(error))
    object.__setattr__(sweep, "fixed", fixed)


def _check_parameter(key: str, name: object, mistakes: Mistakes) -> None:
    if name in RESERVED_PARAMETERS:
        mistakes.say(key, f'"{name}" is given to user code by gapless, expected another name')
    elif not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        expected = "a name that Python takes for an argument (letters, digits, _)"
        mistakes.add(key, found=describe(name), expected=expected)


def _check_target(sweep: Sweep, mistakes: Mistakes) -> None:
    if (sweep.function is None) == (sweep.command is None):
        found = "neither" if sweep.function is None else "both"
        mistakes.add("function, command", found=found, expected="one of them")
    if sweep.function is not None:
        try:
            object.__setattr__(sweep, "function", function_name(sweep.function))
        except DeclarationError as error:
            mistakes.say("function", str(error))
    if sweep.command is not None:
        words: object = sweep.command
        if not _is_words(words):
            expected = 'a list of words, like ["./walk", "--alpha={alpha}"]'
            mistakes.add("command", found=describe(words), expected=expected)
            return
        object.__setattr__(sweep, "command", tuple(sweep.command))
        for text in command_mistakes(sweep.command, sweep.parameters):
            mistakes.say("command", text)


def _is_words(words: object) -> bool:
    return (
        isinstance(words, list | tuple)
        and len(words) > 0
        and all(isinstance(word, str) for word in words)
    )


def _with_place(error: DeclarationError, source: str, key: str) -> DeclarationError:
    lines = str(error).splitlines()
    return DeclarationError("\n".join(f"{source}: {key}: {line}" for line in lines))
