"""How the user's function is called for a chunk of runs: by position where that is the same.

A dict of arguments made for every run, and taken apart again by the call, costs about as much as
everything else that is done for it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from compute_node.user_target import UserFunction

__all__ = ["Calls", "plan_calls"]


@dataclass(frozen=True, slots=True)
class Calls:
    """`call(*row)`, with `seed=` when `seed_apart`; or, by name, `call(**fixed, **row)`.

    `rows` gives the arguments called `names`, one tuple a run.
    """

    call: Callable[..., Any]
    names: tuple[str, ...]
    rows: Iterable[tuple[Any, ...]]
    fixed: dict[str, Any]
    by_position: bool
    seed_apart: bool = False


def plan_calls(
    function: UserFunction,
    lists: Mapping[str, list[Any]],
    fixed: Mapping[str, Any],
    *,
    count: int,
    named: bool,
) -> Calls:
    """Say how to call a function for `count` runs, with arguments of each run and fixed ones.

    `named`: by name, whatever would be possible: the arguments are needed as a dict.
    """
    by_name = Calls(
        call=function.call,
        names=tuple(lists),
        rows=_rows([*lists.values()], count),
        fixed=dict(fixed),
        by_position=False,
    )
    if named:
        return by_name
    rest = dict(fixed)
    left = dict(lists)
    names: list[str] = []
    columns: list[Iterable[Any]] = []
    for name in function.positional:
        if name in left:
            columns.append(left.pop(name))
        elif name in rest:
            columns.append(repeat(rest.pop(name), count))
        else:
            break
        names.append(name)
    if left.keys() - {"seed"}:
        return by_name
    return Calls(
        call=functools.partial(function.call, **rest) if rest else function.call,
        names=tuple(names),
        rows=_rows(columns, count),
        fixed={},
        by_position=True,
        seed_apart="seed" in left,
    )


def _rows(columns: list[Iterable[Any]], count: int) -> Iterable[tuple[Any, ...]]:
    return zip(*columns, strict=True) if columns else repeat((), count)
