"""Mutants of the state machines and of reconcile: `python -m tests.mutants run`.

Everything is kept in `.mutants/` (passed over by git): the session, a copy of the commit under
trial, who executes what. A run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import difflib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

from tests.mutants.checkout import Copy, copy_of, unsaved
from tests.mutants.modules import MODULES
from tests.mutants.mutations import mutants_of
from tests.mutants.reach import Reach
from tests.mutants.report import Facts, reasons_of, report
from tests.mutants.session import Session, Verdict

_ROOT = Path(__file__).parents[2]
_REASONS = Path(__file__).parent / "reasons.toml"
_TOOL = "mutmut"


def main() -> int:
    """Do what the command line says."""
    asked = _arguments()
    cache = asked.cache or _ROOT / ".mutants"
    cache.mkdir(parents=True, exist_ok=True)
    (cache / ".gitignore").write_text("*\n", encoding="utf-8")
    session = Session(cache / "session.db")
    if asked.command == "run":
        with (cache / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"another run works in {cache}: wait for it or end it", file=sys.stderr)
                return 1
            return _run(asked, cache, session)
    if asked.command == "report":
        return _report(asked.commit, session)
    if asked.command == "survivors":
        return _survivors(asked, session)
    return _show(asked, cache, session)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--cache", type=Path, help="default: .mutants in the checkout")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="try what was not tried yet at this commit")
    run.add_argument("--module", action="append", default=[], choices=MODULES, help="only this one")
    run.add_argument("--workers", type=int, default=2, help="how many mutants at a time")
    run.add_argument(
        "--alive", action="store_true", help="only what nobody killed yet, at whatever commit"
    )
    run.add_argument(
        "--leave-survivors",
        action="store_true",
        help="who survived at an earlier commit stays a survivor; try the others",
    )
    run.add_argument(
        "--quick", action="store_true", help="leave who lives for some seconds to a later run"
    )
    run.add_argument("--id", action="append", default=[], help="only this mutant, once more")
    run.add_argument(
        "--overlay",
        action="append",
        default=[],
        type=Path,
        metavar="PATH",
        help="a file or folder that is not committed yet (then no report can be made)",
    )
    told = commands.add_parser("report", help="print the report")
    told.add_argument(
        "--commit", help="of this one, by its whole id, instead of what is checked out"
    )
    alive = commands.add_parser("survivors", help="list what survived")
    alive.add_argument("--module", choices=MODULES)
    show = commands.add_parser("show", help="show one mutant")
    show.add_argument("id")
    return parser.parse_args()


def _run(asked: argparse.Namespace, cache: Path, session: Session) -> int:
    copy = copy_of(_ROOT, cache, overlay=asked.overlay)
    wish = {
        "root": str(copy.root),
        "session": str(session.path),
        "reach": str(_reach_file(copy, cache)),
        "commit_id": copy.commit_id,
        "modules": asked.module,
        "workers": asked.workers,
        "only_ids": asked.id,
        "only_alive": asked.alive,
        "leave_survivors": asked.leave_survivors,
        "quick": asked.quick,
    }
    session.set_fact("reach", wish["reach"])
    paths = [str(copy.root), *filter(None, [os.environ.get("PYTHONPATH")])]
    # The copy's own tests and product, whatever is installed.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "tests.mutants.trial", json.dumps(wish)]
    with subprocess.Popen(command, cwd=copy.root, env=environment) as trials:
        # Who ends the driver ends the trials; what was found until then is kept.
        signal.signal(signal.SIGTERM, lambda *_: trials.terminate())
        return trials.wait()


def _reach_file(copy: Copy, cache: Path) -> Path:
    """Name it by all that a test may execute; the tests are compared file by file."""
    digest = hashlib.sha256()
    for each in sorted(copy.root.rglob("*.py")):
        if not each.name.startswith("test_") and "mutants" not in each.parts[-2]:
            digest.update(str(each.relative_to(copy.root)).encode())
            digest.update(each.read_bytes())
    return cache / f"reach-{digest.hexdigest()[:12]}.json"


def _report(commit_id: str | None, session: Session) -> int:
    if commit_id is None:
        different = unsaved(_ROOT)
        if different:
            print(
                f"a report is of one commit, and {len(different)} files differ: commit them first"
            )
            return 1
        head = ["git", "rev-parse", "HEAD"]
        done = subprocess.run(head, cwd=_ROOT, capture_output=True, text=True, check=True)
        commit_id = done.stdout.strip()
    facts = Facts(
        commit_id=commit_id,
        tool=f"{_TOOL} {importlib.metadata.version(_TOOL)}",
        python=platform.python_version(),
        left_out=len(Reach.load(Path(session.fact("reach"))).left_out),
    )
    try:
        print(report(session.all(), reasons_of(_REASONS), facts))
    except ValueError as error:
        print(f"no report: {error}", file=sys.stderr)
        return 1
    return 0


def _survivors(asked: argparse.Namespace, session: Session) -> int:
    for each in session.all():
        here = asked.module in {None, each.module}
        if here and each.verdict in {Verdict.SURVIVED, Verdict.NOT_RUN}:
            print(
                f"{each.id} {each.module}:{each.first} {each.name} [{each.operator}] {each.text}\n"
                f"    {each.before!r}\n    {each.after!r}"
                + (f"  ({each.killer})" if each.killer else "")
            )
    return 0


def _show(asked: argparse.Namespace, cache: Path, session: Session) -> int:
    for each in session.all():
        if each.id == asked.id:
            source = mutants_of(each.module, cache / "copy")
            mutant = next(one for one in source.mutants if one.id == each.id)
            lines = difflib.unified_diff(
                source.text.splitlines(),
                source.mutated(mutant).splitlines(),
                each.module,
                each.module,
                lineterm="",
            )
            print("\n".join(lines))
            said = each.verdict.value if each.verdict else "not tried yet"
            print(f"{said} {each.killer} at {each.commit_id} ({each.seconds:.1f} s)")
            return 0
    print(f"no mutant {asked.id} is known: run first", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
