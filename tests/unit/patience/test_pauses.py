"""Pauses grow, have an end, and differ from program to program."""

import pytest

from gapless.pauses import pause_s


def test_a_pause_doubles_up_to_the_longest_of_which_it_is_at_least_half() -> None:
    full = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    pauses = [pause_s(failures, who="node-1") for failures in range(1, 10)]
    assert all(most / 2 <= pause <= most for pause, most in zip(pauses, full, strict=True))


@pytest.mark.parametrize("failures", [1, 5, 100, 10**6])
def test_a_hundred_programs_do_not_come_back_in_step(failures: int) -> None:
    pauses = sorted(pause_s(failures, who=f"node-{number}") for number in range(100))
    longest = min(30.0, 0.25 * 2.0 ** min(failures - 1, 16))
    in_step = max(
        sum(1 for other in pauses if each <= other < each + longest / 20) for each in pauses
    )
    assert in_step < 25


def test_the_same_program_pauses_the_same_when_it_is_played_again() -> None:
    assert pause_s(3, who="node-1") == pause_s(3, who="node-1")
    assert pause_s(9, who="node-1") != pause_s(10, who="node-1")
