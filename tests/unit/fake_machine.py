"""A machine's /proc and cgroup tree as regular files, for what only looks at processes."""

from __future__ import annotations

from pathlib import Path

from runtime.engines.found.scan import Scanner
from runtime.kernel.cgroupfs import Hierarchies, Mode, Mount

HOME = "pid:[1]"
OLD = 100  # clock ticks after boot
NOBODY = 1 << 23  # from here on no process of this machine has the number: Linux gives none above 2**22


class FakeMachine:
    """Processes in cgroups and PID namespaces; number 1 and the looking program ("self") are there from the start."""

    def __init__(self, top: Path, mode: Mode = Mode.V2) -> None:
        self.proc, cgroup = top / "proc", top / "cgroup"
        unified = cgroup if mode is Mode.V2 else cgroup / "unified"
        self.hierarchies = Hierarchies(
            mode,
            {} if mode is Mode.V2 else {"pids": Mount(cgroup / "pids")},
            None if mode is Mode.V1 else Mount(unified),
        )
        self.mounts = [] if mode is Mode.V2 else [cgroup / "pids"]
        self.mounts += [] if mode is Mode.V1 else [unified]
        self._lines = "0::{0}\n" if mode is Mode.V2 else "1:pids:{0}\n0::{0}\n"
        for mount in self.mounts:
            mount.mkdir(parents=True)
        self.live(1, "/init.scope", command="init")
        self.looks_from("/user.slice/session-1.scope")

    def scanner(self, *, services: bool = False) -> Scanner:
        return Scanner(services=services, hierarchies=self.hierarchies, proc=self.proc)

    def looks_from(self, path: str) -> None:
        """Put the looking program into a cgroup."""
        (self.proc / "self" / "ns").mkdir(parents=True, exist_ok=True)
        (self.proc / "self" / "cgroup").write_text(self._lines.format(path))
        space = self.proc / "self" / "ns" / "pid"
        space.unlink(missing_ok=True)
        space.symlink_to(HOME)

    def live(
        self,
        pid: int,
        path: str,
        *numbers: int,
        parent: int = 1,
        space: str | None = HOME,
        command: str = "/bin/web --port 1",
        born: int = OLD,
    ) -> int:
        """A process; `numbers` are those that it has in inner PID namespaces, None for `space` says: not to be seen."""
        own = self.proc / str(pid)
        (own / "ns").mkdir(parents=True)
        if space is not None:
            (own / "ns" / "pid").symlink_to(space)
        spaces = "\t".join(str(number) for number in (pid, *numbers))
        (own / "cgroup").write_text(self._lines.format(path))
        (own / "status").write_text(f"Name:\tx\nPPid:\t{parent if pid > 1 else 0}\nNSpid:\t{spaces}\n")
        (own / "stat").write_text(f"{pid} (x) S " + "1 " * 18 + f"{born} 0\n")
        (own / "cmdline").write_bytes(command.replace(" ", "\0").encode() + b"\0")
        for mount in self.mounts:
            (mount / path.strip("/")).mkdir(parents=True, exist_ok=True)
            with (mount / path.strip("/") / "cgroup.procs").open("a") as members:
                members.write(f"{pid}\n")
        return pid

    def hide_processes(self, path: str) -> None:
        """Have no process of a cgroup read: of a threaded one (v2) the kernel says EOPNOTSUPP, here it is EISDIR."""
        for mount in self.mounts:
            procs = mount / path.strip("/") / "cgroup.procs"
            procs.unlink()
            procs.mkdir()
