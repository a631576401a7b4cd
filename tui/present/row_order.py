"""The order of the list's rows, which stands still while the user acts on what is seen. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeVar

from runtime.model import Ref
from tui.core.subject import Subject

ORDER_HOLD_S: Final = 3.0  # after a key or a click

S = TypeVar("S", bound=Subject)


class RowOrder:
    """The places of the rows as they were drawn last."""

    def __init__(self) -> None:
        self._places: Mapping[Ref, int] = {}

    def drawn(self, refs: Iterable[Ref]) -> None:
        """The rows from top to bottom."""
        self._places = {ref: place for place, ref in enumerate(refs)}

    def keep(self, arranged: Sequence[S]) -> list[S]:
        """Those that were drawn in the order of then; the others after them, as they are arranged."""
        return sorted(arranged, key=lambda subject: self._places.get(subject.ref, len(self._places)))
