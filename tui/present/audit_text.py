"""The words of the audit trail: what was done, from what to what, and by whom."""

from __future__ import annotations

from typing import Final

from runtime.containment.audit import CHANGE, CONFIRM, ELSEWHERE, LEASE, TAKE_BACK, US, AuditEntry
from tui.present.lease_text import holder_text
from tui.present.limit_text import replaced_text
from tui.present.messages import Message, say

ACTION_WORDS: Final = {
    CHANGE: "changed",
    LEASE: "leased",
    TAKE_BACK: "taken back",
    CONFIRM: "kept",
    ELSEWHERE: "changed elsewhere",
}


def action_text(entry: AuditEntry) -> str:
    """What was done, in a word or two."""
    return ACTION_WORDS.get(entry.action, entry.action)


def change_text(entry: AuditEntry) -> str:
    """From what to what the kernel holds then, else to what was asked for; whether it was frozen or thawed."""
    text = replaced_text(entry.old, entry.read_back or entry.new)
    frozen = say(Message.THAWED if entry.action == TAKE_BACK else Message.FROZEN) if entry.frozen else ""
    return ", ".join(filter(None, (text, frozen)))


def by_text(entry: AuditEntry) -> str:
    """Who did it; of what others did, in words."""
    return holder_text(entry.who) if entry.by == US else say(Message.BY, name=entry.by)
