"""Services that never answer while a file is there: a network that swallows every packet."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

__all__ = ["Hole"]


class Hole:
    """Queues or blobs behind such a network; `close` asks nobody."""

    def __init__(self, service: Any, file: Path) -> None:
        self._service = service
        self._file = file

    def __getattr__(self, verb: str) -> Any:
        call = getattr(self._service, verb)
        if verb == "close":
            return call

        def ask(*arguments: Any, **named: Any) -> Any:
            if self._file.exists():
                threading.Event().wait()
            return call(*arguments, **named)

        return ask
