"""One mutant: a value, without the library that made it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["Mutant", "Place"]


class Place(enum.Enum):
    """Where a mutant sits, which says how it is put into a running program."""

    BODY = "body of a function"
    DEFAULT = "default of a parameter"
    FIELD = "default of a dataclass"
    CONSTANT = "constant of a module"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change of one module. `first` to `last` are the lines of what is changed, from 1.

    `name` is the function (`Class.method`), the field or the constant. `id` follows from the
    module, the name, the operator and the texts, not from line numbers.
    """

    id: str
    module: str
    name: str
    place: Place
    operator: str
    text: str
    before: str
    after: str
    first: int
    last: int
    number: int
