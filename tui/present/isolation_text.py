"""The isolation page: namespaces, rights, and the limits that the kernel holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from collectors.inspection.isolation import Isolation
from runtime.kernel.procfs import IdRange
from runtime.limits import RawFile
from runtime.model import LimitName, Limits, Missing
from tui.present import format as fmt
from tui.present.limit_entries import ENTRIES
from tui.present.limit_text import MISSING_TEXT, format_limit, lasting
from tui.present.paragraph import Paragraph

CAPABILITY_SETS = ("effective", "permitted", "inheritable", "bounding", "ambient")


def describe(
    found: Isolation,
    limits: Limits,
    raw: Sequence[RawFile],
    recorded: Limits,
    why_not: Callable[[LimitName], str | None],
) -> Iterator[Paragraph]:
    """The page: namespaces, rights, limits, limit files, cgroups, mounts. `why_not` is why a limit has no value."""
    yield from _namespaces(found)
    yield from _rights(found)
    yield "text", ""
    yield "head", "LIMITS, as the kernel holds them"
    for entry in ENTRIES:
        held = limits.get(entry.name)
        if isinstance(held, Missing):
            text = fmt.clean(why_not(entry.name) or MISSING_TEXT[held])
        else:
            text = format_limit(entry.name, held)
        period = limits.cpu_period
        if entry.name is LimitName.CPUS and isinstance(period, int) and isinstance(held, float):
            text += f" ({held * period:.0f} us in every {period} us)"
        lasts = lasting(entry.name, held, recorded)
        text += f", {lasts}" if lasts else ""
        yield ("weak" if isinstance(held, Missing) else "text"), f"  {entry.label:<12} {text}"
    yield "text", ""
    yield "head", "LIMIT FILES"
    for file in raw:
        yield "text", f"  {fmt.clean(file.path)}"
        for line in file.text.splitlines() or [""]:
            yield "weak", f"      {fmt.clean(line)}"
    yield "text", ""
    yield "head", "CGROUP"
    for controller, path in sorted(found.cgroup.v1.items()):
        yield "text", f"  {controller:<12} {fmt.clean(str(path))}"
    if found.cgroup.unified is not None:
        yield "text", f"  {'unified':<12} {fmt.clean(str(found.cgroup.unified))}"
    yield from _mounts(found)


def _namespaces(found: Isolation) -> Iterator[Paragraph]:
    yield "head", "NAMESPACES"
    for space in found.namespaces:
        inode = f"[{space.inode}]" if isinstance(space.inode, int) else str(space.inode)
        if isinstance(space.shared, Missing):
            kind, word = "weak", str(space.shared)
        else:
            kind, word = ("warn", "SHARED WITH THE HOST") if space.shared else ("good", "own")
        yield kind, f"  {space.name:<8} {inode:<14} {word}"


def _rights(found: Isolation) -> Iterator[Paragraph]:
    yield "text", ""
    yield "head", "RIGHTS"
    seccomp = found.seccomp
    yield ("warn" if seccomp == "off" else "text"), f"  {'seccomp':<18} {seccomp}"
    privs = found.no_new_privs
    word = str(privs) if isinstance(privs, Missing) else ("yes" if privs else "NO: setuid programs gain rights")
    yield ("warn" if privs is False else "text"), f"  {'no new privileges':<18} {word}"
    yield "text", f"  {'security module':<18} {fmt.clean(str(found.apparmor))}"
    for name, ranges in (("user ids", found.uid_map), ("group ids", found.gid_map)):
        yield "text", f"  {name:<18} {_ids(ranges)}"
    if isinstance(found.capabilities, Missing):
        yield "weak", f"  {'capabilities':<18} {found.capabilities}"
        return
    effective = found.capabilities.get("effective", ())
    for name in CAPABILITY_SETS:
        names = found.capabilities.get(name, ())
        same = name != "effective" and names and set(names) == set(effective)
        words = "the same" if same else " ".join(sorted(names)) or "none"
        yield "text", f"  {name:<18} {len(names):>2}  {words}"


def _ids(ranges: Sequence[IdRange] | Missing) -> str:
    if isinstance(ranges, Missing):
        return str(ranges)
    if len(ranges) == 1 and ranges[0].inside == ranges[0].outside == 0 and ranges[0].count >= 2**32 - 1:
        return "the host's own: root inside is root outside"
    return ", ".join(f"{r.inside}+{r.count} is {r.outside}+{r.count} outside" for r in ranges) or "none"


def _mounts(found: Isolation) -> Iterator[Paragraph]:
    yield "text", ""
    yield "head", "MOUNTS"
    if isinstance(found.mounts, Missing):
        yield "weak", f"  {found.mounts}"
        return
    for mount in found.mounts:
        options = ",".join(mount.options)
        yield "text", fmt.clean(f"  {mount.target}  {mount.fstype} from {mount.source} ({options})")
