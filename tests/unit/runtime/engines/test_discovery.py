"""Which engines are found, from the environment and the sockets that are there, without asking anybody."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.doctor import containerd_checks
from runtime.engines import discovery
from runtime.engines.containerd import address as containerd_address
from runtime.engines.containerd.engine import ContainerdEngine
from runtime.engines.daemon.endpoint import Endpoint
from runtime.engines.docker import endpoint
from runtime.engines.docker.engine import DockerEngine
from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.podman import endpoint as podman_endpoint
from runtime.errors import InvalidError, UnsupportedError

OFF = {"PYTOP_FOUND": "0"}


@pytest.fixture(autouse=True)
def no_system_socket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(endpoint, "SYSTEM_SOCKET", tmp_path / "system.sock")
    monkeypatch.setattr(podman_endpoint, "RUN", tmp_path / "run")
    monkeypatch.setattr(podman_endpoint, "SYSTEM", ())
    monkeypatch.setattr(endpoint, "ROOT_UID", os.getuid())
    sockets = {"containerd": "containerd.sock", "containerd-k3s": "k3s.sock", "containerd-microk8s": "microk8s.sock"}
    monkeypatch.setattr(containerd_address, "SOCKETS", {key: tmp_path / name for key, name in sockets.items()})


def keys(environ: dict[str, str], home: Path) -> list[str]:
    return [engine.key for engine in discovery.discover(OFF | environ, home=home)]


def test_without_a_socket_docker_is_not_listed(tmp_path: Path) -> None:
    assert keys({}, tmp_path) == ["embedded"]


def test_found_containers_are_listed_last_and_can_be_disabled(tmp_path: Path) -> None:
    assert [engine.key for engine in discovery.discover({}, home=tmp_path)] == ["embedded", "found"]
    assert keys({"PYTOP_FOUND": "0"}, tmp_path) == ["embedded"]


def test_docker_is_listed_when_its_socket_is_there(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "system.sock"))
        assert keys({}, tmp_path) == ["embedded", "docker"]


def test_rootless_socket_is_found(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "docker.sock"))
        assert keys({"XDG_RUNTIME_DIR": str(tmp_path)}, tmp_path) == ["embedded", "docker"]


def test_configured_docker_is_listed_though_dead(tmp_path: Path) -> None:
    environ = {"DOCKER_HOST": f"unix://{tmp_path}/dead.sock"}
    assert keys(environ, tmp_path) == ["embedded", "docker"]
    found = discovery.docker_endpoint(environ, tmp_path)
    assert found is not None
    assert found.socket == tmp_path / "dead.sock"


def test_podman_is_listed_when_its_socket_is_there(tmp_path: Path) -> None:
    own = tmp_path / "podman"
    own.mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(own / "podman.sock"))
        (tmp_path / "run").symlink_to(tmp_path)  # the system's, for root
        assert keys({"XDG_RUNTIME_DIR": str(tmp_path)}, tmp_path)[:2] == ["embedded", "podman"]


def test_a_docker_address_that_leads_to_podman_is_not_shown_twice(tmp_path: Path) -> None:
    (tmp_path / "run/podman").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "run/podman/podman.sock"))
        (tmp_path / "system.sock").symlink_to(tmp_path / "run/podman/podman.sock")  # as podman-docker does
        found = keys({"XDG_RUNTIME_DIR": str(tmp_path / "none")}, tmp_path)
    assert "docker" not in found
    assert found[1].startswith("podman")


def test_a_user_cannot_hide_docker_behind_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "system.sock"))
        (tmp_path / "run/user/1000/podman").mkdir(parents=True)
        (tmp_path / "run/user/1000/podman/podman.sock").symlink_to(tmp_path / "system.sock")
        assert keys({}, tmp_path)[:2] == ["embedded", "docker"]


async def test_podmans_ssh_connection_is_an_engine_that_says_what_to_do(tmp_path: Path) -> None:
    (*_, podman) = discovery.discover(OFF | {"CONTAINER_HOST": "ssh://alice@box/run/x.sock"}, home=tmp_path)
    with pytest.raises(InvalidError, match="ssh -NL"):
        await podman.info()
    assert podman.key == "podman"


async def test_an_invalid_address_is_an_unusable_engine(tmp_path: Path) -> None:
    _, docker = discovery.discover(OFF | {"DOCKER_HOST": "npipe://nonsense"}, home=tmp_path)
    for _ in range(2):
        with pytest.raises(InvalidError, match="DOCKER_HOST"):
            await docker.containers()
    with pytest.raises(InvalidError):
        docker.events()
    await docker.close()


def test_current_context_of_dockers_own_configuration(tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text(json.dumps({"currentContext": "box"}))
    meta = tmp_path / ".docker/contexts/meta" / hashlib.sha256(b"box").hexdigest()
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text(json.dumps({"Endpoints": {"docker": {"Host": "unix:///x/box.sock"}}}))
    found = discovery.docker_endpoint({}, tmp_path)
    assert found is not None
    assert found.url == "unix:///x/box.sock"


def test_environment_moves_the_embedded_engine() -> None:
    assert discovery.embedded_config({}) == EmbeddedConfig()
    assert discovery.embedded_config({"PYTOP_STATE_DIR": ""}) == EmbeddedConfig(), "empty is as good as not set"
    moved = discovery.embedded_config(
        {
            "PYTOP_STATE_DIR": "/s",
            "PYTOP_RUN_DIR": "/r",
            "PYTOP_CGROUP": "c",
            "PYTOP_BRIDGE": "b",
            "PYTOP_SUBNET": "10.9.0.0/24",
        }
    )
    assert moved == EmbeddedConfig(Path("/s"), Path("/r"), "c", "b", "10.9.0.0/24")


def test_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    assert [engine.key for engine in discovery.discover(OFF)] == ["embedded"]


def test_containerd_is_listed_when_its_socket_is_there_or_named(tmp_path: Path) -> None:
    assert keys({"CONTAINERD_ADDRESS": "/dead.sock"}, tmp_path) == ["embedded", "containerd"]
    assert keys({"PYTOP_CONTAINERD_ADDRESS": "unix:///dead.sock"}, tmp_path) == ["embedded", "containerd"]
    (tmp_path / "containerd.sock").touch()
    assert keys({}, tmp_path) == ["embedded", "containerd"]


async def test_containerd_at_a_relative_path_says_so(tmp_path: Path) -> None:
    _, engine = discovery.discover(OFF | {"CONTAINERD_ADDRESS": "here.sock"}, home=tmp_path)
    with pytest.raises(InvalidError, match="CONTAINERD_ADDRESS"):
        await engine.containers()


def test_each_containerd_whose_socket_is_there_is_an_engine(tmp_path: Path) -> None:
    (tmp_path / "microk8s.sock").touch()
    assert keys({}, tmp_path) == ["embedded", "containerd-microk8s"]
    (tmp_path / "containerd.sock").touch()
    (tmp_path / "k3s.sock").symlink_to("containerd.sock")
    assert keys({}, tmp_path) == ["embedded", "containerd", "containerd-microk8s"], "one socket is one engine"
    (tmp_path / "k3s.sock").unlink()
    (tmp_path / "k3s.sock").touch()
    assert keys({}, tmp_path) == ["embedded", "containerd", "containerd-k3s", "containerd-microk8s"]
    assert keys({"CONTAINERD_ADDRESS": "/dead.sock"}, tmp_path) == ["embedded", "containerd"]


def without_moby(environ: dict[str, str], home: Path) -> set[str]:
    """The containerds that do not show Docker's namespace."""
    found = [engine for engine in discovery.discover(OFF | environ, home=home) if isinstance(engine, ContainerdEngine)]
    assert all(engine.address.hidden <= {"moby"} for engine in found)
    return {engine.key for engine in found if engine.address.hidden}


