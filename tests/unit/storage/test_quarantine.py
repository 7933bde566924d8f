import pytest

from gapless.declaration.errors import DamagedMessage, NewerFormat
from gapless.storage.memory import MemoryBlobs
from gapless.storage.quarantine import count_kept, keep_message, kept_messages, read_kept

QUEUE = "walk-0123abcd-jobs"


def test_a_kept_message_comes_back_with_its_queue_and_the_reason():
    blobs = MemoryBlobs()
    body = "line\nline \ud800 é"
    key = keep_message(blobs, queue=QUEUE, body=body, reason="no job: \ud800")
    assert key.startswith("quarantine/walk-0123abcd/")
    kept = read_kept(blobs, key)
    assert kept is not None
    assert (kept.queue, kept.body, kept.reason) == (QUEUE, body, "no job: \\ud800")


def test_a_message_kept_twice_is_one():
    blobs = MemoryBlobs()
    keys = {keep_message(blobs, queue=QUEUE, body="x", reason=why) for why in ("first", "second")}
    assert list(kept_messages(blobs, "walk-0123abcd")) == sorted(keys)
    assert count_kept(blobs, "walk-0123abcd") == 1
    assert read_kept(blobs, keys.pop()).reason == "first"


def test_a_message_that_was_taken_away_is_none():
    assert read_kept(MemoryBlobs(), "quarantine/s/x") is None


def test_what_is_no_kept_message_is_told():
    blobs = MemoryBlobs()
    blobs.put("quarantine/s/a", b"rubbish")
    blobs.put("quarantine/s/b", b'{"format":"gapless.quarantine/2"}\nx')
    with pytest.raises(DamagedMessage):
        read_kept(blobs, "quarantine/s/a")
    with pytest.raises(NewerFormat):
        read_kept(blobs, "quarantine/s/b")
