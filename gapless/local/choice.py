"""Find the sweep a person means: a whole id, a name, or an unambiguous beginning of an id."""

from __future__ import annotations

from gapless.errors import UserMistake
from gapless.storage.sweeps import SweepStore

__all__ = ["SweepUnknown", "choose_sweep", "choose_sweeps"]

_SHOWN = 12


class SweepUnknown(UserMistake):
    """No sweep of the home, or more than one, is meant."""


def choose_sweep(store: SweepStore, named: str | None) -> str:
    """Give the id of the sweep `named`; None: the home's only sweep. SweepUnknown otherwise."""
    ids = sorted(store.ids())
    if not ids:
        raise SweepUnknown("this home holds no sweep yet; `sweep submit FILE` puts one in")
    if named is None:
        if len(ids) == 1:
            return ids[0]
        raise SweepUnknown(f"this home holds {len(ids)} sweeps; name one of them:{_listed(ids)}")
    if named in ids:
        return named
    # An id is its name, a hyphen and 8 digits: a whole name goes before a mere beginning.
    found = [each for each in ids if each[:-9] == named] or [
        each for each in ids if each.startswith(named)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise SweepUnknown(f"{named!r} may be any of {len(found)} sweeps:{_listed(found)}")
    raise SweepUnknown(f"no sweep of this home is named {named!r}; it holds:{_listed(ids)}")


def choose_sweeps(store: SweepStore, named: list[str] | None) -> list[str] | None:
    """Give the ids of the sweeps `named`; None or an empty list: None, which means all."""
    if not named:
        return None
    return list(dict.fromkeys(choose_sweep(store, each) for each in named))


def _listed(ids: list[str]) -> str:
    shown = "".join(f"\n  {each}" for each in ids[:_SHOWN])
    return shown if len(ids) <= _SHOWN else f"{shown}\n  … and {len(ids) - _SHOWN} more"
