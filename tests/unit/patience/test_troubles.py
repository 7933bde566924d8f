"""A service that is away is told at once, then seldom, and once when it is back."""

from gapless.troubles import Troubles


class Told:
    """Troubles with a clock set by hand, and what they said."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.warned: list[str] = []
        self.told: list[str] = []
        self.troubles = Troubles(
            warn=self.warned.append, tell=self.told.append, monotonic=lambda: self.now
        )


def test_a_service_that_stays_away_is_told_at_once_and_then_once_a_minute() -> None:
    told = Told()
    for _ in range(180):
        told.troubles.trouble("receiving jobs", "away")
        told.now += 1.0
    assert told.warned == ["away"] * 3


def test_that_it_is_back_is_told_once_with_how_long_it_was_away() -> None:
    told = Told()
    told.troubles.well("receiving jobs")
    told.troubles.trouble("receiving jobs", "away")
    told.now += 63.0
    told.troubles.well("receiving jobs")
    told.troubles.well("receiving jobs")
    assert told.told == ["receiving jobs works again, after 63 s"]


def test_a_service_that_comes_and_goes_is_told_no_more_often() -> None:
    told = Told()
    for _ in range(59):
        told.troubles.trouble("receiving jobs", "away")
        told.troubles.well("receiving jobs")
        told.now += 1.0
    assert len(told.warned) == 1
    assert len(told.told) == 1


def test_kinds_of_trouble_are_told_apart() -> None:
    told = Told()
    told.troubles.trouble("receiving jobs", "no jobs")
    told.troubles.trouble("delivering results", "no results")
    told.troubles.well("receiving jobs")
    assert told.warned == ["no jobs", "no results"]
    assert told.told == ["receiving jobs works again, after 0 s"]
