import os
import shutil
import subprocess

import pytest


@pytest.fixture(scope="session", autouse=True)
def recorder() -> None:
    """Skip at home where strace is missing or may not trace; fail in CI."""
    strace = shutil.which("strace")
    if strace is None:
        problem = "strace is missing: install it"
    else:
        answer = subprocess.run(
            [strace, "-f", "--seccomp-bpf", "-e", "trace=fsync", "-o", os.devnull, "true"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if answer.returncode == 0:
            return
        problem = f"strace may not trace here: {answer.stderr}"
    if os.environ.get("CI"):
        pytest.fail(problem)
    pytest.skip(problem)
