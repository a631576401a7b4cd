"""The facet of engines that build images from a Dockerfile.

Docker: POST /build. Podman: POST /libpod/build. containerd has no builder of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """What to build.

    Attributes:
        context: the directory that COPY and ADD read; .dockerignore is honoured.
        dockerfile: path relative to the context.
        names: the image's names with tags; it has none when this is empty.
        target: the stage to build, "" for the last one.
        arguments: values of ARG.
        use_cache: False builds every step anew.
    """

    context: Path
    dockerfile: str = "Dockerfile"
    names: tuple[str, ...] = ()
    target: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    use_cache: bool = True


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """One line of a build's output.

    `step` counts from 1, 0 before the first one; `image` is the id of what was built, in the last item only.
    """

    step: int
    text: str
    cached: bool = False
    image: str = ""


class Build(Protocol):
    """Builds images."""

    def build(self, spec: BuildSpec) -> AsyncIterator[BuildProgress]:
        """Build; the last item names the image. Closing the iterator ends the build.

        Raises `InvalidError` for a Dockerfile that cannot be parsed and `EngineError` for a step that failed, both
        with file and line; `NotFoundError` when a base image is not there.
        """
        ...
