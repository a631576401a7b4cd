"""The base class of the detail screen's pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual.containers import Vertical

from runtime.model import Container, ContainerRef, Ref
from tui.core.session import Session, Subject
from tui.present.glyphs import Glyphs


class Pane(Vertical):
    """One page about one container or group. While hidden it does nothing, unless its class says otherwise."""

    KEYS: ClassVar[Mapping[str, str]] = {}  # shown in the foot of the screen: label by binding id

    def __init__(self, session: Session, ref: Ref, glyphs: Glyphs, *, ascii_only: bool, id: str) -> None:
        super().__init__(id=id)
        self.session = session
        self.ref = ref
        self.glyphs = glyphs
        self.ascii_only = ascii_only

    @property
    def subject(self) -> Subject | None:
        """The current inventory entry, a container or a group; None when it is gone."""
        return self.session.find(self.ref)

    @property
    def container(self) -> Container | None:
        """The container as last listed; None when it is gone, or is a group."""
        return self.session.containers.get(self.ref) if isinstance(self.ref, ContainerRef) else None

    def follow(self, ref: Ref) -> None:
        """From now on it is about the container that was made anew under the name of the one that is gone."""
        self.ref = ref

    def activate(self) -> None:
        """The page is shown."""

    def deactivate(self) -> None:
        """The page is hidden."""

    def frame_changed(self) -> None:
        """There is a new frame; called only while the page is shown."""

    def inventory_changed(self) -> None:
        """The inventory has changed; called while the page is hidden too."""

    def reload(self) -> None:
        """Read again, when the user asks for it."""
