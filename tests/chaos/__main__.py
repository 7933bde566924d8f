"""python -m tests.chaos --home folder|ministack: real programs, real kills, and a count at the end.

Exit status 0: nothing lost, doubled or wrong; 1: something was, and the folder is kept; 2: a
service is missing; 130: stopped (Ctrl-C, SIGTERM), everything it started has ended.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

import msgspec

from tests.chaos.course import Bounds, course
from tests.chaos.places import cloud_place, folder_place
from tests.services.servers import ServiceMissing

_DISK_BYTES_A_RUN = 4_000
_LEAST_DISK_BYTES = 64_000_000
_ENDING = (signal.SIGINT, signal.SIGTERM)


def main() -> int:
    """Run one course and print its report."""
    asked = _arguments()
    for number in _ENDING:
        signal.signal(number, _end)
    seed = random.SystemRandom().randrange(2**31) if asked.seed is None else asked.seed
    folder = Path(tempfile.mkdtemp(prefix="gapless-chaos-"))
    print(f"seed {seed}, {asked.runs} runs in {folder}", flush=True)
    keep = True
    try:
        good = _run(asked, folder, seed)
        keep = asked.keep or not good
    except KeyboardInterrupt:
        print("stopped: every program has ended, nothing is mounted any more")
        return 130
    except ServiceMissing as missing:
        print(missing, file=sys.stderr)
        keep = False
        return 2
    finally:
        if keep:
            print(
                f"kept: {folder}: machines/*.log is what the programs said; disk/ or disk-kept/ "
                f"their files. Again: python -m tests.chaos --home {asked.home} "
                f"--runs {asked.runs} --seconds {asked.seconds:g} --every {asked.every:g} "
                f"--seed {seed}"
            )
        else:
            shutil.rmtree(folder)
    return 0 if good else 1


class _NotGood(Exception):
    """Leaves the place as after an error, so that what its disk holds is kept."""


def _run(asked: argparse.Namespace, folder: Path, seed: int) -> bool:
    disk_bytes = max(_LEAST_DISK_BYTES, _DISK_BYTES_A_RUN * asked.runs)
    bounds = Bounds(faults_s=asked.seconds, healing_s=asked.heal, every_s=asked.every)
    with (
        contextlib.suppress(_NotGood),
        (
            folder_place(folder, disk_bytes=disk_bytes)
            if asked.home == "folder"
            else cloud_place(folder, disk_bytes=disk_bytes, seed=seed)
        ) as place,
    ):
        report = course(place, runs=asked.runs, seed=seed, bounds=bounds)
        print(report.text())
        if asked.report is not None:
            data = msgspec.json.format(msgspec.json.encode(report), indent=2)
            asked.report.write_bytes(data + b"\n")
        if asked.keep or not report.good:
            raise _NotGood
    return report.good


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--home", choices=["folder", "ministack"], required=True)
    parser.add_argument("--runs", type=_even, default=100_000, help="an even number")
    parser.add_argument("--seconds", type=float, default=300.0, help="the longest time of faults")
    parser.add_argument("--heal", type=float, default=300.0, help="the longest time of healing")
    parser.add_argument("--every", type=float, default=1.0, help="seconds between disasters")
    parser.add_argument("--seed", type=int, help="of the dice; drawn and told without")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--keep", action="store_true", help="leave the folder behind")
    return parser.parse_args()


def _even(text: str) -> int:
    number = int(text)
    if number < 2 or number % 2:
        raise argparse.ArgumentTypeError("an even number, 2 or more")
    return number


def _end(number: int, frame: FrameType | None) -> None:
    for each in _ENDING:
        # A second one would leave mounts and programs behind.
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
