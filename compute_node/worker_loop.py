"""The loop of a worker: runs in, blocks out.

Two threads. The main thread calls user code, a run at a time. The pipe's thread reads what the
agent sends, sends blocks that would wait behind a long run, and ends the whole process group as
soon as the agent is gone. `_lock` guards the block being filled and the result pipe.
"""

from __future__ import annotations

import base64
import copy
import itertools
import os
import threading
import time
from pathlib import Path
from typing import Any

from compute_node import peak_memory
from compute_node.agent_pipe import AgentPipe
from compute_node.attempts import Attempt
from compute_node.calls import plan_calls
from compute_node.command_failures import CommandFailure, TargetUnfit
from compute_node.frames import Begin, ChunkDone, Leave, Made, Work, write_frame
from compute_node.full_output import RunFile, keep_full_output
from compute_node.lost_runs import attempt_record
from compute_node.output import Capture, Output, read_open
from compute_node.run_api import Run, clear_folder, values_set
from compute_node.user_errors import error_record, exception_name, free_memory
from compute_node.user_target import UserFunction
from gapless.declaration.messages import text_digest
from gapless.declaration.runs import Runs
from gapless.declaration.runset import RunSet
from gapless.results.block import AttemptRecord, block_bytes, encode_block
from gapless.results.block_builder import BlockBuilder
from gapless.results.outcome import Outcome

__all__ = ["RunLoop"]

_EMIT_AFTER_S = 0.25
_EMIT_BEHIND_S = 1.0
_EMIT_BYTES = 500_000
_LOOK_AFTER_S = 2e-5
"""How long what others than Python print (libraries, child processes) may go unnoticed: less than
starting a process takes, more than a trivial run."""


