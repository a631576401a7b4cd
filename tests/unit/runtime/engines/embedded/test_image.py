"""The image `host`: what is taken from a machine, and that nothing else is. On made-up machines and on this one."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runtime.engines.embedded.images import host
from runtime.engines.embedded.state.record import ContainerRecord
from runtime.errors import KernelError, NotFoundError
from runtime.model import ContainerSpec

SECRETS = {
    "etc/shadow": "root:$6$secret",
    "etc/gshadow": "root:*::",
    "etc/passwd": "root:x:0:0:The Admin:/root:/bin/bash\nalice:x:1000:1000:Alice:/home/alice:/bin/zsh\n",
    "etc/machine-id": "0123456789abcdef",
    "etc/hostname": "payroll-db",
    "etc/hosts": "10.1.2.3 payroll-db.internal",
    "etc/resolv.conf": "nameserver 10.1.2.3",
    "etc/ssh/ssh_host_ed25519_key": "PRIVATE KEY",
    "etc/ssl/private/server.key": "PRIVATE KEY",
    "etc/environment": "TOKEN=1",
    "usr/local/etc/app.conf": "password=1",
    "root/.ssh/id_ed25519": "PRIVATE KEY",
    "home/alice/.netrc": "password 1",
    "var/lib/db/data": "1",
    "run/secrets/token": "1",
    "tmp/x": "1",
}


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine as Debian and Fedora lay it out today: /bin and its like are links into /usr."""
    root = tmp_path / "machine"
    for name in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "usr/share/zoneinfo/Europe", "etc/ld.so.conf.d"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    for name, content in {
        **SECRETS,
        "etc/ld.so.cache": "cache",
        "etc/ld.so.conf": "include",
        "etc/ssl/certs/ca.pem": "CERTIFICATE",
        "etc/alternatives/editor": "",
        "etc/services": "http 80/tcp\n",
        "usr/lib/os-release": "ID=debian\n",
        "usr/share/zoneinfo/Europe/Berlin": "TZif",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (root / "etc/os-release").symlink_to("../usr/lib/os-release")
    (root / "etc/localtime").symlink_to("/usr/share/zoneinfo/Europe/Berlin")
    return root


def contents(tree: Path) -> dict[str, str]:
    files = [path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()]
    return {str(path.relative_to(tree)): path.read_text() for path in files}


def test_programs_and_what_they_need_are_shared_read_only(machine: Path) -> None:
    shown = {bind.target: bind for bind in host.layout(machine).binds}
    assert set(shown) == {
        "/usr",
        *(f"/etc/{n}" for n in ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "ssl/certs")),
    }
    assert all(bind.read_only and bind.source == str(machine) + bind.target for bind in shown.values())


def test_links_into_usr_stay_links(machine: Path) -> None:
    links = dict(host.layout(machine).symlinks)
    assert {name: links[name] for name in ("bin", "sbin", "lib", "lib64")} == {
        name: f"usr/{name}" for name in ("bin", "sbin", "lib", "lib64")
    }
    assert "lib32" not in links


def test_a_machine_with_a_lib_directory_of_its_own(machine: Path) -> None:
    (machine / "lib").unlink()
    (machine / "lib").mkdir()
    assert str(machine / "lib") in {bind.source for bind in host.layout(machine).binds}
    assert "lib" not in dict(host.layout(machine).symlinks)


def test_the_tree_holds_no_secret_of_the_machine(machine: Path, tmp_path: Path) -> None:
    layout = host.layout(machine)
    host.build(layout, tmp_path / "tree")
    found = contents(tmp_path / "tree")
    for secret in SECRETS.values():
        assert not [path for path, text in found.items() if secret.strip() in text.strip() and len(secret) > 1]
    for name in SECRETS.keys() - {"etc/passwd", "etc/hosts", "etc/hostname", "etc/resolv.conf"}:
        assert not (tmp_path / "tree" / name).exists()
    for bind in layout.binds:
        below = [name for name in SECRETS if f"/{name}".startswith(f"{bind.target}/")]
        assert all(any(name.startswith(f"{hidden}/") for hidden in layout.hidden) for name in below)
    assert "payroll" not in repr(layout)


def test_settings_below_usr_are_hidden_also_those_that_come_later(machine: Path) -> None:
    (machine / "usr/etc").mkdir()
    assert set(host.layout(machine).hidden) == {"usr/local/etc", "usr/etc"}
    (machine / "usr/etc").rmdir()
    (machine / "usr/etc").symlink_to("../etc")  # leads to the generated /etc
    assert set(host.layout(machine).hidden) == {"usr/local/etc"}


def test_empty_directories_with_the_modes_that_programs_expect(machine: Path, tmp_path: Path) -> None:
    previous = os.umask(0o077)
    try:
        host.build(host.layout(machine), tmp_path / "tree")
    finally:
        os.umask(previous)
    tree = tmp_path / "tree"
    for name, mode in {"root": 0o700, "home": 0o755, "var": 0o755, "tmp": 0o1777, "var/tmp": 0o1777}.items():
        assert stat.S_IMODE((tree / name).stat().st_mode) == mode, name
    for name in ("root", "home", "tmp", "var/tmp", "var/lib", "opt", "srv", "mnt", "run", "usr"):
        assert list((tree / name).iterdir()) == [], name
    for path in (tree / "etc").rglob("*"):
        if not path.is_symlink():
            assert path.stat().st_mode & 0o044, path


