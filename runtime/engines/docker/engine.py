"""Docker as an `Engine`: acts through its HTTP API, and reads limits back from the kernel."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from runtime import limits
from runtime.engines.daemon import streams
from runtime.engines.daemon.changing_limits import LimitChanger, baseline_of
from runtime.engines.daemon.endpoint import Endpoint
from runtime.engines.daemon.follow import follow_events, follow_log, log_time, name_run
from runtime.engines.daemon.http import quoted, understood
from runtime.engines.daemon.info import InfoCache
from runtime.engines.daemon.limit_hooks import DaemonContainer
from runtime.engines.daemon.listing import ContainerListing, translate_rows
from runtime.engines.daemon.placement import DOCKER, place
from runtime.engines.docker import translate, update
from runtime.engines.docker.client import DockerClient
from runtime.engines.docker.hooks import DockerLimits, host_config
from runtime.engines.protocol import Facets
from runtime.errors import (
    EngineError,
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

VERSION_TIMEOUT_S: Final = 3.0
INFO_TIMEOUT_S: Final = 5.0
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

    def __init__(self, endpoint: Endpoint, *, key: str = translate.KEY, proc: Path = Path("/proc")) -> None:
        self._key = key
        self._endpoint = endpoint
        self._client = DockerClient(endpoint)
        self._info = InfoCache(self._client, timeout_s=INFO_TIMEOUT_S)
        self._hierarchies = cgroupfs.detect()
        self._proc = proc
        self._listing = ContainerListing("Docker", self._container, self._row, self._placed)
        self._limits = LimitChanger(DockerLimits(self._client, self._read), self._hierarchies)

    @property
    def key(self) -> str:
        return self._key

    @property
    def facets(self) -> Facets:
        return Facets(images=self)

    async def close(self) -> None:
        await self._client.close()

    async def info(self) -> EngineInfo:
        self._client.agree_anew()  # the daemon may have been upgraded
        document, reason = await self._client.optional("/version", "reach Docker", timeout=VERSION_TIMEOUT_S)
        detail = {"api": await self._client.version(), "found by": self._endpoint.origin}
        return EngineInfo(
            key=self.key,
            product="Docker",
            version=str(document.get("Version", "")),
            endpoint=self._endpoint.url,
            detail=detail | ({"unknown": reason} if reason else {}),
        )

    async def capabilities(self) -> Capabilities:
        return await threads.waiting(self._capabilities, await self._about())

    def _capabilities(self, daemon: Mapping[str, Any]) -> Capabilities:
        missing = {
            name: f"Docker says that its kernel does not offer it ({flag} is false)"
            for flag, name in INFO_FLAGS
            if daemon.get(flag) is False
        }
        if self._endpoint.socket is None:
            far = "Docker's API cannot, and another machine's kernel is out of reach"
            missing.update(dict.fromkeys(translate.KERNEL_ONLY, far))
            missing.update(dict.fromkeys(RATES, "the disks of another machine cannot be named from here"))
        else:
            missing = {**limits.unsupported_limits(self._hierarchies), **missing}
        unrecorded = update.unrecorded(daemon, device_limits=self._client.takes_device_limits)
        return Capabilities(limits=missing, unrecorded=unrecorded)

    async def _about(self) -> Mapping[str, Any]:
        """What it says of its machine; what this machine's kernel says where it may not be asked and runs here."""
        found = await self._info.get()
        if found or self._endpoint.socket is None:
            return found
        facts = await threads.acting(limits.host_facts)
        return {"NCPU": facts.ncpu, "CgroupVersion": "1" if "memory" in self._hierarchies.v1 else "2"}

    # lists

    async def containers(self) -> list[Container]:
        return await self._listing.complete(await self._rows())

    async def _rows(self, **filters: list[str]) -> list[Container]:
        title, query = "list Docker's containers", {"all": "1"}
        if filters:
            query["filters"] = json.dumps(filters)
        documents = await self._client.rows("/containers/json", title, query=query)
        return translate_rows(documents, partial(translate.row, key=self.key), self.key, title, "Docker")

    async def _row(self, identity: str) -> Container | None:
        return next(iter(await self._rows(id=[identity])), None)

    async def get(self, key: str) -> Container:
        return await self._listing.get(key)

    async def _container(self, key: str) -> Container:
        return self._translated(key, await self.inspect(key))

    def _translated(self, key: str, document: Mapping[str, Any]) -> Container:
        with understood(f"look at container {key}", "Docker"):
            return translate.container(document, self.key)

    async def inspect(self, key: str) -> Mapping[str, Any]:
        return await self._client.inspect(key)

    def events(self) -> AsyncIterator[Event]:
        # From the time of this call, so that no event is lost while the connection is opened.
        events = follow_events(self._client, _since, partial(translate.event, key=self.key), time.time_ns())
        return self._listing.following(events)

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
        await self._client.change("DELETE", f"/images/{quoted(name)}", f"remove the image {name}", query={"force": "1"})

    # verbs

    async def create(self, spec: ContainerSpec) -> ContainerRef:
        limits.validate(spec.limits)
        if spec.limits:
            daemon = await self._about()
            await threads.acting(_refuse, spec.limits, _ncpu(daemon), cgroup_v2=_cgroup_v2(daemon))
        query = {"name": spec.name} if spec.name else {}
        title = f"create a container of {spec.image}"
        answer = await self._client.change(
            "POST", "/containers/create", title, query=query, body=translate.create_body(spec)
        )
        return ContainerRef(self.key, str(answer["Id"]))

    async def start(self, key: str) -> None:
        await self._post(key, "start", f"start container {key}")

    async def stop(self, key: str, *, timeout: float | None = None) -> None:
        await self._post(key, "stop", f"stop container {key}", _seconds(timeout))

    async def restart(self, key: str, *, timeout: float | None = None) -> None:
        await self._post(key, "restart", f"restart container {key}", _seconds(timeout))

    async def kill(self, key: str, signal: str = "SIGKILL") -> None:
        await self._post(key, "kill", f"kill container {key}", {"signal": signal})

    async def pause(self, key: str) -> None:
        await self._post(key, "pause", f"pause container {key}")

    async def unpause(self, key: str) -> None:
        await self._post(key, "unpause", f"unpause container {key}")

    async def remove(self, key: str, *, force: bool = False) -> None:
        query = {"force": "1" if force else "0", "v": "0"}  # volumes are data and are kept
        title = f"remove container {key}"
        await self._client.change("DELETE", f"/containers/{quoted(key)}", title, query=query)

    async def wait(self, key: str) -> int:
        title = f"wait for container {key}"
        answer = await self._client.json("POST", f"/containers/{quoted(key)}/wait", title, timeout=None, lasts=True)
        if (answer.get("Error") or {}).get("Message"):
            raise EngineError(title, detail=str(answer["Error"]["Message"]))
        return int(answer["StatusCode"])

    def logs(self, key: str, *, follow: bool = False, tail: int | None = None) -> AsyncIterator[LogLine]:
        async def run() -> str:
            return name_run(await self._container(key))

        return follow_log(partial(self._log, key, tail), run) if follow else self._log(key, tail, 0, follow=False)

    async def _log(self, key: str, tail: int | None, since_ns: int, follow: bool) -> AsyncGenerator[LogLine, None]:
        document = await self.inspect(key)
        query = {
            "stdout": "1",
            "stderr": "1",
            "timestamps": "1",
            "follow": "1" if follow else "0",
            "tail": "all" if tail is None or since_ns else str(tail),
        }
        if since_ns:
            query["since"] = log_time(since_ns)
        path, title = f"/containers/{quoted(key)}/logs", f"read the log of container {key}"
        async with self._client.stream("GET", path, title, query=query) as response:
            tty = bool((document.get("Config") or {}).get("Tty"))
            async for line in streams.lines(response.content.iter_any(), tty=tty):
                yield line

    # limits

    async def update(self, key: str, change: LimitChange) -> LimitOutcome:
        return await self._limits.change(key, change)

    async def recorded(self, key: str) -> Limits:
        daemon = await self._about()
        document = await self.inspect(key)
        with understood(f"look at container {key}", "Docker"):
            return await threads.waiting(translate.record, host_config(document), _ncpu(daemon))

    async def _read(self, key: str) -> DaemonContainer[Mapping[str, Any]]:
        daemon = await self._about()
        document, why = await self._listing.describe(key, self.inspect)
        capabilities = await threads.acting(self._capabilities, daemon)
        if why:
            container = await self._listing.last(key)
        else:
            (container,) = await self._placed([self._translated(key, document)])
        return DaemonContainer(container, document, capabilities, _ncpu(daemon), _cgroup_v2(daemon), why)

    # cgroups and processes on this machine

    async def _placed(self, containers: Sequence[Container]) -> list[Container]:
        return await threads.acting(place, containers, self._client.peer, DOCKER, self._hierarchies, self._proc)

    async def _post(self, key: str, verb: str, title: str, query: Mapping[str, str] | None = None) -> None:
        await self._client.change("POST", f"/containers/{quoted(key)}/{verb}", title, query=query)


def _since(since_ns: int) -> dict[str, str]:
    return {"filters": json.dumps({"type": ["container"]}), "since": log_time(since_ns)}


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
