"""Which optional parts of the contract an engine implements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from runtime.engines.protocol.boot import Boot
from runtime.engines.protocol.build import Build
from runtime.engines.protocol.exec import Exec
from runtime.engines.protocol.images import Images
from runtime.engines.protocol.networks import Networks
from runtime.engines.protocol.volumes import Volumes
from runtime.errors import UnsupportedError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Facets:
    """The object that implements each optional part, None where the engine has none.

    It says what kind of thing the engine is, so it is known without asking the engine and never changes. Whether a
    facet's method can be used here and now is in the engine's `Capabilities`.
    """

    images: Images | None = None
    build: Build | None = None
    networks: Networks | None = None
    volumes: Volumes | None = None
    exec: Exec | None = None
    boot: Boot | None = None


def required(facet: T | None, engine: str, title: str, noun: str) -> T:
    """The facet itself; raises `UnsupportedError` when the engine has none.

    `engine` is its key, `title` what was tried, `noun` what the engine does not have ("images").
    """
    if facet is None:
        raise UnsupportedError(title, detail=f"{engine} has no {noun}")
    return facet