class RunLoop:
    """Calls the user's function for chunk after chunk."""

    def __init__(
        self,
        *,
        begin: Begin,
        runs: Runs,
        fixed: dict[str, Any],
        function: UserFunction,
        pipe: AgentPipe,
        result_fd: int,
        page: memoryview,
        output_fd: int,
    ) -> None:
        self._begin = begin
        self._runs = runs
        self._fixed = fixed
        self._fixed_mutable = any(isinstance(value, list | dict) for value in fixed.values())
        self._function = function
        self._pipe = pipe
        self._result_fd = result_fd
        self._numbers = page.cast("Q")
        self._times = page.cast("d")
        self._output_fd = output_fd
        self._capture = Capture(output_fd)
        self._folder = Path(begin.run_folder)
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._builder: BlockBuilder | None = None
        self._chunk = -1
        self._epoch = 0
        self._rows: list[int] = []
        self._files: list[RunFile] = []
        self._kept_numbers = itertools.count(1)
        self._measure_at = 1
        self._emitted_at = time.monotonic()
        os.register_at_fork(after_in_child=self._forked)

    def serve(self) -> None:
        """Work until the agent says to leave."""
        self._capture.empty()
        while True:
            frame = self._pipe.work.get()
            if isinstance(frame, Leave):
                return
            self._do(frame)

    def emit_behind(self) -> None:
        """Send what is done while a run takes long (called by the pipe's thread)."""
        with self._lock:
            if self._rows and time.monotonic() - self._emitted_at > _EMIT_BEHIND_S:
                self._emit()

    def give_up(self) -> None:
        """Send what is done, in the middle of a chunk; the run that is going on was not done."""
        self._numbers[0] = 0
        with self._lock:
            if self._rows:
                self._emit()

    def _do(self, work: Work) -> None:
        retries: list[Attempt] = []
        if self._pipe.withdrawn_to < work.chunk:
            with self._lock:
                self._chunk, self._epoch = work.chunk, work.epoch
                self._builder = self._new_builder()
                self._emitted_at = time.monotonic()
            self._call_all(work, retries)
            self._numbers[0] = 0
        with self._lock:
            if self._rows:
                self._emit()
            write_frame(self._result_fd, ChunkDone(chunk=work.chunk, retries=tuple(retries)))

    def _call_all(  # noqa: C901, PLR0912, PLR0915 - one loop, unfolded: a call costs as much as it
        self, work: Work, retries: list[Attempt]
    ) -> None:
        """Call the function for every run: what stands in here costs every run."""
        numbers = RunSet.from_wire(work.runs).to_array()
        wants_run = self._function.wants_run
        block = self._runs.block(numbers)
        seeds = block.seeds.tolist()
        copied = self._fixed_mutable or any(
            column.kind == "json" for column in block.parameters.values()
        )
        lists = {name: column.tolist() for name, column in block.parameters.items()}
        if self._function.wants_seed:
            lists["seed"] = seeds
        calling = plan_calls(
            self._function, lists, self._fixed, count=len(seeds), named=copied or wants_run
        )
        call, names, fixed = calling.call, calling.names, calling.fixed
        by_position, seed_apart = calling.by_position, calling.seed_apart
        replicates = block.replicates.tolist() if wants_run else ()

        pipe, chunk = self._pipe, work.chunk
        page_numbers, page_times = self._numbers, self._times
        acquire, release = self._lock.acquire, self._lock.release
        monotonic, lseek, fd, current = time.monotonic, os.lseek, self._output_fd, os.SEEK_CUR
        flush, raw = self._capture.flush_stdout, self._capture.raw
        looked_at, look_after = 0.0, _LOOK_AFTER_S
        done, emit_after = self._rows, _EMIT_AFTER_S
        wall = time.time() - monotonic()
        earlier = work.earlier
        attempt = 1
        page_numbers[1] = attempt
        run: Run | None = None
        index = -1

        for number, row, seed in zip(numbers.tolist(), calling.rows, seeds, strict=True):
            if pipe.withdrawn_to >= chunk:
                return
            if earlier:
                attempt = 1 + sum(each.run == number for each in earlier)
                page_numbers[1] = attempt
            if not by_position:
                arguments = fixed | dict(zip(names, row, strict=True))
                if copied:
                    # A list that user code changes must not change for the runs after it.
                    arguments = copy.deepcopy(arguments)
                if wants_run:
                    index += 1
                    run = Run(
                        number=number,
                        replicate=replicates[index],
                        attempt=attempt,
                        seed=seed,
                        parameters={key: arguments[key] for key in arguments if key != "seed"},
                        folder=self._folder / str(number),
                    )
                    arguments["run"] = run
            started = monotonic()
            page_times[2] = started
            page_numbers[0] = number + 1
            try:
                if not by_position:
                    value = call(**arguments)
                elif seed_apart:
                    value = call(*row, seed=seed)
                else:
                    value = call(*row)
            except BaseException as error:  # noqa: BLE001 - user code may raise anything
                ended = monotonic()
                self._failed(
                    work, number, attempt, wall + started, ended - started, error, run, retries
                )
                flush, raw = self._capture.flush_stdout, self._capture.raw
            else:
                ended = monotonic()
                if type(value) is not dict:
                    value = {} if value is None else _named(value)
                if run is not None:
                    value = {**values_set(run), **value}
                acquire()
                try:
                    if earlier:
                        self._add_late(
                            work, number, attempt, wall + started, ended - started, value
                        )
                    else:
                        self._builder.add_ok(number, wall + started, ended - started, value)  # type: ignore[union-attr]
                    done.append(number)
                finally:
                    release()
            page_numbers[0] = 0
            if run is not None:
                clear_folder(run)
                run = None
            if raw.touched or ended - looked_at > look_after:
                if raw.touched:
                    try:
                        flush()
                    except (ValueError, OSError):
                        self._capture.restore()
                        flush, raw = self._capture.flush_stdout, self._capture.raw
                        flush()
                    raw.touched = False
                looked_at = ended
                if lseek(fd, 0, current):
                    self._capture.take()
                if ended - self._emitted_at >= emit_after or len(done) >= self._measure_at:
                    with self._lock:
                        self._emit_if_due(ended)

    def _failed(
        self,
        work: Work,
        number: int,
        attempt: int,
        started_s: float,
        duration_s: float,
        error: BaseException,
        run: Run | None,
        retries: list[Attempt],
    ) -> None:
        if isinstance(error, TargetUnfit):
            raise error
        outcome = "failed"
        kept: RunFile | None = None
        if isinstance(error, CommandFailure):
            self._capture.empty()
            name, outcome, kept = error.exit, error.outcome, error.full_output
            peak_memory_bytes = error.peak_memory_bytes
            record = error.record(number)
        else:
            output, kept = self._printed(number, attempt)
            name = exception_name(error)
            free_memory(error)
            peak_memory_bytes = peak_memory.of_this_process()
            record = error_record(number, error, output)
        # The frames of user code hold its data: let go before the next run.
        error.__traceback__ = None
        retry = work.retry_lost if outcome == "lost" else work.retry_failed
        if retry and attempt < work.attempts:
            if kept is not None:
                Path(kept.path).unlink(missing_ok=True)
            retries.append(
                Attempt(
                    run=number,
                    number=attempt,
                    outcome=outcome,
                    exit=name,
                    started_s=started_s,
                    duration_s=duration_s,
                    peak_memory_bytes=peak_memory_bytes,
                )
            )
            return
        with self._lock:
            assert self._builder is not None
            self._builder.add(
                number,
                outcome=Outcome[outcome.upper()],
                complete=False,
                attempt=attempt,
                started_s=started_s,
                duration_s=duration_s,
                values=values_set(run) if run is not None else None,
                error=record,
                attempts=[
                    *self._records(work, number),
                    AttemptRecord(
                        run=number,
                        number=attempt,
                        node=self._begin.node,
                        started_s=started_s,
                        duration_s=duration_s,
                        outcome=Outcome[outcome.upper()],
                        exit=name,
                        peak_memory=peak_memory_bytes,
                    ),
                ],
            )
            self._rows.append(number)
            if kept is not None:
                self._files.append(kept)

    def _printed(self, number: int, attempt: int) -> tuple[Output, RunFile | None]:
        """Take what the run printed, and keep all of it if it is much."""
        self._capture.flush()
        output = read_open(self._output_fd)
        kept = keep_full_output(
            [("output", self._output_fd)],
            output,
            run=number,
            attempt=attempt,
            folder=Path(self._begin.files_folder),
            name=f"{self._folder.name}-{next(self._kept_numbers)}.gz",
        )
        self._capture.empty()
        self._capture.restore()
        return output, kept

    def _add_late(
        self,
        work: Work,
        number: int,
        attempt: int,
        started_s: float,
        duration_s: float,
        values: dict[str, Any],
    ) -> None:
        """Record a run that ended well after earlier attempts."""
        assert self._builder is not None
        self._builder.add(
            number,
            outcome=Outcome.OK,
            attempt=attempt,
            started_s=started_s,
            duration_s=duration_s,
            values=values,
            attempts=self._records(work, number),
        )

    def _records(self, work: Work, number: int) -> list[AttemptRecord]:
        return [
            attempt_record(each, node=self._begin.node)
            for each in work.earlier
            if each.run == number
        ]

    def _emit_if_due(self, now: float) -> None:
        rows = len(self._rows)
        if not rows:
            self._emitted_at = now
            return
        size = 0
        if rows >= self._measure_at:
            assert self._builder is not None
            size = self._builder.size_estimate_bytes
            # Asked again when half of what is left would be filled by rows like these.
            room = max(0, _EMIT_BYTES - size) // (2 * max(1, size // rows))
            self._measure_at = rows + max(1, min(4096, room))
        if size >= _EMIT_BYTES or now - self._emitted_at >= _EMIT_AFTER_S:
            self._emit()

    def _emit(self) -> None:
        """Send the block that was filled and begin another; the lock is held."""
        assert self._builder is not None
        block = self._builder.build()
        text = base64.b64encode(encode_block(block))
        now = time.monotonic()
        frame = Made(
            chunk=self._chunk,
            epoch=self._epoch,
            runs=RunSet.from_numbers(self._rows).to_wire(),
            digest=text_digest(text.decode("ascii")),
            busy_s=now - self._emitted_at,
            opened_bytes=block_bytes(block),
            files=tuple(self._files),
        )
        write_frame(self._result_fd, frame, text)
        self._rows.clear()
        self._files.clear()
        self._measure_at = 1
        self._emitted_at = time.monotonic()
        self._builder = self._new_builder()

    def _new_builder(self) -> BlockBuilder:
        return BlockBuilder(self._epoch, self._begin.node, self._begin.code)

    def _forked(self) -> None:
        """In a child that user code forked: it must not speak for this worker."""
        self._pipe.withdrawn_to = 2**63
        self._numbers = memoryview(bytearray(64)).cast("Q")
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, self._result_fd, inheritable=False)
        os.close(null)


def _named(value: Any) -> dict[str, Any]:
    """Give the values of what is no plain dict: a mapping's own names, else one value."""
    return dict(value) if isinstance(value, dict) else {"result": value}
