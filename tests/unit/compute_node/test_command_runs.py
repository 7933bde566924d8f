"""Commands as targets on a real node: what they are given, and what becomes of them."""

from __future__ import annotations

import errno
import resource
import sys
from typing import Any

import numpy as np
import pytest

from compute_node import peak_memory
from gapless.declaration.space import Space
from gapless.declaration.sweep import Limits
from gapless.results.outcome import Outcome
from gapless.storage import layout
from tests.unit.compute_node.commands_here import processes_of, submit_program

PYTHON = f"#!{sys.executable}\n"
ONCE = Limits(attempts=1)


def test_words_and_environment_carry_the_values_of_the_run(place: Any) -> None:
    text = PYTHON + (
        "import json, os, sys\n"
        "env = {k: v for k, v in os.environ.items() if k.startswith('GAPLESS_')}\n"
        "print(json.dumps({'argv': sys.argv[1:], 'env': env, 'cwd': os.getcwd()}))\n"
    )
    space = Space.grid(x=[0.1], flag=[True], none=[None], many=[[1, "a b"]], ünï=["*$HOME"])
    words = [
        "./program",
        "{x}",
        "{flag}",
        "{none}",
        "{many}",
        "{ünï}",
        "{seed}/{replicate}",
        "{{}}",
    ]
    submit_program(place, text, runs=2, words=words, space=space, replicates=2)
    assert place.run_node() == 0
    found = place.delivered()
    assert set(found.outcomes.values()) == {Outcome.OK}
    seeds = place.store.load(place.sweep).runs.block(np.arange(2)).seeds.tolist()
    for block in found.blocks:
        for row, run in enumerate(block.run.tolist()):
            values = {name: column.tolist()[row] for name, column in block.values.items()}
            argv, env = values["argv"], values["env"]
            assert argv[:5] == ["0.1", "true", "", '[1,"a b"]', "*$HOME"]
            assert argv[5] == f"{seeds[run]}/{run}"
            assert argv[6] == "{}"
            assert env["GAPLESS_PARAM_x"] == "0.1"
            assert env["GAPLESS_PARAM_many"] == '[1,"a b"]'
            assert '"ünï":"*$HOME"' in env["GAPLESS_PARAMS"]
            assert env["GAPLESS_SEED"] == str(seeds[run])
            assert env["GAPLESS_RUN"] == env["GAPLESS_REPLICATE"] == str(run)
            assert env["GAPLESS_ATTEMPT"] == "1"
            assert env["GAPLESS_SWEEP"] == place.sweep
            assert env["GAPLESS_OUTPUT"].startswith(env["GAPLESS_RUN_DIR"] + "/")
            assert values["cwd"] == env["GAPLESS_CODE_DIR"]


def test_parameters_may_be_called_like_things_of_ours(place: Any) -> None:
    names = ["self", "program", "words", "PATH"]
    text = '#!/bin/sh\necho "{\\"got\\": \\"$*\\"}"\n'
    words = ["./program", *(f"{{{name}}}" for name in names)]
    submit_program(place, text, runs=1, words=words, space=Space.grid(**{n: [n] for n in names}))
    assert place.run_node() == 0
    assert place.delivered().values("got") == {0: "self program words PATH"}


def test_each_run_has_a_folder_of_its_own_that_begins_empty(place: Any) -> None:
    text = """
        #!/bin/sh
        cd "$GAPLESS_RUN_DIR" || exit 4
        [ "$(pwd)" = "$2" ] || exit 5
        found=$(ls -A | wc -l)
        mkdir -p deep/er; echo left > deep/er/file; ln -s nowhere link; echo 1 > .hidden
        echo "{\\"found\\": $found}"
    """
    submit_program(place, text, runs=6, words=["./program", "{x}", "{run_dir}"])
    assert place.run_node() == 0
    assert set(place.delivered().values("found").values()) == {0}


@pytest.mark.parametrize(
    "words", [["./program", "{x}"], ["sh", "program", "{x}"], ["./a/../program", "{x}"]]
)
def test_a_program_is_found_in_the_code_folder_or_on_the_path(place: Any, words: list[str]) -> None:
    submit_program(place, '#!/bin/sh\necho "{\\"y\\": $1}"\n', runs=3, words=words)
    assert place.run_node() == 0
    assert place.delivered().values("y") == {0: 0, 1: 1, 2: 2}


def test_values_come_from_the_file_and_only_without_one_from_the_last_line(place: Any) -> None:
    text = """
        #!/bin/sh
        echo '{"from": "stdout", "x": 1}'
        [ "$1" = 0 ] || echo '{"from": "file"}' > "$GAPLESS_OUTPUT"
        [ "$1" != 2 ] || rm "$GAPLESS_OUTPUT"
        echo done
    """
    submit_program(place, text, runs=3)
    assert place.run_node() == 0
    assert place.delivered().values("from") == {0: "stdout", 1: "file", 2: "stdout"}


