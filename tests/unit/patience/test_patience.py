import logging

import pytest
import stamina

from gapless.patience import patiently
from gapless.storage.errors import StorageError, StorageUnavailable


class Verb:
    def __init__(self, *errors):
        self.errors = list(errors)
        self.calls = 0

    def __call__(self):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


@pytest.fixture(autouse=True)
def patience_without_waits():
    with stamina.set_testing(True, attempts=4, cap=True):
        yield


def test_a_blip_is_not_seen(caplog):
    verb = Verb(StorageUnavailable("away"), StorageUnavailable("away"))
    with caplog.at_level(logging.DEBUG, logger="gapless.patience"):
        assert patiently(verb, on=StorageUnavailable) == "done"
    assert verb.calls == 3
    assert "trying again: away" in caplog.text


def test_what_lasts_is_raised_after_four_attempts():
    verb = Verb(*[StorageUnavailable(str(number)) for number in range(9)])
    with pytest.raises(StorageUnavailable, match="3"):
        patiently(verb, on=(StorageUnavailable,))
    assert verb.calls == 4


def test_what_will_not_pass_is_raised_at_once():
    verb = Verb(StorageError("never"))
    with pytest.raises(StorageError, match="never"):
        patiently(verb, on=StorageUnavailable)
    assert verb.calls == 1
