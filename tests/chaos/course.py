"""One course of chaos: submit, disturb, let it heal, and hold the result to the truth.

Faults end when every run is stored or when their time is over; healing has a time of its own. On a
slow or busy machine disasters wait for some work to be done between two of them, a while. Three
kinds of ends of a program are not held against it: it was killed, it was asked to end, or it is a
reconcile that says what a person has to do (status 1), which is then done.
"""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gapless
from tests.acceptance.cloud_programs import PERSON
from tests.chaos.cloud_disasters import CLOUD
from tests.chaos.crew import Crew
from tests.chaos.folder_disasters import FOLDER, LEDGER
from tests.chaos.integrity import Integrity
from tests.chaos.places import Cloud, Folder, Place
from tests.chaos.programs_disasters import PROGRAMS
from tests.chaos.report import Report, machine_of_now
from tests.chaos.scene import Disaster, Scene
from tests.chaos.spoiling import spoil_shards
from tests.chaos.workload import NAME, Workload, executed, wrong_rows

__all__ = ["Bounds", "course"]

_TICK_S = 0.05
_LOOK_S = 2.0
_DRAWS = 20
_VERIFY_S = 300
_LEAST_SHARE = 4
"""A quarter of the work that would have to be done between two disasters, for all to be in time."""
_MOST_PATIENCE = 4
_SUBMITS_KILLED = 2
_UNFORCED_SHARE = 0.2
_TRACEBACK = "Traceback (most recent call last)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How long it may take, in seconds; a disaster every so many seconds on average."""

    faults_s: float
    healing_s: float
    every_s: float


def course(place: Folder | Cloud, *, runs: int, seed: int, bounds: Bounds) -> Report:
    """Run a course; the report says what was found, good or not."""
    began = time.monotonic()
    dice = random.Random(seed)
    nap_s = 0.4 * bounds.faults_s * len(place.nodes) / runs
    workload = Workload(runs=runs, seed=seed, nap_s=nap_s)
    for name, text in workload.files().items():
        place.programs.write(name, text)
    kept = place.folder / "kept"
    kept.mkdir()
    crew = Crew(place)
    scene: Scene[Any] = Scene(place=place, crew=crew, dice=dice, integrity=Integrity(), kept=kept)
    _submit(scene)
    watch = _Watch(place, runs)
    started = time.monotonic()
    try:
        _disturb(scene, watch, _disasters(place), bounds)
    finally:
        scene.undo_all()
    disturbed = time.monotonic()
    healed = _heal(scene, watch, bounds)
    ended = time.monotonic()
    calls = executed(place.counts)
    spoilt = _spoil(scene, watch, bounds) if healed else {}
    crew.stop()
    verified = _verify(place, {}, crew.problems) if healed else "not healed: not asked"
    scene.look_at_databases()
    problems = [*crew.problems, *watch.problems, *_problems(scene)]
    if not healed:
        problems.append(f"not complete {bounds.healing_s:.0f} s after the last fault")
    return _report(
        scene,
        runs=runs,
        seed=seed,
        verified=verified,
        spoilt=spoilt,
        calls=calls,
        problems=list(dict.fromkeys(problems)),
        times=(disturbed - started, ended - disturbed, time.monotonic() - began),
    )


def _disasters(place: Place) -> Sequence[Disaster]:
    return [*PROGRAMS, *LEDGER, *(FOLDER if isinstance(place, Folder) else CLOUD)]


class _Watch:
    """A reader beside the chaos: what is stored stays stored."""

    def __init__(self, place: Place, runs: int) -> None:
        self.stored = 0
        self.runs = runs
        self.problems: list[str] = []
        self._place = place
        self._due_at = 0.0

    @property
    def complete(self) -> bool:
        return self.stored == self.runs

    def look(self) -> None:
        """Look again, if the last look was a while ago."""
        if time.monotonic() < self._due_at:
            return
        try:
            stored = len(gapless.open(self._place.programs.home, NAME).coverage.final())
        except gapless.GaplessError as error:
            self.problems.append(f"a reader during the chaos: {type(error).__name__}: {error}")
            return
        finally:
            self._due_at = time.monotonic() + _LOOK_S
        if stored < self.stored:
            self.problems.append(f"a reader saw {self.stored} runs, then {stored}")
        self.stored = stored


def _submit(scene: Scene[Any]) -> None:
    """Submit; the first tries are killed in the middle."""
    for _ in range(_SUBMITS_KILLED):
        submit = scene.place.programs.start(PERSON, "sweep-submit", "sweep.toml")
        try:
            submit.wait(timeout=scene.dice.uniform(0.3, 1.5))
        except subprocess.TimeoutExpired:
            submit.kill()
            submit.wait()
            scene.killed["submit"] += 1
        scene.look_at_databases()
    scene.place.programs.submit()


def _disturb(
    scene: Scene[Any], watch: _Watch, disasters: Sequence[Disaster], bounds: Bounds
) -> None:
    end_at = time.monotonic() + bounds.faults_s
    pace = _Pace(scene, watch.runs, bounds)
    while time.monotonic() < end_at and not watch.complete:
        scene.undo_what_is_due()
        scene.crew.tend()
        watch.look()
        if pace.is_due():
            _strike(scene, disasters)
            pace.struck()
        time.sleep(_TICK_S)


