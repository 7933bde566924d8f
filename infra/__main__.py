"""Print the template or a unit: `python -m infra cloudformation.yaml > cloudformation.yaml`."""

from __future__ import annotations

import sys

from infra import CLOUDFORMATION, UNITS, file_text

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Print the file that the only argument names; give the exit status."""
    names = (CLOUDFORMATION, *UNITS)
    if len(arguments) != 1 or arguments[0] not in names:
        sys.stderr.write(f"usage: python -m infra NAME, with one of {', '.join(names)}\n")
        return 2
    sys.stdout.write(file_text(arguments[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
