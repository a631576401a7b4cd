"""The demo's stories as data: who suffers, who makes the noise, and the rungs of containment, mildest first.

What a rung changes is here alone; its words are in `tui.present.demo_text`, by the same ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from collectors.attribution.evidence import Resource
from runtime.model import UNLIMITED, DeviceRate, LimitChange, LimitName
from runtime.model.limits import NO_CHANGE

MIB_BYTES: Final = 1024 * 1024
RATE_PER_S: Final = 50  # requests a second
WORK_MS: Final = 12.0  # CPU per request: alone the victim needs 0.6 of its core, so half a core is too little
MIXED_WORK_MS: Final = 8.0  # of a request that also reads from the disk
MAX_QUEUED_REQUESTS: Final = 32
REPORT_INTERVAL_S: Final = 0.5
HOG_PROCESSES: Final = 4
CAP_CORES: Final = 0.2  # the hog's CPU limit while it is contained
PROTECTED_SHARES: Final = 16384  # the victim's CPU weight, 16 times the usual
USUAL_SHARES: Final = 1024
LEAST_SHARES: Final = 2
MEMORY_ROOM_BYTES: Final = 160 * MIB_BYTES  # that the demo's containers have together, beside what the engine holds
INDEX_BYTES: Final = 24 * MIB_BYTES  # the victim's file, which it needs in the page cache
SCANNED_BYTES: Final = 512 * MIB_BYTES  # the file that the hog reads
PROTECTED_BYTES: Final = 64 * MIB_BYTES
MEMORY_LIMIT_BYTES: Final = 48 * MIB_BYTES
PROTECTED_IO_WEIGHT: Final = 1000
USUAL_IO_WEIGHT: Final = 100
LEAST_IO_WEIGHT: Final = 10
DISK_BYTES_PER_S: Final = 8 * MIB_BYTES
LINK_BITS_PER_S: Final = 20_000_000  # the way to the peer, which victim and hog share
FLOOD_MBIT_PER_S: Final = 60
NETWORK_BITS_PER_S: Final = 4_000_000  # what the hog may send
MAX_SHARED_TASKS: Final = 120  # that the demo's containers may have, beside those of the engine
MAX_CHILDREN: Final = 200  # that the fork bomb tries to have
MAX_HOG_TASKS: Final = 40
PEER_PORT: Final = 7777
PEER: Final = "{peer}"  # in arguments: the peer's address, known once it runs


ALL: Final = "all"
TEACH: Final = "teach"  # what a container is, chapter by chapter


class StoryName(StrEnum):
    """The stories, in the order in which `all` plays them."""

    CPU = "cpu"
    MEMORY = "memory"
    IO = "io"
    NETWORK = "network"
    FORKBOMB = "forkbomb"
    MIXED = "mixed"


@dataclass(frozen=True, slots=True)
class StoryMember:
    """One container of a story: its name, its program in `tui/demo/programs` and the arguments."""

    name: str
    program: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoryChange:
    """One change of one container, and what takes it back; or freezing it."""

    target: str
    change: LimitChange = NO_CHANGE
    undo: LimitChange = NO_CHANGE
    freeze: bool = False


@dataclass(frozen=True, slots=True)
class StoryRung:
    """One rung of containment; `id` is its name in tables, JSON and texts."""

    id: str
    changes: tuple[StoryChange, ...]

    @property
    def limits(self) -> tuple[LimitName, ...]:
        """The limits that it changes, each once."""
        return tuple(dict.fromkeys(name for each in self.changes for name in each.change.names()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One story.

    Attributes:
        resource: what victim and hog compete for.
        victim: it serves requests.
        noise: who makes the noise; started after the victim was measured alone. The first is "the hog".
        others: who else is there; started before the victim.
        link_bits: bits per second that reach the peer, 0 without a bound.
        bound: what all containers of the demo have together, as limits of the demo's own cgroup: `memory` and `pids`,
            each beside what the engine's own processes have there.
        rungs: mildest first; each takes the place of the one before.
    """

    name: StoryName
    resource: Resource
    victim: StoryMember
    noise: tuple[StoryMember, ...]
    others: tuple[StoryMember, ...]
    rungs: tuple[StoryRung, ...]
    link_bits: int = 0
    bound: LimitChange = NO_CHANGE

    @property
    def hog(self) -> str:
        """The name of the first that makes noise."""
        return self.noise[0].name


@dataclass(frozen=True, slots=True)
class Site:
    """What stories need to know about the place: how many processes fill the CPUs, and the disk below the containers.

    `device` is "major:minor" of the whole disk, "" where it is not known.
    """

    hog_processes: int = HOG_PROCESSES
    device: str = ""


def victim(work: str, *, work_ms: float = WORK_MS, more: tuple[str, ...] = ()) -> StoryMember:
    """The victim with this work per request."""
    return StoryMember(
        "victim",
        "victim.py",
        (
            "--work",
            work,
            "--rate",
            str(RATE_PER_S),
            "--work-ms",
            str(work_ms),
            "--queue",
            str(MAX_QUEUED_REQUESTS),
            "--report",
            str(REPORT_INTERVAL_S),
            *more,
        ),
    )


QUIET: Final = StoryMember("neighbour", "quiet.py")


def _single(id: str, target: str, change: LimitChange, undo: LimitChange) -> StoryRung:
    return StoryRung(id, (StoryChange(target, change, undo),))


