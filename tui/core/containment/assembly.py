"""The containment of a session, made of its parts."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from runtime.containment import leases as kernel_leases
from runtime.containment import outsiders as kernel_outsiders
from tui.core.attribution import AttributionObserver
from tui.core.containment.containment import Containment, ContainmentContext
from tui.core.containment.lease_book import LeaseBook
from tui.core.containment.outsiders import OutsiderService
from tui.core.containment.parties import PartyReader
from tui.core.containment.service import LeaseService
from tui.core.hosts.local import LocalHost
from tui.core.operations import Operations
from tui.core.subject import engine_of
from tui.core.undo import UndoStack


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainmentOptions:
    """Who takes leases, of containers and of others; the names of containers that are never contained or probed."""

    leases: LeaseService = kernel_leases
    outsiders: OutsiderService = kernel_outsiders
    untouchable: Collection[str] = ()


def assemble(
    local: LocalHost,
    operations: Operations,
    attribution: AttributionObserver,
    undoing: UndoStack,
    changed: Callable[[], None],
    options: ContainmentOptions,
) -> Containment:
    """The containment of a session; `changed` is called when leases or states have changed."""
    context = operations.context
    find, cgroup = context.find, local.inspection.cgroup
    return Containment(
        ContainmentContext(
            book=LeaseBook(
                options.leases,
                operations,
                outsiders=options.outsiders,
                engine=lambda ref: context.hosts.engines.get(engine_of(ref)),
                cgroup=cgroup,
            ),
            parties=PartyReader(
                hosts=context.hosts,
                find=find,
                cgroup=cgroup,
                why_not=operations.why_not,
                untouchable=options.untouchable,
            ),
            attribution=attribution,
            update=operations.update,
            note=undoing.add,
            changed=changed,
            read_only=context.read_only,
        )
    )
