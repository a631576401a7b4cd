"""What the pages of the detail screen have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual.containers import Vertical

from runtime.model import Container, ContainerRef, Ref
from tui.core.session import Session, Subject
from tui.present.glyphs import Glyphs


class Pane(Vertical):
    """One page about one container. It works only while it is shown, unless it says otherwise."""

    KEYS: ClassVar[Mapping[str, str]] = {}  # for the foot of the screen: word by binding

    def __init__(self, session: Session, ref: Ref, glyphs: Glyphs, *, ascii_only: bool, id: str) -> None:
        super().__init__(id=id)
        self.session = session
        self.ref = ref
        self.glyphs = glyphs
        self.ascii_only = ascii_only

    @property
    def subject(self) -> Subject | None:
        """The container or group as it is now; None when it is gone."""
        return self.session.find(self.ref)

    @property
    def container(self) -> Container | None:
        """What the engine says now; None when it is gone, or is a group."""
        return self.session.containers.get(self.ref) if isinstance(self.ref, ContainerRef) else None

    def awake(self) -> None:
        """The page has come to the front."""

    def asleep(self) -> None:
        """Another page is in front."""

    def frame_changed(self) -> None:
        """There is a new frame; called only while the page is in front."""

    def inventory_changed(self) -> None:
        """The engine says something new; called also while another page is in front."""

    def look_again(self) -> None:
        """The user asks for the newest."""
