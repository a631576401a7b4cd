"""The engines' contract: what is refused in one line keeps its signature, and what an engine is without a facet."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from runtime.engines.containerd.engine import ContainerdEngine
from runtime.engines.docker.engine import DockerEngine
from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.engines.found.engine import FoundEngine
from runtime.engines.podman.engine import PodmanEngine
from runtime.engines.protocol import Boot, Engine, Facets, Images, required
from runtime.engines.unusable import UnusableEngine
from runtime.errors import InvalidError, UnsupportedError

ENGINES = (EmbeddedEngine, DockerEngine, PodmanEngine, ContainerdEngine, FoundEngine, UnusableEngine)


def methods(contract: type) -> dict[str, Callable[..., Any]]:
    return {name: member for name, member in vars(contract).items() if name[0] != "_" and inspect.isfunction(member)}


@pytest.mark.parametrize("engine", ENGINES)
def test_every_method_has_the_contracts_parameters(engine: type) -> None:
    for name, method in methods(Engine).items():
        wanted, found = (inspect.signature(each).parameters.values() for each in (method, getattr(engine, name)))
        assert [(each.name, each.kind, each.default) for each in wanted] == [
            (each.name, each.kind, each.default) for each in found
        ], name
        assert inspect.iscoroutinefunction(method) == inspect.iscoroutinefunction(getattr(engine, name)), name


async def asked(method: Callable[..., Any], count: int) -> None:
    """Call a method with as many words, and await it where it can be."""
    answer = method(*["x"] * count)
    assert inspect.iscoroutine(answer), "what is no coroutine is refused at once"
    await answer


async def test_an_unusable_engine_answers_everything_with_the_one_error() -> None:
    error = InvalidError("use Docker", detail="DOCKER_HOST makes no sense")
    engine = UnusableEngine("docker", error)
    for name, method in methods(Engine).items():
        if name == "close":
            continue
        needed = [each for each in inspect.signature(method).parameters.values() if each.default is each.empty][1:]
        with pytest.raises(InvalidError) as caught:
            await asked(getattr(engine, name), len(needed))
        assert caught.value is error, name
    assert (engine.key, engine.facets) == ("docker", Facets())
    await engine.close()


def test_a_missing_facet_is_an_error_with_a_message() -> None:
    engine = UnusableEngine("docker", InvalidError("x"))
    with pytest.raises(UnsupportedError, match="list images: docker has no images"):
        required(engine.facets.images, engine.key, "list images", "images")


@pytest.mark.parametrize("engine", [EmbeddedEngine, DockerEngine, PodmanEngine, ContainerdEngine])
def test_an_engine_with_images_has_every_method_of_them(engine: type) -> None:
    made = engine.__new__(engine)
    assert made.facets == Facets(images=made, boot=made if engine is EmbeddedEngine else None)
    assert not made.facets.boot or methods(Boot).keys() <= set(dir(engine))
    assert methods(Images).keys() <= {name for name in dir(engine) if callable(getattr(engine, name))}