def test_dockers_own_namespace_is_hidden_where_that_docker_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "containerd.sock").touch()
    (tmp_path / "k3s.sock").touch()
    assert without_moby({}, tmp_path) == set()
    (tmp_path / "docker.sock").touch()
    here = {"DOCKER_HOST": f"unix://{tmp_path}/docker.sock"}
    assert without_moby(here, tmp_path) == {"containerd"}
    assert without_moby({"DOCKER_HOST": "tcp://127.0.0.1:2375"}, tmp_path) == {"containerd"}
    assert without_moby(here | {"CONTAINERD_ADDRESS": f"{tmp_path}/own.sock"}, tmp_path) == {"containerd"}
    assert without_moby(here | {"CONTAINERD_ADDRESS": f"{tmp_path}/k3s.sock"}, tmp_path) == set()
    for elsewhere in ("tcp://box:2375", "npipe://nonsense", "nonsense", f"unix://{tmp_path}/gone.sock"):
        assert without_moby({"DOCKER_HOST": elsewhere}, tmp_path) == set(), elsewhere
    monkeypatch.setattr(endpoint, "ROOT_UID", os.getuid() + 1)
    assert without_moby(here, tmp_path) == set(), "a rootless Docker has a containerd of its own"


async def test_without_the_extra_containerd_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containerd_address, "REQUIRED_MODULES", ("grpclib", "no_such_module", "no_such.module"))
    (tmp_path / "containerd.sock").touch()
    _, engine = discovery.discover(OFF, home=tmp_path)
    with pytest.raises(UnsupportedError, match="no_such_module and") as caught:
        await engine.containers()
    assert "pytop-containers[containerd]" in caught.value.hint


