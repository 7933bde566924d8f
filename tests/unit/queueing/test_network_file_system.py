from __future__ import annotations

from pathlib import Path

import pytest

from queueing.errors import QueueError
from queueing.network_file_system import file_system_of, refuse_network_file_system
from queueing.sqlite import SqliteQueues


def mounts(kind: str, *, point: str = "/data/shared", options: str = "rw") -> str:
    return (
        "21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
        f"36 21 0:33 / {point} rw,relatime shared:2 master:1 - {kind} server:/export {options}\n"
        "a line of a later kernel that nobody can read\n"
    )


@pytest.mark.parametrize(
    "kind",
    [
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "9p",
        "fuse.sshfs",
        "lustre",
        "ceph",
        "beegfs",
        "fuse.mount-s3",
    ],
)
def test_a_network_file_system_is_refused_and_the_way_out_named(kind: str) -> None:
    with pytest.raises(QueueError, match=r"--state DIR") as caught:
        refuse_network_file_system(Path("/data/shared/home/queue.db"), lambda: mounts(kind))
    assert kind in str(caught.value)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuse.ext4"])
def test_a_local_file_system_is_taken(kind: str) -> None:
    refuse_network_file_system(Path("/data/shared/home/queue.db"), lambda: mounts(kind))


def test_9p_of_this_machines_own_hypervisor_is_taken() -> None:
    path = Path("/data/shared/queue.db")
    refuse_network_file_system(path, lambda: mounts("9p", options="rw,trans=virtio,version=9p2000"))
    with pytest.raises(QueueError, match="9p"):
        refuse_network_file_system(path, lambda: mounts("9p", options="rw,trans=tcp"))


def test_the_deepest_mount_counts() -> None:
    text = mounts("nfs") + "40 36 0:40 / /data/shared/local rw - ext4 /dev/vdb rw\n"
    assert file_system_of(Path("/data/shared/local/queue.db"), lambda: text)[0] == "ext4"
    assert file_system_of(Path("/data/shared/locally/queue.db"), lambda: text)[0] == "nfs"
    assert file_system_of(Path("/data/sharedelse/queue.db"), lambda: text)[0] == "ext4"


def test_the_later_of_two_mounts_on_one_point_counts() -> None:
    text = mounts("ext4") + "41 36 0:41 / /data/shared rw - nfs4 server:/x rw\n"
    assert file_system_of(Path("/data/shared/queue.db"), lambda: text)[0] == "nfs4"


def test_a_mount_point_with_blanks_is_understood() -> None:
    text = mounts("nfs", point="/data/my\\040share")
    assert file_system_of(Path("/data/my share/queue.db"), lambda: text)[0] == "nfs"


def test_a_link_onto_a_network_file_system_is_seen_through(tmp_path: Path) -> None:
    target = tmp_path / "shared"
    target.mkdir()
    (tmp_path / "home").symlink_to(target)
    text = mounts("nfs", point=str(target.resolve()))
    assert file_system_of(tmp_path / "home" / "queue.db", lambda: text)[0] == "nfs"


def test_what_cannot_be_told_is_taken() -> None:
    refuse_network_file_system(Path("/data/queue.db"), lambda: "")


def test_a_queue_on_a_network_file_system_is_refused_before_anything_is_made(
    tmp_path: Path,
) -> None:
    text = mounts("nfs", point=str(tmp_path.resolve()))
    with pytest.raises(QueueError, match="network file system"):
        SqliteQueues(tmp_path / "home" / "queue.db", mountinfo=lambda: text)
    assert list(tmp_path.iterdir()) == []
