"""The command palette: every action by name; an unavailable one with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content
from textual.markup import escape
from textual.types import IgnoreReturnCallbackType

from tui.app.keymap import format_keys
from tui.app.services import services
from tui.core.actions import ACTIONS
from tui.present.messages import Message, say

_NOT_LISTED = frozenset({"palette", "clear"})


class Commands(Provider):
    """Every action as a command."""

    def _commands(self) -> Iterator[tuple[str, str, IgnoreReturnCallbackType]]:
        """Title, help and callback of each."""
        app = services(self.screen)
        ref = getattr(self.screen, "ref", None)
        for action in ACTIONS.values():
            here = action.call.startswith("app.") or hasattr(self.screen, f"action_{action.call.partition('(')[0]}")
            if action.id in _NOT_LISTED or not here:
                continue
            refusal = action.why_not(app.session, ref)
            keys = ", ".join(format_keys(action.id, app.keymap))
            title = action.title
            if refusal is not None:
                title = say(Message.NOT_NOW_BECAUSE, action=action.title, reason=refusal.detail)
            if action.about:
                about = say(Message.KEY_OF_ACTION_ABOUT, keys=keys, about=action.about)
            else:
                about = say(Message.KEY_OF_ACTION, keys=keys)
            yield title, escape(about), partial(self.screen.run_action, action.call)

    async def discover(self) -> Hits:
        """All commands, in the order of the registry."""
        for title, about, call in self._commands():
            yield DiscoveryHit(Content(title), call, title, about)

    async def search(self, query: str) -> Hits:
        """Commands whose title matches the query."""
        matcher = self.matcher(query)
        for title, about, call in self._commands():
            score = matcher.match(title)
            if score > 0:
                yield Hit(score, matcher.highlight(title), call, title, about)
