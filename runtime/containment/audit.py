"""The audit trail: who changed which limit of what, when and why, what was read back, and what came of it.

An entry is one line of JSON, noted before the change and once more, under the same id, after it: the later line counts.
An entry whose outcome is empty is of a change during which the program was killed. `audit_trail` writes them; here they
are made and read. What is read may be damaged, and a line that is costs only itself.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from runtime.containment import audit_trail, holder
from runtime.containment.document import change_from_json, change_to_json, ref_from_json, ref_to_json
from runtime.containment.lease import Holder, Lease
from runtime.errors import KernelError
from runtime.model import LimitChange, LimitOutcome, Missing, Ref
from runtime.model.limits import NO_CHANGE

FORMAT: Final = 1
MAX_LINE_BYTES: Final = 64 * 1024
US: Final = ""
"""`AuditEntry.by` of what this program has done; else the words for who did it."""
CHANGE: Final = "change"
LEASE: Final = "lease"
TAKE_BACK: Final = "take back"
CONFIRM: Final = "confirm"
ELSEWHERE: Final = "elsewhere"
_TEXTS: Final = ("id", "action", "name", "by", "reason", "lease", "outcome")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One change.

    Attributes:
        when_ns: wall-clock time in ns since the epoch.
        action: `CHANGE`, `LEASE`, `TAKE_BACK`, `CONFIRM`, or `ELSEWHERE` for what others have done.
        who: the process and user that did it; of what others did, who has seen it.
        by: `US`, or in words who did it: "another program", "Docker (update event)".
        old, new: the limits before, and as they were asked for. `read_back` is what the kernel held afterwards.
        frozen: it was frozen, or thawed where the lease is taken back.
        lease: the id of the lease, "" for a change that stays.
        outcome: "" until it is known; else "ok", or what went wrong.
    """

    id: str
    when_ns: int
    action: str
    ref: Ref
    name: str
    who: Holder
    by: str = US
    old: LimitChange = NO_CHANGE
    new: LimitChange = NO_CHANGE
    read_back: LimitChange = NO_CHANGE
    frozen: bool = False
    reason: str = ""
    lease: str = ""
    outcome: str = ""


OK: Final = "ok"


class NotOnDiskError(KernelError):
    """The disk does not take the audit trail, so that nothing was changed."""


def new_id() -> str:
    """An id that no other entry has."""
    return os.urandom(8).hex()


def now_ns() -> int:
    """For `AuditEntry.when_ns`."""
    return time.time_ns()


def of_lease(action: str, lease: Lease) -> AuditEntry:
    """The entry of what this process is about to do with a lease."""
    return AuditEntry(
        id=new_id(),
        when_ns=now_ns(),
        action=action,
        ref=lease.ref,
        name=lease.name,
        who=holder.current(),
        old=lease.before.only(lease.change.names()),
        new=lease.change,
        frozen=lease.frozen,
        reason=lease.reason,
        lease=lease.id,
    )


def finished(entry: AuditEntry, outcome: LimitOutcome) -> AuditEntry:
    """The entry with what the kernel holds by the outcome of the change."""
    old = {each.name: each.before for each in outcome.fields if not isinstance(each.before, Missing)}
    held = {each.name: each.kernel for each in outcome.fields if not isinstance(each.kernel, Missing)}
    said = "; ".join(f"{each.name.value}: {each.detail}" for each in outcome.fields if each.detail)
    return replace(
        entry,
        old=LimitChange.of(old),
        read_back=LimitChange.of(held),
        outcome=OK if outcome.ok else outcome.error or said or "not done",
    )


def record(entry: AuditEntry, *, must_be_on_disk: bool = False) -> None:
    """Note an entry in the run directory, from where it is on the disk within a quarter of a second. Blocking, short.

    It stops no change; `why_not_on_disk` says what went wrong. With `must_be_on_disk` it waits, and raises
    `NotOnDiskError` when the disk does not take it.
    """
    trail = audit_trail.of_process()
    trail.append(json.dumps(_to_json(entry)).encode() + b"\n")
    if must_be_on_disk and (why := trail.why_not_on_disk()):
        raise NotOnDiskError(f"record the change of {entry.name}", detail=why, hint="Nothing was changed")


def why_not_on_disk() -> str:
    """Say "not on disk: " and why, when not everything that this process has recorded is on the disk; else "".

    Waits for a write that is under way, at most `audit_trail.ON_DISK_TIMEOUT_S`.
    """
    return audit_trail.of_process().why_not_on_disk()


def read(
    *, ref: Ref | None = None, name: str = "", since_ns: int = 0, uid: int | None = None, lease: str = ""
) -> list[AuditEntry]:
    """The entries of this user, oldest first, of a container, of a time, of a user, of a lease. Blocking."""
    return list(
        select(entries(audit_trail.of_process().lines()), ref=ref, name=name, since_ns=since_ns, uid=uid, lease=lease)
    )


def select(
    found: Iterable[AuditEntry],
    *,
    ref: Ref | None = None,
    name: str = "",
    since_ns: int = 0,
    uid: int | None = None,
    lease: str = "",
) -> Iterator[AuditEntry]:
    """Those that fit everything that is given."""
    for entry in found:
        if (
            ref in (None, entry.ref)
            and name in ("", entry.name, entry.ref.short)
            and entry.when_ns >= since_ns
            and uid in (None, entry.who.uid, entry.who.loginuid)
            and lease in ("", entry.lease)
        ):
            yield entry


def entries(lines: Iterable[bytes]) -> list[AuditEntry]:
    """Of lines in their order: one for each id, in the order of the first lines, with what the last line says."""
    found: dict[str, AuditEntry] = {}
    for line in lines:
        if len(line) <= MAX_LINE_BYTES and (entry := _from_json(line)) is not None:
            found[entry.id] = entry
    return list(found.values())


def _to_json(entry: AuditEntry) -> dict[str, Any]:
    return {
        "format": FORMAT,
        **{name: getattr(entry, name) for name in _TEXTS},
        "when_ns": entry.when_ns,
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(entry.when_ns / 1e9)),
        "ref": ref_to_json(entry.ref),
        "who": asdict(entry.who),
        **{name: change_to_json(getattr(entry, name)) for name in ("old", "new", "read_back")},
        "frozen": entry.frozen,
    }


def _from_json(line: bytes) -> AuditEntry | None:
    try:
        found: Mapping[str, Any] = json.loads(line)
        if found["format"] != FORMAT:
            return None
        fields: dict[str, Any] = {name: str(found[name]) for name in _TEXTS}
        fields |= {name: change_from_json(found[name]) for name in ("old", "new", "read_back")}
        return AuditEntry(
            when_ns=int(found["when_ns"]),
            ref=ref_from_json(found["ref"]),
            who=Holder(**found["who"]),
            frozen=bool(found["frozen"]),
            **fields,
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the trail of this user is kept."""
    return audit_trail.directory(environ)
