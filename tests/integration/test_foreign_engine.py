"""Root beside an engine of another user, which lies: what it names is believed as far as it is that user's."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.engines.daemon.endpoint import Endpoint
from runtime.engines.docker.engine import DockerEngine
from runtime.engines.podman.engine import PodmanEngine
from runtime.engines.protocol import Engine
from runtime.errors import PytopError
from runtime.kernel import cgroupfs, cgroups, files, own_cgroup
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import Container, ContainerRef, LimitChange, State
from tests.foreign import DOCKER, Foreign, foreign
from tui.core.deduplication import unclaimed

NOBODY = 65534
ID = "ab" * 32
HIERARCHIES = cgroupfs.detect()


@pytest.fixture(scope="module")
def service() -> Iterator[Foreign]:
    with foreign(NOBODY) as made:
        yield made


@pytest.fixture
async def podman(service: Foreign) -> AsyncIterator[PodmanEngine]:
    made = PodmanEngine(Endpoint(service.url, "the test"))
    yield made
    await made.close()


@pytest.fixture
def place() -> Iterator[Callable[[str, int], Cgroup]]:
    """Makes cgroups below one of the test's own, and removes them and what is in them."""
    top = f"pytopt{uuid.uuid4().hex[:8]}"
    made: list[Cgroup] = [cgroups.create(HIERARCHIES, top)]

    def make(name: str, owner: int) -> Cgroup:
        cgroup = cgroups.create(HIERARCHIES, f"{top}/{name}")
        made.append(cgroup)
        for directory in directories(cgroup):
            os.chown(directory, owner, owner)
        return cgroup

    yield make
    for cgroup in reversed(made):
        cgroups.kill_all(cgroup)
        cgroups.remove(cgroup)


def directories(cgroup: Cgroup) -> set[Path]:
    return {*cgroup.v1.values(), *([cgroup.unified] if cgroup.unified is not None else [])}


@contextlib.contextmanager
def process(uid: int, cgroup: Cgroup) -> Iterator[int]:
    """A process of this user in a cgroup."""
    ran = subprocess.Popen(["sleep", "600"], user=uid, group=uid, extra_groups=[])
    try:
        cgroups.attach(cgroup, ran.pid)
        yield ran.pid
    finally:
        ran.kill()
        ran.wait()


def document(pid: int, identity: str = ID, status: str = "running") -> dict[str, Any]:
    return {"Id": identity, "Name": "web", "State": {"Status": status, "Pid": pid}, "HostConfig": {}}


async def test_an_id_that_is_a_part_of_a_path_component_does_not_match(
    service: Foreign, podman: PodmanEngine, place: Callable[[str, int], Cgroup]
) -> None:
    victim = place("sshd.service", 0)
    with process(0, victim) as pid:
        for identity in ("sshd", "sshd.service", "s"):
            service.lists(document(pid, identity))
            (found,) = await podman.containers()
            assert (found.pid, found.cgroup, found.state) == (None, "", State.RUNNING)
        service.say(**{"sshd_update": "ok"})
        service.lists(document(pid, "sshd"))
        with contextlib.suppress(PytopError):
            await podman.update("sshd", LimitChange(pids=7))
        assert files.read(_pids(victim)) == "max"


def _pids(cgroup: Cgroup) -> Path:
    found = cgroup.where("pids")
    assert found is not None
    return found[0] / "pids.max"


@pytest.mark.parametrize(("owner", "uid"), [(0, 0), (0, NOBODY), (NOBODY, 0), (NOBODY, 4321), (4321, NOBODY)])
async def test_a_process_or_cgroup_of_another_user_is_rejected(
    service: Foreign, podman: PodmanEngine, place: Callable[[str, int], Cgroup], owner: int, uid: int
) -> None:
    with process(uid, place(f"libpod-{ID}", owner)) as pid:
        service.lists(document(pid))
        assert [(found.pid, found.cgroup) for found in await podman.containers()] == [(None, "")]
        assert (await podman.get(ID)).pid is None


async def test_its_own_users_container_is_seen_and_limited(
    service: Foreign, podman: PodmanEngine, place: Callable[[str, int], Cgroup]
) -> None:
    own = place(f"libpod-{ID}", NOBODY)
    with process(NOBODY, own) as pid:
        service.lists(document(pid))
        service.say(**{f"{ID}_update": ID})
        spec = service.folder / "config.json"
        spec.write_text(json.dumps({"linux": {"resources": {}}}))
        os.chown(spec, NOBODY, NOBODY)
        service.lists({**document(pid), "OCIConfigPath": str(spec)})
        (found,) = await podman.containers()
        assert (found.pid, found.trusted) == (pid, False)
        assert found.cgroup.endswith(f"/libpod-{ID}")
        await podman.update(ID, LimitChange(pids=7))
        assert files.read(_pids(own)) == "7"
        with process(0, own):  # with somebody else in it, it is not theirs to name
            assert (await podman.get(ID)).pid is None


@pytest.mark.parametrize("name", [f"docker-{ID}.scope", ID])
@pytest.mark.parametrize("owner", [0, NOBODY])
async def test_a_docker_of_a_user(service: Foreign, place: Callable[[str, int], Cgroup], name: str, owner: int) -> None:
    """Its process may be that user's in root's Docker, as with `docker run --user`: the cgroup is not."""
    engine: Engine = DockerEngine(Endpoint(service.url, "the test"))
    before = dict(service._said["headers"])
    service.say(headers=DOCKER)
    try:
        with process(NOBODY, place(name, owner)) as pid:
            service.lists(document(pid))
            (found,) = await engine.containers()
            assert (found.pid, found.trusted) == (pid if owner == NOBODY else None, False)
    finally:
        service.say(headers=before)
        await engine.close()


async def test_roots_own_is_believed_as_ever(place: Callable[[str, int], Cgroup]) -> None:
    with foreign(0) as roots, process(4321, place(f"libpod-{ID}", 0)) as pid:
        engine = PodmanEngine(Endpoint(roots.url, "the test"))
        roots.lists(document(pid))
        (found,) = await engine.containers()
        await engine.close()
        assert (found.pid, found.trusted) == (pid, True)


async def test_no_other_users_container_is_hidden(service: Foreign, place: Callable[[str, int], Cgroup]) -> None:
    theirs, roots = place(f"libpod-{ID}", NOBODY), place(f"roots/docker-{ID}.scope", 0)
    with process(NOBODY, theirs) as own, process(0, roots) as pid:
        path = own_cgroup.own_path(pid, ID)
        victim = Container(ContainerRef("found", ID), "x", "", State.RUNNING, pid=pid, cgroup=path, found="its cgroup")
        for lie in (document(0, status="exited"), document(pid), document(own)):
            service.lists(lie)
            client = PodmanEngine(Endpoint(service.url, "the test"))  # one that has not inspected it before
            (listed,) = await client.containers()
            await client.close()
            assert victim.ref in unclaimed({listed.ref: listed, victim.ref: victim})
        itself = Container(
            ContainerRef("found", ID),
            "x",
            "",
            State.RUNNING,
            pid=1,
            cgroup=own_cgroup.own_path(own, ID),
            found="cgroup",
        )
        assert list(unclaimed({listed.ref: listed, itself.ref: itself})) == [listed.ref], "its own is not shown twice"
