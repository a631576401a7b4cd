# ruff: noqa: ASYNC240  (the tests look at the engine from outside)
"""Known ways out of a container, each tried against the embedded engine. None may work."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.engines.embedded.sandbox import rootfs
from runtime.engines.embedded.state.store import RecordStore
from runtime.errors import InvalidError, KernelError, PytopError
from runtime.kernel import safe_open, syscalls
from runtime.model import Bind, ContainerSpec, State
from tests.integration.embedded import instance, named, output, processes_of, run, sh
from tests.waiting import until

pytestmark = pytest.mark.root

PYTHON = (Bind(sys.base_prefix, sys.base_prefix, True), Bind(sys.prefix, sys.prefix, True))


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[EmbeddedEngine]:
    async with instance(tmp_path) as made:
        yield made


async def test_cve_2019_5736_engine_processes_cannot_be_overwritten(engine: EmbeddedEngine) -> None:
    ref = await run(engine, "sleep", "100")
    pid = (await engine.get(ref.id)).pid
    assert pid is not None
    everyone = [*processes_of(engine.config), pid]
    assert len(named(engine.config, "pytop-shim")) == 1
    assert len(everyone) >= 3
    held = []
    for process in everyone:
        assert os.readlink(f"/proc/{process}/exe").startswith("/memfd:pytop-python")
        with pytest.raises(OSError) as refused:
            os.open(f"/proc/{process}/exe", os.O_RDWR)
        assert refused.value.errno in (errno.ETXTBSY, errno.EPERM)
        held.append(os.open(f"/proc/{process}/exe", os.O_RDONLY))
    await engine.destroy()  # nobody executes it any more, but a descriptor of it was kept, as the attack does
    await until(lambda: not processes_of(engine.config), what="nothing of it runs")
    for fd in held:
        writable = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
        with pytest.raises(PermissionError):
            os.write(writable, b"#!")
        os.close(writable)
        os.close(fd)


async def test_cve_2019_5736_from_inside(engine: EmbeddedEngine) -> None:
    code = "import os\ntry:\n open('/proc/1/exe', 'r+b').write(b'x')\nexcept OSError as e:\n print(e.errno)"
    ref = await run(engine, sys.executable, "-c", code, binds=PYTHON)
    assert await output(engine, ref) in ([str(errno.EACCES)], [str(errno.EPERM)], [str(errno.ETXTBSY)])


async def test_cve_2024_21626_no_descriptor_of_the_host_is_inside(engine: EmbeddedEngine) -> None:
    ref = await sh(engine, "ls -l /proc/self/fd | wc -l; readlink /proc/self/cwd; exec sleep 100")
    lines = engine.logs(ref.id, follow=True)
    assert [(await anext(lines)).data for _ in range(2)] == [
        b"5",
        b"/",
    ]  # a total; 0, 1, 2 and the directory that ls reads
    init = (await engine.get(ref.id)).pid
    for fd in os.listdir(f"/proc/{init}/fd"):
        assert not stat.S_ISDIR(os.stat(f"/proc/{init}/fd/{fd}").st_mode)
    tries = (
        "for f in /proc/1/fd/* /proc/1/cwd /proc/1/root /proc/1/exe; do readlink $f; cat $f; ls $f/; done 2>/dev/null"
    )
    assert await output(engine, await sh(engine, tries)) == []


@pytest.mark.parametrize("number", [3, 5, 7, 8, 9, 10, 12])
async def test_cve_2024_21626_working_directory_by_descriptor(engine: EmbeddedEngine, number: int) -> None:
    path = f"/proc/self/fd/{number}"
    ref = await engine.create(ContainerSpec("host", ("/bin/sh", "-c", "ls ../../.."), workdir=path, network="none"))
    with pytest.raises(PytopError):
        await engine.start(ref.id)
    assert (await engine.get(ref.id)).state is State.CREATED


async def test_cve_2024_21626_program_by_descriptor(engine: EmbeddedEngine) -> None:
    for number in range(3, 12):
        ref = await engine.create(ContainerSpec("host", (f"/proc/self/fd/{number}/../bin/sh",), network="none"))
        with pytest.raises(InvalidError):
            await engine.start(ref.id)


def test_cve_2025_31133_and_52565_a_mask_must_be_the_null_device(tmp_path: Path) -> None:
    with open("/dev/null", "rb") as null:
        rootfs.check_null(null.fileno())
    (tmp_path / "null").write_text("")
    for path in (tmp_path / "null", Path("/dev/zero"), Path("/proc/version")):
        fd = os.open(path, os.O_PATH)
        with pytest.raises(KernelError, match="mask"):
            rootfs.check_null(fd)
        os.close(fd)


async def test_masks_hold(engine: EmbeddedEngine) -> None:
    script = (
        "for f in kcore keys timer_list interrupts; do [ -e /proc/$f ] && cat /proc/$f 2>&1 | wc -c; done | sort -u;"
        "ls /sys/firmware /proc/acpi /proc/scsi 2>/dev/null | grep -v : | tr -d '\\n' | wc -c;"
        "for f in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/sys/kernel/hostname; do"
        " (echo x > $f) 2>/dev/null || echo denied; done;"
        "mount -t tmpfs x /mnt 2>/dev/null || echo denied; mknod /root/sda b 8 0 2>/dev/null || echo denied;"
        "mkdir /sys/fs/cgroup/pids/x 2>/dev/null || mkdir /sys/fs/cgroup/x 2>/dev/null || echo denied"
    )
    ref = await sh(engine, script)
    assert await output(engine, ref) == ["0", "0", *["denied"] * 6]


def _prepare_layer(engine: EmbeddedEngine, container_id: str, name: str, target: str) -> None:
    """Give the container's writable layer a symlink, as a hostile image would have it."""
    upper = engine.config.data(container_id) / "upper"
    upper.mkdir(parents=True, exist_ok=True)
    place = upper / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


