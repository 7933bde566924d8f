"""Reading an HDF5 file where a crash or a hang of its library costs nothing: in a fork."""

from __future__ import annotations

import faulthandler
import os
import resource
import select
import signal
import time
import warnings
from typing import NoReturn

from compute_node.recorded_values import Recorded, ValuesUnreadable, decode_hdf5
from compute_node.values_wire import decode_recorded, encode_recorded, encode_unreadable

__all__ = ["read_hdf5_apart"]

_READ_S = 60.0
_PIECE = 1 << 20


def read_hdf5_apart(data: bytes, *, within_s: float = _READ_S) -> Recorded:
    """Read an HDF5 file in a fork of this process; ValuesUnreadable.

    The library ends its process on some damaged files, and loops on others.
    """
    import h5py  # noqa: F401, PLC0415 - loaded here once, not in every fork

    read, write = os.pipe()
    with warnings.catch_warnings():
        # The child only decodes, and waits for no lock of a thread it does not have.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        _answer(data, write)
    os.close(write)
    text: bytes | None = None
    try:
        text = _whole(read, deadline=time.monotonic() + within_s)
    finally:
        os.close(read)
        if text is None:
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    if text is None:
        raise ValuesUnreadable(f"is an HDF5 file that takes more than {within_s:g} s to read")
    if not text:
        raise ValuesUnreadable("is a damaged HDF5 file: its library crashed on it")
    return decode_recorded(text)


def _answer(data: bytes, fd: int) -> NoReturn:
    """Be the child."""
    try:
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        try:
            text = encode_recorded(decode_hdf5(data))
        except ValuesUnreadable as error:
            text = encode_unreadable(str(error))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the parent shall know
            text = encode_unreadable(f"cannot be read as HDF5: {type(error).__name__}: {error}")
        rest = memoryview(text)
        while rest:
            rest = rest[os.write(fd, rest) :]
    finally:
        os._exit(0)


def _whole(fd: int, *, deadline: float) -> bytes | None:
    """Read to the end of a pipe; None when that took too long."""
    pieces: list[bytes] = []
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        piece = os.read(fd, _PIECE)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
    return None
