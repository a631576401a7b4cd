"""Which container this program runs in, told by what its engine has mounted; `found` tests the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.errors import RefusedError
from runtime.kernel.self_protection import protect_own_container

ID = "0123456789abcdef" * 4
MOUNT = "711 700 8:1 {root} {target} rw,relatime - ext4 /dev/vda1 rw\n"


def proc(top: Path, *, cgroup: str = "0::/\n", mountinfo: str = "") -> Path:
    (top / "self").mkdir()
    (top / "self/cgroup").write_text(cgroup)
    (top / "self/mountinfo").write_text(mountinfo)
    return top


@pytest.mark.parametrize(
    ("cgroup", "root", "target"),
    [
        (f"4:memory:/docker/{ID}\n0::/\n", "/", "/"),
        (f"0::/system.slice/docker-{ID}.scope\n", "/", "/"),
        (f"0::/machine.slice/libpod-{ID}.scope/container\n", "/", "/"),
        ("0::/\n", f"/var/lib/docker/containers/{ID}/hostname", "/etc/hostname"),
        ("0::/\n", f"/containers/storage/overlay-containers/{ID}/userdata/hosts", "/etc/hosts"),
    ],
)
def test_its_id_stands_in_a_cgroups_path_or_in_the_source_of_a_file(
    tmp_path: Path, cgroup: str, root: str, target: str
) -> None:
    """Without pids: in a PID namespace of its own, with an engine's socket."""
    where = proc(tmp_path, cgroup=cgroup, mountinfo=MOUNT.format(root=root, target=target))
    with pytest.raises(RefusedError, match="this program runs in there"):
        protect_own_container("pause web", ID, proc=where)
    protect_own_container("pause web", ID[::-1], proc=where)


def test_directories_of_other_containers_that_are_mounted_are_not_its_own(tmp_path: Path) -> None:
    """A program that watches containers often has all of their files mounted. Nor is a part of an id one."""
    lines = MOUNT.format(root=f"/var/lib/docker/containers/{ID}", target="/data")
    lines += MOUNT.format(root=f"/x/{ID}{ID}", target="/etc/hosts")
    protect_own_container("pause web", ID, proc=proc(tmp_path, mountinfo=lines))
    protect_own_container("pause web", "web", proc=tmp_path)
    protect_own_container("pause web", ID, proc=tmp_path / "none")
