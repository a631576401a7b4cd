"""Docker as an `Engine`: its HTTP API for what it can do, the kernel for reading back what it did."""

from __future__ import annotations

import asyncio
import json
import time
import weakref
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from runtime import limits
from runtime.engines.daemon import settle as settling
from runtime.engines.daemon import streams
from runtime.engines.daemon.documents import shared_network
from runtime.engines.daemon.endpoint import Endpoint
from runtime.engines.daemon.http import quoted
from runtime.engines.daemon.placement import DOCKER, cgroup_of, placed
from runtime.engines.docker import translate, update
from runtime.engines.docker.client import Client
from runtime.engines.docker.update import Held
from runtime.engines.protocol import Facets
from runtime.errors import (
    DeniedError,
    EngineError,
    InvalidError,
    NotFoundError,
    PytopError,
    UnavailableError,
    UnsupportedError,
)
from runtime.kernel import cgroupfs
from runtime.kernel.cgroupfs import Cgroup
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

TOGETHER: Final = 16  # inspects under way at once
FLAGS: Final = (
    ("MemoryLimit", LimitName.MEMORY),
    ("SwapLimit", LimitName.SWAP),
    ("CpuCfsQuota", LimitName.CPUS),
    ("CPUShares", LimitName.CPU_SHARES),
    ("CPUSet", LimitName.CPUSET_CPUS),
    ("CPUSet", LimitName.CPUSET_MEMS),
    ("PidsLimit", LimitName.PIDS),
)


