"""Containers by the names of their cgroups, on trees of regular files; what an engine lists is not shown twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.discovered.names import recognise, unescape
from runtime.discovered.scan import Scanner
from runtime.kernel.cgroupfs import Hierarchies, Mode, Mount
from runtime.model import Container, ContainerRef, Kind, State
from tui.claims import unclaimed

ID = "0123456789abcdef" * 4
POD = "11111111-2222-3333-4444-555555555555"


@pytest.mark.parametrize(
    ("path", "name", "cgroup", "kind"),
    [
        (f"/docker/{ID}", "docker-0123456789ab", f"/docker/{ID}", Kind.CONTAINER),
        (f"/docker/{ID}/init.scope", "docker-0123456789ab", f"/docker/{ID}", Kind.CONTAINER),
        (f"/docker/{ID}/docker/{ID[::-1]}", "docker-0123456789ab", f"/docker/{ID}", Kind.CONTAINER),
        (f"/system.slice/docker-{ID}.scope", "docker-0123456789ab", f"/system.slice/docker-{ID}.scope", Kind.CONTAINER),
        (f"/libpod_parent/libpod-{ID}", "podman-0123456789ab", f"/libpod_parent/libpod-{ID}", Kind.CONTAINER),
        (
            f"/machine.slice/libpod-{ID}.scope/container",
            "podman-0123456789ab",
            f"/machine.slice/libpod-{ID}.scope",
            Kind.CONTAINER,
        ),
        (f"/x/crio-{ID}.scope", "cri-o-0123456789ab", f"/x/crio-{ID}.scope", Kind.CONTAINER),
        (f"/x/cri-containerd-{ID}.scope", "containerd-0123456789ab", f"/x/cri-containerd-{ID}.scope", Kind.CONTAINER),
        ("/lxc.payload.web/system.slice/a.service", "web", "/lxc.payload.web", Kind.CONTAINER),
        ("/lxc/web", "web", "/lxc/web", Kind.CONTAINER),
        (
            r"/machine.slice/machine-my\x2dbox.scope/payload",
            "my-box",
            r"/machine.slice/machine-my\x2dbox.scope",
            Kind.CONTAINER,
        ),
        (
            "/machine.slice/systemd-nspawn@box.service",
            "box",
            "/machine.slice/systemd-nspawn@box.service",
            Kind.CONTAINER,
        ),
        (
            r"/machine.slice/machine-qemu\x2d3\x2dwin\x2d11.scope/libvirt/emulator",
            "win-11",
            r"/machine.slice/machine-qemu\x2d3\x2dwin\x2d11.scope",
            Kind.VM,
        ),
        ("/machine/qemu-1-db.libvirt-qemu", "db", "/machine/qemu-1-db.libvirt-qemu", Kind.VM),
        (f"/pytop-other/{ID}", "pytop-0123456789ab", f"/pytop-other/{ID}", Kind.CONTAINER),
    ],
)
def test_names(path: str, name: str, cgroup: str, kind: Kind) -> None:
    found = recognise(path)
    assert found is not None
    assert (found.name, found.cgroup, found.kind) == (name, cgroup, kind)
    assert found.found
    if ID in cgroup:
        assert found.id == ID


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/user.slice/user-1000.slice/session-1.scope",
        f"/libpod_parent/libpod-conmon-{ID}",
        f"/x/crio-conmon-{ID}.scope",
        "/lxc.monitor.web",
        "/system.slice/ssh.service",
        "/machine.slice",
    ],
)
def test_what_is_no_container(path: str) -> None:
    assert recognise(path) is None


@pytest.mark.parametrize(
    "above",
    [
        f"/kubepods/burstable/pod{POD}",
        f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{POD.replace('-', '_')}.slice",
    ],
)
def test_pods(above: str) -> None:
    for leaf in (ID, f"cri-containerd-{ID}.scope"):
        found = recognise(f"{above}/{leaf}")
        assert found is not None
        assert found.group is not None
        assert (found.id, found.group.name) == (ID, POD)


def test_services_only_on_request() -> None:
    assert recognise("/system.slice/ssh.service") is None
    found = recognise("/system.slice/ssh.service", services=True)
    assert found is not None
    assert (found.name, found.kind) == ("ssh", Kind.SERVICE)


def test_units_are_unescaped() -> None:
    assert unescape(r"a\x2db\x40c") == "a-b@c"


@pytest.mark.parametrize("mode", [Mode.V1, Mode.V2, Mode.HYBRID])
def test_a_tree(tmp_path: Path, mode: Mode) -> None:
    proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
    unified = cgroup if mode is Mode.V2 else cgroup / "unified"
    mounts = [unified] if mode is Mode.V2 else [cgroup / "pids", *([unified] if mode is Mode.HYBRID else [])]
    lines = "0::{0}\n" if mode is Mode.V2 else "1:pids:{0}\n0::{0}\n"

    def live(pid: int, path: str, *numbers: int) -> None:
        (proc / str(pid) / "ns").mkdir(parents=True)
        (proc / str(pid) / "cgroup").write_text(lines.format(path))
        (proc / str(pid) / "status").write_text("NSpid:\t" + "\t".join(map(str, (pid, *numbers))) + "\n")
        (proc / str(pid) / "stat").write_text(f"{pid} (x) S " + "1 " * 18 + "100 0\n")
        (proc / str(pid) / "cmdline").write_bytes(b"/bin/web\0--port\x001\0")
        for mount in mounts:
            (mount / path.strip("/")).mkdir(parents=True, exist_ok=True)
            with (mount / path.strip("/") / "cgroup.procs").open("a") as members:
                members.write(f"{pid}\n")

    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text(lines.format("/mine/" + ID))
    live(1, "/init.scope")
    live(10, f"/docker/{ID[::-1]}/inner", 7)
    live(11, f"/docker/{ID[::-1]}", 1)
    live(12, "/mine/" + ID)
    live(13, "/plain")
    hierarchies = Hierarchies(
        mode, {} if mode is Mode.V2 else {"pids": Mount(cgroup / "pids")}, None if mode is Mode.V1 else Mount(unified)
    )
    (one,) = Scanner(hierarchies=hierarchies, proc=proc).scan()  # and never what holds ourselves
    assert (one.what.id, one.pid, one.what.cgroup) == (ID[::-1], 11, f"/docker/{ID[::-1]}")
    assert one.command == ("/bin/web", "--port", "1")


def container(engine: str, identity: str, pid: int | None, found: str = "") -> Container:
    return Container(ContainerRef(engine, identity), "x", "", State.RUNNING, pid=pid, found=found)


def test_what_an_engine_lists_is_not_shown_twice() -> None:
    docker = container("docker", ID, 5)
    rows = [
        docker,
        container("found", ID, 5, "cgroup"),
        container("found", "b" * 64, 5, "pid"),
        container("found", "c" * 64, 6, "x"),
    ]
    everything = {row.ref: row for row in rows}
    assert [ref.id for ref in unclaimed(everything)] == [ID, "c" * 64]
    assert list(unclaimed(everything, wait=True)) == [docker.ref]


def test_an_id_in_a_namespace_claims_too() -> None:
    row = container("containerd", f"k8s.io/{ID}", None)
    found = container("found", ID, 9, "cgroup")
    assert list(unclaimed({row.ref: row, found.ref: found})) == [row.ref]
