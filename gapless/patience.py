"""A short patience with queues and storage: a blip is over before anybody hears of it.

What lasts longer is the caller's to handle; a state machine then waits with growing pauses. The
waits are so short that no program stays noticeably longer after it was asked to stop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import stamina

from gapless.errors import GaplessError

__all__ = ["patiently"]

_T = TypeVar("_T")
_LOG = logging.getLogger("gapless.patience")
# Waits of 0.1, 0.2 and 0.4 s, each up to 0.1 s longer by chance: 1 s in all. A verb that took long
# to fail has waited already (the timeout counts from the first attempt).
_CALLER = stamina.RetryingCaller(
    attempts=4, timeout=2.0, wait_initial=0.1, wait_max=0.5, wait_jitter=0.1
)


def patiently(
    verb: Callable[[], _T], *, on: type[GaplessError] | tuple[type[GaplessError], ...]
) -> _T:
    """Do `verb`, up to 4 times within about 1 s while it raises `on`; then the last error.

    For verbs that are safe to repeat: one that raised may have been done or not.
    """

    def is_blip(error: Exception) -> bool:
        if not isinstance(error, on):
            return False
        _LOG.debug("trying again: %s", error)
        return True

    return _CALLER(is_blip, verb)