def test_a_command_that_records_nothing_is_ok_without_values(place: Any) -> None:
    submit_program(place, "#!/bin/sh\necho just words\n", runs=2)
    assert place.run_node() == 0
    found = place.delivered()
    assert set(found.outcomes.values()) == {Outcome.OK}
    assert all(not block.values for block in found.blocks)


def test_hdf5_is_known_by_its_signature(place: Any) -> None:
    text = PYTHON + (
        "import os, sys, h5py\n"
        "with h5py.File(os.environ['GAPLESS_OUTPUT'], 'w') as file:\n"
        "    file['y'] = 2 * int(sys.argv[1])\n"
        "    file['trace'] = list(range(3))\n"
    )
    submit_program(place, text, runs=2)
    assert place.run_node() == 0
    found = place.delivered()
    assert found.values("y") == {0: 0, 1: 2}
    assert {
        tuple(row) for block in found.blocks for row in block.values["trace"].data.tolist()
    } == {(0, 1, 2)}


def test_exit_status_and_signal_are_recorded_with_what_was_said(place: Any) -> None:
    text = """
        #!/bin/sh
        echo '{"before": 5}'
        echo to stdout
        case $1 in
            0) ;;
            1) echo "bad thing" >&2; exit 3 ;;
            2) kill -SEGV $$ ;;
            3) echo later >&2; exit 75 ;;
        esac
    """
    submit_program(place, text, runs=4, limits=ONCE)
    assert place.run_node() == 0
    found = place.delivered()
    assert found.outcomes == {0: Outcome.OK, **dict.fromkeys((1, 2, 3), Outcome.FAILED)}
    assert found.values("before") == dict.fromkeys(range(4), 5)
    complete = {
        run: kept
        for block in found.blocks
        for run, kept in zip(block.run.tolist(), block.complete.tolist(), strict=True)
    }
    assert complete == {0: True, 1: False, 2: False, 3: False}
    exits = {run: found.attempts(run)[0].exit for run in (1, 2, 3)}
    assert exits == {1: "exit status 3", 2: "killed by SIGSEGV", 3: "exit status 75"}
    one, two, three = (found.errors[run] for run in (1, 2, 3))
    assert (one.kind, one.type, one.message) == ("exit", "exit status 3", "bad thing")
    assert one.fingerprint == "program: exit status 3"
    assert "to stdout" in one.output_head
    assert "bad thing" in one.output_head
    assert (two.kind, two.type) == ("signal", "killed by SIGSEGV")
    assert [each.transient for each in (one, two, three)] == [False, False, True]


def test_a_failed_command_is_tried_again_when_that_is_wanted(place: Any) -> None:
    text = """
        #!/bin/sh
        echo "{\\"attempt\\": $GAPLESS_ATTEMPT}" > "$GAPLESS_OUTPUT"
        [ "$GAPLESS_ATTEMPT" = 3 ] || exit 1
    """
    limits = Limits(attempts=3, retry_on=("failed",))
    submit_program(place, text, runs=2, limits=limits)
    assert place.run_node() == 0
    found = place.delivered()
    assert set(found.outcomes.values()) == {Outcome.OK}
    assert found.values("attempt") == {0: 3, 1: 3}
    assert [each.exit for each in found.attempts(0)] == ["exit status 1"] * 2


def test_a_command_killed_from_outside_is_tried_again_and_then_lost(place: Any) -> None:
    text = """
        #!/bin/sh
        [ "$GAPLESS_ATTEMPT" = 2 ] && [ "$1" = 0 ] && exit 0
        kill -KILL $$
    """
    submit_program(place, text, runs=2, limits=Limits(attempts=2))
    assert place.run_node() == 0
    found = place.delivered()
    assert found.outcomes == {0: Outcome.OK, 1: Outcome.LOST}
    assert [each.exit for each in found.attempts(1)] == ["killed by SIGKILL"] * 2
    assert "killed by SIGKILL" in found.errors[1].message


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("", "is empty"),
        ("[1]", "holds a JSON list"),
        ('{"good": 1', "no complete JSON object"),
        ("\\211HDF\\r\\n\\032\\n garbage", "no complete HDF5 file"),
    ],
)
def test_an_output_that_cannot_be_read_fails_the_run_in_words(
    place: Any, written: str, said: str
) -> None:
    text = f"#!/bin/sh\nprintf '{written}' > \"$GAPLESS_OUTPUT\"\n"
    submit_program(place, text, runs=1, limits=ONCE)
    assert place.run_node() == 0
    error = place.delivered().errors[0]
    assert error.kind == "value"
    assert said in error.message


