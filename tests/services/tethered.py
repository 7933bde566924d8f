"""Run a module as a program that ends when its standard input ends.

python tethered.py MODULE [ARGUMENTS]

A server started so, with a pipe for its input, cannot outlive the tests: the pipe ends with the
process that holds its other end, however that one ends. Runs under any Python, without our code.
"""

import os
import runpy
import sys
import threading


def _end_with_the_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_input, daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
