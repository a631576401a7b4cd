"""The attribution of a session: one attributor for each machine, on the frames as they come."""

from __future__ import annotations

from dataclasses import replace

from collectors.attribution.evidence import Attribution, Suspect, SuspectKind
from collectors.sampling.frame import Frame
from runtime.model import ContainerRef, Ref, Resource
from tests.app.fakes import HOST, container, usage
from tests.unit.core.containment.conftest import evidence
from tui.core.attribution import AttributionObserver

NEAR = container("near").ref
FAR = ContainerRef("fake", "f" * 64, "far")


class Noted:
    """Says that each container hurts itself, and keeps the frames."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.probes: list[Ref] = []

    def take(self, frame: Frame) -> Attribution:
        self.frames.append(frame)
        return Attribution(frame.at_ns, {ref: (replace(evidence(), victim=ref),) for ref in frame.usages})

    def probed(self, victim: Ref, suspect: Suspect, resource: Resource, confirmed: bool) -> None:
        self.probes.append(victim)


def frame(number: int, *refs: Ref) -> Frame:
    return Frame(number, number * 10**9, 0, 10**9, 0, HOST, usages={ref: usage() for ref in refs})


def test_a_frame_of_one_machine_is_given_whole() -> None:
    made: list[Noted] = []
    observer = AttributionObserver(lambda: made.append(Noted()) or made[-1])  # type: ignore[func-returns-value]
    first = frame(1, NEAR)
    observer.observe(None, first)
    assert made[0].frames == [first]
    assert observer.latest.at_ns == 10**9
    assert set(observer.latest.by_victim) == {NEAR}


def test_each_machine_has_its_own() -> None:
    made: list[Noted] = []
    observer = AttributionObserver(lambda: made.append(Noted()) or made[-1])  # type: ignore[func-returns-value]
    observer.observe(None, frame(1, NEAR, FAR))
    assert [set(each.frames[0].usages) for each in made] == [{NEAR}, {FAR}]
    assert made[0].frames[0].host.cpu == HOST.cpu
    assert made[1].frames[0].host.programs == ()
    assert set(observer.latest.by_victim) == {NEAR, FAR}
    observer.probed(FAR, Suspect(SuspectKind.CONTAINER, FAR), Resource.CPU, True)
    assert made[1].probes == [FAR]
    assert made[0].probes == []
