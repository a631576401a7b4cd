"""The device allow-list: what v1 is told, and the v2 program by interpretation. The kernel's part is in integration."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.engines.embedded.sandbox import devices
from runtime.errors import DeniedError, KernelError, NotFoundError, UnsupportedError
from runtime.kernel import files
from runtime.kernel.cgroupfs import Cgroup

BLOCK, CHARACTER = 1, 2
MKNOD, READ, WRITE = 1, 2, 4


def interpret(code: bytes, kind: int, access: int, major: int, minor: int) -> int:
    """Run the program as the kernel would on its context; what it leaves in r0."""
    context = struct.pack("=III", access << 16 | kind, major, minor)
    lines = list(struct.iter_unpack("=BBhi", code))
    registers = [0] * 11
    at = 0
    while True:
        operation, places, offset, value = lines[at]
        to, source = places & 15, places >> 4
        at += 1
        match operation:
            case 0x61:
                assert source == 1  # r1 points to the context
                registers[to] = struct.unpack_from("=I", context, offset)[0]
            case 0x57:
                registers[to] &= value
            case 0x77:
                registers[to] >>= value
            case 0xB7:
                registers[to] = value
            case 0x55:
                at += offset if registers[to] != value else 0
            case 0x95:
                return registers[0]
            case _:
                raise AssertionError(f"unknown instruction {operation:#x}")


def listed(major: int, minor: int) -> bool:
    return any(major == a and minor in (b, minor if b is None else b) for a, b in devices.ALLOWED)


@given(st.sampled_from([READ, WRITE, READ | WRITE]), st.integers(0, 300), st.integers(0, 300))
def test_only_listed_character_devices_may_be_opened(access: int, major: int, minor: int) -> None:
    code = devices.program()
    assert interpret(code, CHARACTER, access, major, minor) == listed(major, minor)
    assert interpret(code, BLOCK, access, major, minor) == 0


@pytest.mark.parametrize("access", [READ, WRITE, READ | WRITE, MKNOD | READ])
def test_every_listed_device_and_no_memory_disk_or_kernel_log(access: int) -> None:
    code = devices.program()
    for major, minor in devices.ALLOWED:
        for number in (0, 1, 77) if minor is None else (minor,):
            assert interpret(code, CHARACTER, access, major, number) == 1
    for major, minor in ((1, 1), (1, 2), (1, 4), (1, 11), (10, 200), (10, 229), (4, 64), (5, 1)):
        assert interpret(code, CHARACTER, access, major, minor) == 0
    assert interpret(code, BLOCK, access, 8, 0) == interpret(code, BLOCK, access, 1, 3) == 0


def test_a_node_may_be_made_but_not_opened() -> None:
    assert interpret(devices.program(), BLOCK, MKNOD, 8, 0) == 1


def test_an_empty_list_refuses_everything() -> None:
    assert interpret(devices.program(()), CHARACTER, READ, 1, 3) == 0


def test_v1_takes_everything_away_before_it_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[str, str]] = []
    monkeypatch.setattr(files, "write", lambda path, text: written.append((path.name, text)))
    devices.apply(Cgroup(v1={"devices": tmp_path}))
    assert written[0] == ("devices.deny", "a")
    given_back = [text for name, text in written[1:] if name == "devices.allow"]
    assert len(given_back) == len(written) - 1
    assert sorted(given_back) == sorted(
        ["c *:* m", "b *:* m"]
        + [f"c {pair} rwm" for pair in ("1:3", "1:5", "1:7", "1:8", "1:9", "5:0", "5:2", "136:*")]
    )


def test_v1_says_which_file_refused(tmp_path: Path) -> None:
    with pytest.raises((NotFoundError, DeniedError, KernelError)) as refused:
        devices.apply(Cgroup(v1={"devices": tmp_path / "gone"}))
    assert refused.value.path == str(tmp_path / "gone/devices.deny")


def test_nothing_can_hold_devices_back() -> None:
    with pytest.raises(UnsupportedError, match="devices"):
        devices.apply(Cgroup())


def test_v2_on_something_that_is_no_cgroup(tmp_path: Path) -> None:
    with pytest.raises(KernelError) as refused:
        devices.apply(Cgroup(unified=tmp_path))
    assert refused.value.path == str(tmp_path)
    assert refused.value.errno
