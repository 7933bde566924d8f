from __future__ import annotations

from collections.abc import Callable

import pytest

from compute_node.output import Output
from compute_node.user_errors import error_record, exception_name
from gapless.results.block import ErrorRecord


def record(function: Callable[[], object]) -> ErrorRecord:
    """Call as the worker does: its own frame is the first of the traceback."""
    try:
        function()
    except BaseException as error:  # noqa: BLE001
        return error_record(7, error, Output("head", "tail"))
    raise AssertionError("it did not raise")


def fail(number: int) -> None:
    error = ValueError(f"number {number}")
    error.add_note("a note for people")
    raise error from KeyError("cause")


def test_a_record_holds_traceback_cause_notes_and_output() -> None:
    found = record(lambda: fail(1))
    assert (found.run, found.kind, found.type, found.message) == (
        7,
        "exception",
        "ValueError",
        "number 1",
    )
    assert found.cause == "KeyError: 'cause'"
    assert "a note for people" in found.traceback
    assert "in fail" in found.traceback
    assert "in record" not in found.traceback
    assert (found.output_head, found.output_tail) == ("head", "tail")


def test_the_same_mistake_with_other_values_has_the_same_fingerprint() -> None:
    def other() -> None:
        raise ValueError("number 1")

    one, two = (record(lambda number=number: fail(number)) for number in (1, 2))  # type: ignore[misc]
    assert one.fingerprint == two.fingerprint
    assert record(other).fingerprint != one.fingerprint


def test_connection_trouble_is_marked_transient() -> None:
    def lose() -> None:
        raise ConnectionResetError

    assert record(lose).transient
    assert not record(lambda: fail(1)).transient


def test_an_exception_whose_text_raises_is_recorded_all_the_same() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def fail_oddly() -> None:
        raise Broken

    assert record(fail_oddly).message == "(its __str__ raised RuntimeError)"


def test_a_deep_recursion_gives_a_record_of_bounded_size() -> None:
    def deep(number: int) -> int:
        return deep(number + 1) + 1

    assert len(record(lambda: deep(0)).traceback) < 70_000


@pytest.mark.parametrize(
    ("error", "name"), [(ValueError(), "ValueError"), (SystemExit(), "SystemExit")]
)
def test_builtin_exceptions_are_named_without_their_module(error: BaseException, name: str) -> None:
    assert exception_name(error) == name
