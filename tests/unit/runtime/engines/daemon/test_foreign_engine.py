"""Engines of another user: what they say of ids, processes and files is held against the kernel, and is bounded."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.engines.daemon import http
from runtime.engines.daemon.endpoint import Endpoint
from runtime.engines.daemon.peer import Peer
from runtime.engines.daemon.placement import DOCKER, PODMAN, placed
from runtime.engines.docker.engine import DockerEngine
from runtime.engines.podman.engine import PodmanEngine
from runtime.engines.protocol import Engine
from runtime.errors import EngineError, UnavailableError, UnsupportedError
from runtime.kernel import ownership, procfs
from runtime.kernel.cgroupfs import Cgroup, Hierarchies, Mode, Mount
from runtime.kernel.own_cgroup import NO_OWN, named
from runtime.model import Container, ContainerRef, LimitChange, State
from tests import foreign as other
from tests.conftest import need_root
from tests.foreign import Foreign, foreign
from tui.core.deduplication import unclaimed

NOBODY = 65534
ID = "ab" * 32
ROOTS, NOBODYS = Peer(frozenset({0})), Peer(frozenset({NOBODY}))


@pytest.fixture(scope="module")
def service() -> Iterator[Foreign]:
    with foreign(NOBODY) as made:
        yield made


@pytest.fixture
async def podman(service: Foreign, tmp_path: Path) -> AsyncIterator[PodmanEngine]:
    made = PodmanEngine(Endpoint(service.url, "the test"), proc=tmp_path)
    yield made
    await made.close()


def document(pid: int = 0, identity: str = ID, status: str = "running", **more: Any) -> dict[str, Any]:
    return {"Id": identity, "Name": "web", "State": {"Status": status, "Pid": pid}, "HostConfig": {}, **more}


def entry(proc: Path, pid: int, cgroup: str, uid: int) -> None:
    (proc / str(pid)).mkdir(exist_ok=True)
    (proc / str(pid) / "cgroup").write_text(f"0::{cgroup}\n")
    (proc / str(pid) / "stat").write_text(f"{pid} (x) S " + "1 " * 18 + "100 0\n")
    (proc / str(pid) / "status").write_text(f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n")


# ids


@pytest.mark.parametrize(
    ("part", "prefixes", "fits"),
    [
        (ID, DOCKER, True),
        (f"docker-{ID}.scope", DOCKER, True),
        (f"libpod-{ID}.scope", PODMAN, True),
        (f"libpod-payload-{ID}", PODMAN, True),
        (f"libpod-{ID}", DOCKER, False),
        (ID, PODMAN, False),
        (f"libpod-conmon-{ID}.scope", PODMAN, False),
        (f"x{ID}", DOCKER, False),
        (f"{ID}x", DOCKER, False),
        (f"docker-{ID}.service", DOCKER, False),
    ],
)
def test_an_id_matches_a_whole_name_in_the_engines_form(part: str, prefixes: tuple[str, ...], fits: bool) -> None:
    assert named(f"0::/above/{part}/below\n", ID, prefixes) == (f"/above/{part}" if fits else "")


def test_a_part_of_a_name_is_no_id() -> None:
    text = f"0::/system.slice/sshd.service/docker-{ID}.scope\n"
    for identity in ("sshd", "system", "s", "", ID[:12], "scope", "docker"):
        assert named(text, identity) == ""
    assert named("0::/kubepods.slice/x.slice:cri-containerd:web\n", "web").endswith(":web")


async def test_an_id_must_have_the_engines_form(service: Foreign, tmp_path: Path) -> None:
    for identity in ("sshd.service", "sshd", ID[:63]):
        entry(tmp_path, 42, f"/system.slice/{identity}/libpod-{identity}", 0)
        found = Container(ContainerRef("podman", identity), "x", "", State.RUNNING, pid=42)
        for prefixes in (DOCKER, PODMAN):
            assert placed(found, ROOTS, prefixes, Hierarchies(Mode.NONE), tmp_path).pid is None


async def test_sshd_is_not_accepted_as_a_containers_process(
    service: Foreign, podman: PodmanEngine, tmp_path: Path
) -> None:
    entry(tmp_path, 42, "/system.slice/sshd.service", 0)
    service.lists(document(42, "sshd"))
    (found,) = await podman.containers()
    assert (found.pid, found.cgroup, found.trusted) == (None, "", False)


# who answers


def test_trusted_and_untrusted_peers() -> None:
    me = os.geteuid()
    both = Peer(frozenset({0, 4321}))
    assert (ROOTS.trusted, ROOTS.owners) == (True, {0})
    assert (Peer(frozenset({me})).trusted, Peer(frozenset({0, me})).trusted) == (True, True)
    assert (Peer(frozenset({4321})).trusted, both.trusted, Peer().trusted) == (False, False, False)
    assert (both.user, both.owners) == (4321, {4321}), "root's answer may not vouch for the other's"
    assert (Peer(frozenset({4321, 4322})).user, Peer(frozenset({4321, 4322})).owners) == (None, frozenset())
    assert (Peer(remote=True).trusted, Peer(remote=True).owners) == (True, frozenset())


@pytest.mark.parametrize("kind", [PodmanEngine, DockerEngine])
async def test_the_socket_gives_the_listening_user(service: Foreign, kind: type[Any]) -> None:
    engine: Engine = kind(Endpoint(service.url, "the test"))
    service.say(headers=other.PODMAN if kind is PodmanEngine else other.DOCKER)
    service.lists(document())
    try:
        assert [found.trusted for found in await engine.containers()] == [False]
        assert not (await engine.get(ID)).trusted
    finally:
        service.say(headers=other.PODMAN)
        await engine.close()


# processes and cgroups


@pytest.mark.parametrize(
    ("owner", "uid", "beside", "below", "believed"),
    [
        (NOBODY, NOBODY, NOBODY, "/x", True),
        (0, NOBODY, NOBODY, "/x", False),
        (4321, NOBODY, NOBODY, "/x", False),
        (NOBODY, 0, NOBODY, "/x", False),
        (NOBODY, 4321, NOBODY, "/x", False),
        (NOBODY, NOBODY, 0, "/x", False),
        (0, NOBODY, NOBODY, f"/user.slice/user-{NOBODY}.slice", True),
        (0, NOBODY, 0, f"/user.slice/user-{NOBODY}.slice", False),
        (0, NOBODY, NOBODY, "/user.slice/user-6553.slice", False),
        (0, NOBODY, NOBODY, f"/x/user.slice/user-{NOBODY}.slice", False),
    ],
)
def test_the_process_its_cgroup_and_all_in_it_are_the_users(
    tmp_path: Path, owner: int, uid: int, beside: int, below: str, believed: bool
) -> None:
    need_root("foreign")
    path = f"{below}/libpod-{ID}"
    directory = tmp_path / f"v2{path}"
    (directory / "inner").mkdir(parents=True)
    os.chown(directory, owner, owner)
    (directory / "cgroup.procs").write_text("42\n")
    (directory / "inner/cgroup.procs").write_text("43\n44\n")  # 44 has ended
    entry(tmp_path, 42, path, uid)
    entry(tmp_path, 43, f"{path}/inner", beside)
    hierarchies = Hierarchies(Mode.V2, unified=Mount(tmp_path / "v2"))
    listed = Container(ContainerRef("podman", ID), "x", "", State.RUNNING, pid=42)
    found = placed(listed, NOBODYS, PODMAN, hierarchies, tmp_path)
    assert (found.pid, found.cgroup) == ((42, path) if believed else (None, ""))
    assert placed(listed, Peer(), PODMAN, hierarchies, tmp_path).pid is None, "whom nobody knows"
    assert placed(listed, ROOTS, PODMAN, hierarchies, tmp_path).pid == 42, "root's is believed as ever"


def test_a_process_that_its_cgroup_does_not_list_is_judged_too(tmp_path: Path) -> None:
    """It may have gone elsewhere, or have ended, and another one have its pid."""
    need_root("foreign")
    directory = tmp_path / f"v2/libpod-{ID}"
    directory.mkdir(parents=True)
    os.chown(directory, NOBODY, NOBODY)
    (directory / "cgroup.procs").write_text("")
    hierarchies = Hierarchies(Mode.V2, unified=Mount(tmp_path / "v2"))
    for uid, pid in ((NOBODY, 42), (0, None)):
        entry(tmp_path, 42, f"/libpod-{ID}", uid)
        listed = Container(ContainerRef("podman", ID), "x", "", State.RUNNING, pid=42)
        assert placed(listed, NOBODYS, PODMAN, hierarchies, tmp_path).pid == pid


def test_ids_of_the_users_namespace_are_the_users() -> None:
    need_root("foreign")
    script = 'until [ "$(id -u)" = 0 ]; do sleep 0.02; done; exec setpriv --reuid=7 --regid=7 --clear-groups sleep 60'
    ours = os.readlink("/proc/self/ns/user")
    ran = subprocess.Popen(["unshare", "--user", "sh", "-c", script], user=NOBODY, group=NOBODY, extra_groups=[])
    try:
        _until(lambda: os.readlink(f"/proc/{ran.pid}/ns/user") != ours)
        assert ownership.is_process_of(NOBODY, ran.pid)
        for name in ("gid_map", "uid_map"):  # as newuidmap(1) does
            Path(f"/proc/{ran.pid}/{name}").write_text(f"0 {NOBODY} 1\n1 700000 10\n")
        _until(lambda: procfs.uids(ran.pid) == {700006})
        assert ownership.is_process_of(NOBODY, ran.pid)
        assert not ownership.is_process_of(4321, ran.pid)
    finally:
        ran.kill()
        ran.wait()


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_cgroup_without_directories_belongs_to_no_user() -> None:
    assert not ownership.is_cgroup_of(NOBODY, Cgroup(), Hierarchies(Mode.NONE))
    assert not ownership.is_process_of(os.geteuid() + 1, os.getpid())


# what is hidden


def test_an_untrusted_list_hides_no_other_users_container() -> None:
    victim = Container(ContainerRef("found", ID), "x", "", State.RUNNING, pid=5, cgroup="/roots", found="its cgroup")
    lie = Container(ContainerRef("podman-eve", ID), "x", "", State.EXITED, trusted=False)
    for one in (lie, replace(lie, pid=7, cgroup=f"/eve/libpod-{ID}"), replace(lie, pid=7, cgroup=NO_OWN)):
        assert victim.ref in unclaimed({one.ref: one, victim.ref: victim})
    trusted = replace(lie, trusted=True)
    assert list(unclaimed({trusted.ref: trusted, victim.ref: victim})) == [trusted.ref]
    for own in (replace(lie, pid=5), replace(lie, pid=7, cgroup="/roots")):  # placed: seen to be the user's
        assert list(unclaimed({own.ref: own, victim.ref: victim})) == [own.ref]


# files


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["own", "fifo", "/dev/zero", "root's", "link", "huge", "folder", "/dev/ptmx"])
async def test_a_named_file_must_be_small_regular_and_its_users(
    service: Foreign, podman: PodmanEngine, kind: str
) -> None:
    path = await asyncio.to_thread(_file, service.folder, kind)
    service.say(**{f"{ID}_update": ID})
    service.lists(document(OCIConfigPath=str(path)))
    if kind == "own":
        (changed,) = (await podman.update(ID, LimitChange(pids=7))).fields
        assert "not on this machine" in changed.detail
        return
    with pytest.raises(UnsupportedError, match="its record cannot be read here"):
        await asyncio.wait_for(podman.update(ID, LimitChange(pids=7)), 10)


def _file(folder: Path, kind: str) -> Path:
    if kind.startswith("/"):
        return Path(kind)
    path, text = folder / f"spec-{kind}", json.dumps({"linux": {"resources": {}}})
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(_file(folder, "own"))
        return path
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_text(text)
        if kind == "huge":
            os.truncate(path, 1 << 33)
    if kind != "root's":
        os.chown(path, NOBODY, NOBODY)
    return path


# bodies


async def test_a_body_without_an_end_is_refused(service: Foreign, podman: PodmanEngine) -> None:
    service.say(images_json="endless")
    with pytest.raises(EngineError, match="more than 64 MiB"):
        await asyncio.wait_for(podman.images(), 30)


async def test_a_line_without_an_end_is_refused(service: Foreign, podman: PodmanEngine) -> None:
    service.say(events="endless")
    with pytest.raises(EngineError, match="longer than 1 MiB"):
        await asyncio.wait_for(anext(podman.events()), 30)


async def test_a_body_that_stalls_times_out(
    service: Foreign, podman: PodmanEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "ANSWER_TIMEOUT_S", 0.5)
    service.say(**{f"containers_{ID}": "slow"})
    with pytest.raises(UnavailableError, match="did not answer in time"):
        await asyncio.wait_for(podman.remove(ID), 10)
