"""Podman as an `Engine`: its libpod API for what it can do, the kernel for the rest and for reading back."""

from __future__ import annotations

import asyncio
import os
import re
import time
import weakref
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from runtime import limits
from runtime.engines.daemon import settle as settling
from runtime.engines.daemon import streams
from runtime.engines.daemon.documents import device_number
from runtime.engines.daemon.endpoint import Endpoint
from runtime.engines.daemon.http import ANSWER_WITHIN, quoted
from runtime.engines.daemon.placement import PODMAN, cgroup_of, placed
from runtime.engines.podman import support, translate, update
from runtime.engines.podman.client import Client, numbers
from runtime.engines.podman.follow import follow
from runtime.engines.protocol import Facets
from runtime.errors import (
    ConflictError,
    EngineError,
    InvalidError,
    NotFoundError,
    PytopError,
    UnsupportedError,
)
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
    LimitOutcome,
    Limits,
    LogLine,
    State,
)
from runtime.oci import resources
from runtime.oci.resources import ResourceContext

TOGETHER: Final = 16  # inspects under way at once
_RUNTIME: Final = re.compile(r"`.* update .*` failed: exit status \d+")


class PodmanEngine:
    """One Podman service. Works on through its death and return."""

    def __init__(self, endpoint: Endpoint, *, key: str = "podman", proc: Path = Path("/proc")) -> None:
        self._endpoint = endpoint
        self._key = key
        self._client = Client(endpoint)
        self._hierarchies = cgroupfs.detect()
        self._proc = proc
        self._about: Mapping[str, Any] | None = None
        self._pods: dict[str, str] = {}  # name by id; a pod is never renamed
        self._refusals: dict[str, str] = {}  # why a container could not be started, which Podman does not keep
        self._changes: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    @property
    def key(self) -> str:
        return self._key

    @property
    def facets(self) -> Facets:
        return Facets(images=self)

    async def close(self) -> None:
        await self._client.close()

    async def info(self) -> EngineInfo:
        self._client.agree_anew()  # a Podman that was upgraded meanwhile
        self._about = None
        version = await self._client.version()
        about = await self._service()
        detail = {"found by": self._endpoint.origin, "rootless": "yes" if support.rootless(about) else "no"}
        return EngineInfo(self.key, "Podman", version, self._endpoint.url, detail)

    async def capabilities(self) -> Capabilities:
        about, version = await self._service(), await self._client.version()
        lacking = await asyncio.to_thread(limits.unsupported_limits, self._hierarchies)
        return support.capabilities(about, version, local=self._endpoint.socket is not None, lacking=lacking)

    async def _service(self) -> Mapping[str, Any]:
        """What Podman says about itself and its machine; a tenth of a second of its work, so it is kept."""
        if self._about is None:
            self._about = await self._client.json("GET", "/info", "ask Podman what it can do", timeout=30)
        assert self._about is not None
        return self._about

    # what is there

    async def containers(self) -> list[Container]:
        rows = await self._client.json("GET", "/containers/json", "list Podman's containers", query={"all": "true"})
        rows = rows or []
        self._pods = {str(row["Pod"]): str(row["PodName"]) for row in rows if row.get("Pod") and row.get("PodName")}
        there = {str(row["Id"]) for row in rows}
        self._refusals = {identity: words for identity, words in self._refusals.items() if identity in there}
        gate = asyncio.Semaphore(TOGETHER)

        async def look(identity: str) -> Container | None:
            async with gate:
                try:
                    return await self._container(await self.inspect(identity))
                except NotFoundError:  # removed between the list and this look
                    return None

        found = await asyncio.gather(*(look(identity) for identity in there))
        return await self._placed([container for container in found if container is not None])

    async def get(self, key: str) -> Container:
        container = await self._container(await self.inspect(key))
        return (await self._placed([container]))[0]

    async def _container(self, document: Mapping[str, Any]) -> Container:
        pod = str(document.get("Pod") or "")
        if pod and pod not in self._pods:
            try:
                found = await self._client.json("GET", f"/pods/{quoted(pod, 'pod')}/json", f"look at pod {pod}")
                self._pods[pod] = str(found["Name"])
            except NotFoundError:  # removed meanwhile, and its containers with it
                self._pods[pod] = pod[:12]
        container = translate.container(document, self.key, self._pods.get(pod, ""))
        refusal = self._refusals.get(container.ref.id, "")
        return replace(container, error=container.error or refusal)

    async def inspect(self, key: str) -> Mapping[str, Any]:
        document: Mapping[str, Any] = await self._client.json(
            "GET", f"/containers/{quoted(key)}/json", f"look at container {key}"
        )
        return document

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
        # By force Podman would remove the containers that use it, running ones too.
        path = f"/images/{quoted(name, 'image')}"
        await self._client.json("DELETE", path, f"remove the image {name}", query={"force": "false"}, timeout=None)

    # verbs

    async def create(self, spec: ContainerSpec) -> ContainerRef:
        limits.validate(spec.limits)
        body: dict[str, Any] = {}
        if spec.network == "bridge" and support.rootless(await self._service()):
            spec = replace(spec, network="default")  # what its own client takes; a bridge needs more than a user has
        if spec.limits:
            capabilities = await self.capabilities()
            self._permit(spec.limits, capabilities)
            held = await asyncio.to_thread(self._held, {}, await self._service(), None)
            update.refuse(spec.limits, held)
            body = resources.initial_resources(spec.limits, held)
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
        except ConflictError:  # a paused one cannot take the signal, and Podman leaves it at that
            if (await self.get(key)).state is not State.PAUSED:
                raise
            await self.unpause(key)
            await self._post(key, "stop", title, _seconds(timeout), within=None)

    async def restart(self, key: str, *, timeout: float | None = None) -> None:
        if timeout is None:  # what is left out counts as 0 here, not as the container's own
            timeout = float(((await self.inspect(key)).get("Config") or {}).get("StopTimeout") or 0)
        await self._post(key, "restart", f"restart container {key}", _seconds(timeout), within=None)

    async def kill(self, key: str, signal: str = "SIGKILL") -> None:
        await self._post(key, "kill", f"kill container {key}", {"signal": signal})

    async def pause(self, key: str) -> None:
        await self._post(key, "pause", f"pause container {key}")

    async def unpause(self, key: str) -> None:
        await self._post(key, "unpause", f"unpause container {key}")

    async def remove(self, key: str, *, force: bool = False) -> None:
        query = {"force": "true" if force else "false", "v": "false"}  # volumes are data: they stay
        if force:
            query["timeout"] = "0"  # else it is asked to stop first, and given its time
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
            async for line in streams.lines(response.content.iter_any(), tty=False):  # framed with a terminal too
                yield replace(line, data=line.data.removesuffix(b"\r")) if terminal else line

    # limits

    async def recorded(self, key: str) -> Limits:
        document, about = await asyncio.gather(self.inspect(key), self._service())
        return await asyncio.to_thread(self._record, document, _ncpu(about))

    async def update(self, key: str, change: LimitChange) -> LimitOutcome:
        if not change:
            raise InvalidError(f"change limits of container {key}", detail="nothing was asked for")
        limits.validate(change)
        (container,) = await self._placed([translate.container(await self.inspect(key), self.key)])
        cgroup = await self._own_cgroup(container)
        identity, title = container.ref.id, f"change limits of container {container.name}"
        # At rest it is the record alone that changes: of two changes within each other Podman 5.4 keeps one.
        held = cgroup or (self._endpoint.socket.parent if self._endpoint.socket is not None else None)
        async with self._changes.setdefault(identity, asyncio.Lock()), limits.change_lock(held, title):
            return await self._update(identity, change, title)

    async def _update(self, identity: str, change: LimitChange, title: str) -> LimitOutcome:
        document, about, capabilities = await asyncio.gather(
            self.inspect(identity), self._service(), self.capabilities()
        )
        version = await self._client.version()
        self._permit(change, capabilities)
        container = translate.container(document, self.key)
        live = container.state.live
        if reason := update.forbids(document.get("HostConfig") or {}, change):
            raise UnsupportedError(title, detail=reason)
        (container,) = await self._placed([container])
        cgroup = await self._own_cgroup(container)
        pid = container.pid if limits.asks_network(change) else None
        held = await asyncio.to_thread(self._held, document, about, cgroup, pid)
        if cgroup is None:
            update.refuse(change, held)
            if not live and capabilities.at_rest:
                raise UnsupportedError(title, detail=capabilities.at_rest)
        else:
            await asyncio.to_thread(limits.check, cgroup, change, held.before, pid=pid)
        body, refused = resources.resources(change, held), ""
        if body:
            try:
                async with settling.room(cgroup, change):
                    await self._send(body, document, title)
            except EngineError as error:  # the runtime's refusal, whose words are lost: the kernel's say why
                if cgroup is None:
                    raise
                refused = _RUNTIME.sub("its OCI runtime failed", error.detail)
        earlier = await asyncio.to_thread(self._record, document, held.facts.ncpu)
        recorded = await asyncio.to_thread(self._record, await self.inspect(identity), held.facts.ncpu)
        if cgroup is None:
            detail = "its processes are not on this machine" if live else "for the next start"
            return update.unread(container.ref, change, held, recorded, kept=bool(body) and not live, detail=detail)
        settled = await asyncio.to_thread(
            lambda: settling.settle(
                container.ref,
                cgroup,
                change,
                held.before,
                recorded,
                earlier=earlier,
                name="Podman",
                refused=refused,
                pid=pid,
            )
        )
        if settled.error:
            settled = await self._take_back(settled, cgroup, pid, document, held)
        return update.told(settled, version)

    async def _send(self, body: Mapping[str, Any], document: Mapping[str, Any], title: str) -> None:
        version = numbers(await self._client.version())
        body = await asyncio.to_thread(update.whole, body, document, version, self._client.peer.owners)
        path = f"/containers/{document['Id']}/update"
        async with self._client.stream("POST", path, title, body=body, timeout=ANSWER_WITHIN) as response:
            await self._client.read(response, title)  # the id, as plain text

    async def _take_back(
        self, outcome: LimitOutcome, cgroup: Cgroup, pid: int | None, document: Mapping[str, Any], held: ResourceContext
    ) -> LimitOutcome:
        """Out of what Podman and its OCI runtime keep, and then out of the kernel; `document` is that of before."""
        stuck: list[str] = []
        keeps = numbers(await self._client.version()) >= update.RECORDS
        then = await asyncio.to_thread(self._record, document, held.facts.ncpu) if keeps else held.before
        now = await asyncio.to_thread(limits.read, cgroup)
        names = [field.name for field in outcome.fields]
        try:
            body = resources.resources(settling.back(names, then, now), replace(held, before=now))
            if body:
                await self._send(body, await self.inspect(outcome.ref.id), "take a change of limits back")
        except PytopError as error:
            stuck.append(_RUNTIME.sub("its OCI runtime failed", str(error)))
        recorded = await asyncio.to_thread(self._record, await self.inspect(outcome.ref.id), held.facts.ncpu)
        return await asyncio.to_thread(
            lambda: settling.take_back(outcome, cgroup, held.before, recorded, stuck=stuck, pid=pid)
        )

    def _permit(self, change: LimitChange, capabilities: Capabilities) -> None:
        for name, _ in change.items():
            reason = capabilities.why_not(name)
            if reason is not None:
                raise UnsupportedError(f"set {name.value.replace('_', ' ')}", detail=reason)

    def _record(self, document: Mapping[str, Any], ncpu: int) -> Limits:
        return translate.record(document.get("HostConfig") or {}, ncpu, device_number)

    def _held(
        self, document: Mapping[str, Any], about: Mapping[str, Any], cgroup: Cgroup | None, pid: int | None = None
    ) -> ResourceContext:
        facts = limits.host_facts()
        ncpu = _ncpu(about) or facts.ncpu
        if ncpu != facts.ncpu:  # another machine's, or its service is kept to some CPUs
            cpus = f"0-{ncpu - 1}" if ncpu > 1 else "0"
            facts = replace(facts, ncpu=ncpu, cpus=facts.cpus if cgroup is not None else cpus)
        before = limits.read(cgroup, pid) if cgroup is not None else self._record(document, ncpu)
        return ResourceContext(before, facts, support.cgroup_v2(about))

    # which processes are this machine's

    async def _placed(self, containers: Sequence[Container]) -> list[Container]:
        peer = self._client.peer

        def place() -> list[Container]:
            return [placed(found, peer, PODMAN, self._hierarchies, self._proc) for found in containers]

        return await asyncio.to_thread(place)

    async def _own_cgroup(self, container: Container) -> Cgroup | None:
        return await asyncio.to_thread(cgroup_of, container, self._client.peer, self._hierarchies)

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


def _ncpu(about: Mapping[str, Any]) -> int:
    return int((about.get("host") or {}).get("cpus") or os.cpu_count() or 1)


def _seconds(timeout: float | None) -> dict[str, str]:
    return {} if timeout is None else {"timeout": str(max(0, round(timeout)))}
