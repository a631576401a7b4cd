"""Where Podmans are found: the environment, the usual sockets, connections; names that tell them apart."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from runtime.engines.daemon.endpoint import Endpoint
from runtime.engines.podman import endpoint
from runtime.engines.podman.endpoint import Connection, connections
from runtime.errors import InvalidError


@pytest.fixture(autouse=True)
def system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(endpoint, "RUN", tmp_path / "run")
    monkeypatch.setattr(endpoint, "SYSTEM", (tmp_path / "usr", tmp_path / "etc"))


@pytest.fixture
def sockets(tmp_path: Path) -> Iterator[Path]:
    """Sockets of the system, of root's own session, of the user with id 1, of one whom nobody knows, and elsewhere."""
    with ExitStack() as held:
        for name in ("podman", "user/0/podman", "user/1/podman", "user/987654/podman", "elsewhere"):
            (tmp_path / "run" / name).mkdir(parents=True)
            listening = held.enter_context(socket.socket(socket.AF_UNIX))
            directory = os.open(tmp_path / "run" / name, os.O_PATH)
            held.callback(os.close, directory)
            listening.bind(f"/proc/self/fd/{directory}/podman.sock")  # an address has 107 bytes
        yield tmp_path / "run"


def found(tmp_path: Path, uid: int = 0, **environ: str) -> list[tuple[str, str]]:
    return [(place.key, url(place)) for place in connections(environ, tmp_path, uid=uid)]


def url(place: Connection) -> str:
    assert isinstance(place.endpoint, Endpoint)
    return place.endpoint.url


def podman_connections(tmp_path: Path, default: str = "", **urls: str) -> None:
    folder = tmp_path / ".config/containers"
    folder.mkdir(parents=True, exist_ok=True)
    entries = {name: {"URI": address, "Identity": "/k"} for name, address in urls.items()}
    document = {"Connection": {"Default": default, "Connections": entries}, "Farm": {}}
    (folder / "podman-connections.json").write_text(json.dumps(document))


def test_where_there_is_none(tmp_path: Path) -> None:
    assert found(tmp_path) == found(tmp_path, uid=1000) == []


def test_root_sees_every_users(tmp_path: Path, sockets: Path) -> None:
    assert found(tmp_path) == [
        ("podman", f"unix://{sockets}/podman/podman.sock"),
        ("podman-daemon", f"unix://{sockets}/user/1/podman/podman.sock"),
        ("podman-987654", f"unix://{sockets}/user/987654/podman/podman.sock"),
    ]


def test_a_users_link_to_another_socket_is_not_that_users_podman(tmp_path: Path, sockets: Path) -> None:
    (sockets / "user/2").mkdir()
    (sockets / "user/2/podman").symlink_to(sockets / "elsewhere")
    (sockets / "user/3/podman").mkdir(parents=True)
    (sockets / "user/3/podman/podman.sock").symlink_to(sockets / "elsewhere/podman.sock")
    (sockets / "user/4/podman").mkdir(parents=True)
    (sockets / "user/4/podman/podman.sock").symlink_to("podman.sock")
    assert [key for key, _ in found(tmp_path)] == ["podman", "podman-daemon", "podman-987654"]


def test_a_users_own_comes_first(tmp_path: Path, sockets: Path) -> None:
    own = ("podman", f"unix://{sockets}/user/1/podman/podman.sock")
    roots = ("podman-root", f"unix://{sockets}/podman/podman.sock")
    assert found(tmp_path, uid=1) == [own, roots]
    assert found(tmp_path, uid=5, XDG_RUNTIME_DIR=f"{sockets}/user/1") == [own, roots]
    assert found(tmp_path, uid=5) == [roots]


def test_one_that_is_named_comes_alone(tmp_path: Path, sockets: Path) -> None:
    podman_connections(tmp_path, box="unix:///x/box.sock")
    named = {"CONTAINER_HOST": "unix:///x/dead.sock", "CONTAINER_CONNECTION": "box"}
    assert found(tmp_path, **named) == [("podman", "unix:///x/dead.sock")]
    assert found(tmp_path, CONTAINER_CONNECTION="box") == [("podman", "unix:///x/box.sock")]
    (place,) = connections({"CONTAINER_CONNECTION": "nobody"}, tmp_path)
    assert isinstance(place.endpoint, InvalidError)
    assert "nobody" in place.endpoint.title


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("unix:///run/p.sock", "unix:///run/p.sock"),
        ("unix://run/p.sock", "unix:///run/p.sock"),
        ("tcp://box:8080", "tcp://box:8080"),
        ("http://box:8080", "http://box:8080"),
    ],
)
def test_addresses(tmp_path: Path, given: str, taken: str) -> None:
    assert found(tmp_path, CONTAINER_HOST=given) == [("podman", taken)]


@pytest.mark.parametrize("given", ["ssh://u@box/run/p.sock", "nonsense", "unix://", "tcp://", "ftp://box"])
def test_addresses_that_cannot_be_spoken_to(tmp_path: Path, given: str) -> None:
    (place,) = connections({"CONTAINER_HOST": given}, tmp_path)
    assert isinstance(place.endpoint, InvalidError)
    assert given in place.endpoint.title
    assert ("ssh -NL /tmp/podman.sock:/run/p.sock box" in place.endpoint.hint) == given.startswith("ssh")


def test_connections_add_sockets_in_other_places(tmp_path: Path, sockets: Path) -> None:
    usual, extra = sockets / "podman/podman.sock", sockets / "elsewhere/podman.sock"
    podman_connections(
        tmp_path, same=f"unix://{usual}", extra=f"unix://{extra}", dead="unix:///no.sock", far="ssh://u@box"
    )
    keys = dict(found(tmp_path))
    assert keys["podman-extra"] == f"unix://{extra}"
    assert not {"podman-same", "podman-dead", "podman-far"} & keys.keys()


