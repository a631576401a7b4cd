"""Where something may be bound in a container of the embedded engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from runtime.engines.embedded import lifecycle
from runtime.engines.embedded.sandbox import bind_targets
from runtime.errors import InvalidError
from runtime.model import Bind, ContainerSpec

LINKS = {
    "/link": "/proc",
    "/relative": "../../../sys",
    "/two": "srv/../link",
    "/srv/up": "..",
    "/loop": "loop",
    "/harmless": "/srv",
}
SPEC = ContainerSpec("host", ("true",), name="web")


@pytest.mark.parametrize(
    "target",
    [
        *("", "/", "//", "relative", "/usr/..", "/proc", "/usr/../proc", "/./proc", "//proc", "/srv/.././dev/shm/x"),
        *("/link", "/link/sys", "/relative/fs", "/two", "/srv/up", "/srv/up/dev", "/loop", "/harmless/up/sys", "/a\0b"),
    ],
)
def test_what_leads_to_the_systems_own_files_is_refused(target: str) -> None:
    with pytest.raises(InvalidError):
        bind_targets.check(target, LINKS.get)


@pytest.mark.parametrize(
    ("target", "clean"),
    [
        ("/srv", "/srv"),
        ("//srv/x/../y/", "/srv/y"),
        ("/process", "/process"),
        ("/srv/proc", "/srv/proc"),
        ("/harmless/a", "/harmless/a"),
        ("/proc/../srv", "/srv"),
    ],
)
def test_other_targets_are_cleaned(target: str, clean: str) -> None:
    assert bind_targets.check(target, LINKS.get) == clean


def test_create_follows_the_links_of_the_image_and_of_earlier_binds(tmp_path: Path) -> None:
    """The image's /etc/mtab is a symlink into /proc."""
    (tmp_path / "link").symlink_to("/proc/sys")
    here = Bind(str(tmp_path), "/srv")
    for binds in ([Bind("/tmp", "/etc/mtab")], [Bind("/tmp", "/usr/../proc")], [here, Bind("/tmp", "/srv/link/x")]):
        with pytest.raises(InvalidError, match="Nothing can be bound"):
            lifecycle.check_spec(replace(SPEC, binds=tuple(binds)))
    made = lifecycle.check_spec(replace(SPEC, binds=(here, Bind("/tmp", "/srv/./a/../b"))))
    assert [bind.target for bind in made.binds] == ["/srv", "/srv/b"]
