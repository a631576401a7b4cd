"""What the soak calls growth."""

from __future__ import annotations

from tests.soak.measure import Reading, verdicts

MIB = 1 << 20


def readings(*, memory: int = 0, descriptors: int = 0, threads: int = 0, requests: int = 0) -> list[Reading]:
    """40 readings, 5 s apart; the arguments are what is more in the last quarter, of requests a minute."""
    made = []
    asked = 0
    for number in range(40):
        late = number >= 30
        asked += 10 + (requests // 12 if late else 0)
        made.append(
            Reading(
                at_s=100.0 + number * 5,
                memory=60 * MIB + late * memory,
                descriptors=50 + late * descriptors,
                threads=9 + late * threads,
                requests=asked,
            )
        )
    return made


FRAMES = [100.0 + number for number in range(196)]


def failed(found: list[Reading], frames: list[float] = FRAMES) -> set[str]:
    return {verdict.name for verdict in verdicts(found, frames, 1.0) if not verdict.ok}


def test_what_stays_is_no_growth() -> None:
    assert failed(readings()) == set()
    assert failed(readings(memory=2 * MIB)) == set()


def test_each_growth_is_found() -> None:
    assert failed(readings(memory=2 * MIB + 4096)) == {"memory"}
    assert failed(readings(descriptors=1)) == {"descriptors"}
    assert failed(readings(threads=1)) == {"threads"}
    assert failed(readings(requests=36)) == {"requests"}


def test_frames_that_come_late_or_not_at_all_are_found() -> None:
    early = [at for at in FRAMES if at < 250]
    late = [250 + number * 1.2 for number in range(40)]
    assert failed(readings(), [*early, *late]) == {"lateness, p95"}
    assert failed(readings(), early) == {"lateness, p95"}
    (verdict,) = (v for v in verdicts(readings(), early, 1.0) if not v.ok)
    assert verdict.last > 40
