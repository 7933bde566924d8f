"""Outlast a ledger's server that is away, in a person's command.

The work under a sweep's lock cannot go on where its connection broke: the lock is gone with it. So
the whole of the work is done again, which is safe: submit, reconcile, resubmit, rebuild and remove
go on from whatever was recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import stamina

from gapless.wiring import Home
from receipts.errors import LedgerBusy, LedgerInterrupted

__all__ = ["outlasting", "outlasting_server"]

_Done = TypeVar("_Done")

# Without end. Each attempt is patient for some seconds itself.
_CALLER = stamina.RetryingCaller(
    attempts=None, timeout=None, wait_initial=0.5, wait_max=10.0, wait_jitter=2.0
)


def outlasting(home: Home, work: Callable[[], _Done]) -> _Done:
    """Do `work`, again while the server of the home's ledger is away, if the home has a `tell`.

    `work` opens the ledger itself and is safe to repeat. What a person has to mend (a password, a
    full disk) is an error at once; so is all that befalls a ledger in a file.
    """
    if home.tell is None or not home.ledger_is_served:
        return work()
    return outlasting_server(home.tell, work)


def outlasting_server(tell: Callable[[str], None], work: Callable[[], _Done]) -> _Done:
    """Do `work`, again while a ledger's server is away; `tell` takes what is waited for."""
    told: set[str] = set()

    def may_pass(error: Exception) -> bool:
        if not isinstance(error, LedgerBusy | LedgerInterrupted):
            return False
        if error.brief not in told:
            told.add(error.brief)
            tell(f"{error.brief}; trying again until it works (ctrl-C ends this)")
        return True

    done = _CALLER(may_pass, work)
    if told:
        tell("the ledger answers again")
    return done
