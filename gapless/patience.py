"""A short patience with queues and storage: a blip is over before anybody hears of it.

What lasts longer is the caller's to handle; a state machine then waits with growing pauses. The
waits are so short that no program stays noticeably longer after it was asked to stop.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

import stamina

from gapless.errors import GaplessError

__all__ = ["patiently"]

_T = TypeVar("_T")
_LOG = logging.getLogger("gapless.patience")
# Waits of 0.1, 0.2 and 0.4 s, each up to 0.1 s longer by chance: 1 s in all.
_CALLER = stamina.RetryingCaller(
    attempts=4, timeout=None, wait_initial=0.1, wait_max=0.5, wait_jitter=0.1
)
_LONGEST_S = 2.0


def patiently(
    verb: Callable[[], _T], *, on: type[GaplessError] | tuple[type[GaplessError], ...]
) -> _T:
    """Do `verb`, up to 4 times within about 1 s while it raises `on`; then the last error.

    For verbs that are safe to repeat: one that raised may have been done or not.
    """
    began_s = time.monotonic()
    try:
        # Outside the retries: nearly all end here, and to set up retries takes 20 us.
        return verb()
    except on as error:
        first = [error]

    def is_blip(error: Exception) -> bool:
        # What took long to fail has waited already.
        if not isinstance(error, on) or time.monotonic() - began_s >= _LONGEST_S:
            return False
        _LOG.debug("trying again: %s", error)
        return True

    def again() -> _T:
        if first:
            raise first.pop()
        return verb()

    return _CALLER(is_blip, again)
