"""Fuzz every decoder, guided by coverage: `python -m tests.fuzz [--target NAME] [--seconds N]`.

The targets share N seconds (for each NAME given: `--target` may stand several times). What was
found is kept in `--kept` (default: fuzz-kept in the current folder): the corpus, so that the next
time goes on from there, and each finding, with the command that shows it again. Exit status: 0
nothing found, 1 a finding, 2 atheris is not installed or the arguments are wrong.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

from tests.fuzz.bounds import run_bounded
from tests.fuzz.targets import TARGETS, target_named

_STATS = {
    "tries": re.compile(r"stat::number_of_executed_units:\s+(\d+)"),
    "edges": re.compile(r"cov: (\d+) "),
    "inputs": re.compile(r"corp: (\d+)/"),
}
_SLACK_S = 60


def main(arguments: list[str]) -> int:
    """Fuzz, or replay one input."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", action="append", default=[], metavar="NAME")
    parser.add_argument("--seconds", type=int, default=60, metavar="N")
    parser.add_argument("--kept", type=Path, default=Path("fuzz-kept"), metavar="FOLDER")
    parser.add_argument("--replay", type=Path, metavar="FILE")
    given = parser.parse_args(arguments)
    try:
        targets = [target_named(name) for name in given.target]
    except KeyError as error:
        parser.error(error.args[0])
    if given.replay is not None:
        if len(targets) != 1:
            parser.error("--replay needs one --target")
        return _replay(targets[0].name, given.replay)
    if importlib.util.find_spec("atheris") is None:
        print(
            "atheris is not installed (it has wheels for Linux on x86_64 only: pip install atheris)"
            "; the same targets run under hypothesis: pytest tests/fuzz",
            file=sys.stderr,
        )
        return 2
    # What starts processes or writes files is tried by hypothesis: a guided try must take no time.
    chosen = targets or [each for each in TARGETS if not each.apart]
    share_s = max(1, given.seconds // len(chosen))
    found = 0
    for target in chosen:
        found += _guided(target.name, share_s, given.kept.resolve())
    print(f"{len(chosen)} targets, {share_s} s each: {found} with a finding")
    return 1 if found else 0


def _guided(name: str, seconds: int, kept: Path) -> int:
    corpus, crashes = kept / "corpus" / name, kept / "findings" / name
    crashes.mkdir(parents=True, exist_ok=True)
    before = {*crashes.iterdir()}
    words = [sys.executable, "-m", "tests.fuzz.guided", name, str(corpus), str(crashes)]
    log = kept / f"{name}.log"
    with log.open("wb") as output:
        try:
            status = subprocess.run(
                [*words, str(seconds)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=Path(__file__).parents[2],
                timeout=seconds * 2 + _SLACK_S,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            print(f"  {name} did not end in {seconds * 2 + _SLACK_S} s: does a try hang?")
            status = 1
    text = log.read_text(errors="replace")
    told = {key: pattern.findall(text) for key, pattern in _STATS.items()}
    figures = ", ".join(f"{values[-1]} {key}" for key, values in told.items() if values)
    print(f"{name}: {figures or 'no figures'}", flush=True)
    new = sorted({*crashes.iterdir()} - before)
    for path in new:
        print(f"  FOUND {path}\n  python -m tests.fuzz --target {name} --replay {path}")
    if status and not new:
        print(f"  ended with status {status}: see {log}")
    return int(status != 0)


def _replay(name: str, path: Path) -> int:
    (ending,) = run_bounded([(name, path.read_bytes())])
    if ending.problem:
        print(f"{name}: {ending.problem}")
        return 1
    print(f"{name}: {'decoded' if ending.decoded else 'refused'}, nothing wrong")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
