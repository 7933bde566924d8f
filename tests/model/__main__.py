"""Search the model whole, in every interleaving: 2 nodes, 2 crashes, one queue deleted or purged.

Without options the four largest: 3 runs, a folder home and a cloud, 1 and 2 aggregators. Seven
minutes on one core of a server (10 where others use it too), and 6 GiB of memory for the last:

  home    aggregators       states    transitions  seconds
  folder            1    7,193,934     48,298,029        7
  folder            2   62,285,904    480,155,613       64
  cloud             1   47,153,988    292,325,703       40
  cloud             2  247,496,451  1,781,951,464      284

With `--runs 2` the same four for 2 runs, and beside the crashes and the deletion one mishap (a live
holder loses its lease, an answer is lost, a message is there twice): 0.5, 2.6, 4.9 and 20.5 million
states, 40 s together. `--runs 3 --mishaps 1 --home folder --aggregators 1` is 27.3 million, 3 min.
Exit status 1 when an invariant is broken.
"""

from __future__ import annotations

import argparse
import resource
import sys

from tests.model.protections import Configuration, Home, Protection
from tests.model.protocol import Protocol
from tests.model.search import Search


def main() -> int:
    """Search what was asked for; 0: every invariant holds."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.model",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--home", choices=[each.value for each in Home])
    parser.add_argument("--nodes", type=int, choices=(1, 2), default=2)
    parser.add_argument("--aggregators", type=int, choices=(1, 2))
    parser.add_argument("--runs", type=int, choices=(1, 2, 3), default=3)
    parser.add_argument("--crashes", type=int, choices=range(4), default=2)
    parser.add_argument("--deletions", type=int, choices=range(4), default=1)
    parser.add_argument(
        "--mishaps", type=int, choices=range(4), help="1 unless there are 3 runs; then 0"
    )
    parser.add_argument("--alike", type=int, choices=(1, 3), default=1)
    parser.add_argument(
        "--without",
        choices=[each.value for each in Protection],
        action="append",
        default=[],
        metavar="PROTECTION",
        help="leave a protection out; may be repeated: %(choices)s",
    )
    asked = parser.parse_args()
    mishaps = int(asked.runs < 3) if asked.mishaps is None else asked.mishaps
    status = 0
    for home in Home if asked.home is None else (Home(asked.home),):
        for aggregators in (1, 2) if asked.aggregators is None else (asked.aggregators,):
            status |= check(
                Configuration(
                    home=home,
                    nodes=asked.nodes,
                    aggregators=aggregators,
                    runs=asked.runs,
                    crashes=asked.crashes,
                    deletions=asked.deletions,
                    mishaps=mishaps,
                    alike=asked.alike,
                    without=frozenset(Protection(each) for each in asked.without),
                )
            )
    return status


def check(configuration: Configuration) -> int:
    """Search one configuration and say what came of it; 1: something is wrong."""
    print(configuration, flush=True)
    search = Search(Protocol(configuration), progress=_say)
    outcome = search.explore()
    _say(
        f"{outcome.states:,} states, {outcome.transitions:,} transitions, "
        f"{outcome.depth} steps deep, {outcome.seconds:.1f} s; "
        f"at most {_peak_mib():,} MiB of memory since the start"
    )
    if outcome.violation is not None:
        print(outcome.violation)
        return 1
    if outcome.endless is not None:
        print(f"a step without a fault that brings the end no nearer: {outcome.endless}")
        return 1
    _say("every invariant holds; every order of steps ends complete")
    return 0


def _say(line: str) -> None:
    print(f"  {line}", flush=True)


def _peak_mib() -> int:
    """Give the most memory this process has had; Linux counts in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak >> 20 if sys.platform == "darwin" else peak >> 10


if __name__ == "__main__":
    sys.exit(main())
