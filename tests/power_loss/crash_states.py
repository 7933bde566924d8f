"""The states a power loss may leave, one moment after the other.

At each moment some operations are flushed and some are not. Of the latter every subset is a state
where there are few; where there are many: none, all, each alone, all but each, each beginning of
their order, and subsets chosen by a seed. A state that lacks the newest operation was a state of
the moment before, so each moment adds those with it. At an ack nothing is new but what was promised
by then, so all states of that moment are given.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from tests.power_loss.disk import SECTOR, Ack, Cut, Image, Names, Operation, Order, Put, Tree
from tests.power_loss.history import History

__all__ = ["ALL", "SAMPLE", "USUAL", "Depth", "Moment", "moments"]


@dataclass(frozen=True, slots=True)
class Depth:
    """How many states to look at.

    All subsets of up to `whole` operations, else `singles` that hold or lack one, and `chosen` ones
    by seed. `every`: of the moments within a transaction of SQLite only one in so many.
    """

    whole: int
    singles: int
    chosen: int
    every: int = 1
    every_torn: bool = False


SAMPLE = Depth(whole=2, singles=1, chosen=1, every=24)
USUAL = Depth(whole=3, singles=100, chosen=4)
ALL = Depth(whole=10, singles=100, chosen=64, every_torn=True)


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment of a history: what was flushed by then, and what was under way."""

    at: int
    flushed: Image
    pending: tuple[Operation, ...]
    newest: Operation | None
    ack: Ack | None
    order: Order

    def full(self) -> Tree:
        """Give what the programs themselves saw."""
        return _tree(self.flushed, [(each, each.effect) for each in self.pending])

    def states(self, depth: Depth, chance: random.Random) -> Iterator[Tree]:
        """Give what may lie on the disk after a power loss at this moment; some states twice."""
        for chosen in self._subsets(depth, chance):
            yield _tree(self.flushed, [(each, each.effect) for each in chosen])
        for whole, torn in self._torn(depth, chance):
            effects = [(each, each.effect) for each in whole] + [torn]
            yield _tree(self.flushed, sorted(effects, key=lambda effect: effect[0].at))

    def _subsets(self, depth: Depth, chance: random.Random) -> Iterator[Sequence[Operation]]:
        others = [each for each in self.pending if each is not self.newest]
        for chosen in _chosen(others, depth, chance):
            whole = chosen if self.newest is None else (*chosen, self.newest)
            if self._is_legal(whole):
                yield whole

    def _is_legal(self, chosen: Sequence[Operation]) -> bool:
        if self.order is Order.ANY:
            return True
        taken = sum(each.is_names for each in chosen)
        names = [each for each in self.pending if each.is_names][:taken]
        return {id(each) for each in names} == {id(each) for each in chosen if each.is_names}

    def _torn(
        self, depth: Depth, chance: random.Random
    ) -> Iterator[tuple[list[Operation], tuple[Operation, Put | Cut]]]:
        """Tear one write apart, with all others on the disk and with none."""
        if self.newest is None:
            return
        torn = [self.newest] if not depth.every_torn else list(self.pending)
        for operation in torn:
            if not isinstance(operation.effect, Put):
                continue
            others = [each for each in self.pending if each is not operation]
            names = [each for each in others if each.is_names]
            for piece in _pieces(operation.effect, depth, chance):
                yield others, (operation, piece)
                yield names, (operation, piece)


def moments(history: History) -> Iterator[Moment]:
    """Give every moment at which something is new: an operation or an ack."""
    flushed = Image()
    pending: list[Operation] = []
    by_time: dict[int, Operation | Ack] = {each.at: each for each in history.operations}
    by_time.update({each.at: each for each in history.acks})
    for at in range(history.length):
        new = by_time.get(at)
        if isinstance(new, Operation):
            pending.append(new)
        lasting = [each for each in pending if each.lasts_from <= at]
        if lasting:
            flushed = flushed.copy()
            for each in lasting:
                flushed.apply(each.effect)
            pending = [each for each in pending if each.lasts_from > at]
        if new is None or (isinstance(new, Operation) and new.lasts_from <= at):
            continue
        yield Moment(
            at=at,
            flushed=flushed,
            pending=tuple(pending),
            newest=new if isinstance(new, Operation) else None,
            ack=new if isinstance(new, Ack) else None,
            order=history.order,
        )


def _chosen(
    others: Sequence[Operation], depth: Depth, chance: random.Random
) -> Iterator[tuple[Operation, ...]]:
    if len(others) <= depth.whole:
        for size in range(len(others) + 1):
            yield from combinations(others, size)
        return
    yield tuple(others)
    yield ()
    names = tuple(each for each in others if each.is_names)
    if names:
        yield names
        yield tuple(each for each in others if not each.is_names)
    indices = range(len(others))
    for index in chance.sample(indices, min(depth.singles, len(others))):
        yield (others[index],)
        yield (*others[:index], *others[index + 1 :])
        yield tuple(others[:index])
    for _ in range(depth.chosen):
        yield tuple(each for each in others if chance.random() < 0.5)


def _pieces(effect: Put, depth: Depth, chance: random.Random) -> Iterator[Put | Cut]:
    """Give what may be left of a write: its first sectors, or its length without its bytes."""
    first = SECTOR - effect.offset % SECTOR
    cuts = range(first, len(effect.data), SECTOR)
    if cuts:
        for cut in cuts if depth.every_torn else [chance.choice(cuts)]:
            yield Put(effect.file, effect.offset, effect.data[:cut])
    yield Put(effect.file, effect.offset + len(effect.data), b"")


def _tree(flushed: Image, effects: Sequence[tuple[Operation, Put | Cut | Names]]) -> Tree:
    image = flushed.copy()
    for _, effect in effects:
        image.apply(effect)
    return image.tree()
