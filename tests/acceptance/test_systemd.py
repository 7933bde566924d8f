"""The units' own command lines and environments, stopped as systemd stops them (KillMode=mixed).

SIGTERM goes to the main process alone; what is left after TimeoutStopSec would be killed. systemd
itself is not needed.
"""

from __future__ import annotations

import shlex
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

import gapless
import infra
from tests.acceptance.cloud_programs import CloudPrograms, made_home
from tests.acceptance.programs import wait_until
from tests.unit.infra.units import command_line, environment, seconds, settings

NODE, AGGREGATOR = infra.UNITS
UNIT_OF = {"node": NODE, "aggregator": AGGREGATOR}
RUNS = 60

CODE = """
import time
from pathlib import Path


def nap(n, *, seconds, begun):
    Path(begun).touch()
    time.sleep(seconds)
    return {"double": 2 * n}
"""

SWEEP = """
name = "nap"
function = "work:nap"

[fixed]
seconds = {seconds}
begun = "{begun}"

[space.grid]
n = {{ range = [0, {runs}] }}
"""


# mman.h, linux/prctl.h: from here on no memory is both written and run, as the unit wants it.
WITHOUT_NEW_CODE = """
import ctypes, runpy, sys
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1
refused = ctypes.CDLL(None).prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0)
if refused:
    sys.exit(77)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class Units(CloudPrograms):
    """Programs started as the units say, with /etc/gapless/gapless.env as given."""

    @property
    def begun(self) -> Path:
        """A file that is there once a run has begun."""
        return self._folder / "begun"

    def environment(self, machine: str) -> dict[str, str]:
        found = super().environment(machine)
        if machine not in UNIT_OF:
            return found
        own = self._folder / machine
        folders = {"%S": str(own / "lib"), "%C": str(own / "cache")}
        del found["XDG_DATA_HOME"]
        made = environment(UNIT_OF[machine], folders)
        for folder in made.values():
            Path(folder).mkdir(parents=True, exist_ok=True)
        return {**found, **made}

    def start_unit(
        self, machine: str, options: str = "", python: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        name = f"GAPLESS_{machine.upper()}_OPTIONS"
        program, *words = command_line(UNIT_OF[machine], {name: options})
        return self.start(machine, Path(program).name, *words, python=python)

    def stop_unit(self, machine: str, program: subprocess.Popen[bytes]) -> None:
        """Ask the main process to end, and expect it within the unit's time, with exit 0."""
        (kill_signal,) = settings(UNIT_OF[machine])["KillSignal"]
        (timeout,) = settings(UNIT_OF[machine])["TimeoutStopSec"]
        program.send_signal(signal.Signals[kill_signal])
        assert program.wait(timeout=seconds(timeout)) == 0, self.logs()

    def workers(self) -> list[psutil.Process]:
        return [each for each in self.processes() if "compute_node.worker" in each.cmdline()]


@pytest.fixture(params=["folder", "s3"])
def units(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Units]:
    if request.param == "folder":
        found = Units(tmp_path, home=str(tmp_path / "home"), endpoint=None)
    else:
        service = request.getfixturevalue("on_ministack")
        found = Units(tmp_path, home=made_home().url, endpoint=service.url)
    found.write("work.py", CODE)
    yield found
    found.stop_everything()


def submit(units: Units, *, runs: int, seconds_a_run: float) -> None:
    text = SWEEP.format(runs=runs, seconds=seconds_a_run, begun=units.begun)
    units.write("sweep.toml", text)
    units.submit("--job-size", "10")


def finish(units: Units) -> None:
    """Start the units again until everything is stored."""
    programs = [units.start_unit(each, "--until-complete") for each in UNIT_OF]
    units.until_complete()
    for each in programs:
        assert each.wait(timeout=60) == 0, units.logs()


def test_a_stopped_node_finishes_what_runs_and_nothing_is_lost_or_done_twice(units: Units) -> None:
    submit(units, runs=RUNS, seconds_a_run=0.2)
    aggregator = units.start_unit("aggregator")
    node = units.start_unit("node", "--workers 2")
    units.wait_for_stored(1)
    units.stop_unit("node", node)
    assert units.workers() == []
    assert "given back" in units.log("node")
    units.stop_unit("aggregator", aggregator)
    stored = units.stored()
    assert 1 <= stored < RUNS
    finish(units)
    results = gapless.open(units.home, "nap")
    table = results.to_pandas()
    assert len(table) == RUNS
    assert set(table["outcome"]) == {"ok"}
    assert set(table["attempt"]) == {1}
    assert (table["double"] == 2 * table["n"]).all()


def test_a_run_that_outlasts_the_grace_is_given_back_within_the_time_to_stop(units: Units) -> None:
    submit(units, runs=1, seconds_a_run=600)
    node = units.start_unit("node", "--workers 1 --grace 1s")
    wait_until(units.begun.exists, within_s=60, what="the run has begun")
    units.stop_unit("node", node)
    assert units.workers() == []
    status, found = units.reconcile()
    assert (status, found["in_flight"], found["gaps"]) == (3, 1, 0)


def test_a_stopped_aggregator_stores_what_it_holds(units: Units) -> None:
    submit(units, runs=20, seconds_a_run=0.01)
    aggregator = units.start_unit("aggregator")
    node = units.start_unit("node", "--workers 1 --idle-exit 1s")
    assert node.wait(timeout=90) == 0, units.logs()
    units.stop_unit("aggregator", aggregator)
    stored = units.stored()
    assert stored
    assert f"{stored} rows stored" in units.log("aggregator")
    assert units.reconcile()[1]["gaps"] == 0
    finish(units)
    assert units.stored() == 20


def test_an_aggregator_works_where_no_memory_is_both_written_and_run(units: Units) -> None:
    assert settings(AGGREGATOR)["MemoryDenyWriteExecute"] == ["yes"]
    submit(units, runs=10, seconds_a_run=0.01)
    aggregator = units.start_unit("aggregator", "--until-complete", ("-c", WITHOUT_NEW_CODE))
    node = units.start_unit("node", "--workers 1 --until-complete")
    status = aggregator.wait(timeout=90)
    if status == 77:
        pytest.skip("this kernel is older than Linux 6.3")
    assert (status, node.wait(timeout=90)) == (0, 0), units.logs()
    assert units.stored() == 10


def test_words_of_the_environment_file_are_split_as_systemd_splits_them() -> None:
    words = command_line(NODE, {"GAPLESS_NODE_OPTIONS": "--workers 2 --idle-exit 1s"})
    assert shlex.join(words[1:]) == "node --grace 60s --workers 2 --idle-exit 1s"
