"""What user code raised, as a record that can be read without the code that raised it."""

from __future__ import annotations

import errno
import hashlib
import traceback
from pathlib import PurePath
from types import TracebackType

from compute_node.output import Output
from gapless.results.block import ErrorRecord

__all__ = ["error_record", "exception_name", "free_memory"]

_MOST_TRACEBACK = 64 * 1024
_MOST_MESSAGE = 4 * 1024
_MOST_LINKS = 50
_TRANSIENT = (ConnectionError, TimeoutError, InterruptedError, BlockingIOError)
_TRANSIENT_CODES = (errno.EAGAIN, errno.EBUSY, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ESTALE)


def error_record(run: int, error: BaseException, output: Output) -> ErrorRecord:
    """Describe an exception that left user code, with its causes and notes.

    The first frame of the traceback is the worker's own and is left out.
    """
    start = error.__traceback__.tb_next if error.__traceback__ is not None else None
    shown = traceback.TracebackException(type(error), error, start, compact=True)
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return ErrorRecord(
        run=run,
        kind="exit" if isinstance(error, SystemExit) else "exception",
        type=exception_name(error),
        message=_cut(_message(error), _MOST_MESSAGE),
        traceback=_cut("".join(shown.format()), _MOST_TRACEBACK),
        cause="" if cause is None else _cut(f"{exception_name(cause)}: {_message(cause)}", 1024),
        fingerprint=_fingerprint(error, start),
        transient=isinstance(error, _TRANSIENT)
        or (isinstance(error, OSError) and error.errno in _TRANSIENT_CODES),
        output_head=output.head,
        output_tail=output.tail,
    )


def exception_name(error: BaseException) -> str:
    """Name an exception's type, with its module unless it is a builtin."""
    kind = type(error)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )


def free_memory(error: BaseException) -> None:
    """Let go of what the ended frames hold, if memory ran out: to describe it needs some.

    Only then: a generator that still lives loses its state with its frame.
    """
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain and len(chain) < _MOST_LINKS:
        chain.append(link)
        link = link.__cause__ or link.__context__
    if any(isinstance(each, MemoryError) for each in chain):
        for each in chain:
            traceback.clear_frames(each.__traceback__)


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as second:  # noqa: BLE001 - user code's __str__ may raise anything
        return f"(its __str__ raised {type(second).__qualname__})"


def _fingerprint(error: BaseException, start: TracebackType | None) -> str:
    """Name the place, not the values: equal for the same mistake in runs with other parameters."""
    parts = [exception_name(error)]
    place = start
    while place is not None:
        code = place.tb_frame.f_code
        parts.append(f"{PurePath(code.co_filename).name}:{code.co_name}:{place.tb_lineno}")
        place = place.tb_next
        if len(parts) > 200:
            break
    return hashlib.sha256("\n".join(parts).encode("utf-8", "replace")).hexdigest()[:16]


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n… {len(text) - most} characters left out …\n{text[-half:]}"
