"""Tests and simulator tried on one mutant after the other, each in a process of its own.

The process of `python -m tests.mutants.trial` collects the tests once, imports everything and runs
none itself: each trial is a fork of it, which puts its mutant in, runs the tests that execute the
changed lines, the quickest first, then the worlds of the simulator, and ends at the first that
fails. A fork costs milliseconds; a start of pytest would cost seconds.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import importlib
import itertools
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mutants.modules import LONGEST_TEST_S, MODULES, PROGRAMS, SEEDS, SERVERS, TESTS
from tests.mutants.mutant import Mutant, Place
from tests.mutants.mutations import Source, mutants_of
from tests.mutants.reach import Lines, Reach
from tests.mutants.session import Known, Session, Verdict
from tests.mutants.swap import BrokenAtImport, put_in

_SEED = "seed "
_TEST_LIMIT_S = 20
_SEED_LIMIT_S = 20.0
_QUICK_S = 6.0
# A trial may use this much more memory than the process it is forked from.
_MORE_MEMORY_BYTES = 3 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the driver asks for: `root` is the copy under trial, `modules` () means each.

    `only_ids`: only these mutants, tried already or not. `only_alive`: none that was killed at
    whatever commit; `leave_survivors`: none that lived. `quick`: whoever lives for a few seconds is
    left to a later run.
    """

    root: Path
    session: Path
    reach: Path
    commit_id: str
    modules: tuple[str, ...]
    workers: int
    only_ids: tuple[str, ...]
    only_alive: bool
    leave_survivors: bool
    quick: bool


