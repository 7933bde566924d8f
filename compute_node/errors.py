"""Errors of the node."""

from gapless.errors import GaplessError

__all__ = ["FrameError", "NodeError", "WorkerStartError"]


class NodeError(GaplessError):
    """The node cannot go on."""


class FrameError(NodeError):
    """What came through a worker's pipe is no frame: the process that wrote it is not trusted."""


class WorkerStartError(NodeError):
    """A worker process could not be started."""
