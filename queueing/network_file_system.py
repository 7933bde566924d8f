"""Tell a network file system, on which SQLite's WAL mode and flock cannot be trusted.

WAL needs memory shared by all its users (https://sqlite.org/wal.html: "WAL does not work over a
network filesystem"), so queue.db and ledger.db lie on a disk of this machine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from queueing.errors import QueueError

__all__ = ["file_system_of", "read_mountinfo", "refuse_network_file_system"]

_NETWORK = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "ncpfs", "afs", "coda", "davfs"),
        *("lustre", "gpfs", "beegfs", "beegfs_nodev", "ceph", "glusterfs", "gfs", "gfs2", "ocfs2"),
        *("orangefs", "pvfs2", "panfs", "wekafs", "quobyte", "acfs", "prl_fs", "vboxsf"),
    }
)
_NETWORK_FUSE = frozenset(
    {
        *("sshfs", "s3fs", "mount-s3", "goofys", "gcsfuse", "rclone", "glusterfs", "ceph-fuse"),
        *("ceph", "juicefs", "davfs2", "davfs", "curlftpfs", "cifs", "smbnetfs", "blobfuse"),
        *("blobfuse2", "moosefs", "mfs", "seaweedfs", "weed", "lustre", "beegfs", "gpfs", "hdfs"),
    }
)
# A 9p mount whose server is this machine's own hypervisor is no network.
_LOCAL_9P = re.compile(r"(?:^|,)trans=(?:virtio|xen)(?:,|$)")
_OCTAL = re.compile(r"\\([0-7]{3})")


def read_mountinfo() -> str:
    """Read what is mounted (Linux: proc(5), /proc/self/mountinfo); "" where there is no such."""
    try:
        return Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


def file_system_of(path: Path, read: Callable[[], str] = read_mountinfo) -> tuple[str, str]:
    """Give (type, options) of the file system that holds `path`, which may not exist yet.

    ("", "") when it cannot be told.
    """
    wanted = os.path.realpath(path)
    found, depth = ("", ""), -1
    for line in read().splitlines():
        first, separator, second = line.partition(" - ")
        left, right = first.split(" "), second.split(" ")
        if not separator or len(left) < 5 or len(right) < 3:
            continue
        point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), left[4])
        # A later mount on the same point hides the earlier one: >=.
        if _holds(point, wanted) and len(point) >= depth:
            found, depth = (right[0], right[2]), len(point)
    return found


def refuse_network_file_system(path: Path, read: Callable[[], str] = read_mountinfo) -> None:
    """Raise QueueError when `path` would lie on a network file system."""
    kind, options = file_system_of(path, read)
    if not _is_network(kind, options):
        return
    raise QueueError(
        f"{path} lies on a network file system ({kind}), where SQLite can lose what it wrote; "
        "results may stay there, the queue and the ledger may not: name a folder on a disk of "
        "this machine with --state DIR"
    )


def _holds(point: str, path: str) -> bool:
    return point in ("/", path) or path.startswith(point + "/")


def _is_network(kind: str, options: str) -> bool:
    if kind == "9p":
        return _LOCAL_9P.search(options) is None
    if kind.startswith("fuse."):
        return kind.removeprefix("fuse.") in _NETWORK_FUSE
    return kind in _NETWORK
