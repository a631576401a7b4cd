"""Docker through the user's ssh: what is run, and what is never handed to ssh."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from runtime.engines.daemon import ssh
from runtime.engines.docker.endpoint import endpoints, parse
from runtime.engines.docker.engine import DockerEngine
from runtime.errors import InvalidError, UnavailableError

DIAL = ("docker", "system", "dial-stdio")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ssh://box", ("--", "box")),
        ("ssh://me@box", ("-l", "me", "--", "box")),
        ("ssh://me@box:2222/", ("-l", "me", "-p", "2222", "--", "box")),
        ("ssh://[::1]:22", ("-p", "22", "--", "::1")),
    ],
)
def test_the_words_that_are_run(url: str, words: tuple[str, ...]) -> None:
    found = ssh.command(url)
    assert found[0] == "ssh"
    assert found[-len(words) - len(DIAL) :] == (*words, *DIAL)
    assert "BatchMode=yes" in found, "no question on the terminal that is drawn on"


@pytest.mark.parametrize(
    "url",
    [
        "ssh://",
        "ssh://-oProxyCommand=touch%20x",
        "ssh://-lroot@box",
        "ssh://me:secret@box",
        "ssh://box:port",
        "ssh://box/run/docker.sock",
    ],
)
def test_what_is_no_host_is_not_given_to_ssh(url: str) -> None:
    """Looked for elsewhere: DOCKER_HOST and a context go through the same `parse`; Podman's ssh:// is refused."""
    with pytest.raises(InvalidError, match="ssh"):
        parse(url, "DOCKER_HOST")


def test_docker_host_and_contexts_may_name_it(tmp_path: Path) -> None:
    (found,) = endpoints({"DOCKER_HOST": "ssh://me@box"}, tmp_path)
    assert (found.url, found.socket, found.base) == ("ssh://me@box", None, "http://localhost")


async def test_what_ssh_says_is_in_the_error_and_no_process_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = tmp_path / "ssh"
    fake.write_text("#!/bin/sh\necho 'warning: x' >&2\necho 'me@box: Permission denied (publickey).' >&2\nexit 255\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    engine = DockerEngine(parse("ssh://me@box", "DOCKER_HOST"))
    with pytest.raises(UnavailableError, match="Permission denied") as caught:
        await engine.info()
    assert "ssh " in caught.value.hint
    tunnels = engine._client._tunnels
    assert tunnels is not None
    await engine.close()
    assert tunnels._running == []


async def test_without_an_ssh_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    engine = DockerEngine(parse("ssh://me@box", "DOCKER_HOST"))
    async with asyncio.timeout(10):
        with pytest.raises(UnavailableError):
            await engine.info()
    await engine.close()
