"""A group in JSON: the words that scripts know it by."""

from __future__ import annotations

from collectors.sampling.frame import Frame
from runtime.model import ContainerRef, GroupKind, GroupRef, State
from tests.app import fakes
from tui.cli.stats import as_json
from tui.core.session import Group

MEMBERS = (ContainerRef("docker", "a"), ContainerRef("docker", "b"))


def test_a_group_is_told_by_kind_engine_and_name() -> None:
    shop = Group(GroupRef(GroupKind.COMPOSE, "shop", "docker"), MEMBERS, state=State.RUNNING, live=1)
    frame = Frame(1, 1, 1, 10**9, 1, fakes.HOST, usages={shop.ref: fakes.usage(0.75)})
    (told,) = as_json(frame, [shop], {})["containers"]
    names = ("engine", "id", "name", "group", "image", "state", "cpu", "addresses", "drift")
    assert {name: told[name] for name in names} == {
        "engine": "group",
        "id": "compose:docker:shop",
        "name": "shop",
        "group": "shop",
        "image": "1 of 2 live, compose project",
        "state": "running",
        "cpu": 0.75,
        "addresses": None,
        "drift": [],
    }
