"""Where Docker is looked for: the order of its own client, and clear words for what cannot be used."""

from __future__ import annotations

import hashlib
import json
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from aiohttp import web

from runtime.engines.daemon.endpoint import TLSFiles
from runtime.engines.docker.endpoint import endpoints, parse
from runtime.engines.docker.engine import DockerEngine
from runtime.errors import InvalidError, UnavailableError
from tests.conftest import missing


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


@pytest.mark.parametrize("url", ["fd://", "npipe:////./pipe/docker", "tcp://h:port", "unix://x"])
def test_what_cannot_be_spoken_to_is_refused(url: str) -> None:
    with pytest.raises(InvalidError, match="DOCKER_HOST") as caught:
        parse(url, "DOCKER_HOST")
    assert "unix:///" in caught.value.hint


@pytest.mark.parametrize(
    ("address", "base"),
    [
        ("tcp://h", "http://h:2375"),
        ("tcp://h:99", "http://h:99"),
        ("h", "http://h:2375"),
        ("h:99", "http://h:99"),
        (":99", "http://localhost:99"),
        ("tcp://", "http://localhost:2375"),
        ("tcp://[::1]:99", "http://[::1]:99"),
        ("tcp://h:99/behind/a/proxy/", "http://h:99/behind/a/proxy"),
        ("http://h:99", "http://h:99"),
        ("https://h:99", "https://h:99"),
    ],
)
def test_an_address_leads_where_dockers_own_client_goes(address: str, base: str) -> None:
    """Podman's addresses have another grammar, which its own tests hold."""
    assert parse(address, "DOCKER_HOST").base == base


def test_unix_without_a_path_is_the_usual_socket() -> None:
    assert parse("unix://", "DOCKER_HOST").socket == Path("/var/run/docker.sock")


def test_tls_of_the_environment_and_of_a_context(tmp_path: Path) -> None:
    folder = tmp_path / ".docker"
    folder.mkdir()
    for name in ("ca", "cert", "key"):
        (folder / f"{name}.pem").touch()
    host = {"DOCKER_HOST": "tcp://10.0.0.5:2376"}
    (found,) = endpoints({**host, "DOCKER_TLS_VERIFY": "1"}, tmp_path)
    assert found.base == "https://10.0.0.5:2376"
    assert found.tls == TLSFiles(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    (found,) = endpoints({**host, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path)}, tmp_path)
    assert found.tls == TLSFiles(None, None, None)
    (found,) = endpoints(host, tmp_path)
    assert (found.tls, found.base) == (None, "http://10.0.0.5:2376")
    assert urls({"DOCKER_HOST": "unix:///s", "DOCKER_TLS_VERIFY": "1"}, tmp_path) == ["unix:///s"]
    context(tmp_path, "far", "tcp://h:2376")
    (found,) = endpoints({"DOCKER_CONTEXT": "far"}, tmp_path)
    assert found.tls is None
    files = folder / "contexts/tls" / hashlib.sha256(b"far").hexdigest() / "docker"
    files.mkdir(parents=True)
    (files / "ca.pem").touch()
    (found,) = endpoints({"DOCKER_CONTEXT": "far"}, tmp_path)
    assert found.tls == TLSFiles(files / "ca.pem", None, None)


def test_files_that_are_no_certificates_are_an_error_with_their_path(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(InvalidError, match=r"ca\.pem"):
        TLSFiles(tmp_path / "ca.pem", None, None).context()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for localhost that vouches for itself, with its key."""
    if shutil.which("openssl") is None:
        missing("openssl", "openssl is not installed")
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    files = ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(["openssl", *words.split(), *files], cwd=tmp_path, check=True, capture_output=True, timeout=30)
    shutil.copy(tmp_path / "cert.pem", tmp_path / "ca.pem")
    return tmp_path


@pytest.mark.parametrize("mutual", [True, False])
async def test_a_daemon_behind_tls_and_a_prefix(certificate: Path, mutual: bool) -> None:
    """It is asked with the client's certificate where there is one, and refused without."""

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/behind/_ping":
            return web.Response(text="OK", headers={"Api-Version": "1.44"})
        return web.json_response({"Version": request.path})

    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificate / "ca.pem")
    server.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    server.verify_mode = ssl.CERT_REQUIRED
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "localhost", 0, ssl_context=server)
    await site.start()
    port = runner.addresses[0][1]
    if not mutual:
        (certificate / "cert.pem").unlink()
    environ = {"DOCKER_HOST": f"tcp://localhost:{port}/behind", "DOCKER_TLS_VERIFY": "1"}
    (found,) = endpoints({**environ, "DOCKER_CERT_PATH": str(certificate)})
    engine = DockerEngine(found)
    try:
        if mutual:
            assert (await engine.info()).version == "/behind/v1.44/version"
        else:
            with pytest.raises(UnavailableError):
                await engine.info()
    finally:
        await engine.close()
        await runner.cleanup()
