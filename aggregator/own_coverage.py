"""What this aggregator has stored, written down now and then so that readers start faster.

A cache beside the manifests it stands for (`gapless.results.coverage_cache`), always after them:
whatever instant a crash chooses, what is left is an older one, which is valid for what it names.
Its failure costs nobody anything, so it is only logged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from gapless.errors import GaplessError
from gapless.results.coverage import Coverage
from gapless.results.coverage_cache import CachedShard, CoverageCache, encode_cache
from gapless.results.manifest import Manifest
from gapless.storage import layout
from gapless.storage.blobs import Blobs
from gapless.troubles import Troubles

__all__ = ["OwnCoverage"]

_LOG = logging.getLogger("gapless.aggregator")
_EVERY_S = 10.0
_WRITING = "writing coverage caches"
_MOST_OF_THE_TIME = 0.02


@dataclass(slots=True)
class _Sweep:
    coverage: Coverage = field(default_factory=Coverage)
    shards: dict[str, CachedShard] = field(default_factory=dict)
    due_at: float = 0.0
    changed: bool = False


class OwnCoverage:
    """The cumulative coverage of one aggregator, by sweep. Used by one thread at a time.

    `monotonic` gives seconds. A sweep's cache is written at most every 10 s, and so seldom that it
    takes no more than 2 % of the time.
    """

    def __init__(self, blobs: Blobs, aggregator_id: str, monotonic: Callable[[], float]) -> None:
        self._blobs = blobs
        self._aggregator_id = aggregator_id
        self._monotonic = monotonic
        self._sweeps: dict[str, _Sweep] = {}
        self._troubles = Troubles(warn=_LOG.warning, tell=_LOG.info, monotonic=monotonic)

    def stored(self, manifest: Manifest) -> None:
        """Note that a shard and its manifest are durable."""
        sweep = self._sweeps.get(manifest.sweep)
        if sweep is None:
            sweep = self._sweeps[manifest.sweep] = _Sweep(due_at=self._monotonic() + _EVERY_S)
        sweep.coverage.add(manifest)
        sweep.shards[manifest.shard] = CachedShard.of(manifest)
        sweep.changed = True

    def write_due(self) -> None:
        """Write the caches that have something new and were not written lately."""
        for sweep_id, sweep in self._sweeps.items():
            if sweep.changed and self._monotonic() >= sweep.due_at:
                self._write(sweep_id, sweep)

    def write_all(self) -> None:
        """Write every cache that has something new: the aggregator leaves."""
        for sweep_id, sweep in self._sweeps.items():
            if sweep.changed:
                self._write(sweep_id, sweep)

    def _write(self, sweep_id: str, sweep: _Sweep) -> None:
        begun = self._monotonic()
        cache = CoverageCache(
            sweep=sweep_id,
            aggregator=self._aggregator_id,
            shards=tuple(sweep.shards.values()),
            coverage=sweep.coverage.by,
        )
        try:
            self._blobs.put(layout.coverage(sweep_id, self._aggregator_id), encode_cache(cache))
            sweep.changed = False
            self._troubles.well(_WRITING)
        except GaplessError as error:
            text = f"sweep {sweep_id}: its coverage cache was not written: {error}"
            self._troubles.trouble(_WRITING, text)
        took_s = self._monotonic() - begun
        sweep.due_at = begun + max(_EVERY_S, took_s / _MOST_OF_THE_TIME)
