"""Errors of the declaration: what a person wrote, and what a message says."""

from gapless.errors import GaplessError, UserMistake

__all__ = ["BadLimits", "DamagedMessage", "DeclarationError", "MessageError", "NewerFormat"]


class DeclarationError(UserMistake):
    """A sweep's declaration cannot work; one line a mistake: file, key, found, expected."""


class BadLimits(DeclarationError, ValueError):
    """Limits that cannot be: a person's mistake, and to a reader of records a damaged one."""

    def __init__(self, mistake: str) -> None:
        super().__init__(f"gapless.Limits: {mistake}")


class MessageError(GaplessError):
    """A message cannot be used as it is."""


class DamagedMessage(MessageError):
    """A message nobody can decode: it belongs in quarantine."""


class NewerFormat(MessageError):
    """A message of a major version this program does not know: give it back, never delete it."""

    def __init__(self, *, kind: str, found: int, known: int) -> None:
        super().__init__(
            f"a {kind} of format {found} was received, this program knows up to {known}; "
            "it is given back unread: update gapless here"
        )
        self.kind = kind
        self.found = found
        self.known = known
