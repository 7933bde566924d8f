"""A copy of the commit under trial, in a folder that git passes over."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Copy", "copy_of", "unsaved"]


@dataclass(frozen=True, slots=True)
class Copy:
    """A clone at one commit; `commit_id` says with a `+` when files were laid over it."""

    root: Path
    commit_id: str


def unsaved(checkout: Path) -> list[str]:
    """List what differs from the commit that is checked out."""
    return _git(checkout, "status", "--porcelain").splitlines()


def copy_of(checkout: Path, cache: Path, *, overlay: list[Path]) -> Copy:
    """Clone what is checked out; lay files that are not committed yet over it."""
    commit_id = _git(checkout, "rev-parse", "HEAD").strip()
    root = cache / "copy"
    if root.exists():
        shutil.rmtree(root)
    _git(checkout, "clone", "--quiet", "--local", "--no-checkout", str(checkout), str(root))
    _git(root, "checkout", "--quiet", "--detach", commit_id)
    for each in overlay:
        source, target = checkout / each, root / each
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    changed = _git(root, "status", "--porcelain", "--untracked-files=all")
    return Copy(root, commit_id + (f"+{_digest(root, changed)}" if changed else ""))


def _digest(root: Path, changed: str) -> str:
    digest = hashlib.sha256()
    for line in changed.splitlines():
        digest.update(line.encode())
        digest.update((root / line[3:]).read_bytes())
    return digest.hexdigest()[:8]


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout
