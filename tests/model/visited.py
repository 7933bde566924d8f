"""The states that were visited: sorted arrays, each at least twice as long as the next."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.model.states import Words

__all__ = ["Visited", "distinct"]


class Visited:
    """A set of words that only grows."""

    def __init__(self) -> None:
        self._arrays: list[Words] = []

    def __len__(self) -> int:
        return sum(len(each) for each in self._arrays)

    def add(self, words: Words) -> None:
        """Add sorted words, none of which is in the set."""
        if len(words):
            self._arrays.append(words)
        while len(self._arrays) > 1 and len(self._arrays[-2]) < 2 * len(self._arrays[-1]):
            self._join()

    def settle(self) -> None:
        """Make lookups fast: nothing will be added soon."""
        while len(self._arrays) > 1:
            self._join()

    def lacks(self, words: Words) -> Words:
        """Give those of some sorted words that are not in the set."""
        for known in self._arrays:
            if not len(words):
                break
            places = np.searchsorted(known, words)
            places[places == len(known)] = 0
            words = words[known[places] != words]
        return words

    def all(self) -> Words:
        """Give every word, sorted."""
        self.settle()
        return self._arrays[0] if self._arrays else np.empty(0, dtype=np.uint64)

    def _join(self) -> None:
        joined = np.concatenate(self._arrays[-2:])
        del self._arrays[-2:]
        joined.sort()
        self._arrays.append(joined)


def distinct(arrays: Sequence[Words]) -> Words:
    """Give every word of some arrays once, sorted."""
    if not arrays:
        return np.empty(0, dtype=np.uint64)
    words = np.concatenate(arrays)
    words.sort()
    if not len(words):
        return words
    first = np.empty(len(words), dtype=np.bool_)
    first[0] = True
    np.not_equal(words[1:], words[:-1], out=first[1:])
    return words[first]
