"""One target under atheris: coverage guides what is tried next. Run as a process of its own.

`python -m tests.fuzz.guided TARGET CORPUS CRASHES SECONDS [MORE]` (MORE: options of libFuzzer).
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import atheris

__all__ = ["main"]

_MOST_BYTES = 20_000
_INSTRUMENTED = ["gapless.declaration", "gapless.results", "gapless.storage", "compute_node"]


def main(arguments: list[str]) -> None:
    """Fuzz until the time is over or something is found; libFuzzer ends the process."""
    name, corpus, crashes, seconds, *more = arguments
    with atheris.instrument_imports(include=_INSTRUMENTED, enable_loader_override=False):
        from tests.fuzz.targets import target_named
    from tests.fuzz.mutation import mutated

    target = target_named(name)
    seeds = tuple(target.seeds())
    folder = Path(corpus)
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (folder / f"seed-{number}").write_bytes(seed)

    def once(data: bytes) -> None:
        target.check(data)

    def mutator(data: bytes, max_size: int, seed: int) -> bytes:
        random = Random(seed)
        if data and random.random() < 0.5:
            return mutated(data, random, others=seeds)[:max_size]
        return atheris.Mutate(data, max_size)

    options = [
        f"-max_total_time={seconds}",
        f"-artifact_prefix={crashes}/",
        f"-max_len={_MOST_BYTES}",
        "-timeout=20",
        "-rss_limit_mb=3000",
        "-print_final_stats=1",
    ]
    atheris.Setup([name, *options, *more, corpus], once, custom_mutator=mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