def test_an_unusable_containerd_beside_docker_is_reported_by_the_doctor_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containerd_address, "REQUIRED_MODULES", ("no_such_module",))
    (tmp_path / "containerd.sock").touch()
    beside = {"DOCKER_HOST": "unix:///d"}
    assert keys(beside, tmp_path) == ["embedded", "docker"]
    assert keys({**beside, "CONTAINERD_ADDRESS": "/named.sock"}, tmp_path) == ["embedded", "docker", "containerd"]
    (check,) = containerd_checks({})
    assert "no_such_module is not installed" in check.found
    assert "pytop-containers[containerd]" in check.remedy
    assert list(containerd_checks({}, listed={"containerd"})) == [], "it has told so itself"
    (tmp_path / "k3s.sock").touch()
    assert keys(beside, tmp_path) == ["embedded", "docker", "containerd-k3s"], "that is not Docker's"
    assert [check.name for check in containerd_checks({}, listed={"containerd-k3s"})] == ["containerd"]
    (tmp_path / "k3s.sock").unlink()
    monkeypatch.setattr(containerd_address, "REQUIRED_MODULES", ())
    assert keys(beside, tmp_path) == ["embedded", "docker", "containerd"]
    assert list(containerd_checks({})) == []


def test_discovery_imports_neither_http_nor_netlink() -> None:
    code = (
        "import sys; from runtime.engines.discovery import discover; discover({'DOCKER_HOST': 'unix:///x'});"
        "print([name for name in ('aiohttp', 'pyroute2', 'textual', 'grpclib') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | {"HOME": "/"}
    )
    assert done.stdout.strip() == "[]"


def test_root_sees_the_rootless_docker_of_other_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As Podman's are seen. A link to root's socket, or to a Podman, is no Docker of that user; where one Docker was
    configured, there is that one alone. What it answers is believed as far as its user's (`daemon/peer`)."""
    run = tmp_path / "run"
    monkeypatch.setattr(endpoint, "RUN", run)
    for uid in ("0", "7001", "7002", "7003", "text"):
        (run / "user" / uid / "podman").mkdir(parents=True)
    (run / "user/7002/docker.sock").symlink_to(tmp_path / "system.sock")
    (run / "user/7003/docker.sock").symlink_to(run / "user/7003/podman/podman.sock")
    places = ("system.sock", "run/user/0/docker.sock", "run/user/7001/docker.sock", "run/user/text/docker.sock")
    listening = [socket.socket(socket.AF_UNIX) for _ in range(len(places) + 1)]
    monkeypatch.chdir(tmp_path)  # the path of a socket has at most 107 bytes
    try:
        for made, path in zip(listening, (*places, "run/user/7003/podman/podman.sock"), strict=True):
            made.bind(path)
        monkeypatch.setattr(os, "geteuid", lambda: endpoint.ROOT_UID)
        found = [key for key in keys({}, tmp_path) if key.startswith("docker")]
        assert found == ["docker", "docker-7001"]
        assert [key for key in keys({"DOCKER_HOST": "tcp://h:1"}, tmp_path) if key.startswith("docker")] == ["docker"]
        monkeypatch.setattr(os, "geteuid", lambda: endpoint.ROOT_UID + 1)
        assert [key for key in keys({}, tmp_path) if key.startswith("docker")] == ["docker"]
    finally:
        for made in listening:
            made.close()


async def test_each_docker_names_its_containers_by_its_own_key(tmp_path: Path) -> None:
    engine = DockerEngine(Endpoint(f"unix://{tmp_path}/none", "the test"), key="docker-alice")
    assert engine.key == "docker-alice"
    found = engine._translated("x", {"Id": "ab" * 32, "Name": "/x"})
    assert found.ref.engine == "docker-alice"
    await engine.close()
