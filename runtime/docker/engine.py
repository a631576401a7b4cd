"""Docker as an `Engine`: its HTTP API for what it can do, the kernel for reading back what it did."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from runtime import limits
from runtime.docker import streams, translate, update
from runtime.docker.client import Client
from runtime.docker.endpoint import Endpoint
from runtime.errors import InvalidError, NotFoundError, UnavailableError
from runtime.kernel import cgroupfs
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import (
    Capabilities,
    Container,
    ContainerRef,
    ContainerSpec,
    EngineInfo,
    Event,
    Image,
    LimitChange,
    LimitName,
    LimitOutcome,
    LogLine,
)

TOGETHER: Final = 16  # inspects under way at once


class DockerEngine:
    """One Docker daemon. Works on through the daemon's death and return."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._client = Client(endpoint)
        self._hierarchies = cgroupfs.detect()

    @property
    def key(self) -> str:
        return translate.KEY

    async def close(self) -> None:
        await self._client.close()

    async def info(self) -> EngineInfo:
        document = await self._client.json("GET", "/version", "reach Docker", timeout=10)
        return EngineInfo(
            key=self.key,
            product="Docker",
            version=str(document.get("Version", "")),
            endpoint=self._endpoint.url,
            detail={"api": await self._client.version(), "found by": self._endpoint.origin},
        )

    async def capabilities(self) -> Capabilities:
        document = await self._client.json("GET", "/info", "ask Docker what it can do", timeout=10)
        missing: dict[LimitName, str] = {}
        if not self._endpoint.local:
            missing[LimitName.MEMORY_HIGH] = "Docker's API does not know it, and the kernel is another machine's"
        elif self._hierarchies.v1.get("memory") is not None:
            missing[LimitName.MEMORY_HIGH] = "cgroup v1 has no memory.high"
        flags = (
            ("MemoryLimit", LimitName.MEMORY),
            ("SwapLimit", LimitName.SWAP),
            ("CpuCfsQuota", LimitName.CPUS),
            ("CPUShares", LimitName.CPU_SHARES),
            ("CPUSet", LimitName.CPUSET_CPUS),
            ("CPUSet", LimitName.CPUSET_MEMS),
            ("PidsLimit", LimitName.PIDS),
        )
        for flag, name in flags:
            if document.get(flag) is False:
                missing[name] = "Docker says that this kernel does not offer it"
        return Capabilities(limits=missing)

    # what is there

    async def containers(self) -> list[Container]:
        rows = await self._client.json("GET", "/containers/json", "list Docker's containers", query={"all": "1"})
        gate = asyncio.Semaphore(TOGETHER)

        async def look(identity: str) -> Container | None:
            async with gate:
                try:
                    return await self.get(identity)
                except NotFoundError:  # removed between the list and this look
                    return None

        found = await asyncio.gather(*(look(str(row["Id"])) for row in rows))
        return [container for container in found if container is not None]

    async def get(self, key: str) -> Container:
        return translate.container(await self.inspect(key))

    async def inspect(self, key: str) -> Mapping[str, Any]:
        document: Mapping[str, Any] = await self._client.json(
            "GET", f"/containers/{_quoted(key)}/json", f"look at container {key}"
        )
        return document

    async def events(self) -> AsyncIterator[Event]:
        filters = json.dumps({"type": ["container"]})
        async with self._client.stream("GET", "/events", "follow Docker", query={"filters": filters}) as response:
            async for line in response.content:
                if line.strip():
                    event = translate.event(json.loads(line))
                    if event is not None:
                        yield event
        raise UnavailableError("follow Docker", detail="it ended its stream of events")

    async def images(self) -> list[Image]:
        rows = await self._client.json("GET", "/images/json", "list Docker's images")
        return [translate.image(row) for row in rows]

    async def import_image(self, name: str, rootfs: bytes) -> Image:
        repository, _, tag = name.partition(":")
        title = f"import the image {name}"
        query = {"fromSrc": "-", "repo": repository, "tag": tag or "latest"}
        await self._client.json_lines("POST", "/images/create", title, query=query, body=rootfs)
        return translate.image(await self._image(name, title))

    async def _image(self, name: str, title: str) -> dict[str, Any]:
        document = await self._client.json("GET", f"/images/{_quoted(name)}/json", title)
        created = translate.time_ns(str(document.get("Created", ""))) or 0
        return {**document, "Created": created // 1_000_000_000}

    async def remove_image(self, name: str) -> None:
        await self._client.json("DELETE", f"/images/{_quoted(name)}", f"remove the image {name}", query={"force": "1"})

    # verbs

    async def create(self, spec: ContainerSpec) -> ContainerRef:
        query = {"name": spec.name} if spec.name else {}
        title = f"create a container of {spec.image}"
        answer = await self._client.json(
            "POST", "/containers/create", title, query=query, body=translate.create_body(spec)
        )
        return ContainerRef(self.key, str(answer["Id"]))

    async def start(self, key: str) -> None:
        await self._post(key, "start", f"start container {key}")

    async def stop(self, key: str, *, timeout: float | None = None) -> None:
        await self._post(key, "stop", f"stop container {key}", _seconds(timeout), within=None)

    async def restart(self, key: str, *, timeout: float | None = None) -> None:
        await self._post(key, "restart", f"restart container {key}", _seconds(timeout), within=None)

    async def kill(self, key: str, signal: str = "SIGKILL") -> None:
        await self._post(key, "kill", f"kill container {key}", {"signal": signal})

    async def pause(self, key: str) -> None:
        await self._post(key, "pause", f"pause container {key}")

    async def unpause(self, key: str) -> None:
        await self._post(key, "unpause", f"unpause container {key}")

    async def remove(self, key: str, *, force: bool = False) -> None:
        query = {"force": "1" if force else "0", "v": "1"}
        title = f"remove container {key}"
        await self._client.json("DELETE", f"/containers/{_quoted(key)}", title, query=query, timeout=None)

    async def wait(self, key: str) -> int:
        title = f"wait for container {key}"
        answer = await self._client.json("POST", f"/containers/{_quoted(key)}/wait", title, timeout=None)
        return int(answer["StatusCode"])

    async def logs(self, key: str, *, follow: bool = False, tail: int | None = None) -> AsyncIterator[LogLine]:
        document = await self.inspect(key)
        query = {
            "stdout": "1",
            "stderr": "1",
            "timestamps": "1",
            "follow": "1" if follow else "0",
            "tail": "all" if tail is None else str(tail),
        }
        path, title = f"/containers/{_quoted(key)}/logs", f"read the log of container {key}"
        async with self._client.stream("GET", path, title, query=query) as response:
            tty = bool((document.get("Config") or {}).get("Tty"))
            async for line in streams.lines(response.content.iter_any(), tty=tty):
                yield line

    # limits

    async def update(self, key: str, change: LimitChange) -> LimitOutcome:
        if not change:
            raise InvalidError(f"change limits of container {key}", detail="nothing was asked for")
        document = await self.inspect(key)
        host, container = document.get("HostConfig") or {}, translate.container(document)
        facts = await asyncio.to_thread(limits.host_facts)
        cgroup = await asyncio.to_thread(self._cgroup, container)
        old = translate.record(host, facts.ncpu)
        before = await asyncio.to_thread(limits.read, cgroup) if cgroup is not None else old
        if cgroup is not None:
            await asyncio.to_thread(limits.check, cgroup, change, before)
        body, kernel = update.split(change, host, before, facts)
        if cgroup is None:
            update.refuse_at_rest(kernel)
        if body:
            title = f"change limits of container {container.name}"
            await self._client.json("POST", f"/containers/{_quoted(key)}/update", title, body=body)
        engine = translate.record((await self.inspect(key)).get("HostConfig") or {}, facts.ncpu)
        if cgroup is None:
            return update.at_rest(container.ref, change, before, engine)
        return await asyncio.to_thread(update.finish, container.ref, cgroup, change, before, engine)

    def _cgroup(self, container: Container) -> Cgroup | None:
        """The container's cgroup on this host; None when it does not run or the daemon is elsewhere."""
        if container.pid is None or not container.state.live or not self._endpoint.local:
            return None
        try:
            return cgroupfs.locate(self._hierarchies, container.pid)
        except NotFoundError:
            return None

    async def _post(
        self,
        key: str,
        verb: str,
        title: str,
        query: Mapping[str, str] | None = None,
        *,
        within: float | None = 60.0,
    ) -> None:
        await self._client.json("POST", f"/containers/{_quoted(key)}/{verb}", title, query=query, timeout=within)


def _quoted(key: str) -> str:
    if not key.strip("/."):
        raise InvalidError(f"find the container '{key}'", detail="that is no name")
    return quote(key, safe="")


def _seconds(timeout: float | None) -> dict[str, str]:
    return {} if timeout is None else {"t": str(max(0, round(timeout)))}
