"""Podman as an `Engine`: acts through its libpod API and the kernel, and reads limits back from the kernel."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from runtime import limits
from runtime.engines.daemon import streams
from runtime.engines.daemon.changing_limits import (
    LimitChanger,
    baseline_of,
    refuse_at_rest,
    refuse_unsupported,
)
from runtime.engines.daemon.endpoint import Endpoint
from runtime.engines.daemon.http import quoted
from runtime.engines.daemon.info import InfoCache
from runtime.engines.daemon.limit_hooks import DaemonContainer
from runtime.engines.daemon.placement import PODMAN, placed
from runtime.engines.podman import support, translate
from runtime.engines.podman.client import PodmanClient
from runtime.engines.podman.follow import follow
from runtime.engines.podman.hooks import PodmanLimits, persisted_limits
from runtime.engines.protocol import Facets
from runtime.errors import (
    ConflictError,
    EngineError,
    NotFoundError,
)
from runtime.kernel import cgroupfs, threads
from runtime.model import (
    Capabilities,
    Container,
    ContainerRef,
    ContainerSpec,
    EngineInfo,
    Event,
    Image,
    LimitChange,
    LimitOutcome,
    Limits,
    LogLine,
    State,
)
from runtime.oci import resources

MAX_CONCURRENT_INSPECTS: Final = 16


class PodmanEngine:
    """One Podman service. Usable again after the service was restarted."""

    def __init__(self, endpoint: Endpoint, *, key: str = "podman", proc: Path = Path("/proc")) -> None:
        self._endpoint = endpoint
        self._key = key
        self._client = PodmanClient(endpoint)
        self._info = InfoCache(self._client, timeout_s=30)
        self._hierarchies = cgroupfs.detect()
        self._proc = proc
        self._pods: dict[str, str] = {}  # name by id; a pod is never renamed
        self._refusals: dict[str, str] = {}  # by id: why a start failed, which Podman does not record
        self._limits = LimitChanger(PodmanLimits(self._client, self._read), self._hierarchies)

    @property
    def key(self) -> str:
        return self._key

    @property
    def facets(self) -> Facets:
        return Facets(images=self)

    async def close(self) -> None:
        await self._client.close()

    async def info(self) -> EngineInfo:
        self._client.agree_anew()  # Podman may have been upgraded
        version = await self._client.version()
        about = await self._info.get()
        detail = {"found by": self._endpoint.origin, "rootless": "yes" if support.rootless(about) else "no"}
        return EngineInfo(self.key, "Podman", version, self._endpoint.url, detail)

    async def capabilities(self) -> Capabilities:
        return await self._capabilities(await self._info.get())

    async def _capabilities(self, about: Mapping[str, Any]) -> Capabilities:
        version = await self._client.version()
        unsupported = await threads.waiting(limits.unsupported_limits, self._hierarchies)
        return support.capabilities(about, version, local=self._endpoint.socket is not None, unsupported=unsupported)

    # lists

    async def containers(self) -> list[Container]:
        rows = await self._client.json("GET", "/containers/json", "list Podman's containers", query={"all": "true"})
        rows = rows or []
        self._pods = {str(row["Pod"]): str(row["PodName"]) for row in rows if row.get("Pod") and row.get("PodName")}
        there = {str(row["Id"]) for row in rows}
        self._refusals = {identity: words for identity, words in self._refusals.items() if identity in there}
        gate = asyncio.Semaphore(MAX_CONCURRENT_INSPECTS)

        async def inspect(identity: str) -> Container | None:
            async with gate:
                try:
                    return await self._container(await self.inspect(identity))
                except NotFoundError:  # removed after the list was read
                    return None

        containers = await asyncio.gather(*(inspect(identity) for identity in there))
        return await self._placed([container for container in containers if container is not None])

    async def get(self, key: str) -> Container:
        container = await self._container(await self.inspect(key))
        return (await self._placed([container]))[0]

    async def _container(self, document: Mapping[str, Any]) -> Container:
        pod = str(document.get("Pod") or "")
        if pod and pod not in self._pods:
            try:
                answer = await self._client.json("GET", f"/pods/{quoted(pod, 'pod')}/json", f"look at pod {pod}")
                self._pods[pod] = str(answer["Name"])
            except NotFoundError:  # the pod was removed meanwhile with its containers
                self._pods[pod] = pod[:12]
        container = translate.container(document, self.key, self._pods.get(pod, ""))
        refusal = self._refusals.get(container.ref.id, "")
        return replace(container, error=container.error or refusal)

    async def inspect(self, key: str) -> Mapping[str, Any]:
        return await self._client.inspect(key)

    def events(self) -> AsyncIterator[Event]:
        return follow(self._client, self.key, time.time())

    async def images(self) -> list[Image]:
        rows = await self._client.json("GET", "/images/json", "list Podman's images")
        return [translate.image(row) for row in rows or ()]

    async def import_image(self, name: str, rootfs: bytes) -> Image:
        title = f"import the image {name}"
        answer = await self._client.json(
            "POST", "/images/import", title, query={"reference": name}, body=rootfs, timeout=None
        )
        identity = str(answer["Id"]).removeprefix("sha256:")
        return translate.image(await self._client.json("GET", f"/images/{identity}/json", title))

    async def remove_image(self, name: str) -> None:
        # With force Podman would also remove the containers that use the image, even running ones.
        path = f"/images/{quoted(name, 'image')}"
        await self._client.json("DELETE", path, f"remove the image {name}", query={"force": "false"}, timeout=None)

    # verbs

    async def create(self, spec: ContainerSpec) -> ContainerRef:
        limits.validate(spec.limits)
        body: dict[str, Any] = {}
        if spec.network == "bridge" and support.rootless(await self._info.get()):
            spec = replace(spec, network="default")  # as its own client; a bridge needs more rights than a user has
        if spec.limits:
            refuse_unsupported(spec.limits, await self.capabilities())
            body = await threads.acting(_initial_limits, spec.limits, await self._info.get())
        title = f"create a container of {spec.image}"
        answer = await self._client.json(
            "POST", "/containers/create", title, body=translate.create_body(spec, body), timeout=None
        )
        return ContainerRef(self.key, str(answer["Id"]))

    async def start(self, key: str) -> None:
        identity = str((await self.inspect(key))["Id"])
        try:
            await self._post(key, "start", f"start container {key}")
        except EngineError as error:
            self._refusals[identity] = error.detail
            raise
        self._refusals.pop(identity, None)

    async def stop(self, key: str, *, timeout: float | None = None) -> None:
        title = f"stop container {key}"
        try:
            await self._post(key, "stop", title, _seconds(timeout), within=None)
        except ConflictError:  # a paused container cannot act on the signal
            if (await self.get(key)).state is not State.PAUSED:
                raise
            await self.unpause(key)
            await self._post(key, "stop", title, _seconds(timeout), within=None)

    async def restart(self, key: str, *, timeout: float | None = None) -> None:
        if timeout is None:  # a missing value means 0 here, not the container's own stop timeout
            timeout = float(((await self.inspect(key)).get("Config") or {}).get("StopTimeout") or 0)
        await self._post(key, "restart", f"restart container {key}", _seconds(timeout), within=None)

    async def kill(self, key: str, signal: str = "SIGKILL") -> None:
        await self._post(key, "kill", f"kill container {key}", {"signal": signal})

    async def pause(self, key: str) -> None:
        await self._post(key, "pause", f"pause container {key}")

    async def unpause(self, key: str) -> None:
        await self._post(key, "unpause", f"unpause container {key}")

    async def remove(self, key: str, *, force: bool = False) -> None:
        query = {"force": "true" if force else "false", "v": "false"}  # volumes are data and are kept
        if force:
            query["timeout"] = "0"  # else it gets the stop signal first, and time to end
        title = f"remove container {key}"
        await self._client.json("DELETE", f"/containers/{quoted(key)}", title, query=query, timeout=None)

    async def wait(self, key: str) -> int:
        title = f"wait for container {key}"
        answer = await self._client.json(
            "POST", f"/containers/{quoted(key)}/wait", title, query={"interval": "100ms"}, timeout=None, lasts=True
        )
        return int(answer)

    async def logs(self, key: str, *, follow: bool = False, tail: int | None = None) -> AsyncIterator[LogLine]:
        document = await self.inspect(key)
        query = {
            "stdout": "true",
            "stderr": "true",
            "timestamps": "true",
            "follow": "true" if follow else "false",
        }
        if tail is not None:
            query["tail"] = str(tail)
        path, title = f"/containers/{quoted(key)}/logs", f"read the log of container {key}"
        terminal = bool((document.get("Config") or {}).get("Tty"))
        async with self._client.stream("GET", path, title, query=query) as response:
            async for line in streams.lines(response.content.iter_any(), tty=False):  # frames even with a terminal
                yield replace(line, data=line.data.removesuffix(b"\r")) if terminal else line

    # limits

    async def recorded(self, key: str) -> Limits:
        document, about = await asyncio.gather(self.inspect(key), self._info.get())
        return await threads.waiting(persisted_limits, document, _ncpu(about))

    async def update(self, key: str, change: LimitChange) -> LimitOutcome:
        return await self._limits.change(key, change)

    async def _read(self, key: str) -> DaemonContainer[Mapping[str, Any]]:
        document, about = await asyncio.gather(self.inspect(key), self._info.get())
        capabilities = await self._capabilities(about)
        (container,) = await self._placed([translate.container(document, self.key)])
        return DaemonContainer(container, document, capabilities, _ncpu(about), support.cgroup_v2(about))

    # cgroups and processes on this machine

    async def _placed(self, containers: Sequence[Container]) -> list[Container]:
        peer = self._client.peer

        def with_cgroups() -> list[Container]:
            return [placed(container, peer, PODMAN, self._hierarchies, self._proc) for container in containers]

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


def _initial_limits(change: LimitChange, about: Mapping[str, Any]) -> dict[str, Any]:
    """The OCI resources of a new container. Blocking. Raises `RefusedError` and `UnsupportedError`."""
    ncpu = _ncpu(about)
    recorded = persisted_limits({}, ncpu)
    baseline = baseline_of(recorded, None, ncpu=ncpu, cgroup_v2=support.cgroup_v2(about))
    refuse_at_rest(change, baseline, PodmanLimits.kernel_only, PodmanLimits.name)
    return resources.initial_resources(change, baseline)


def _ncpu(about: Mapping[str, Any]) -> int:
    return int((about.get("host") or {}).get("cpus") or os.cpu_count() or 1)


def _seconds(timeout: float | None) -> dict[str, str]:
    return {} if timeout is None else {"timeout": str(max(0, round(timeout)))}