class Trials:
    """The plugin that takes the place of pytest's own loop over the tests."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.session = Session(wish.session)
        self.items: dict[str, pytest.Item] = {}
        self.failed: str = ""

    def pytest_configure(self) -> None:
        """Have the same examples each time; a smaller example of a failure is of no use here."""
        import hypothesis

        hypothesis.settings.register_profile(
            "mutants",
            derandomize=True,
            database=None,
            deadline=None,
            phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
        )
        hypothesis.settings.load_profile("mutants")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember what failed, in the fork that runs it."""
        if report.failed and not self.failed:
            self.failed = "timeout" if "Timeout (>" in report.longreprtext else "failure"

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Measure who executes what, then try the mutants."""
        self.items = {
            item.nodeid: item
            for item in session.items
            if not SERVERS & set(getattr(item, "fixturenames", ()))
        }
        # Imported once here, not in each fork.
        importlib.import_module("tests.simulator.scenario")
        self._try_all(self._reach())
        return True

    # Who executes what ----------------------------------------------------------------------------

    def _reach(self) -> Reach:
        """Measure what is new since the last time."""
        texts = {
            item.nodeid.partition("::")[0]: hashlib.sha256(item.path.read_bytes()).hexdigest()
            for item in self.items.values()
        }
        path = self.wish.reach
        old = Reach.load(path) if path.exists() else Reach({}, {}, {}, {})
        names = (*self.items, *(f"{_SEED}{seed}" for seed in SEEDS))
        stale = {
            name
            for name, file in ((name, name.partition("::")[0]) for name in names)
            if name not in old.seconds or old.texts.get(file) != texts.get(file)
        }
        gone = set(old.seconds) - set(names)
        if stale:
            print(f"{len(stale)} tests and seeds to measure", flush=True)
            _in_a_fork(lambda: self._measure([n for n in names if n in stale], texts))
            old.without(stale | gone).joined(Reach.load(path)).save(path)
        elif gone:
            # Tests of another overlay, or removed since.
            old.without(gone).save(path)
        return Reach.load(path)

    def _measure(self, names: Iterable[str], texts: Mapping[str, str]) -> None:
        lines = Lines(self.wish.root, MODULES)
        seconds: dict[str, float] = {}
        left_out: dict[str, str] = {}
        for name in names:
            began, began_working = time.monotonic(), _worked_s()
            lines.begin(name)
            failed = self._fails(name)
            lines.pause()
            seconds[name] = time.monotonic() - began
            worked_s = _worked_s() - began_working
            if failed:
                left_out[name] = "fails without any mutant"
            elif worked_s > LONGEST_TEST_S and not name.startswith(_SEED):
                left_out[name] = f"takes {worked_s:.1f} s of the processor"
        found = {
            module: {line: [n for n in names if n not in left_out] for line, names in each.items()}
            for module, each in lines.end().items()
        }
        Reach(seconds, found, left_out, texts).save(self.wish.reach)

    def _fails(self, name: str) -> str:
        """Run a test or a seed; give how it failed, "" when it did not."""
        self.failed = ""
        if name.startswith(_SEED):
            from tests.simulator.scenario import run_seed

            try:
                run_seed(int(name.removeprefix(_SEED)))
            except Exception:  # noqa: BLE001 (whatever it is, it was noticed)
                self.failed = "failure"
        else:
            item = self.items[name]
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        return self.failed

    # The trials -----------------------------------------------------------------------------------

    def _try_all(self, reach: Reach) -> None:
        self.session.forget_other_modules(MODULES)
        sources = {module: mutants_of(module, self.wish.root) for module in MODULES}
        for module, source in sources.items():
            self.session.know(module, source.mutants)
        known = {each.id: each for each in self.session.all()}
        todo = [
            (source, mutant, known[mutant.id])
            for module, source in sorted(sources.items(), key=lambda each: len(each[1].mutants))
            if not self.wish.modules or module in self.wish.modules
            for mutant in source.mutants
            if self._is_wanted(known[mutant.id])
        ]
        # Values outside functions last: nearly every test may see them, so they take longest.
        todo.sort(key=lambda each: each[1].place is not Place.BODY)
        print(f"{len(todo)} mutants to try", flush=True)
        gc.freeze()  # what is there now stays: no fork is to copy it page by page
        done = outcomes(self._trials(todo, reach), self.wish.workers)
        for number, (mutant, verdict, killer, took_s) in enumerate(done, start=1):
            finished = verdict.killed or not self.wish.quick
            commit_id = self.wish.commit_id if finished else self._half_tried
            self.session.record(
                mutant.id, verdict, commit_id=commit_id, killer=killer, seconds=took_s
            )
            print(
                f"{number}/{len(todo)} {mutant.id} {mutant.module}:{mutant.first} {verdict.value}"
                f" {killer} ({took_s:.1f} s)",
                flush=True,
            )

    def _is_wanted(self, known: Known) -> bool:
        if self.wish.only_ids:
            return known.id in self.wish.only_ids
        if known.verdict is None:
            return True
        if self.wish.only_alive and known.verdict.killed:
            return False
        if self.wish.leave_survivors and not known.verdict.killed:
            return False
        half = self.wish.quick and known.commit_id == self._half_tried
        return not half and known.commit_id != self.wish.commit_id

    @property
    def _half_tried(self) -> str:
        """Name the commit of those that lived so far and did not meet everybody yet."""
        return f"{self.wish.commit_id} (quick)"

    def _trials(
        self, todo: Iterable[tuple[Source, Mutant, Known]], reach: Reach
    ) -> Iterator[Trial]:
        for source, mutant, known in todo:
            who = reach.who(mutant)
            if self.wish.quick:
                spent_s = itertools.accumulate(reach.seconds[name] for name in who)
                who = [name for name, so_far in zip(who, spent_s, strict=True) if so_far < _QUICK_S]
            tests = [name for name in who if not name.startswith(_SEED)]
            seeds = [name for name in who if name.startswith(_SEED)]
            first = [known.killer] if known.killer in reach.seconds else []
            order = [*first, *(name for name in (*tests, *seeds) if name not in first)]
            limit_s = 60.0 + 5.0 * sum(reach.seconds[name] for name in order)
            yield Trial(mutant, limit_s, self._trial(source, mutant, order))

    def _trial(self, source: Source, mutant: Mutant, order: list[str]) -> Callable[[], list[str]]:
        def run() -> list[str]:
            mutated = source.mutated(mutant)
            try:
                put_in(mutant, mutated)
            except BrokenAtImport:
                return [Verdict.TESTS.name, "the import"]
            except Exception as error:  # noqa: BLE001 (it is told, and counts as survived)
                return [Verdict.NOT_RUN.name, str(error)]
            for name in order:
                if name.startswith(_SEED):
                    signal.signal(signal.SIGALRM, lambda *_: os._exit(_HUNG))
                    signal.setitimer(signal.ITIMER_REAL, _SEED_LIMIT_S)
                failed = self._fails(name)
                signal.setitimer(signal.ITIMER_REAL, 0.0)
                if failed == "timeout":
                    return [Verdict.TIMED_OUT.name, name]
                if failed:
                    simulated = name.startswith(_SEED)
                    return [(Verdict.SIMULATOR if simulated else Verdict.TESTS).name, name]
            return [Verdict.SURVIVED.name, ""]

        return run


_HUNG = 99


@dataclass(frozen=True, slots=True)
class Trial:
    mutant: Mutant
    limit_s: float
    run: Callable[[], list[str]]


@dataclass(slots=True)
class _Running:
    trial: Trial
    answer: int
    process: int
    folder: str
    began: float


def _worked_s() -> float:
    return sum(os.times()[:4])


def _in_a_fork(action: Callable[[], None]) -> None:
    process = os.fork()
    if not process:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            action()
        except BaseException:  # noqa: BLE001 (a fork never returns into its parent's code)
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    try:
        status = os.waitpid(process, 0)[1]
    except BaseException:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        raise
    if status:
        raise RuntimeError("measuring which test executes what ended with an error, shown above")


def outcomes(trials: Iterator[Trial], workers: int) -> Iterator[tuple[Mutant, Verdict, str, float]]:
    """Keep this many trials going; give each as it ends."""
    running: dict[int, _Running] = {}
    more = True
    try:
        while more or running:
            while more and len(running) < workers:
                trial = next(trials, None)
                more = trial is not None
                if trial:
                    begun = _begin(trial)
                    running[begun.answer] = begun
            now = time.monotonic()
            ready = select.select(list(running), [], [], 1.0)[0]
            late = [
                each.answer for each in running.values() if now - each.began > each.trial.limit_s
            ]
            for answer in {*ready, *late}:
                yield _end(running.pop(answer), late=answer not in ready)
    finally:
        for each in running.values():
            _end(each, late=True)


def _begin(trial: Trial) -> _Running:
    answer, given = os.pipe()
    folder = tempfile.mkdtemp(prefix="mutant-")
    process = os.fork()
    if not process:
        os.close(answer)
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _settle(folder)
        try:
            said = trial.run()
        except BaseException as error:  # noqa: BLE001 (a fork never returns to its parent's code)
            said = [Verdict.NOT_RUN.name, repr(error)]
            if _is_out_of_memory(error):
                # Some breaks the test, some pytest itself: whoever runs it notices.
                said = [Verdict.TESTS.name, "the memory it may use"]
        os.write(given, json.dumps(said).encode())
        os._exit(0)
    os.close(given)
    return _Running(trial, answer, process, folder, time.monotonic())


def _is_out_of_memory(error: BaseException | None) -> bool:
    if error is None or isinstance(error, MemoryError):
        return error is not None
    return _is_out_of_memory(error.__cause__) or _is_out_of_memory(error.__context__)


def _settle(folder: str) -> None:
    """Give the fork a place for its files and a bound on memory, and no voice."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    os.environ["TMPDIR"] = os.environ["PYTEST_DEBUG_TEMPROOT"] = tempfile.tempdir = folder
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _MORE_MEMORY_BYTES, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _end(each: _Running, *, late: bool) -> tuple[Mutant, Verdict, str, float]:
    said = b"" if late else os.read(each.answer, 1 << 16)
    os.close(each.answer)
    with contextlib.suppress(ProcessLookupError):
        # The programs that its tests started as well.
        os.killpg(each.process, signal.SIGKILL)
    status = os.waitpid(each.process, 0)[1]
    shutil.rmtree(each.folder, ignore_errors=True)
    took_s = time.monotonic() - each.began
    if said:
        name, killer = json.loads(said)
        return each.trial.mutant, Verdict[name], killer, took_s
    if late or os.waitstatus_to_exitcode(status) == _HUNG:
        return each.trial.mutant, Verdict.TIMED_OUT, "", took_s
    return each.trial.mutant, Verdict.TESTS, "the process died", took_s


def main() -> None:
    """Do what the wish on the command line says."""
    asked = json.loads(sys.argv[1])
    wish = Wish(
        root=Path(asked["root"]),
        session=Path(asked["session"]),
        reach=Path(asked["reach"]),
        commit_id=asked["commit_id"],
        modules=tuple(asked["modules"]),
        workers=asked["workers"],
        only_ids=tuple(asked["only_ids"]),
        only_alive=asked["only_alive"],
        leave_survivors=asked["leave_survivors"],
        quick=asked["quick"],
    )
    # So that who is ended ends the forks as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    plain = ["-q", "-s", "-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:xdist"]
    programs = [f"--ignore-glob=*/{each}" for each in PROGRAMS]
    arguments = [*plain, *programs, f"--timeout={_TEST_LIMIT_S}", f"--rootdir={wish.root}", *TESTS]
    sys.exit(pytest.main(arguments, plugins=[Trials(wish)]))


if __name__ == "__main__":
    main()
