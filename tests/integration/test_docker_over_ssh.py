"""A real Docker behind a real sshd, named by an address for ssh."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.engines.docker.endpoint import parse
from runtime.engines.docker.engine import DockerEngine
from runtime.model import ContainerSpec, State
from tests.conftest import missing
from tests.dockerd import Dockerd, busybox_rootfs, dockerd
from tests.sshd import sshd

IMAGE = "pytop-ssh:1"


@pytest.fixture
def daemon() -> Iterator[Dockerd]:
    folder = Path(tempfile.mkdtemp(prefix="pytop-ssh-"))
    try:
        with dockerd(folder) as started:
            yield started
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def test_containers_are_listed_followed_and_changed_through_ssh(
    daemon: Dockerd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The user's configuration of ssh is a program of that name in PATH here: port, key, and which Docker is used."""
    if shutil.which("docker") is None:
        missing("docker", "its client is not installed")
    real = shutil.which("ssh")
    with sshd(tmp_path) as words:
        *options, login = words
        options = [word for word in options[1:] if word != "-tt"]
        wrapper = tmp_path / "bin/ssh"
        wrapper.parent.mkdir()
        given = " ".join(f"'{word}'" for word in options)
        wrapper.write_text(f'#!/bin/sh\nexec {real} {given} -o "SetEnv=DOCKER_HOST={daemon.url}" "$@"\n')
        wrapper.chmod(0o755)
        monkeypatch.setenv("PATH", str(wrapper.parent), prepend=":")
        engine = DockerEngine(parse(f"ssh://{login}", "DOCKER_HOST"))
        try:
            assert (await engine.info()).product == "Docker"
            await engine.import_image(IMAGE, busybox_rootfs())
            ref = await engine.create(ContainerSpec(IMAGE, ("sh", "-c", "echo hello; sleep 600"), name="far"))
            await engine.start(ref.id)
            assert [(each.name, each.state) for each in await engine.containers()] == [("far", State.RUNNING)]
            assert [line.data async for line in engine.logs(ref.id)] == [b"hello"]
            await engine.remove(ref.id, force=True)
        finally:
            await engine.close()
        assert engine._client._tunnels is not None
        assert engine._client._tunnels._running == []