def test_a_value_that_cannot_be_stored_is_an_error_beside_the_others(place: Any) -> None:
    text = """
        #!/bin/sh
        echo '{"good": 1, "a/b": 2, "twice": 1, "twice": 2}'
    """
    submit_program(place, text, runs=1, limits=ONCE)
    assert place.run_node() == 0
    found = place.delivered()
    assert found.outcomes == {0: Outcome.FAILED}
    assert found.values("good") == {0: 1}
    assert "'twice'" in found.errors[0].message
    assert "a/b" in found.errors[0].message
    assert found.errors[0].kind == "value"


def test_what_cannot_be_a_word_fails_its_run_in_words(place: Any) -> None:
    values = ["fine", "nul\0", "x" * 3_000_000]
    words = ["sh", "program", "{x}"]
    space = Space.grid(x=values)
    submit_program(place, "exit 0\n", runs=3, words=words, space=space, limits=ONCE)
    assert place.run_node() == 0
    found = place.delivered()
    assert found.outcomes == {0: Outcome.OK, 1: Outcome.FAILED, 2: Outcome.FAILED}
    assert {error.kind for error in found.errors.values()} == {"start"}
    assert "would hold NUL" in found.errors[1].message
    assert "longer than this system takes" in found.errors[2].message
    assert errno.errorcode[errno.E2BIG] in found.errors[2].fingerprint


def test_a_program_named_by_a_value_fails_only_the_runs_that_lack_it(place: Any) -> None:
    space = Space.grid(x=["true", "no-such-program", "./program"])
    submit_program(place, "#!/bin/sh\nexit 0\n", runs=3, words=["{x}"], space=space, limits=ONCE)
    assert place.run_node() == 0
    found = place.delivered()
    assert found.outcomes == {0: Outcome.OK, 1: Outcome.FAILED, 2: Outcome.OK}
    assert "not on the PATH" in found.errors[1].message


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        ("#!/bin/sh\n", ["no-such-program", "{x}"], "is not on the PATH of this machine"),
        ("#!/bin/sh\n", ["./other", "{x}"], "there is no file"),
        ("#!/no/such/interpreter\n", ["./program", "{x}"], "/no/such/interpreter"),
        ("#!/usr/bin/env no-such-program\n", ["./program", "{x}"], "no-such-program"),
        ("no program at all\n", ["./program", "{x}"], "no program for this machine"),
    ],
)
def test_a_node_that_lacks_the_program_gives_the_jobs_back_and_says_why(
    place: Any, caplog: pytest.LogCaptureFixture, text: str, words: list[str], said: str
) -> None:
    submit_program(place, text, runs=4, words=words)
    assert place.run_node() == 6
    assert said in caplog.text
    assert place.delivered().runs == []
    facts = place.queues.facts(layout.jobs_queue(place.sweep))
    assert facts.visible + facts.delayed + facts.leased == 1


def test_memory_is_limited_for_the_command_and_not_for_its_worker(place: Any) -> None:
    text = PYTHON + (
        "import sys\nbytearray(int(sys.argv[1]) * 600_000_000)\nprint('{\"fine\": 1}')\n"
    )
    limits = Limits(memory_bytes=300_000_000, attempts=1)
    submit_program(place, text, runs=2, limits=limits)
    assert place.run_node() == 0
    found = place.delivered()
    assert found.outcomes == {0: Outcome.OK, 1: Outcome.FAILED}
    assert "MemoryError" in found.errors[1].message


def test_a_failed_command_tells_the_memory_it_had_at_most(place: Any) -> None:
    # More than this process ever had: up to that the kernel tells nothing of a program it started.
    size = 200_000_000 + peak_memory.of_usage(resource.getrusage(resource.RUSAGE_SELF))
    text = f"{PYTHON}x = b'x' * {size}\nraise SystemExit(4)\n"
    submit_program(place, text, runs=1, limits=ONCE)
    assert place.run_node() == 0
    (attempt,) = place.delivered().attempts(0)
    assert attempt.exit == "exit status 4"
    assert size < attempt.peak_memory < size + 600_000_000


def test_an_input_is_at_its_end_at_once(place: Any) -> None:
    submit_program(place, '#!/bin/sh\ncat\necho "{\\"y\\": 1}"\n', runs=1)
    assert place.run_node() == 0
    assert place.delivered().values("y") == {0: 1}


def test_what_runs_print_is_kept_apart(place: Any) -> None:
    submit_program(place, "#!/bin/sh\necho out $1\necho err $1 >&2\nexit $1\n", runs=3, limits=ONCE)
    assert place.run_node(workers=1) == 0
    found = place.delivered()
    for run in (1, 2):
        head = found.errors[run].output_head
        expected = f"--- standard output ---\nout {run}\n--- standard error ---\nerr {run}\n"
        assert head == expected
    assert processes_of(place.folder) == []