def test_one_socket_is_one_podman_whatever_its_paths(tmp_path: Path, sockets: Path) -> None:
    before = found(tmp_path)
    (tmp_path / "var").mkdir()
    (tmp_path / "var/run").symlink_to(sockets)
    os.link(sockets / "podman/podman.sock", sockets / "linked.sock")
    ways = {
        name: f"unix://{tmp_path}/{path}"
        for name, path in (("a", "var/run/podman/podman.sock"), ("b", "run/linked.sock"))
    }
    podman_connections(tmp_path, **ways, c=f"unix://{sockets}/user/../podman/podman.sock")
    assert found(tmp_path) == before
    own = str(tmp_path / "var/run/podman/..")
    assert found(tmp_path, uid=5, XDG_RUNTIME_DIR=own) == [("podman", f"unix://{own}/podman/podman.sock")]


def test_the_default_connection_has_its_socket_for_itself(tmp_path: Path, sockets: Path) -> None:
    socket = sockets / "elsewhere/podman.sock"
    socket.rename(tmp_path / "podman.sock")
    (tmp_path / "again.sock").symlink_to(tmp_path / "podman.sock")
    podman_connections(tmp_path, "main", also=f"unix://{tmp_path}/again.sock", main=f"unix://{tmp_path}/podman.sock")
    for path in sockets.glob("**/podman.sock"):
        path.unlink()
    assert found(tmp_path) == [("podman", f"unix://{tmp_path}/podman.sock")]


def test_a_connection_that_is_called_like_a_user(tmp_path: Path, sockets: Path) -> None:
    podman_connections(tmp_path, daemon=f"unix://{sockets}/elsewhere/podman.sock")
    assert ("podman-connection-daemon", f"unix://{sockets}/elsewhere/podman.sock") in found(tmp_path)


def test_the_default_connection_where_no_podman_is_here(tmp_path: Path) -> None:
    podman_connections(tmp_path, "box", box="tcp://box:8080", other="tcp://other:8080")
    assert found(tmp_path) == [("podman", "tcp://box:8080")]
    podman_connections(tmp_path, "box", box="ssh://core@box:22/run/podman/podman.sock")
    (place,) = connections({}, tmp_path)
    assert isinstance(place.endpoint, InvalidError)


def test_service_destinations_of_containers_conf(tmp_path: Path) -> None:
    (tmp_path / "etc/containers.conf.d").mkdir(parents=True)
    (tmp_path / "etc/containers.conf").write_text(
        '[engine]\nactive_service = "old"\n[engine.service_destinations.box]\nuri = "tcp://old:1"\n'
    )
    (tmp_path / "etc/containers.conf.d/50.conf").write_text(
        '[engine]\nactive_service = "box"\n[engine.service_destinations]\nbox = {uri = "tcp://new:1", identity = "k"}\n'
    )
    assert found(tmp_path) == [("podman", "tcp://new:1")]
    (tmp_path / "own.conf").write_text('[engine.service_destinations.mine]\nuri = "tcp://mine:1"\n')
    assert found(tmp_path, CONTAINERS_CONF=str(tmp_path / "own.conf")) == []
    assert found(tmp_path, CONTAINERS_CONF=str(tmp_path / "own.conf"), CONTAINER_CONNECTION="mine") == [
        ("podman", "tcp://mine:1")
    ]


def test_an_override_comes_last(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/containers.conf").write_text(
        '[engine]\nactive_service = "a"\n[engine.service_destinations]\na = {uri = "tcp://a:1"}\nb = {uri = "tcp://b:1"}\n'
    )
    (tmp_path / "last.conf").write_text('[engine]\nactive_service = "b"\n')
    assert found(tmp_path) == [("podman", "tcp://a:1")]
    override = {"CONTAINERS_CONF_OVERRIDE": str(tmp_path / "last.conf")}
    assert found(tmp_path, **override) == [("podman", "tcp://b:1")]
    assert found(tmp_path, **override, CONTAINERS_CONF=f"{tmp_path}/etc/containers.conf") == [("podman", "tcp://b:1")]


@pytest.mark.parametrize(
    ("path", "uids"),
    [
        ("containers.conf.d/1.conf", {0, 5, 6}),
        ("containers.rootful.conf.d/1.conf", {0}),
        ("containers.rootless.conf", {5, 6}),
        ("containers.rootless.conf.d/1.conf", {5, 6}),
        ("containers.rootless.conf.d/5/1.conf", {5}),
        ("containers.rootless.conf.d/1.txt", set()),
    ],
)
def test_what_the_system_says_to_root_to_users_and_to_one(tmp_path: Path, path: str, uids: set[int]) -> None:
    file = tmp_path / "etc" / path
    file.parent.mkdir(parents=True)
    file.write_text('[engine]\nactive_service = "box"\n[engine.service_destinations]\nbox = {uri = "tcp://box:1"}\n')
    assert {uid for uid in (0, 5, 6) if found(tmp_path, uid)} == uids


@pytest.mark.parametrize("text", ["", "[", '{"Connection": []}', '[engine]\nservice_destinations = "x"\n', "\xff"])
def test_configuration_that_makes_no_sense_names_nothing(tmp_path: Path, text: str) -> None:
    folder = tmp_path / ".config/containers"
    folder.mkdir(parents=True)
    (folder / "containers.conf").write_text(text, encoding="latin-1")
    (folder / "podman-connections.json").write_text(text, encoding="latin-1")
    assert found(tmp_path) == []