class DockerEngine:
    """One Docker daemon. Works on through the daemon's death and return."""

    def __init__(self, endpoint: Endpoint, *, proc: Path = Path("/proc")) -> None:
        self._endpoint = endpoint
        self._client = Client(endpoint)
        self._hierarchies = cgroupfs.detect()
        self._proc = proc
        self._changes: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    @property
    def key(self) -> str:
        return translate.KEY

    @property
    def facets(self) -> Facets:
        return Facets(images=self)

    async def close(self) -> None:
        await self._client.close()

    async def info(self) -> EngineInfo:
        self._client.agree_anew()  # a daemon that was upgraded meanwhile
        document = await self._client.json("GET", "/version", "reach Docker", timeout=10)
        return EngineInfo(
            key=self.key,
            product="Docker",
            version=str(document.get("Version", "")),
            endpoint=self._endpoint.url,
            detail={"api": await self._client.version(), "found by": self._endpoint.origin},
        )

    async def capabilities(self) -> Capabilities:
        return await asyncio.to_thread(self._capabilities, await self._daemon())

    async def _daemon(self) -> Mapping[str, Any]:
        document: Mapping[str, Any] = await self._client.json("GET", "/info", "ask Docker what it can do", timeout=10)
        return document

    def _capabilities(self, daemon: Mapping[str, Any]) -> Capabilities:
        missing = {
            name: f"Docker says that its kernel does not offer it ({flag} is false)"
            for flag, name in FLAGS
            if daemon.get(flag) is False
        }
        if self._endpoint.socket is None:
            far = "Docker's API cannot, and another machine's kernel is out of reach"
            missing.update(dict.fromkeys((*translate.KERNEL_ONLY, *RATES), far))
        else:
            missing = {**limits.unsupported_limits(self._hierarchies), **missing}
        return Capabilities(limits=missing, unrecorded=update.unrecorded(daemon))

    # what is there

    async def containers(self) -> list[Container]:
        rows = await self._client.json("GET", "/containers/json", "list Docker's containers", query={"all": "1"})
        gate = asyncio.Semaphore(TOGETHER)

        async def look(identity: str) -> Container | None:
            async with gate:
                try:
                    return translate.container(await self.inspect(identity))
                except NotFoundError:  # removed between the list and this look
                    return None

        found = await asyncio.gather(*(look(str(row["Id"])) for row in rows))
        return await self._placed([container for container in found if container is not None])

    async def get(self, key: str) -> Container:
        container = translate.container(await self.inspect(key))
        return (await self._placed([container]))[0]

    async def inspect(self, key: str) -> Mapping[str, Any]:
        document: Mapping[str, Any] = await self._client.json(
            "GET", f"/containers/{quoted(key)}/json", f"look at container {key}"
        )
        return document

    def events(self) -> AsyncIterator[Event]:
        # Asked for from this moment on, so nothing is lost while the connection is being made.
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
        if not repository or "/" in tag:  # no tag, or the colon is that of a registry's port
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
            held = await asyncio.to_thread(self._held, {}, await self._daemon(), None)
            limits.refuse(spec.limits, held.before, held.facts, None)
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
        query = {"force": "1" if force else "0", "v": "0"}  # volumes are data: they stay
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
        if not change:
            raise InvalidError(f"change limits of container {key}", detail="nothing was asked for")
        limits.validate(change)
        container = await self.get(key)
        cgroup = await self._own_cgroup(container)
        identity, title = container.ref.id, f"change limits of container {container.name}"
        async with self._changes.setdefault(identity, asyncio.Lock()), limits.change_lock(cgroup, title):
            return await self._update(identity, change, title)

    async def recorded(self, key: str) -> Limits:
        document, daemon = await asyncio.gather(self.inspect(key), self._daemon())
        host, ncpu = document.get("HostConfig") or {}, int(daemon.get("NCPU") or 1)
        return await asyncio.to_thread(translate.record, host, ncpu)

    async def _update(self, identity: str, change: LimitChange, title: str) -> LimitOutcome:
        document, daemon = await asyncio.gather(self.inspect(identity), self._daemon())
        capable = await asyncio.to_thread(self._capabilities, daemon)
        for name, _ in change.items():
            reason = capable.why_not(name)
            if reason is not None:
                raise UnsupportedError(f"set {name.value.replace('_', ' ')}", detail=reason)
        network = shared_network(str((document.get("HostConfig") or {}).get("NetworkMode", "")))
        if network and limits.asks_network(change):
            raise UnsupportedError("limit the network of a container", detail=network)
        (container,) = await self._placed([translate.container(document)])
        cgroup = await self._own_cgroup(container)
        pid = container.pid if cgroup is not None and limits.asks_network(change) else None
        held = await asyncio.to_thread(self._held, document.get("HostConfig") or {}, daemon, cgroup, pid)
        if cgroup is None:
            update.refuse(change, held)
            return await self._change_record(container, change, held, title)
        await asyncio.to_thread(lambda: limits.check(cgroup, change, held.before, pid=pid))
        return await self._change_live(container.ref, cgroup, pid, change, held, title)

    async def _send(self, identity: str, body: Mapping[str, Any], title: str) -> None:
        if body:
            await self._client.json("POST", f"/containers/{identity}/update", title, body=body)

    async def _record(self, identity: str, held: Held) -> Limits:
        host = (await self.inspect(identity)).get("HostConfig") or {}
        return await asyncio.to_thread(translate.record, host, held.facts.ncpu)

    async def _change_record(self, container: Container, change: LimitChange, held: Held, title: str) -> LimitOutcome:
        await self._send(container.ref.id, update.body(change, held), title)
        detail = "its processes are not on this machine" if container.state.live else "for the next start"
        record = await self._record(container.ref.id, held)
        return update.unread(container.ref, change, held, record, detail)

    async def _change_live(
        self, ref: ContainerRef, cgroup: Cgroup, pid: int | None, change: LimitChange, held: Held, title: str
    ) -> LimitOutcome:
        """Docker first, then the kernel; if that refuses a part, all of it is taken back."""
        body, refused = update.body(change, held), ""
        tried = await self._try(ref, cgroup, pid, change, held) if update.for_good(body, held, change) else None
        if tried is not None and tried.error:
            return tried
        try:
            async with settling.room(cgroup, change):
                await self._send(ref.id, body, title)
        except PytopError as error:
            if tried is not None:
                await asyncio.to_thread(settling.restore, ref, cgroup, held.before, pid)
            if await asyncio.to_thread(limits.read, cgroup, pid) == held.before:
                raise
            refused = str(error)  # it failed half-way: what has come of it is what counts now
        record = await self._record(ref.id, held)

        def settle() -> LimitOutcome:
            earlier = translate.record(held.host, held.facts.ncpu)
            return settling.settle(
                ref, cgroup, change, held.before, record, earlier=earlier, name="Docker", refused=refused, pid=pid
            )

        outcome = update.told(await asyncio.to_thread(settle))
        return await self._take_back(outcome, cgroup, pid, change, held) if outcome.error else outcome

    async def _try(
        self, ref: ContainerRef, cgroup: Cgroup, pid: int | None, change: LimitChange, held: Held
    ) -> LimitOutcome | None:
        """Have the kernel take a change before Docker hears of it; None where that is not for us to write."""
        try:
            outcome = await asyncio.to_thread(lambda: limits.change(ref, cgroup, change, pid=pid))
        except DeniedError:
            if any(name in translate.KERNEL_ONLY or name in RATES for name, _ in change.items()):
                raise
            return None
        record = await self._record(ref.id, held)
        return replace(outcome, fields=tuple(replace(field, engine=record.get(field.name)) for field in outcome.fields))

    async def _take_back(
        self, outcome: LimitOutcome, cgroup: Cgroup, pid: int | None, change: LimitChange, held: Held
    ) -> LimitOutcome:
        """Out of Docker's record, as far as that can be, and then out of the kernel."""
        stuck: list[str] = []
        names = [name for name, _ in change.items()]
        try:
            host = (await self.inspect(outcome.ref.id)).get("HostConfig") or {}
            body = await asyncio.to_thread(update.undone, names, held, host)
            await self._send(outcome.ref.id, body, "take a change of limits back")
        except PytopError as error:
            stuck.append(str(error))
        record = await self._record(outcome.ref.id, held)
        return await asyncio.to_thread(
            lambda: settling.take_back(outcome, cgroup, held.before, record, stuck=stuck, pid=pid)
        )

    def _held(
        self, host: Mapping[str, Any], daemon: Mapping[str, Any], cgroup: Cgroup | None, pid: int | None = None
    ) -> Held:
        facts = limits.host_facts()
        ncpu = int(daemon.get("NCPU") or facts.ncpu)
        if ncpu != facts.ncpu:  # another machine's, or its daemon is kept to some CPUs
            cpus = f"0-{ncpu - 1}" if ncpu > 1 else "0"
            facts = replace(facts, ncpu=ncpu, cpus=facts.cpus if cgroup is not None else cpus)
        before = limits.read(cgroup, pid) if cgroup is not None else translate.record(host, ncpu)
        return Held(host, before, facts, cgroup_v2=str(daemon.get("CgroupVersion", "1")) == "2")

    # which processes are this machine's

    async def _placed(self, containers: Sequence[Container]) -> list[Container]:
        peer = self._client.peer

        def place() -> list[Container]:
            return [placed(found, peer, DOCKER, self._hierarchies, self._proc) for found in containers]

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


def _seconds(timeout: float | None) -> dict[str, str]:
    return {} if timeout is None else {"t": str(max(0, round(timeout)))}
