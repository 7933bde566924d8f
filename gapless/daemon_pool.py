"""A pool of threads that keep no program from ending.

The threads of `concurrent.futures.ThreadPoolExecutor` are joined when the interpreter ends: a
request into a network that swallows everything would hold the program for minutes. What these
threads do is safe to break off at any point.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeVar

__all__ = ["DaemonPool"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Task:
    future: Future[Any]
    call: Callable[[], Any]

    def do(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            self.future.set_result(self.call())
        except BaseException as error:  # noqa: BLE001 - raised again to whoever asks for the result
            self.future.set_exception(error)


class DaemonPool(Executor):
    """Up to `threads` daemon threads, started when needed. Safe to use from several threads."""

    def __init__(self, threads: int, name: str) -> None:
        self._most = threads
        self._name = name
        self._lock = threading.Lock()
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []
        self._is_over = False

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Have `fn` called by a thread; RuntimeError once the pool was shut down."""
        task = _Task(Future(), functools.partial(fn, *args, **kwargs))
        with self._lock:
            if self._is_over:
                raise RuntimeError(f"the threads {self._name} were ended")
            self._tasks.put(task)
            if not self._idle.acquire(blocking=False) and len(self._threads) < self._most:
                name = f"{self._name}-{len(self._threads)}"
                thread = threading.Thread(target=self._work, name=name, daemon=True)
                self._threads.append(thread)
                thread.start()
        return task.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take nothing more, and end the threads after what was submitted, or is under way."""
        self._end(cancel=cancel_futures)
        if wait:
            for thread in self._threads:
                thread.join()

    def shut_down_within(self, wait_s: float) -> None:
        """Take nothing more, and wait up to `wait_s` for what was submitted; safe to repeat."""
        self._end(cancel=False)
        until = time.monotonic() + wait_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _end(self, *, cancel: bool) -> None:
        with self._lock:
            if cancel:
                self._cancel()
            self._is_over = True
            for _ in self._threads:
                self._tasks.put(None)

    def _cancel(self) -> None:
        while True:
            try:
                task = self._tasks.get_nowait()
            except Empty:
                return
            if task is not None:
                task.future.cancel()

    def _work(self) -> None:
        while True:
            try:
                task = self._tasks.get_nowait()
            except Empty:
                self._idle.release()
                task = self._tasks.get()
            if task is None:
                return
            task.do()
            # Not kept while waiting for the next one.
            del task
