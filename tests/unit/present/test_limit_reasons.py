"""Why a limit has no value: the same words in the editor and on the isolation page; which kernel is old."""

from __future__ import annotations

import platform
from dataclasses import replace

import pytest

from runtime.doctor import host
from runtime.doctor.check import Level
from runtime.engines.embedded import requirements
from runtime.kernel.cgroupfs import Hierarchies, Mode
from runtime.model import Capabilities, LimitName, Limits, Missing
from tests.app.fakes import container
from tui.present.isolation_text import describe
from tui.present.limit_form import why_not_held, why_not_settable
from tui.present.limit_text import MISSING_TEXT

NOTHING = Limits.of({}, absent=Missing.UNSUPPORTED)
ENGINE = Capabilities(limits={LimitName.CPU_IDLE: "the idle class needs Linux 5.15"})
WEB = container("web")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (LimitName.CPU_IDLE, "the idle class needs Linux 5.15"),
        (LimitName.NET_EGRESS, "it has no network interface of its own"),
        (LimitName.IO_WEIGHT, MISSING_TEXT[Missing.UNSUPPORTED]),
    ],
)
def test_the_editor_and_the_page_say_the_same(name: LimitName, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("_namespaces", "_rights", "_mounts"):
        monkeypatch.setattr(f"tui.present.isolation_text.{part}", lambda found: iter(()))
    isolation = type("Found", (), {"cgroup": type("Cgroup", (), {"v1": {}, "unified": None})})
    assert why_not_settable(name, NOTHING, WEB, ENGINE) == words
    page = describe(isolation, NOTHING, (), Limits(), lambda each: why_not_held(each, NOTHING, WEB, ENGINE))  # type: ignore[arg-type]
    assert words in "\n".join(text for _, text in page)


def test_one_without_a_cgroup_here_may_be_changed_by_its_engine() -> None:
    moved = replace(WEB, unplaced="it was moved")
    assert why_not_held(LimitName.CPUS, NOTHING, moved, ENGINE) == "it was moved"
    assert why_not_settable(LimitName.CPUS, NOTHING, moved, ENGINE) is None


def test_one_that_is_not_live_has_no_reason() -> None:
    gone = Limits.of({}, absent=Missing.GONE)
    assert why_not_held(LimitName.CPU_IDLE, gone, WEB, ENGINE) is None


@pytest.mark.parametrize(
    ("release", "enough"), [("5.10.0-28-amd64", False), ("5.11.22", False), ("5.12.0", True), ("6.1.0", True)]
)
def test_the_doctor_and_the_engine_want_the_same_kernel(
    monkeypatch: pytest.MonkeyPatch, release: str, enough: bool
) -> None:
    monkeypatch.setattr(platform, "release", lambda: release)
    check = host._kernel()
    assert (check.level is Level.GOOD) is enough
    refused = "later, this is" in (requirements.why_not(Hierarchies(Mode.V2)) or "")
    assert refused is not enough
    assert enough or "5.12" in check.remedy