class _Pace:
    """When the next disaster comes: after a time, and some work, or a longer time without."""

    def __init__(self, scene: Scene[Any], runs: int, bounds: Bounds) -> None:
        self._scene = scene
        self._every_s = bounds.every_s
        self._least_work = runs * bounds.every_s / bounds.faults_s / _LEAST_SHARE
        self.struck()

    def struck(self) -> None:
        self._at = time.monotonic()
        self._after_s = self._every_s * self._scene.dice.uniform(0.5, 1.5)
        self._done = executed(self._scene.place.counts)

    def is_due(self) -> bool:
        waited_s = time.monotonic() - self._at
        if waited_s < self._after_s:
            return False
        return (
            waited_s > self._after_s * _MOST_PATIENCE
            or executed(self._scene.place.counts) - self._done >= self._least_work
        )


def _strike(scene: Scene[Any], disasters: Sequence[Disaster]) -> None:
    weights = [disaster.weight for disaster in disasters]
    for _ in range(_DRAWS):
        (disaster,) = scene.dice.choices(disasters, weights)
        try:
            struck = disaster.strike(scene)
        except OSError:
            # Another disaster of now keeps this one from happening.
            continue
        if struck:
            scene.struck[disaster.kind] += 1
            return


def _heal(scene: Scene[Any], watch: _Watch, bounds: Bounds) -> bool:
    """Let all programs work undisturbed until reconcile says complete.

    What no look has shown to be lost by then is sent by force: every silent node is known to be
    gone now.
    """
    began = time.monotonic()
    while (now := time.monotonic()) < began + bounds.healing_s:
        scene.crew.force = now > began + bounds.healing_s * _UNFORCED_SHARE
        scene.crew.tend()
        watch.look()
        if scene.crew.complete_at > began:
            break
        time.sleep(_TICK_S)
    scene.crew.force = False
    return scene.crew.complete_at > began


def _spoil(scene: Scene[Any], watch: _Watch, bounds: Bounds) -> dict[str, str]:
    """Spoil stored shards; give what was spoilt. Each has to be found, and its runs done again."""
    spoilt = spoil_shards(scene.place, scene.dice)
    problems = scene.crew.problems
    _verify(scene.place, spoilt, problems)
    # From here on less is stored than was seen before.
    watch.stored = 0
    if not _heal(scene, watch, bounds):
        problems.append(f"not complete {bounds.healing_s:.0f} s after shards were spoilt")
    return spoilt


def _verify(place: Place, spoilt: Mapping[str, str], problems: list[str]) -> str:
    """Have every shard read; `spoilt` has to be found, without it all has to be well."""
    answer = place.programs.do("sweep", "verify", NAME, "--json", within_s=_VERIFY_S)
    try:
        (found,) = json.loads(answer.stdout)["sweeps"]
    except ValueError:
        problems.append(f"sweep verify: status {answer.returncode}: {answer.stderr[-500:]}")
        return f"status {answer.returncode}"
    told = {each["name"] for each in found["findings"]}
    problems += [
        f"sweep verify did not find {kind}: {shard}"
        for kind, shard in spoilt.items()
        if shard not in told
    ]
    if answer.returncode not in ({0, 3, 4} if spoilt else {0}):
        problems.append(f"sweep verify: status {answer.returncode}: {found['findings']}")
    return f"status {answer.returncode}, {found['shards']} shards, {found['rows']} rows"


def _problems(scene: Scene[Any]) -> list[str]:
    found = [f"a database is damaged: {words}" for words in scene.integrity.bad]
    for log in sorted((scene.place.folder / "machines").glob("*.log")):
        text = log.read_text("utf-8", "replace")
        if _TRACEBACK in text:
            found.append(f"a traceback in {log.name}: {_last_line_of_traceback(text)}")
    return found


def _last_line_of_traceback(text: str) -> str:
    rest = text[text.index(_TRACEBACK) :].splitlines()[1:]
    return next((line for line in rest if line and not line.startswith(" ")), "")[:300]


def _report(
    scene: Scene[Any],
    *,
    runs: int,
    seed: int,
    verified: str,
    spoilt: Mapping[str, str],
    calls: int,
    problems: list[str],
    times: tuple[float, float, float],
) -> Report:
    place = scene.place
    results = gapless.open(place.programs.home, NAME)
    table = results.to_pandas()
    stored = int(table["run"].nunique())
    return Report(
        home="folder" if isinstance(place, Folder) else "ministack",
        seed=seed,
        machine=machine_of_now(),
        submitted=runs,
        stored=stored,
        lost=len(set(range(runs)).difference(table["run"].tolist())),
        double_for_the_reader=len(table) - stored,
        wrong=wrong_rows(table),
        not_ok=int((table["outcome"] != "ok").sum()),
        differing=results.duplicates.differing,
        executed=calls,
        repeated_percent=100 * (calls - runs) / runs,
        disasters=scene.struck.total(),
        disasters_by_kind=dict(sorted(scene.struck.items())),
        requests_hit={
            kind: sum(rule.hits for rule in rules) for kind, rules in sorted(scene.rules.items())
        },
        killed=dict(sorted(scene.killed.items())),
        ended_unasked=dict(sorted(scene.crew.ended.items())),
        reconcile_statuses=dict(sorted(scene.crew.reconciled.items())),
        reconciles_forced=scene.crew.forced,
        integrity_checks={
            verdict.value: number for verdict, number in scene.integrity.verdicts.items()
        },
        shards_spoilt=sorted(spoilt),
        executed_for_spoilt_shards=executed(place.counts) - calls,
        verified=verified,
        seconds_with_faults=times[0],
        seconds_to_heal=times[1],
        seconds=times[2],
        impossible_here=place.impossible,
        problems=problems,
    )
