"""Podman as an `Engine`: acts through its libpod API and the kernel, and reads limits back from the kernel."""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
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
from runtime.engines.daemon.follow import SINCE_MARGIN_NS, follow_events, follow_log, log_time, name_run
from runtime.engines.daemon.http import quoted, understood
from runtime.engines.daemon.info import InfoCache
from runtime.engines.daemon.limit_hooks import DaemonContainer
from runtime.engines.daemon.listing import INSPECT_TIMEOUT_S, ContainerListing, translate_rows
from runtime.engines.daemon.placement import PODMAN, place
from runtime.engines.podman import support, translate
from runtime.engines.podman.client import PodmanClient
from runtime.engines.podman.hooks import PodmanLimits, persisted_limits
from runtime.engines.podman.partial_listing import WHOLE_TIMEOUT_S, list_parts
from runtime.engines.protocol import Facets
from runtime.errors import (
    ConflictError,
    EngineError,
    NotFoundError,
    UnavailableError,
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

INFO_TIMEOUT_S: Final = 6.0
HELD: Final = "Podman waits for it: something holds its lock"


class PodmanEngine:
    """One Podman service. Usable again after the service was restarted."""

    def __init__(self, endpoint: Endpoint, *, key: str = "podman", proc: Path = Path("/proc")) -> None:
        self._endpoint = endpoint
        self._key = key
        self._client = PodmanClient(endpoint)
        self._info = InfoCache(self._client, timeout_s=INFO_TIMEOUT_S)
        self._hierarchies = cgroupfs.detect()
        self._proc = proc
        self._pods: dict[str, str] = {}  # name by id; a pod is never renamed
        self._list_hangs = False  # the last one did, so the next one is asked for in parts at once
        self._refusals: dict[str, str] = {}  # by id: why a start failed, which Podman does not record
        self._listing = ContainerListing("Podman", self._inspect_container, self._row, self._placed)
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
        about = await self._about()
        detail = {"found by": self._endpoint.origin}
        if self._info.reason:
            detail["unknown"] = self._info.reason
        else:
            detail["rootless"] = "yes" if support.rootless(about) else "no"
        return EngineInfo(self.key, "Podman", version, self._endpoint.url, detail)

    async def capabilities(self) -> Capabilities:
        return await self._capabilities(await self._about())

    async def _capabilities(self, about: Mapping[str, Any]) -> Capabilities:
        version = await self._client.version()
        unsupported = await threads.waiting(limits.unsupported_limits, self._hierarchies)
        return support.capabilities(about, version, local=self._endpoint.socket is not None, unsupported=unsupported)

    async def _about(self) -> Mapping[str, Any]:
        """What it says of its machine; what this machine's kernel says where it may not be asked and runs here."""
        found = await self._info.get()
        if found or self._endpoint.socket is None:
            return found
        facts = await threads.acting(limits.host_facts)
        version = "v1" if "memory" in self._hierarchies.v1 else "v2"
        rootless = self._client.peer.user not in (None, 0)
        return {"host": {"cpus": facts.ncpu, "cgroupVersion": version, "security": {"rootless": rootless}}}

    # lists

    async def containers(self) -> list[Container]:
        rows = await self._rows()
        there = {row.ref.id for row in rows}
        self._refusals = {identity: words for identity, words in self._refusals.items() if identity in there}
        return await self._listing.complete(rows)

    async def _rows(self) -> list[Container]:
        """The list, in parts where it hangs as a whole; one that is held is as the last list had it."""
        if not self._list_hangs:
            try:
                return await self._list_part((), WHOLE_TIMEOUT_S)
            except UnavailableError:
                await self._client.version()  # else it is not only the list
                self._list_hangs = True
        known = {row.ref.id: row for row in self._listing.rows}
        found, held = await list_parts(self._list_part, self._exists, known)
        self._list_hangs = bool(held)
        for identity in sorted(held):
            ref = ContainerRef(self.key, identity)
            row = known.get(identity) or Container(ref, identity[:12], "", State.UNKNOWN)
            found.append(replace(row, error=HELD))
        return found

    async def _list_part(self, patterns: Sequence[str], timeout_s: float) -> list[Container]:
        title, query = "list Podman's containers", {"all": "true"}
        if patterns:
            query["filters"] = json.dumps({"id": list(patterns)})
        documents = await self._client.rows("/containers/json", title, query=query, timeout=timeout_s)
        self._pods |= {str(row["Pod"]): str(row["PodName"]) for row in documents if row.get("PodName")}
        return translate_rows(documents, partial(translate.row, key=self.key), self.key, title, "Podman")

    async def _exists(self, prefix: str) -> None:
        await self._client.json("GET", f"/containers/{quoted(prefix)}/exists", f"look for container {prefix}")

    async def _row(self, identity: str) -> Container | None:
        return next(iter(await self._list_part([f"^{identity}"], INSPECT_TIMEOUT_S)), None)

    async def get(self, key: str) -> Container:
        return await self._listing.get(key)

    async def _inspect_container(self, key: str) -> Container:
        return await self._container(await self.inspect(key))

    async def _container(self, document: Mapping[str, Any]) -> Container:
        pod = str(document.get("Pod") or "")
        if pod and pod not in self._pods:
            try:
                answer = await self._client.json("GET", f"/pods/{quoted(pod, 'pod')}/json", f"look at pod {pod}")
                self._pods[pod] = str(answer["Name"])
            except NotFoundError:  # the pod was removed meanwhile with its containers
                self._pods[pod] = pod[:12]
        container = self._translated(document, self._pods.get(pod, ""))
        refusal = self._refusals.get(container.ref.id, "")
        return replace(container, error=container.error or refusal)

    def _translated(self, document: Mapping[str, Any], pod: str = "") -> Container:
        with understood("look at a container", "Podman"):
            return translate.container(document, self.key, pod)

    async def inspect(self, key: str) -> Mapping[str, Any]:
        return await self._client.inspect(key)

    def events(self) -> AsyncIterator[Event]:
        events = follow_events(self._client, _since, partial(translate.event, key=self.key), time.time_ns())
        return self._listing.following(events)

    async def images(self) -> list[Image]:
        rows = await self._client.json("GET", "/images/json", "list Podman's images")
        return [translate.image(row) for row in rows or ()]

    async def import_image(self, name: str, rootfs: bytes) -> Image:
        title = f"import the image {name}"
        answer = await self._client.change("POST", "/images/import", title, query={"reference": name}, body=rootfs)
        identity = str(answer["Id"]).removeprefix("sha256:")
        return translate.image(await self._client.json("GET", f"/images/{identity}/json", title))

    async def remove_image(self, name: str) -> None:
        # With force Podman would also remove the containers that use the image, even running ones.
        path = f"/images/{quoted(name, 'image')}"
        await self._client.change("DELETE", path, f"remove the image {name}", query={"force": "false"})

    # verbs

    async def create(self, spec: ContainerSpec) -> ContainerRef:
        limits.validate(spec.limits)
        body: dict[str, Any] = {}
        if spec.network == "bridge" and support.rootless(await self._about()):
            spec = replace(spec, network="default")  # as its own client; a bridge needs more rights than a user has
        if spec.limits:
            refuse_unsupported(spec.limits, await self.capabilities())
            body = await threads.acting(_initial_limits, spec.limits, await self._about())
        title = f"create a container of {spec.image}"
        answer = await self._client.change("POST", "/containers/create", title, body=translate.create_body(spec, body))
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
            await self._post(key, "stop", title, _seconds(timeout))
        except ConflictError:  # a paused container cannot act on the signal
            if (await self.get(key)).state is not State.PAUSED:
                raise
            await self.unpause(key)
            await self._post(key, "stop", title, _seconds(timeout))

    async def restart(self, key: str, *, timeout: float | None = None) -> None:
        if timeout is None:  # a missing value means 0 here, not the container's own stop timeout
            timeout = float(((await self.inspect(key)).get("Config") or {}).get("StopTimeout") or 0)
        await self._post(key, "restart", f"restart container {key}", _seconds(timeout))

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
        await self._client.change("DELETE", f"/containers/{quoted(key)}", title, query=query)

    async def wait(self, key: str) -> int:
        title = f"wait for container {key}"
        answer = await self._client.json(
            "POST", f"/containers/{quoted(key)}/wait", title, query={"interval": "100ms"}, timeout=None, lasts=True
        )
        return int(answer)

    def logs(self, key: str, *, follow: bool = False, tail: int | None = None) -> AsyncIterator[LogLine]:
        async def run() -> str:
            return name_run(await self._inspect_container(key))

        return follow_log(partial(self._log, key, tail), run) if follow else self._log(key, tail, 0, follow=False)

    async def _log(self, key: str, tail: int | None, since_ns: int, follow: bool) -> AsyncGenerator[LogLine, None]:
        document = await self.inspect(key)
        query = {
            "stdout": "true",
            "stderr": "true",
            "timestamps": "true",
            "follow": "true" if follow else "false",
        }
        if since_ns:
            query["since"] = log_time(since_ns)
        elif tail is not None:
            query["tail"] = str(tail)
        path, title = f"/containers/{quoted(key)}/logs", f"read the log of container {key}"
        terminal = bool((document.get("Config") or {}).get("Tty"))
        async with self._client.stream("GET", path, title, query=query) as response:
            async for line in streams.lines(response.content.iter_any(), tty=False):  # frames even with a terminal
                yield replace(line, data=line.data.removesuffix(b"\r")) if terminal else line

    # limits

    async def recorded(self, key: str) -> Limits:
        about = await self._about()
        document = await self.inspect(key)
        return await threads.waiting(persisted_limits, document, _ncpu(about))

    async def update(self, key: str, change: LimitChange) -> LimitOutcome:
        return await self._limits.change(key, change)

    async def _read(self, key: str) -> DaemonContainer[Mapping[str, Any]]:
        about = await self._about()
        document, why = await self._listing.describe(key, self.inspect)
        capabilities = await self._capabilities(about)
        if why:
            container = await self._listing.last(key)
        else:
            (container,) = await self._placed([self._translated(document)])
        return DaemonContainer(container, document, capabilities, _ncpu(about), support.cgroup_v2(about), why)

    # cgroups and processes on this machine

    async def _placed(self, containers: Sequence[Container]) -> list[Container]:
        return await threads.acting(place, containers, self._client.peer, PODMAN, self._hierarchies, self._proc)

    async def _post(self, key: str, verb: str, title: str, query: Mapping[str, str] | None = None) -> None:
        await self._client.change("POST", f"/containers/{quoted(key)}/{verb}", title, query=query)


def _initial_limits(change: LimitChange, about: Mapping[str, Any]) -> dict[str, Any]:
    """The OCI resources of a new container. Blocking. Raises `RefusedError` and `UnsupportedError`."""
    ncpu = _ncpu(about)
    recorded = persisted_limits({}, ncpu)
    baseline = baseline_of(recorded, None, ncpu=ncpu, cgroup_v2=support.cgroup_v2(about))
    refuse_at_rest(change, baseline, PodmanLimits.kernel_only, PodmanLimits.name)
    return resources.initial_resources(change, baseline)


def _ncpu(about: Mapping[str, Any]) -> int:
    return int((about.get("host") or {}).get("cpus") or os.cpu_count() or 1)


def _since(since_ns: int) -> dict[str, str]:
    filters = json.dumps({"type": ["container"]})
    return {"filters": filters, "since": f"{(since_ns - SINCE_MARGIN_NS) / 1e9:.6f}", "stream": "true"}


def _seconds(timeout: float | None) -> dict[str, str]:
    return {} if timeout is None else {"timeout": str(max(0, round(timeout)))}
