"""A daemon's API of a few lines that runs as another user, on a unix socket of that user's: what it says may be lies.

Run as a program: SOCKET DOCUMENTS UID. DOCUMENTS is a JSON file, read at each request: what is answered, by the end of
the path. "endless" is a body without an end, "slow" one that stops after its first byte.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from tests.conftest import need_root

ROOT: Final = Path(__file__).parent.parent
START_WITHIN: Final = 20.0  # seconds
PODMAN: Final = {"Libpod-Api-Version": "5.2.5"}
DOCKER: Final = {"Api-Version": "1.41"}


class Foreign:
    """The running daemon; `folder` is its user's."""

    def __init__(self, folder: Path, uid: int) -> None:
        self.folder, self.uid = folder, uid
        self.socket, self._documents = folder / "engine.sock", folder / "documents.json"
        self.url = f"unix://{self.socket}"
        self._said: dict[str, Any] = {}

    def say(self, **documents: Any) -> None:
        """Answer so from now on; names are ends of paths, with "_" for "/"."""
        self._said |= {name.replace("_", "/"): document for name, document in documents.items()}
        self._documents.write_text(json.dumps(self._said))

    def lists(self, document: Mapping[str, Any]) -> None:
        self.say(containers_json=[{"Id": document["Id"]}], **{f"{document['Id']}_json": document})


@contextlib.contextmanager
def foreign(uid: int) -> Iterator[Foreign]:
    need_root("foreign")
    folder = Path(tempfile.mkdtemp(prefix="pytop-foreign-"))
    os.chown(folder, uid, uid)
    made = Foreign(folder, uid)
    made.say(headers=PODMAN, info={"host": {"cpus": 2, "cgroupVersion": "v2"}, "NCPU": 2})
    words = [sys.executable, "-m", "tests.foreign", str(made.socket), str(folder / "documents.json"), str(uid)]
    process = subprocess.Popen(words, cwd=ROOT)
    try:
        deadline = time.monotonic() + START_WITHIN
        while not made.socket.exists():
            assert process.poll() is None, "it has ended"
            assert time.monotonic() < deadline, "it does not start"
            time.sleep(0.02)
        yield made
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def _read(documents: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(documents).read_text())
    return found


async def _serve(socket: str, documents: str) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        said = _read(documents)
        if request.path == "/_ping":
            return web.Response(text="OK", headers=said["headers"])
        found = next((said[end] for end in said if request.path.endswith(f"/{end}")), None)
        if found is None:
            return web.json_response({"message": "not here"}, status=404)
        if found not in ("endless", "slow"):
            return web.json_response(found)
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * (1 << 20) if found == "endless" else b" ")
            if found == "slow":
                await asyncio.sleep(60)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.UnixSite(runner, socket).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    owner = int(sys.argv[3])
    os.setgroups([])
    os.setgid(owner)
    os.setuid(owner)
    asyncio.run(_serve(sys.argv[1], sys.argv[2]))
