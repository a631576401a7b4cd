"""leases: changes that are taken back by themselves; take them back now, or keep them."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from runtime.containment import leases
from runtime.containment.lease import Lease, LeaseState
from runtime.containment.store import now_ns
from runtime.errors import KernelError, NotFoundError, PytopError
from tui.cli import diagnostics, exits, output
from tui.cli.common import session
from tui.cli.engine_choice import add_engine
from tui.cli.verbs import VERBS
from tui.present import lease_text

_HEADS: Final = ("ID", "NAME", "CHANGE", "LEFT", "STATE", "BY", "REASON")


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """The arguments of `leases`."""
    parser.description = (
        f"{VERBS[verb][1].capitalize()}. Without an action they are listed, those of this user's other programs"
        " too. What somebody else has changed meanwhile is left as it is."
    )
    parser.set_defaults(func=_list)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", parser_class=argparse.ArgumentParser)
    revert = actions.add_parser("revert", help="take leases back now", description="Take leases back now.")
    confirm = actions.add_parser(
        "confirm",
        help="keep what is leased",
        description="Keep what is leased: it is told to the engine's record, and not taken back any more.",
    )
    for action, run in ((revert, _revert), (confirm, _confirm)):
        action.add_argument("ids", metavar="LEASE", nargs="+", help="a lease's id")
        action.set_defaults(func=run)
    add_engine(confirm)


def _list(args: argparse.Namespace) -> int:
    found = leases.read_all()
    now = now_ns()
    if args.json:
        output.document([as_json(each, now) for each in found])
        return exits.OK
    rows = [
        [
            each.id,
            each.name,
            lease_text.change_text(each.change, frozen=each.frozen),
            lease_text.countdown(each, now) if each.state is LeaseState.ACTIVE else "",
            lease_text.STATE_WORDS[each.state],
            lease_text.holder_text(each.holder),
            each.reason,
        ]
        for each in found
    ]
    output.table(_HEADS, rows)
    return exits.OK


def as_json(lease: Lease, now_ns: int) -> dict[str, Any]:
    """One lease; `seconds_left` is null once it has ended."""
    active = lease.state is LeaseState.ACTIVE
    return {
        "id": lease.id,
        "state": lease.state.value,
        "engine": lease.ref.engine,
        "container": lease.ref.short,
        "name": lease.name,
        "target": lease.target,
        "change": {name.value: output.plain(value) for name, value in lease.change.items()},
        "before": {name.value: output.plain(value) for name, value in lease.before.items()},
        "frozen": lease.frozen,
        "seconds_left": lease_text.remaining_s(lease, now_ns) if active else None,
        "user": lease_text.user_name(lease.holder.uid),
        "uid": lease.holder.uid,
        "sudo_user": lease.holder.sudo_user or None,
        "ssh": lease.holder.ssh or None,
        "pid": lease.holder.pid,
        "reason": lease.reason,
    }


def _revert(args: argparse.Namespace) -> int:
    return asyncio.run(_each(args.ids, leases.revert))


def _confirm(args: argparse.Namespace) -> int:
    return asyncio.run(_confirm_all(args))


async def _confirm_all(args: argparse.Namespace) -> int:
    async with session(args) as opened:

        async def confirm(id: str) -> Lease:
            lease = _by_id(id)
            if lease.ref in opened.containers and lease.change:
                outcome = await opened.update(lease.ref, lease.change)
                if not outcome.ok:  # it goes on as a lease, and is taken back at its time
                    words = outcome.error or "; ".join(each.detail for each in outcome.fields if each.detail)
                    raise KernelError(f"keep what is leased of {lease.name}", detail=words)
            return await leases.confirmed(id)

        return await _each(args.ids, confirm)


async def _each(ids: list[str], act: Callable[[str], Awaitable[Lease]]) -> int:
    """Do it for each lease; one that failed is reported and does not stop the others."""
    codes = []
    for id in dict.fromkeys(ids):
        try:
            lease = await act(_by_id(id).id)
        except PytopError as error:
            diagnostics.complain(error)
            codes.append(exits.code_of(error))
        else:
            print(f"{lease.id}\t{diagnostics.clean(lease.name)}\t{lease_text.STATE_WORDS[lease.state]}")
            codes.append(exits.FAILED if lease.state in (LeaseState.CONFLICT, LeaseState.FAILED) else exits.OK)
    return exits.together(codes)


def _by_id(id: str) -> Lease:
    """The lease with this id, or an unambiguous beginning of it."""
    found = leases.read_all()
    matches = [each for each in found if each.id == id] or [each for each in found if id and each.id.startswith(id)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise NotFoundError(f"{id} fits several leases", detail=", ".join(each.id for each in matches[:5]))
    raise NotFoundError(f"there is no lease {id}", hint="See `leases` for what there is")