@pytest.mark.parametrize("name", ["dev", "proc", "sys"])
@pytest.mark.parametrize("target", ["/tmp", "../../../../etc", "/proc/self/fd"])
async def test_cve_2026_41579_and_2025_52881_mount_points_that_are_symlinks(
    engine: EmbeddedEngine, name: str, target: str
) -> None:
    ref = await engine.create(ContainerSpec("host", ("true",), network="none"))
    _prepare_layer(engine, ref.id, name, target)
    before = sorted(os.listdir("/etc"))
    with pytest.raises(InvalidError, match=f"/{name}"):
        await engine.start(ref.id)
    assert sorted(os.listdir("/etc")) == before
    assert (await engine.get(ref.id)).state is State.CREATED


async def test_a_user_that_is_minus_one_to_the_kernel_does_not_run_as_root(engine: EmbeddedEngine) -> None:
    for user in ("4294967295", "-1", "root:4294967295"):
        with pytest.raises(InvalidError, match="not the number of a user"):
            await sh(engine, "id", user=user)
    for line in ("evil:x:4294967295:1::/:", "evil:x:1:4294967295::/:"):
        ref = await engine.create(ContainerSpec("host", ("id",), network="none", user="evil"))
        accounts_file = engine.config.data(ref.id) / "upper/etc/passwd"
        accounts_file.parent.mkdir(parents=True)
        accounts_file.write_text(f"{line}\n")
        with pytest.raises(InvalidError, match=r"not the number of a user.*/etc/passwd"):
            await engine.start(ref.id)
        assert (await engine.get(ref.id)).state is State.CREATED


@pytest.mark.parametrize(
    "target", ["/usr/../proc", "/./proc", "/etc/mtab", "/usr/../sys/fs", "/srv/../dev/shm", "/x/.."]
)
async def test_a_bind_does_not_cover_the_systems_own_files(engine: EmbeddedEngine, tmp_path: Path, target: str) -> None:
    """At create; and by init, where a record says it all the same."""
    with pytest.raises(InvalidError, match="Nothing can be bound"):
        await run(engine, "true", binds=(Bind(str(tmp_path), target),))
    ref = await engine.create(ContainerSpec("host", ("true",), network="none"))
    evil = (Bind("/etc/hostname" if target == "/etc/mtab" else str(tmp_path), target),)
    store = RecordStore(engine.config)
    store.change(ref.id, lambda record: replace(record, spec=replace(record.spec, binds=evil)))
    with pytest.raises(InvalidError, match=r"Nothing can be bound|has a '\.\.' in it"):
        await engine.start(ref.id)
    assert (await engine.get(ref.id)).state is State.CREATED


