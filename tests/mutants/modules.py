"""What is mutated, and what is to find the mutants."""

from __future__ import annotations

__all__ = ["LONGEST_TEST_S", "MODULES", "MOST_OF_ONE_TEST", "PROGRAMS", "SEEDS", "SERVERS", "TESTS"]

_STATE_MACHINES = {
    "compute_node": (
        "state reactions job_reactions worker_reactions job_changes jobs_in_hand sweeps_in_hand"
        " crew holdings deliveries failure_watch rules"
    ),
    "aggregator": "state reactions buffers policy proof",
    "receipts": "reconcile resubmit gaps absence looks in_flight declared policy submit jobs",
}

MODULES = tuple(
    f"{package}/{name}.py" for package, names in _STATE_MACHINES.items() for name in names.split()
)

TESTS = ("tests/unit/compute_node", "tests/unit/aggregator", "tests/unit/receipts")

# Tests of whole programs, which take seconds each and start processes that no mutant reaches.
PROGRAMS = (
    "test_agent*.py",
    "test_command_*.py",
    "test_full_output.py",
    "test_postgresql*.py",
    "test_program.py",
)

# Fixtures that start a server: a mutant's trial lasts milliseconds, such a start seconds.
SERVERS = frozenset(
    {"ministack", "moto_server", "postgresql", "postgresql_alone", "postgresql_url"}
)

# A test that takes longer is left out: whole programs, most of them.
LONGEST_TEST_S = 2.0

# Of a test with many parameters, seeds most of the time, so many are tried on each mutant.
MOST_OF_ONE_TEST = 5

# Worlds of the simulator, tried one after the other when every test is content with a mutant.
SEEDS = range(60)
