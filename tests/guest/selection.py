"""What each guest runs. Python is some twenty times slower there, so it is what pure v2, or systemd, can break."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Guest:
    """A guest: the script that its kernel starts, and its tests.

    `tests` are files or single tests, of each of which something must pass; `only` is an expression that chooses
    among them, `require` what may not be missing (PYTOP_REQUIRE), `minutes` the time after which it is given up, and
    `programs` what it needs of this machine beside what all need.
    """

    script: str
    tests: tuple[str, ...]
    require: str
    minutes: float
    only: str = ""
    programs: Mapping[str, str] = field(default_factory=dict)


_ENGINE: Final = tuple(
    f"tests/engines/test_limits.py::test_{name}"
    for name in (
        "swap_beside_memory",
        "reservation",
        "weight",
        "cpuset",
        "several_at_once",
        "memory_below_use_is_refused_with_the_figures",
        "a_change_at_rest_counts_from_the_next_start",
        "limits_survive_a_restart_or_the_outcome_says_that_they_do_not",
    )
)
_LIFE: Final = tuple(
    f"tests/integration/test_embedded_life.py::test_{name}"
    for name in (
        "create_start_stop_remove",
        "stop_gives_the_program_time_then_kills",
        "pause_stands_still",
        "restart_keeps_the_writable_layer",
        "live_limits_and_recorded_ones",
        "a_memory_limit_kills_and_says_so",
        "events_of_another_engine_on_the_same_instance",
        "containers_reach_each_other_and_the_host_reaches_them",
        "many_at_once",
        "removing_what_runs",
    )
)
GUESTS: Final[Mapping[str, Guest]] = {
    "plain": Guest(
        "plain.sh",
        (
            "tests/engines/test_every_limit.py",
            *_ENGINE,
            "tests/integration/test_limits_real.py",
            "tests/integration/test_limits_io_real.py",
            "tests/integration/test_limits_reclaim_real.py",
            "tests/integration/test_net_limits_real.py",
            "tests/integration/test_embedded_limits.py",
            *_LIFE,
            "tests/integration/test_embedded_sandbox.py::test_only_its_own_devices",
            "tests/integration/test_embedded_sandbox.py::test_the_device_list_in_the_kernel",
            "tests/integration/test_embedded_storage.py::test_where_the_file_system_holds_quotas_the_layer_is_a_project_with_a_limit",
            "tests/integration/test_nested_real.py",
            "tests/integration/test_sweep_real.py",
        ),
        "embedded,loop,nested,project quota",
        minutes=25,
        # Other engines and the fake are left out; a queue's backlog is gone before this machine has looked at it.
        only="not fake and not docker and not podman and not containerd and not what_waits_and_what_is_dropped",
    ),
    "systemd": Guest(
        "systemd.sh",
        ("tests/integration/test_systemd_real.py",),
        "embedded,systemd",
        minutes=15,
        programs={"/lib/systemd/systemd": "systemd"},
    ),
}
