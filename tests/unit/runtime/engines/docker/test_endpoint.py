"""Where Docker is looked for: the order of its own client, and clear words for what cannot be used."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from runtime.engines.docker.endpoint import endpoints, parse
from runtime.errors import InvalidError


def context(home: Path, name: str, host: str) -> None:
    folder = home / ".docker/contexts/meta" / hashlib.sha256(name.encode()).hexdigest()
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(json.dumps({"Name": name, "Endpoints": {"docker": {"Host": host}}}))


def urls(environ: dict[str, str], home: Path) -> list[str]:
    return [endpoint.url for endpoint in endpoints(environ, home)]


def test_docker_host_comes_before_everything(tmp_path: Path) -> None:
    context(tmp_path, "work", "unix:///work.sock")
    environ = {"DOCKER_HOST": "tcp://10.0.0.5:2375", "DOCKER_CONTEXT": "work", "XDG_RUNTIME_DIR": "/run/user/7"}
    (found,) = endpoints(environ, tmp_path)
    assert (found.url, found.origin, found.configured) == ("tcp://10.0.0.5:2375", "DOCKER_HOST", True)
    assert found.socket is None
    assert found.base == "http://10.0.0.5:2375"


def test_the_context_of_the_environment_comes_before_the_current_one(tmp_path: Path) -> None:
    context(tmp_path, "work", "unix:///work.sock")
    context(tmp_path, "home", "unix:///home.sock")
    (tmp_path / ".docker/config.json").write_text('{"currentContext": "home"}')
    assert urls({"DOCKER_CONTEXT": "work"}, tmp_path) == ["unix:///work.sock"]
    assert urls({}, tmp_path) == ["unix:///home.sock"]


def test_docker_config_names_another_folder(tmp_path: Path) -> None:
    context(tmp_path, "work", "unix:///work.sock")
    environ = {"DOCKER_CONFIG": str(tmp_path / ".docker"), "DOCKER_CONTEXT": "work"}
    assert urls(environ, tmp_path / "elsewhere") == ["unix:///work.sock"]


@pytest.mark.parametrize("config", [None, "{", "[]", '{"currentContext": 5}', '{"currentContext": "default"}', "{}"])
def test_without_a_context_the_usual_sockets_are_guessed(tmp_path: Path, config: str | None) -> None:
    (tmp_path / ".docker").mkdir()
    if config is not None:
        (tmp_path / ".docker/config.json").write_text(config)
    found = endpoints({"XDG_RUNTIME_DIR": "/run/user/7"}, tmp_path)
    assert [endpoint.url for endpoint in found] == ["unix:///var/run/docker.sock", "unix:///run/user/7/docker.sock"]
    assert not any(endpoint.configured for endpoint in found)


def test_a_context_that_is_not_there_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="'gone'") as caught:
        endpoints({"DOCKER_CONTEXT": "gone"}, tmp_path)
    assert caught.value.path is not None
    assert "docker context ls" in caught.value.hint


@pytest.mark.parametrize("url", ["ssh://me@host", "nonsense", "unix://", "tcp://", "fd://", "npipe:////./pipe/docker"])
def test_what_cannot_be_spoken_to_is_refused(url: str) -> None:
    with pytest.raises(InvalidError, match="DOCKER_HOST") as caught:
        parse(url, "DOCKER_HOST")
    assert "unix:///" in caught.value.hint


def test_tls_is_not_left_out_in_silence(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="TLS"):
        endpoints({"DOCKER_HOST": "tcp://10.0.0.5:2376", "DOCKER_TLS_VERIFY": "1"}, tmp_path)
    assert urls({"DOCKER_HOST": "unix:///s", "DOCKER_TLS_VERIFY": "1"}, tmp_path) == ["unix:///s"]
