"""docs/faults.md: each row is whole, and what it names as its proof exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.model.protections import Protection
from tests.simulator import test_bites
from tests.simulator.faults import Fault

CHECKOUT = Path(__file__).parents[3]
TESTS = CHECKOUT / "tests"
INVARIANTS = {"I1", "I1b", "I2", "I3", "I4", "I5"}
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in (CHECKOUT / "docs/faults.md").read_text().splitlines()
    if re.match(r"\| \d+ \|", line)
]


@cache
def names_in(path: Path) -> set[str]:
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def check(proof: str) -> None:
    """Fail when a proof is not there."""
    kind, name = re.fullmatch(r"(?:(sim|model|bug): )?`([^`]+)`", proof).groups()  # type: ignore[union-attr]
    match kind:
        case "sim":
            assert name in {each.value for each in Fault}
        case "model":
            assert name in {each.value for each in Protection}
        case "bug":
            assert callable(getattr(test_bites, name))
            assert f"={name})" in Path(test_bites.__file__).read_text(), "planted nowhere"
        case None:
            path, _, test = name.partition("::")
            assert (TESTS / path).is_file()
            assert not test or test in names_in(TESTS / path)


def test_there_are_rows_and_they_are_numbered_through() -> None:
    assert [int(row[0].removeprefix("|")) for row in ROWS] == list(range(1, len(ROWS) + 1))
    assert len(ROWS) >= 90


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].removeprefix("| "))
def test_what_a_row_names_as_its_proof_exists(row: list[str]) -> None:
    _, fault, invariants, mechanism, proofs = row
    assert fault
    assert mechanism
    assert invariants
    assert set(invariants.split()) <= INVARIANTS
    for proof in proofs.removesuffix(" |").split("<br>"):
        check(proof)


def test_every_fault_of_the_simulator_stands_in_a_row_or_is_no_fault() -> None:
    named = set(re.findall(r"sim: `([^`]+)`", "\n".join(map(" | ".join, ROWS))))
    no_faults = {"interleave", "reads", "reconciles"}
    assert {each.value for each in Fault} - named == no_faults


def test_a_proof_that_is_not_there_is_found() -> None:
    with pytest.raises(AssertionError):
        check("`unit/docs/test_faults.py::test_nothing_of_that_name`")
    with pytest.raises(AssertionError):
        check("sim: `never-thrown`")
