"""The program of a worker process: `python -P -m compute_node.worker` (started by an agent only).

Arguments: the descriptors of the agent's and of the result pipe, the progress page, and the
agent's process id.
"""

from __future__ import annotations

import ctypes
import faulthandler
import fcntl
import os
import resource
import signal
import sys
from pathlib import Path

from compute_node.agent_pipe import AgentPipe
from compute_node.command_failures import TargetUnfit
from compute_node.command_process import adopt_orphans
from compute_node.command_target import load_command
from compute_node.errors import WorkerStartError
from compute_node.frames import Begin, Ready, Unfit, write_frame
from compute_node.progress_page import COMMAND_ITEM, open_page
from compute_node.user_target import UserFunction, load_function
from compute_node.worker_loop import RunLoop
from gapless.declaration.runs import Runs
from gapless.declaration.segments import Segment
from gapless.declaration.sweep import CommandTarget, Declaration, FunctionTarget

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1
_HIGH_FD = 200


def main(arguments: list[str]) -> int:
    """Serve one agent until it says to leave."""
    control, result, page_path, agent = arguments
    _die_with(int(agent))
    # gapless.run and gapless.submit refuse to start a sweep in here: see gapless/local/api.py.
    os.environ["GAPLESS_IN_WORKER"] = "1"
    control_fd, result_fd = _out_of_reach(int(control)), _out_of_reach(int(result))
    output_fd = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, _high_fd())
    faulthandler.enable(file=fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, _high_fd()))
    page = open_page(Path(page_path))
    pipe = AgentPipe(control_fd)
    pipe.start()
    begin = pipe.begin.get()
    try:
        folder = Path(begin.sweep_folder)
        declaration = Declaration.decode((folder / "sweep.json").read_bytes())
        if begin.memory_bytes is not None and isinstance(declaration.target, FunctionTarget):
            # A command gets the limit for itself.
            _limit_memory(begin.memory_bytes)
        paths = sorted((folder / "segments").iterdir(), key=lambda path: int(path.stem))
        segments = [Segment.decode(path.read_bytes()) for path in paths]
        runs = Runs(
            declaration, segments, lambda sha256: (folder / "objects" / sha256).read_bytes()
        )
        if begin.code_folder:
            os.chdir(begin.code_folder)
        match declaration.target:
            case FunctionTarget():
                function = load_function(
                    declaration.target,
                    code_folder=begin.code_folder,
                    names={*runs.names, *declaration.fixed},
                )
            case CommandTarget():
                function = _command(declaration, begin, stderr=output_fd, page=page)
    except (WorkerStartError, OSError, MemoryError) as error:
        write_frame(result_fd, Unfit(str(error) or type(error).__name__))
        return 1
    loop = RunLoop(
        begin=begin,
        runs=runs,
        fixed=dict(declaration.fixed),
        function=function,
        pipe=pipe,
        result_fd=result_fd,
        page=page,
        output_fd=output_fd,
    )
    pipe.attach(loop.emit_behind)
    write_frame(result_fd, Ready())
    try:
        loop.serve()
    except TargetUnfit as error:
        loop.give_up()
        write_frame(result_fd, Unfit(str(error)))
        return 1
    return 0


def _command(
    declaration: Declaration, begin: Begin, *, stderr: int, page: memoryview
) -> UserFunction:
    assert isinstance(declaration.target, CommandTarget)
    adopt_orphans()
    numbers = page.cast("Q")

    def started(pid: int) -> None:
        numbers[COMMAND_ITEM] = pid

    command = load_command(
        declaration.target,
        sweep=declaration.id,
        code_folder=begin.code_folder,
        run_folder=Path(begin.run_folder),
        files_folder=Path(begin.files_folder),
        stderr=stderr,
        memory_bytes=begin.memory_bytes,
        started=started,
    )
    return UserFunction(command, wants_seed=False, wants_run=True)


def _die_with(agent: int) -> None:
    """End when the agent ends. Where there is no such signal, the end of the pipe does it."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != agent:
        # It ended before the line above took hold.
        os._exit(1)


def _limit_memory(size_bytes: int) -> None:
    """Let allocations beyond this fail (MemoryError), as far as no lower limit holds already."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = size_bytes if hard == resource.RLIM_INFINITY else min(size_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _out_of_reach(fd: int) -> int:
    """Move a descriptor to where user code, and what it starts, does not touch it."""
    high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _high_fd())
    os.close(fd)
    return high


def _high_fd() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _HIGH_FD if soft == resource.RLIM_INFINITY or soft > 2 * _HIGH_FD else soft // 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