@pytest.mark.parametrize("link", ["/proc", "../../sys", "/dev/../dev", "/dev/shm", "/proc/self"])
@pytest.mark.parametrize("below", ["", "/new", "/new/er", "/fd"])
async def test_a_symlink_of_the_image_does_not_lead_a_bind_to_the_systems_own_files(
    engine: EmbeddedEngine, tmp_path: Path, link: str, below: str
) -> None:
    (tmp_path / "file").touch()
    for source in (tmp_path, tmp_path / "file"):
        spec = ContainerSpec("host", ("true",), network="none", binds=(Bind(str(source), f"/srv/link{below}"),))
        ref = await engine.create(spec)
        _prepare_layer(engine, ref.id, "srv/link", link)
        with pytest.raises(InvalidError, match="Nothing can be bound"):
            await engine.start(ref.id)
        assert (await engine.get(ref.id)).state is State.CREATED


async def test_a_bind_follows_symlinks_inside_the_container_only(engine: EmbeddedEngine, tmp_path: Path) -> None:
    outside, shown = tmp_path / "outside", tmp_path / "shown"
    outside.mkdir()
    shown.mkdir()
    (shown / "mark").touch()
    ref = await engine.create(
        ContainerSpec(
            "host", ("/bin/sh", "-c", "ls -d /tmp/*"), network="none", binds=(Bind(str(shown), "/srv/link/sub"),)
        )
    )
    _prepare_layer(engine, ref.id, "srv/link", f"../../../../../../../..{outside}")
    with pytest.raises(PytopError):
        await engine.start(ref.id)
    assert list(outside.iterdir()) == []


async def test_cve_2025_52881_system_files_are_real(engine: EmbeddedEngine) -> None:
    code = (
        "import os\n"
        "for p in ('/proc', '/proc/self/attr', '/sys', '/dev', '/dev/pts', '/dev/shm'):\n"
        "    print(p, os.stat(p).st_dev != os.stat('/').st_dev)"
    )
    ref = await run(engine, sys.executable, "-c", code, binds=PYTHON)
    lines = await output(engine, ref)
    assert len(lines) >= 5
    assert all(line.endswith("True") for line in lines)


async def test_the_host_is_out_of_sight(engine: EmbeddedEngine, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    script = (
        f"cat {secret} /etc/shadow 2>/dev/null; ls /root /home | wc -l; cat /proc/1/comm; ls /proc | grep -c '^[0-9]';"
        "cat /proc/1/environ 2>/dev/null | wc -c; grep -c / /proc/self/mountinfo"
    )
    ref = await sh(engine, script)
    lines = await output(engine, ref)
    assert lines[1] == "pytop-init"
    assert int(lines[2]) <= 4
    mounts = await output(engine, await sh(engine, "cat /proc/self/mountinfo"))
    host = Path("/proc/self/mountinfo").read_text()
    points = {line.split()[4] for line in mounts}
    assert not any(point.startswith((str(tmp_path), "/var/lib", "/run")) for point in points)
    assert all(str(engine.config.run) not in line.split(" - ")[0] for line in mounts)
    assert str(engine.config.state) not in host  # the container's mounts are in its own namespace alone


async def test_namespaces_are_its_own(engine: EmbeddedEngine) -> None:
    ref = await run(engine, "sleep", "100")
    pid = (await engine.get(ref.id)).pid
    for name in ("mnt", "pid", "net", "ipc", "uts", "cgroup"):
        assert os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}")
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    status = Path(f"/proc/{children[0]}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    cgroups = Path(f"/proc/{children[0]}/cgroup").read_text().splitlines()
    ours = [line for line in cgroups if ":name=" not in line]
    assert ours
    assert all(line.endswith(f"{engine.config.cgroup}/{ref.id}") for line in ours)


def test_open_inside_knows_no_magic_links(tmp_path: Path) -> None:
    fd = os.open("/", os.O_PATH)
    try:
        with pytest.raises(OSError) as refused:
            safe_open.open_in_root(f"/proc/self/fd/{fd}", os.O_PATH)
        assert refused.value.errno == errno.ELOOP
    finally:
        os.close(fd)
    (tmp_path / "up").symlink_to("../../../../../../etc")
    (tmp_path / "etc").mkdir()
    root = os.open(tmp_path, os.O_PATH)
    inside = safe_open.open_inside(root, "up", os.O_PATH)
    assert os.path.samestat(os.fstat(inside), (tmp_path / "etc").stat())
    assert stat.S_ISDIR(os.fstat(inside).st_mode)
    os.close(inside)
    os.close(root)
    with pytest.raises(FileNotFoundError):
        syscalls.openat2(syscalls.AT_FDCWD, str(tmp_path / "none"), os.O_PATH, 0)
