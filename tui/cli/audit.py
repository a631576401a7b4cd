"""audit: who has changed which limits, when and why, what the kernel held then, and what came of it."""

from __future__ import annotations

import argparse
import time
from typing import Any, Final

from runtime.containment import audit
from runtime.containment.audit import AuditEntry
from runtime.model import LimitChange
from tui.cli import exits, output
from tui.cli.durations import seconds
from tui.cli.verbs import VERBS
from tui.present import lease_text
from tui.present.audit_text import action_text, by_text, change_text

_HEADS: Final = ("WHEN", "WHAT", "NAME", "CHANGE", "BY", "OUTCOME", "LEASE", "REASON")


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """The arguments of `audit`."""
    parser.description = (
        f"{VERBS[verb][1].capitalize()}: the oldest first, and the changes of other programs that were seen. What was"
        " cut short by the end of a program has no outcome."
    )
    add = parser.add_argument
    add("--json", action="store_true", help="one JSON document")
    add("--name", default="", metavar="NAME", help="only of the container or group with this name or id")
    add("--since", type=since, default=0, metavar="TIME", help="only what is younger: 10m, 2h, 2026-01-31 or 12:30")
    add("--who", type=user, default=None, metavar="USER", help="only of this user, by name or number")
    add("--lease", default="", metavar="LEASE", help="only about this lease")
    parser.set_defaults(func=_audit)


def since(text: str) -> int:
    """A time in ns of the wall clock: "10m" ago, a day, or an hour of today, in local time."""
    now = time.time()
    for pattern in ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d"):
        if (parsed := _parsed(text, pattern)) is not None:
            return int(time.mktime(parsed) * 1e9)
    if (parsed := _parsed(f"{time.strftime('%Y-%m-%d')}T{text}", "%Y-%m-%dT%H:%M")) is not None:
        return int(time.mktime(parsed) * 1e9)
    try:
        return int((now - seconds(text)) * 1e9)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; say 10m, 2h, 2026-01-31 or 12:30") from error


def _parsed(text: str, pattern: str) -> time.struct_time | None:
    try:
        return time.strptime(text, pattern)
    except ValueError:
        return None


def user(text: str) -> int:
    """A user's number, also by name."""
    number = int(text) if text.isdecimal() else lease_text.user_number(text)
    if number is None:
        raise argparse.ArgumentTypeError(f"there is no user {text!r}")
    return number


def _audit(args: argparse.Namespace) -> int:
    found = audit.read(name=args.name, since_ns=args.since, uid=args.who, lease=args.lease)
    if args.json:
        output.document([as_json(each) for each in found])
    else:
        output.table(_HEADS, [_row(each) for each in found])
    return exits.OK


def _row(entry: AuditEntry) -> list[str]:
    return [
        time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.when_ns / 1e9)),
        action_text(entry),
        entry.name,
        change_text(entry),
        by_text(entry),
        entry.outcome,
        entry.lease,
        entry.reason,
    ]


def _values(change: LimitChange) -> dict[str, Any]:
    return {name.value: output.plain(value) for name, value in change.items()}


def as_json(entry: AuditEntry) -> dict[str, Any]:
    """One entry; limits are by name."""
    return {
        "time": output.when(entry.when_ns),
        "action": entry.action,
        "engine": entry.ref.engine,
        "container": entry.ref.id,
        "name": entry.name,
        "by": entry.by or None,
        "uid": entry.who.uid,
        "loginuid": entry.who.loginuid,
        "user": lease_text.user_name(entry.who.uid),
        "sudo_user": entry.who.sudo_user or None,
        "ssh": entry.who.ssh or None,
        "pid": entry.who.pid,
        "old": _values(entry.old),
        "new": _values(entry.new),
        "read_back": _values(entry.read_back),
        "frozen": entry.frozen,
        "reason": entry.reason,
        "lease": entry.lease or None,
        "outcome": entry.outcome or None,
    }
