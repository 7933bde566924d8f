"""Explore what a power loss may leave: `python -m tests.power_loss [--scenario X] [--all]`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.power_loss.aftermath import check_finish, check_reconcile
from tests.power_loss.crash_states import ALL, SAMPLE, USUAL
from tests.power_loss.disk import Order
from tests.power_loss.exploring import Report, explore
from tests.power_loss.opening import Opener, fresh_folder
from tests.power_loss.scenarios import HOME, RUNS, SCENARIOS, record_scenario

_DEPTHS = {"sample": SAMPLE, "usual": USUAL, "all": ALL}


def main() -> int:
    """Record, explore, and say what was found; 1 when a promise was broken."""
    options = _options()
    broken = 0
    for name in [options.scenario] if options.scenario else list(SCENARIOS):
        began_s = time.monotonic()
        with tempfile.TemporaryDirectory() as place, fresh_folder() as folder:
            history = record_scenario(name, Path(place), Order(options.order))
            opener = Opener(folder, home=HOME)
            report = explore(
                history, opener=opener, depth=_DEPTHS[options.depth], seed=options.seed
            )
            broken += len(report.broken)
            reconciled = _reconcile(opener, report, most=options.reconcile)
            finished = 0
            if name == "run":
                finished = _finish(opener, report, Path(place), most=options.finish)
        print(
            f"{name}: {report.told()}\n  {reconciled} reconciled, {finished} run to their end, "
            f"{time.monotonic() - began_s:.0f} s",
            flush=True,
        )
    return 1 if broken else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.power_loss", description=__doc__)
    parser.add_argument("--scenario", choices=[*SCENARIOS], help="only this one")
    parser.add_argument("--order", choices=[each.value for each in Order], default="any")
    parser.add_argument("--depth", choices=[*_DEPTHS], default="usual")
    parser.add_argument("--all", dest="depth", action="store_const", const="all")
    parser.add_argument("--seed", type=int, default=0, help="chooses among many subsets")
    parser.add_argument("--reconcile", type=int, default=200, help="reconcile so many states")
    parser.add_argument("--finish", type=int, default=20, help="`sweep run` in so many states")
    return parser.parse_args()


def _reconcile(opener: Opener, report: Report, *, most: int) -> int:
    chosen = report.spread(most)
    for tree in chosen:
        with opener.laid_out(tree) as root:
            check_reconcile(root / HOME)
    return len(chosen)


def _finish(opener: Opener, report: Report, place: Path, *, most: int) -> int:
    chosen = report.spread(most)
    for tree in chosen:
        with opener.laid_out(tree) as root:
            check_finish(root / HOME, place=place, runs=RUNS)
    return len(chosen)


if __name__ == "__main__":
    sys.exit(main())
