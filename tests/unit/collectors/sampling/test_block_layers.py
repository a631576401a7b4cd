"""Stacked block devices: found in a sysfs of files, and counted once between two samples."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.sampling import block_layers
from collectors.sampling.block_layers import TRUSTED_S, BlockLayers
from collectors.sampling.frame import IoRates
from collectors.sampling.rates import derive
from collectors.sampling.sample import IoCounters, Sample
from runtime.kernel.filesystems import on_block_device
from runtime.model import Missing

DISK, CRYPT, LVM, LOOP, MD, SECOND = "8:0", "253:0", "253:1", "7:0", "9:0", "8:16"


def device(sys: Path, number: str, *below: str, file: str = "") -> None:
    directory = sys / "dev/block" / number
    (directory / "slaves").mkdir(parents=True)
    for each in below:
        (directory / "slaves" / each).mkdir()
    if file:
        (directory / "loop").mkdir()
        (directory / "loop/backing_file").write_text(f"{file}\n")


def io() -> dict[str, IoCounters]:
    return {number: IoCounters(1, 1, 1, 1) for number in (DISK, SECOND, CRYPT, LVM, LOOP, MD, "99:9")}


def stacked(layers: BlockLayers) -> set[str]:
    found = layers.mark(io())
    assert not isinstance(found, Missing)
    assert {
        number: IoCounters(c.read_bytes, c.write_bytes, c.read_ops, c.write_ops) for number, c in found.items()
    } == io()
    return {number for number, counters in found.items() if counters.stacked}


def test_what_has_slaves_or_a_file_on_a_disk_is_stacked(tmp_path: Path) -> None:
    device(tmp_path, DISK)
    device(tmp_path, SECOND)
    device(tmp_path, CRYPT, "sda")
    device(tmp_path, LVM, "dm-0")
    device(tmp_path, MD, "sda", "sdb")
    device(tmp_path, LOOP, file="/var/lib/image")
    assert stacked(BlockLayers(tmp_path)) == {CRYPT, LVM, LOOP, MD}


def test_a_loop_device_without_a_file_or_on_memory_is_the_lowest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device(tmp_path, LOOP, file="/run/image")
    monkeypatch.setattr(block_layers, "on_block_device", lambda path: path != Path("/run/image"))
    assert stacked(BlockLayers(tmp_path)) == set()
    (tmp_path / "dev/block" / LOOP / "loop/backing_file").unlink()
    assert stacked(BlockLayers(tmp_path)) == set()


def test_a_device_is_looked_up_again_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("collectors.sampling.block_layers.time.monotonic", lambda: now[0])
    layers = BlockLayers(tmp_path)
    assert stacked(layers) == set()
    device(tmp_path, LVM, "sda")
    now[0] += TRUSTED_S
    assert stacked(layers) == set()
    now[0] += 0.1
    assert stacked(layers) == {LVM}


def test_what_cannot_be_read_stays_so(tmp_path: Path) -> None:
    assert BlockLayers(tmp_path).mark(Missing.DENIED) is Missing.DENIED


def test_which_file_systems_are_on_a_block_device(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:5 / /run rw - tmpfs tmpfs rw\n"
        "3 1 0:6 / /run/disk rw - btrfs /dev/sdb rw\n4 1 0:7 / /srv rw - nfs4 server:/ rw\n"
    )
    found = {path: on_block_device(Path(path), mounts) for path in ("/a", "/run/a", "/run/disk/a", "/srv/a", "/runs")}
    assert found == {"/a": True, "/run/a": False, "/run/disk/a": True, "/srv/a": False, "/runs": True}
    assert on_block_device(Path("/a"), tmp_path / "none")


def usage(**grown: int) -> tuple[IoRates, set[str], set[str]]:
    """The rates when devices have read and written so much, in one second; a name that ends in "_up" is stacked."""
    zero = {name: IoCounters(stacked=name.endswith("_up")) for name in grown}
    after = {name: IoCounters(n, 2 * n, 3 * n, 4 * n, stacked=name.endswith("_up")) for name, n in grown.items()}
    found = derive(Sample(10**9, 1, io=zero), Sample(2 * 10**9, 1, io=after), 1)
    assert isinstance(found.io, IoRates)
    return found.io, set(found.io_devices), set(found.io_stacked)


def rates(n: float) -> IoRates:
    return IoRates(n, 2 * n, 3 * n, 4 * n)


def test_the_lowest_devices_are_summed_and_the_others_shown_apart() -> None:
    assert usage(sda=100, sdb=50, lv_up=100, crypt_up=100) == (rates(150), {"sda", "sdb"}, {"lv_up", "crypt_up"})


def test_a_layer_that_hides_who_asked_counts_itself() -> None:
    assert usage(sda=10, crypt_up=100, lv_up=100) == (rates(100), {"sda"}, {"crypt_up", "lv_up"})
    assert usage(crypt_up=100) == (rates(100), set(), {"crypt_up"})


def test_what_stands_still_is_still_told_apart() -> None:
    counters = {"sda": IoCounters(5, 5, 5, 5), "lv": IoCounters(5, 5, 5, 5, stacked=True)}
    found = derive(Sample(1, 1, io=counters), Sample(2, 1, io=counters), 1)
    assert found.io == rates(0)
    assert (set(found.io_devices), set(found.io_stacked)) == ({"sda"}, {"lv"})
