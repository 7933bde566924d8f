"""Which names files of a bundle may have: a rule for the packer and for the one who unpacks."""

__all__ = ["MARKER", "travels"]

MARKER = ".gapless-bundle.json"
"""The file by which an unpacked bundle is checked; no part of any bundle."""


def travels(name: str) -> bool:
    """Tell whether one part of a path means the same file on every machine."""
    drive = len(name) > 1 and name[1] == ":" and name[0].isalpha()
    return name.isprintable() and "\\" not in name and name not in {"", ".", ".."} and not drive
