"""What is submitted from this machine: see gapless/local/submission.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from pathlib import Path
from gapless.local.submission import own_output
found = own_output()
Path(sys.argv[1]).write_text(repr(sorted(found)))
"""


def own_output_of_a_program(tmp_path: Path, shell: str) -> list[tuple[int, int]]:
    """Start a program by a line of shell, and give what it takes for its own output."""
    told = tmp_path / "told"
    subprocess.run(
        ["sh", "-c", f'"$0" "$@" {shell}', sys.executable, "-c", PROGRAM, str(told)],
        cwd=tmp_path,
        check=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    found: list[tuple[int, int]] = eval(told.read_text())
    return found


def identity(path: Path) -> tuple[int, int]:
    return path.stat().st_dev, path.stat().st_ino


def test_a_program_knows_the_files_its_output_goes_to(tmp_path: Path) -> None:
    found = own_output_of_a_program(tmp_path, "> out.txt 2> err.txt")
    assert set(found) == {identity(tmp_path / "out.txt"), identity(tmp_path / "err.txt")}
    found = own_output_of_a_program(tmp_path, "> both.txt 2>&1")
    assert found == [identity(tmp_path / "both.txt")]


def test_output_that_is_no_file_or_closed_is_none(tmp_path: Path) -> None:
    assert own_output_of_a_program(tmp_path, "2>&1 | cat") == []
    assert own_output_of_a_program(tmp_path, ">&- 2>&-") == []
