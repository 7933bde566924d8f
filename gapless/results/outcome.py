"""The outcome of a run: how its final result ended."""

import enum

__all__ = ["COUNTING_ORDER", "Outcome"]


class Outcome(enum.IntEnum):
    """How a run ended; the number is what shards store (uint8), the name in lower case is shown."""

    OK = 0
    FAILED = 1
    TIMEOUT = 2
    LOST = 3

    @property
    def label(self) -> str:
        """The word people and manifests use: ok, failed, timeout, lost."""
        return self.name.lower()

    @classmethod
    def of_label(cls, label: str) -> "Outcome":
        """Read a label; ValueError when it is none."""
        found = _BY_LABEL.get(label)
        if found is None:
            raise ValueError(
                f"no outcome is called {label!r}; there are ok, failed, timeout and lost"
            )
        return found


_BY_LABEL = {each.label: each for each in Outcome}

COUNTING_ORDER = (Outcome.OK, Outcome.FAILED, Outcome.TIMEOUT, Outcome.LOST)
"""Where manifests show several outcomes of one run and epoch, it counts as the first of these."""
