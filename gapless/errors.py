"""The root of every error gapless raises on purpose."""

__all__ = ["DiskFull", "GaplessError", "MissingExtra", "UserMistake"]


class GaplessError(Exception):
    """Say what happened, with ids and numbers, why if known, and what to do next."""


class DiskFull(GaplessError):
    """A disk has no room: nothing was done, and it works again as it is once some was freed.

    The message does not say how it goes on: one program does so by itself, another ends.
    """


class UserMistake(GaplessError):
    """A sweep file, an argument or user code that cannot work as it stands (exit status 2).

    The message is meant for the person and is shown without a traceback: one line a mistake.
    """


class MissingExtra(UserMistake):
    """An optional library is needed that is not installed."""

    def __init__(self, *, purpose: str, extra: str) -> None:
        super().__init__(f"{purpose} needs an optional library: pip install 'gapless[{extra}]'")