def test_a_generated_etc(machine: Path, tmp_path: Path) -> None:
    host.build(host.layout(machine), tmp_path / "tree")
    etc = tmp_path / "tree/etc"
    accounts = [line.split(":") for line in (etc / "passwd").read_text().splitlines()]
    assert ["root", "0"] in [[a[0], a[2]] for a in accounts]
    assert ["nobody", "65534"] in [[a[0], a[2]] for a in accounts]
    assert all(len(a) == 7 and a[1] == "x" for a in accounts)
    groups = {line.split(":")[2] for line in (etc / "group").read_text().splitlines()}
    assert {a[3] for a in accounts} <= groups
    assert "5" in groups  # what /dev/pts is mounted for
    assert (etc / "os-release").read_text() == "ID=debian\n"
    assert not (etc / "os-release").is_symlink()
    assert (etc / "services").read_text() == "http 80/tcp\n"
    assert os.readlink(etc / "localtime") == "/usr/share/zoneinfo/Europe/Berlin"
    assert "localhost" in (etc / "hosts").read_text()
    assert "hosts: files" in (etc / "nsswitch.conf").read_text()


def test_a_time_zone_outside_usr_is_not_followed(machine: Path) -> None:
    (machine / "etc/localtime").unlink()
    (machine / "etc/localtime").symlink_to("/srv/zone")
    assert "etc/localtime" not in dict(host.layout(machine).symlinks)


def test_every_bind_has_a_mount_point(machine: Path, tmp_path: Path) -> None:
    layout = host.layout(machine)
    host.build(layout, tmp_path / "tree")
    for bind in layout.binds:
        place = tmp_path / "tree" / bind.target.lstrip("/")
        assert place.is_dir() == Path(bind.source).is_dir()
        assert place.exists()


def test_the_bare_minimum_of_a_machine(tmp_path: Path) -> None:
    (tmp_path / "bare/usr").mkdir(parents=True)
    layout = host.layout(tmp_path / "bare")
    assert [bind.target for bind in layout.binds] == ["/usr"]
    host.build(layout, tmp_path / "tree")


def test_the_id_names_the_content(machine: Path) -> None:
    before = host.layout(machine)
    assert before.digest == host.layout(machine).digest
    (machine / "etc/services").write_text("http 8080/tcp\n")
    assert host.layout(machine).digest != before.digest
    image = host.image()
    assert image.names == ("host",)
    assert image.id.startswith("sha256:")


def record() -> ContainerRecord:
    return ContainerRecord(id="ab" * 32, spec=ContainerSpec("host", ("true",), name="one"), created_ns=1)


def test_the_image_is_built_once_and_whole_by_many_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        prepared = set(pool.map(lambda _: host.prepare(tmp_path, record()), range(16)))
    (only,) = prepared
    assert [path.name for path in (tmp_path / "images").iterdir()] == [only.lower.name]
    made = only.lower.stat()
    assert stat.S_IMODE(made.st_mode) == 0o755
    assert host.prepare(tmp_path, record()) == only
    assert only.lower.stat().st_mtime_ns == made.st_mtime_ns
    hidden = [bind for bind in only.binds if bind.source == str(only.lower / "home")]
    assert {bind.target for bind in hidden} == {f"/{name}" for name in host.layout().hidden}
    assert list((only.lower / "home").iterdir()) == []


def lost(lower: Path) -> None:
    (lower / "etc/passwd").unlink()


def emptied(lower: Path) -> None:
    (lower / "etc/passwd").write_bytes(b"")


def opened(lower: Path) -> None:
    (lower / "root").chmod(0o777)


def led_astray(lower: Path) -> None:
    (lower / "etc/mtab").unlink()
    (lower / "etc/mtab").symlink_to("/etc/passwd")


def gone(lower: Path) -> None:
    shutil.rmtree(lower)
    lower.mkdir()


def a_file(lower: Path) -> None:
    shutil.rmtree(lower)
    lower.touch()


@pytest.mark.parametrize("damage", [lost, emptied, opened, led_astray, gone, a_file])
def test_a_damaged_image_is_built_anew_beside_what_runs_on_it(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    lower = host.prepare(tmp_path, record()).lower
    assert host.is_whole(host.layout(), lower)
    damage(lower)
    in_use = lower.stat().st_ino
    assert host.prepare(tmp_path, record()).lower == lower
    assert host.is_whole(host.layout(), lower)
    assert lower.stat().st_ino != in_use
    host.sweep(tmp_path, in_use=True)
    assert sorted(path.stat().st_ino == in_use for path in lower.parent.iterdir()) == [False, True]
    host.sweep(tmp_path, in_use=False)
    assert list(lower.parent.iterdir()) == [lower]


def test_what_a_killed_builder_has_left_is_removed_when_it_is_old(tmp_path: Path) -> None:
    lower = host.prepare(tmp_path, record()).lower
    young, old = lower.parent / ".new-young", lower.parent / ".new-old"
    for path in (young, old):
        (path / "etc").mkdir(parents=True)
    os.utime(old, (1, 1))
    host.sweep(tmp_path, in_use=False)
    assert sorted(lower.parent.iterdir()) == sorted([young, lower])


def test_a_state_directory_that_takes_no_files(tmp_path: Path) -> None:
    (tmp_path / "images").write_text("")
    with pytest.raises(KernelError, match="build the image"):
        host.prepare(tmp_path, record())


def test_there_is_no_other_image() -> None:
    host.check("host")
    with pytest.raises(NotFoundError, match="busybox"):
        host.check("busybox")
