"""Jobs and deliveries: what was sent is read, what cannot be read is told apart."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.declaration.errors import DamagedMessage, MessageError, NewerFormat
from gapless.declaration.messages import (
    Claim,
    Delivery,
    Job,
    Part,
    decode_delivery,
    decode_job,
    delivery_blocks,
    encode_delivery,
    encode_job,
    text_digest,
)
from gapless.declaration.runset import RunSet

GOLDEN = Path(__file__).parent / "golden"
SWEEP = "walk-0011aabb"
TEXTS = [base64.b64encode(block).decode() for block in (b"first block", b"second")]
PARTS = (
    Part(runs=RunSet.span(0, 10), epoch=0, digest=text_digest(TEXTS[0])),
    Part(runs=RunSet.of(20), epoch=1, digest=text_digest(TEXTS[1])),
)
DELIVERY = Delivery(sweep=SWEEP, delivery="d-1", node="node-a", parts=PARTS)
CLAIM = Claim(key="claims/d-2", sha256="ab" * 32, size_bytes=29)
JOBS = {
    "job-1-ranges.txt": Job(
        sweep=SWEEP,
        job="3f2a",
        runs=RunSet.from_ranges([(0, 10), (20, 21)]),
        epoch=2,
        deaths=1,
    ),
    "job-1-bitmap.txt": Job(
        sweep=SWEEP, job="3f2b", runs=RunSet.from_numbers(np.arange(0, 4000, 3, dtype=np.uint64))
    ),
}
DELIVERIES = {
    "delivery-1.txt": (DELIVERY, TEXTS),
    "delivery-1-claim.txt": (
        Delivery(sweep=SWEEP, delivery="d-2", node="node-a", parts=PARTS, claim=CLAIM),
        [],
    ),
}


@pytest.mark.parametrize("name", JOBS)
def test_a_job_of_the_first_release_is_read_and_written_for_ever(name: str) -> None:
    body = (GOLDEN / name).read_text()
    assert decode_job(body) == JOBS[name]
    assert encode_job(JOBS[name]) == body


@pytest.mark.parametrize("name", DELIVERIES)
def test_a_delivery_of_the_first_release_is_read_and_written_for_ever(name: str) -> None:
    body = (GOLDEN / name).read_text()
    delivery, texts = DELIVERIES[name]
    assert decode_delivery(body) == delivery
    assert encode_delivery(delivery, texts) == body


def test_the_blocks_of_a_delivery_come_back() -> None:
    body = encode_delivery(DELIVERY, TEXTS)
    assert delivery_blocks(decode_delivery(body), body.partition("\n")[2]) == [
        b"first block",
        b"second",
    ]
    assert DELIVERY.runs == RunSet.from_ranges([(0, 10), (20, 21)])


@given(position=st.integers(0, len("\n".join(TEXTS)) - 1), flip=st.integers(1, 127))
def test_a_damaged_block_is_noticed_wherever_the_damage_is(position: int, flip: int) -> None:
    texts = bytearray("\n".join(TEXTS), "ascii")
    texts[position] ^= flip
    with pytest.raises(DamagedMessage):
        delivery_blocks(DELIVERY, texts.decode("latin-1"))


@pytest.mark.parametrize("major", ["2", "17", "0"])
def test_another_major_version_is_told_apart_from_damage(major: str) -> None:
    job = (GOLDEN / "job-1-ranges.txt").read_text()
    with pytest.raises(NewerFormat, match=f"format {major}"):
        decode_job(job.replace("gapless.job/1", f"gapless.job/{major}").replace('"runs"', '"x"'))
    delivery = (GOLDEN / "delivery-1.txt").read_text()
    with pytest.raises(NewerFormat):
        decode_delivery(delivery.replace("gapless.delivery/1", f"gapless.delivery/{major}"))


def test_a_key_of_a_minor_addition_is_ignored() -> None:
    body = (GOLDEN / "job-1-ranges.txt").read_text()
    assert decode_job(body.replace('"epoch"', '"colour":[1],"epoch"')) == JOBS["job-1-ranges.txt"]


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no json",
        "{}",
        '{"format":"gapless.delivery/1"}',
        '{"format":"gapless.job/x"}',
        '{"format":"gapless.job/1","sweep":"s","job":"j","runs":[],"epoch":0,"deaths":0}',
        '{"format":"gapless.job/1","sweep":"s","job":"j","runs":[[0,1]],"epoch":-1,"deaths":0}',
        '{"format":"gapless.job/1","sweep":"s","job":"j","runs":[[3,1]],"epoch":0,"deaths":0}',
        '{"format":"gapless.job/1","sweep":"s","job":"j","runs":[[0,2],[1,3]],"epoch":0,"deaths":0}',
        (
            '{"format":"gapless.job/1","sweep":"s","job":"j","runs":[[0,9223372036854775807]],'
            '"epoch":0,"deaths":0}'
        ),
        '{"format":"gapless.job/1","sweep":"s","job":"j","runs":[[0,true]],"epoch":0,"deaths":0}',
        '{"format":"gapless.job/1","sweep":"s","job":"j","runs":"AAAA","epoch":0,"deaths":0}',
        '{"format":"gapless.job/1","sweep":"s","job":"j","runs":"!","epoch":0,"deaths":0}',
        '{"format":"gapless.job/1","sweep":"s","job":"j","runs":"é","epoch":0,"deaths":0}',
    ],
)
def test_what_is_no_job_is_damaged(body: str) -> None:
    with pytest.raises(DamagedMessage):
        decode_job(body)


@given(st.text(max_size=200))
def test_any_text_is_decoded_or_refused(text: str) -> None:
    for decode in (decode_job, decode_delivery):
        with pytest.raises(MessageError):
            decode(text)


def test_messages_are_ascii_or_not_written() -> None:
    with pytest.raises(ValueError, match="ASCII"):
        encode_job(Job(sweep="größe", job="j", runs=RunSet.of(1)))