def _idle(target: str) -> StoryChange:
    return StoryChange(target, LimitChange(cpu_idle=True), LimitChange(cpu_idle=False))


def _cpu(site: Site) -> Story:
    usual = LimitChange(cpu_shares=USUAL_SHARES)
    return Story(
        name=StoryName.CPU,
        resource=Resource.CPU,
        victim=victim("cpu"),
        noise=(StoryMember("hog", "hog.py", (str(site.hog_processes),)),),
        others=(QUIET,),
        rungs=(
            _single("protect", "victim", LimitChange(cpu_shares=PROTECTED_SHARES), usual),
            _single("weight", "hog", LimitChange(cpu_shares=LEAST_SHARES), usual),
            StoryRung("idle", (_idle("hog"),)),
            _single("cap", "hog", LimitChange(cpus=CAP_CORES), LimitChange(cpus=UNLIMITED)),
        ),
    )


def _memory(_: Site) -> Story:
    return Story(
        name=StoryName.MEMORY,
        resource=Resource.MEMORY,
        victim=victim("pages", more=("--file-mb", str(INDEX_BYTES // MIB_BYTES))),
        noise=(StoryMember("hog", "cache_reader.py", ("--file-mb", str(SCANNED_BYTES // MIB_BYTES))),),
        others=(QUIET,),
        bound=LimitChange(memory=MEMORY_ROOM_BYTES),
        rungs=(
            _single(
                "reserve",
                "victim",
                LimitChange(memory_reservation=PROTECTED_BYTES),
                LimitChange(memory_reservation=0),
            ),
            _single("high", "hog", LimitChange(memory_high=MEMORY_LIMIT_BYTES), LimitChange(memory_high=UNLIMITED)),
            _single("memory", "hog", LimitChange(memory=MEMORY_LIMIT_BYTES), LimitChange(memory=UNLIMITED)),
        ),
    )


def _disk_rate(target: str, device: str) -> StoryChange:
    return StoryChange(
        target,
        LimitChange(io_read_bps=(DeviceRate(device, DISK_BYTES_PER_S),)),
        LimitChange(io_read_bps=(DeviceRate(device, UNLIMITED),)),
    )


def _io(site: Site) -> Story:
    usual = LimitChange(io_weight=USUAL_IO_WEIGHT)
    return Story(
        name=StoryName.IO,
        resource=Resource.IO,
        victim=victim("disk"),
        noise=(StoryMember("hog", "disk_reader.py"),),
        others=(QUIET,),
        rungs=(
            _single("io-protect", "victim", LimitChange(io_weight=PROTECTED_IO_WEIGHT), usual),
            _single("io-weight", "hog", LimitChange(io_weight=LEAST_IO_WEIGHT), usual),
            StoryRung("disk-rate", (_disk_rate("hog", site.device),)),
        ),
    )


def _network(_: Site) -> Story:
    peer = f"{PEER}:{PEER_PORT}"
    return Story(
        name=StoryName.NETWORK,
        resource=Resource.NETWORK,
        victim=victim("network", more=("--peer", peer)),
        noise=(StoryMember("hog", "flood.py", (peer, "--mbit", str(FLOOD_MBIT_PER_S))),),
        others=(StoryMember("peer", "peer.py", (str(PEER_PORT),)),),
        link_bits=LINK_BITS_PER_S,
        rungs=(
            _single("net-rate", "hog", LimitChange(net_egress=NETWORK_BITS_PER_S), LimitChange(net_egress=UNLIMITED)),
        ),
    )


def _forkbomb(_: Site) -> Story:
    return Story(
        name=StoryName.FORKBOMB,
        resource=Resource.TASKS,
        victim=victim("fork"),
        noise=(StoryMember("hog", "fork_bomb.py", ("--most", str(MAX_CHILDREN))),),
        others=(QUIET,),
        bound=LimitChange(pids=MAX_SHARED_TASKS),
        rungs=(
            _single("tasks", "hog", LimitChange(pids=MAX_HOG_TASKS), LimitChange(pids=UNLIMITED)),
            StoryRung("freeze", (StoryChange("hog", freeze=True),)),
        ),
    )


def _mixed(site: Site) -> Story:
    idle, rate = _idle("hog"), _disk_rate("backup", site.device)
    return Story(
        name=StoryName.MIXED,
        resource=Resource.CPU,
        victim=victim("cpu,disk", work_ms=MIXED_WORK_MS),
        noise=(StoryMember("hog", "hog.py", (str(site.hog_processes),)), StoryMember("backup", "disk_reader.py")),
        others=(QUIET,),
        rungs=(StoryRung("idle", (idle,)), StoryRung("idle-and-rate", (idle, rate))),
    )


_STORIES: Final = {
    StoryName.CPU: _cpu,
    StoryName.MEMORY: _memory,
    StoryName.IO: _io,
    StoryName.NETWORK: _network,
    StoryName.FORKBOMB: _forkbomb,
    StoryName.MIXED: _mixed,
}


def story(name: StoryName, site: Site) -> Story:
    """The story of this name at this site."""
    return _STORIES[name](site)


def playable(rungs: tuple[StoryRung, ...], refused: Mapping[LimitName, str]) -> tuple[tuple[StoryRung, str], ...]:
    """Each rung with the reason why it cannot be taken here, "" where it can.

    `refused` has the limits that an engine cannot change here, with the reasons.
    """
    return tuple((rung, next((refused[name] for name in rung.limits if name in refused), "")) for rung in rungs)
