"""Play worlds of faults; see `python -m tests.simulator --help`."""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.simulator.runner import (
    LONGEST_S,
    Crew,
    Verdict,
    quieten,
    replay_command,
    seeds_of_commit,
)

_LOGS = Path("build/simulator")
_INTERRUPTED = 130


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulator",
        description="Play the programs through disasters on a virtual clock. One integer is the "
        "whole world: with SEED one is replayed with its log, with --seeds many are played.",
    )
    parser.add_argument("seed", type=int, nargs="?", help="the world to replay")
    parser.add_argument(
        "--without",
        default="",
        metavar="FAULTS",
        help="replay without these faults: kinds, or single ones (kill,late#3)",
    )
    parser.add_argument("--shrink", action="store_true", help="find the fewest faults that fail")
    parser.add_argument(
        "--transitions", action="store_true", help="measure what the worlds make programs do"
    )
    parser.add_argument(
        "--choose", action="store_true", help="with --transitions: find few worlds that do it all"
    )
    parser.add_argument("--seeds", type=int, metavar="N", help="how many worlds to play")
    parser.add_argument("--first", type=int, default=0, metavar="S", help="the first of them (0)")
    parser.add_argument("--commit", metavar="SHA", help="derive the seeds from a commit's id")
    parser.add_argument("--workers", type=int, metavar="W", help="processes (one a core)")
    parser.add_argument(
        "--longest", type=float, default=LONGEST_S, metavar="SECONDS", help="one world may take"
    )
    parser.add_argument(
        "--logs", type=Path, default=_LOGS, metavar="FOLDER", help=f"of those that fail ({_LOGS})"
    )
    arguments = parser.parse_args()
    if arguments.transitions:
        return arguments
    if (arguments.seed is None) == (arguments.seeds is None):
        parser.error("give one SEED to replay, or --seeds N to play many")
    if arguments.seed is None and (arguments.shrink or arguments.without):
        parser.error("--shrink and --without are for one SEED")
    return arguments


def _left_out(text: str) -> frozenset[str]:
    from tests.simulator.faults import Fault

    names = frozenset(filter(None, text.split(",")))
    unknown = sorted(name for name in names if name.partition("#")[0] not in set(Fault))
    if unknown:
        sys.exit(f"no such faults: {', '.join(unknown)}; there are {', '.join(Fault)}")
    return names


def _replay(seed: int, left_out: frozenset[str]) -> int:
    from tests.simulator.scenario import Failed, run_seed
    from tests.simulator.shrinking import happened

    try:
        world = run_seed(seed, left_out=left_out)
    except Failed as failure:
        print(failure, file=sys.stderr)
        print(f"shrink it: python -m tests.simulator {seed} --shrink", file=sys.stderr)
        return 1
    print("\n".join(world.lines))
    faults = Counter(name.partition("#")[0] for name in happened(world.thrown, left_out))
    text = ", ".join(f"{kind} {count}" for kind, count in sorted(faults.items()))
    print(f"thrown: {text or 'nothing'}")
    print(f"seed {world.seed}: every invariant held, {world.steps} steps")
    return 0


def _shrink(seed: int, left_out: frozenset[str]) -> int:
    from tests.simulator.scenario import Failed, run_seed
    from tests.simulator.shrinking import shrink

    try:
        run_seed(seed, left_out=left_out)
    except Failed as failure:
        print(f"seed {seed} fails: {failure.reason}\nshrinking ...", file=sys.stderr)
        shrunk = shrink(failure)
    else:
        print(f"seed {seed}: every invariant held, there is nothing to shrink")
        return 0
    print(shrunk.failure)
    print(f"left of its faults after {shrunk.worlds} worlds: {', '.join(shrunk.faults) or 'none'}")
    print("for tests/simulator/found.py, once it is mended:")
    without = ", ".join(f'"{each}"' for each in sorted(shrunk.failure.left_out))
    print(f'    Found({seed}, frozenset({{{without}}}), "{shrunk.failure.reason}"),')
    return 1


class _Tally:
    """What many worlds came to, and where the logs of the failing ones lie."""

    def __init__(self, logs: Path, console: Console) -> None:
        self.logs = logs
        self.console = console
        self.begun_s = time.monotonic()
        self.played = self.steps = 0
        self.failed: list[int] = []

    @property
    def rate(self) -> str:
        """Say how fast it goes."""
        minutes = (time.monotonic() - self.begun_s) / 60.0
        return f"{self.played / max(minutes, 1e-9):,.0f} worlds a minute"

    def add(self, verdict: Verdict) -> None:
        """Count a world; show one that failed at once."""
        self.played += 1
        self.steps += verdict.steps
        if not verdict.failed:
            return
        self.failed.append(verdict.seed)
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{verdict.seed}.log"
        command = replay_command(verdict.seed)
        log.write_text("\n".join((verdict.reason, *verdict.lines, f"replay it: {command}", "")))
        text = f"seed {verdict.seed}: {verdict.reason}\n    {command}    log: {log}"
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def summary(self, *, ended: str) -> str:
        """Say it all in a line or two."""
        text = (
            f"{ended} {self.played:,} worlds, {self.steps:,} steps, {self.rate}: "
            f"{len(self.failed):,} failed"
        )
        if self.failed:
            shown = ", ".join(map(str, self.failed[:20]))
            more = len(self.failed) - 20
            text += f"\nseeds: {shown}{f' and {more:,} more' if more > 0 else ''}"
        return text


def _play_many(seeds: Iterable[int], count: int, arguments: argparse.Namespace) -> int:
    console = Console()
    tally = _Tally(arguments.logs, console)
    status = 0
    ended = "played"
    progress = Progress(
        TextColumn("worlds"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        console=console,
        transient=True,
        refresh_per_second=2,
    )
    with progress, Crew(arguments.workers, longest_s=arguments.longest) as crew:
        task = progress.add_task("", total=count)
        try:
            for verdict in crew.play(seeds):
                tally.add(verdict)
                text = f"{tally.rate}, {len(tally.failed):,} failed"
                progress.update(task, advance=1, description=text)
        except KeyboardInterrupt:
            status, ended = _INTERRUPTED, "interrupted after"
    console.print(tally.summary(ended=ended), markup=False, highlight=False, soft_wrap=True)
    return 1 if tally.failed else status


def main() -> int:
    """Do what the command line says; give the exit status."""
    arguments = _arguments()
    quieten()
    if arguments.transitions:
        from tests.simulator.transitions import choose, deeds, report

        if arguments.choose:
            seeds = range(arguments.first, arguments.first + (arguments.seeds or 1_000))
            print(choose(deeds(seeds)))
            return 0
        return report(arguments.seeds, first=arguments.first)
    if arguments.seed is not None:
        act = _shrink if arguments.shrink else _replay
        return act(arguments.seed, _left_out(arguments.without))
    count: int = arguments.seeds
    if arguments.commit is None:
        return _play_many(range(arguments.first, arguments.first + count), count, arguments)
    derived = seeds_of_commit(arguments.commit)
    first: int = arguments.first
    return _play_many(itertools.islice(derived, first, first + count), count, arguments)


if __name__ == "__main__":
    sys.exit(main())
