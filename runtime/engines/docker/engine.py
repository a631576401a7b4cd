"""Docker as an `Engine`: acts through its HTTP API, and reads limits back from the kernel."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from runtime import limits
from runtime.engines.daemon import streams
from runtime.engines.daemon.changing_limits import LimitChanger, baseline_of
from runtime.engines.daemon.endpoint import Endpoint
from runtime.engines.daemon.http import quoted
from runtime.engines.daemon.info import InfoCache
from runtime.engines.daemon.limit_hooks import DaemonContainer
from runtime.engines.daemon.placement import DOCKER, placed
from runtime.engines.docker import translate, update
from runtime.engines.docker.client import DockerClient
from runtime.engines.docker.hooks import DockerLimits
from runtime.engines.protocol import Facets
from runtime.errors import (
    EngineError,
    NotFoundError,
    UnavailableError,
)
from runtime.kernel import cgroupfs, threads
from runtime.limits.controllers.io import RATES
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
    Limits,
    LogLine,
)
from runtime.oci.timestamps import parse_time_ns

MAX_CONCURRENT_INSPECTS: Final = 16
INFO_FLAGS: Final = (
    ("MemoryLimit", LimitName.MEMORY),
    ("SwapLimit", LimitName.SWAP),
    ("CpuCfsQuota", LimitName.CPUS),
    ("CPUShares", LimitName.CPU_SHARES),
    ("CPUSet", LimitName.CPUSET_CPUS),
    ("CPUSet", LimitName.CPUSET_MEMS),
    ("PidsLimit", LimitName.PIDS),
)


class DockerEngine:
    """One Docker daemon. Usable again after the daemon was restarted."""

    def __init__(self, endpoint: Endpoint, *, proc: Path = Path("/proc")) -> None:
        self._endpoint = endpoint
        self._client = DockerClient(endpoint)
        self._info = InfoCache(self._client, timeout_s=10)
        self._hierarchies = cgroupfs.detect()
        self._proc = proc
        self._limits = LimitChanger(DockerLimits(self._client, self._read), self._hierarchies)

    @property
    def key(self) -> str:
        return translate.KEY

    @property
    def facets(self) -> Facets:
        return Facets(images=self)

    async def close(self) -> None:
        await self._client.close()

    async def info(self) -> EngineInfo:
        self._client.agree_anew()  # the daemon may have been upgraded
        document = await self._client.json("GET", "/version", "reach Docker", timeout=10)
        return EngineInfo(
            key=self.key,
            product="Docker",
            version=str(document.get("Version", "")),
            endpoint=self._endpoint.url,
            detail={"api": await self._client.version(), "found by": self._endpoint.origin},
        )

    async def capabilities(self) -> Capabilities:
        return await threads.waiting(self._capabilities, await self._info.get())

    def _capabilities(self, daemon: Mapping[str, Any]) -> Capabilities:
        missing = {
            name: f"Docker says that its kernel does not offer it ({flag} is false)"
            for flag, name in INFO_FLAGS
            if daemon.get(flag) is False
        }
        if self._endpoint.socket is None:
            far = "Docker's API cannot, and another machine's kernel is out of reach"
            missing.update(dict.fromkeys((*translate.KERNEL_ONLY, *RATES), far))
        else:
            missing = {**limits.unsupported_limits(self._hierarchies), **missing}
        return Capabilities(limits=missing, unrecorded=update.unrecorded(daemon))

    # lists

    async def containers(self) -> list[Container]:
        rows = await self._client.json("GET", "/containers/json", "list Docker's containers", query={"all": "1"})
        gate = asyncio.Semaphore(MAX_CONCURRENT_INSPECTS)

        async def inspect(identity: str) -> Container | None:
            async with gate:
                try:
                    return translate.container(await self.inspect(identity))
                except NotFoundError:  # removed after the list was read
                    return None

        containers = await asyncio.gather(*(inspect(str(row["Id"])) for row in rows))
        return await self._placed([container for container in containers if container is not None])

    async def get(self, key: str) -> Container:
        container = translate.container(await self.inspect(key))
        return (await self._placed([container]))[0]

    async def inspect(self, key: str) -> Mapping[str, Any]:
        return await self._client.inspect(key)

    def events(self) -> AsyncIterator[Event]:
        # From the time of this call, so that no event is lost while the connection is opened.
        return self._events(time.time_ns())

    async def _events(self, since_ns: int) -> AsyncIterator[Event]:
        seconds, rest = divmod(since_ns, 1_000_000_000)
        query = {"filters": json.dumps({"type": ["container"]}), "since": f"{seconds}.{rest:09}"}
        async with self._client.stream("GET", "/events", "follow Docker", query=query) as response:
            async for line in streams.split(response.content.iter_any()):
                event = translate.event(json.loads(line))
                if event is not None:
                    yield event
        raise UnavailableError("follow Docker", detail="it ended its stream of events")

    async def images(self) -> list[Image]:
        rows = await self._client.json("GET", "/images/json", "list Docker's images")
        return [translate.image(row) for row in rows]

    async def import_image(self, name: str, rootfs: bytes) -> Image:
        repository, _, tag = name.rpartition(":")
        if not repository or "/" in tag:  # no tag, or the colon separates a registry's port
            repository, tag = name, "latest"
        title = f"import the image {name}"
        query = {"fromSrc": "-", "repo": repository, "tag": tag}
        await self._client.json_lines("POST", "/images/create", title, query=query, body=rootfs)
        return translate.image(await self._image(name, title))

    async def _image(self, name: str, title: str) -> dict[str, Any]:
        document = await self._client.json("GET", f"/images/{quoted(name)}/json", title)
        created = parse_time_ns(str(document.get("Created", ""))) or 0
        return {**document, "Created": created // 1_000_000_000}

    async def remove_image(self, name: str) -> None:
        await self._client.json("DELETE", f"/images/{quoted(name)}", f"remove the image {name}", query={"force": "1"})

    # verbs

    async def create(self, spec: ContainerSpec) -> ContainerRef:
        limits.validate(spec.limits)
        if spec.limits:
            daemon = await self._info.get()
            await threads.acting(_refuse, spec.limits, _ncpu(daemon), cgroup_v2=_cgroup_v2(daemon))
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
        query = {"force": "1" if force else "0", "v": "0"}  # volumes are data and are kept
        title = f"remove container {key}"
        await self._client.json("DELETE", f"/containers/{quoted(key)}", title, query=query, timeout=None)

    async def wait(self, key: str) -> int:
        title = f"wait for container {key}"
        answer = await self._client.json("POST", f"/containers/{quoted(key)}/wait", title, timeout=None, lasts=True)
        if (answer.get("Error") or {}).get("Message"):
            raise EngineError(title, detail=str(answer["Error"]["Message"]))
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
        path, title = f"/containers/{quoted(key)}/logs", f"read the log of container {key}"
        async with self._client.stream("GET", path, title, query=query) as response:
            tty = bool((document.get("Config") or {}).get("Tty"))
            async for line in streams.lines(response.content.iter_any(), tty=tty):
                yield line

    # limits

    async def update(self, key: str, change: LimitChange) -> LimitOutcome:
        return await self._limits.change(key, change)

    async def recorded(self, key: str) -> Limits:
        document, daemon = await asyncio.gather(self.inspect(key), self._info.get())
        host, ncpu = document.get("HostConfig") or {}, int(daemon.get("NCPU") or 1)
        return await threads.waiting(translate.record, host, ncpu)

    async def _read(self, key: str) -> DaemonContainer[Mapping[str, Any]]:
        document, daemon = await asyncio.gather(self.inspect(key), self._info.get())
        capabilities = await threads.acting(self._capabilities, daemon)
        (container,) = await self._placed([translate.container(document)])
        return DaemonContainer(container, document, capabilities, _ncpu(daemon), _cgroup_v2(daemon))

    # cgroups and processes on this machine

    async def _placed(self, containers: Sequence[Container]) -> list[Container]:
        peer = self._client.peer

        def with_cgroups() -> list[Container]:
            return [placed(container, peer, DOCKER, self._hierarchies, self._proc) for container in containers]

        return await threads.acting(with_cgroups)

    async def _post(
        self,
        key: str,
        verb: str,
        title: str,
        query: Mapping[str, str] | None = None,
        *,
        within: float | None = 60.0,
    ) -> None:
        await self._client.json("POST", f"/containers/{quoted(key)}/{verb}", title, query=query, timeout=within)


def _seconds(timeout: float | None) -> dict[str, str]:
    return {} if timeout is None else {"t": str(max(0, round(timeout)))}


def _ncpu(daemon: Mapping[str, Any]) -> int | None:
    return int(daemon.get("NCPU") or 0) or None


def _cgroup_v2(daemon: Mapping[str, Any]) -> bool:
    return str(daemon.get("CgroupVersion", "1")) == "2"


def _refuse(change: LimitChange, ncpu: int | None, *, cgroup_v2: bool) -> None:
    """Raise `RefusedError` for limits that would harm a new container. Blocking."""
    recorded = translate.record({}, ncpu or limits.host_facts().ncpu)
    baseline = baseline_of(recorded, None, ncpu=ncpu, cgroup_v2=cgroup_v2)
    limits.refuse(change, baseline.before, baseline.facts, None)
