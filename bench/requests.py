"""How many requests a sweep costs: submit, node, aggregator and reconcile on an emulator of AWS.

Every program has clients of its own, which count what they send by botocore's events, retries
included. SQS bills each request, and a request of n x 64 KiB as n of them (Amazon SQS pricing).
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from aggregator.service import AggregatorSettings, run_aggregator
from bench.throughput import FUNCTION, SWEEP_FILE
from bench.whole_programs import scratch
from compute_node.agent import NodeSettings, run_node
from compute_node.rules import Remainders
from gapless.local.accounting import reconcile_once
from gapless.local.source import read_sweep
from gapless.local.submission import Wish, prepare, submit_prepared
from gapless.wiring import Home, open_home
from tests.services.servers import REGION, aws_environment, started_ministack

RUNS = int(os.environ.get("BENCH_RUNS", "1000000"))
SINGLE_RUNS = int(os.environ.get("BENCH_SINGLE_RUNS", "2000"))


@dataclass(frozen=True)
class Spent:
    """The requests of one program by operation: of SQS, of S3."""

    program: str
    sqs: Counter[str]
    s3: Counter[str]


def _node(home: Home, sweep_id: str) -> None:
    run_node(
        NodeSettings(
            node_id="bench-node",
            blobs=home.blobs,
            queues=home.queues(),
            sweep_ids=[sweep_id],
            workers=2,
            until_complete=True,
            work_folder=home.node_work_folder,
            lease_s=home.record.lease_s,
            receive_wait_s=home.pace.receive_wait_s,
            control_s=home.pace.control_s,
            completeness_s=home.pace.completeness_s,
            failures_s=home.pace.failures_s,
            remainders=Remainders.ANYBODYS,
        )
    )


def _aggregate(home: Home, sweep_id: str) -> None:
    run_aggregator(
        AggregatorSettings(
            aggregator_id="bench-aggregator",
            blobs=home.blobs,
            queues=home.queues(),
            sweep_ids=(sweep_id,),
            lease_s=home.record.lease_s,
            receive_wait_s=home.pace.receive_wait_s,
            poll_s=home.pace.control_s,
            until_complete=True,
        )
    )


def _sweep(folder: Path, bucket: str, *, runs: int, job_size: int | None) -> list[Spent]:
    import boto3

    where = {"LocationConstraint": REGION}
    boto3.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration=where)
    code = folder / bucket
    code.mkdir()
    (code / "trivial.py").write_text(FUNCTION)
    (code / "sweep.toml").write_text(SWEEP_FILE.format(replicates=max(1, runs // 10_000)))
    if runs < 10_000:
        text = (code / "sweep.toml").read_text().replace("[0, 100]", f"[0, {runs // 100}]")
        (code / "sweep.toml").write_text(text)
    url, state = f"s3://{bucket}/bench", folder / f"{bucket}-state"
    prepared = prepare(read_sweep(code / "sweep.toml"), Wish(job_size=job_size))
    person = open_home(url, state=state, create=True)
    report = submit_prepared(person, prepared)
    assert report.total == runs, report
    node, aggregator = (open_home(url, state=state, create=False) for _ in range(2))
    threads = [
        threading.Thread(target=_node, args=(node, report.sweep_id)),
        threading.Thread(target=_aggregate, args=(aggregator, report.sweep_id)),
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    submitted = _spent("submit", person)
    checker = open_home(url, state=state, create=False)
    assert reconcile_once(checker, report.sweep_id).complete
    return [
        submitted,
        _spent("node", node),
        _spent("aggregator", aggregator),
        _spent("reconcile", checker),
    ]


def _spent(program: str, home: Home) -> Spent:
    return Spent(program, Counter(home.sqs.requests), Counter(home.s3.requests))


def _print(what: str, runs: int, spent: list[Spent]) -> None:
    sqs = sum(each.sqs.total() for each in spent)
    s3 = sum(each.s3.total() for each in spent)
    print(f"{what}: {sqs:,} SQS requests ({sqs / runs:.4g} a run), {s3:,} S3 requests")
    for each in spent:
        shown = ", ".join(f"{name} {count:,}" for name, count in each.sqs.most_common())
        print(f"  {each.program:<11}SQS {each.sqs.total():>7,}  S3 {each.s3.total():>5,}  {shown}")


def main() -> None:
    with scratch() as folder, started_ministack(folder) as service:
        os.environ.update(aws_environment(service.url))
        os.environ["GAPLESS_CACHE"] = str(folder / "cache")
        packed = _sweep(folder, "packed", runs=RUNS, job_size=None)
        _print(f"{RUNS:,} runs packed into jobs", RUNS, packed)
        single = _sweep(folder, "single", runs=SINGLE_RUNS, job_size=1)
        _print(f"{SINGLE_RUNS:,} runs, each its own job", SINGLE_RUNS, single)


if __name__ == "__main__":
    main()
