"""Block devices by name and number, on a sysfs of regular files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from runtime.errors import InvalidError
from runtime.kernel import block


@pytest.fixture
def sys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One disk with a partition, one with a slash in its name."""
    monkeypatch.setattr(block, "_names", {})
    for path, number in (("sda", "8:0"), ("sda/sda1", "8:1"), ("cciss!c0d0", "104:0")):
        directory = tmp_path / "devices" / path
        directory.mkdir(parents=True)
        (directory / "dev").write_text(number + "\n")
        for link in (tmp_path / "class/block" / directory.name, tmp_path / "dev/block" / number):
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(directory)
    (tmp_path / "devices/sda/sda1/partition").write_text("1\n")
    return tmp_path


def test_disks_and_their_partitions(sys: Path) -> None:
    found = block.disks(sys)
    assert found.names == {"8:0": "/dev/sda", "104:0": "/dev/cciss/c0d0"}
    assert found.partitions == {"8:1": "/dev/sda"}
    assert block.disks(sys / "nowhere") == block.Disks()


def test_a_name_is_cached_after_a_lookup(sys: Path) -> None:
    assert block.name("8:0") == "8:0"
    block.refresh_name("8:0", sys)
    block.refresh_name("9:9", sys)
    assert (block.name("8:0"), block.name("9:9")) == ("/dev/sda", "9:9")
    assert block.number("/dev/sda", sys) == "8:0"


def test_a_disk_that_was_taken_away_and_brought_back_has_its_new_number(sys: Path) -> None:
    block.refresh_name("8:0", sys)
    (sys / "dev/block/8:0").unlink()
    (sys / "devices/sda/dev").write_text("8:16\n")
    (sys / "dev/block/8:16").symlink_to(sys / "devices/sda")
    assert block.number("/dev/sda", sys) == "8:16"
    assert (block.name("8:0"), block.name("8:16")) == ("8:0", "/dev/sda")


def test_a_number_that_is_another_disks_by_now_is_shown_as_that(sys: Path) -> None:
    block.refresh_name("8:0", sys)
    (sys / "dev/block/8:0").unlink()
    block.refresh_name("8:0", sys)
    assert block.name("8:0") == "8:0"
    (sys / "dev/block/8:0").symlink_to(sys / "devices/cciss!c0d0")
    block.refresh_name("8:0", sys)
    assert block.name("8:0") == "/dev/cciss/c0d0"


def test_a_path_is_what_its_node_says(sys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block.refresh_name("8:0", sys)
    node, real = os.stat_result((stat.S_IFBLK, *[0] * 9), {"st_rdev": os.makedev(104, 0)}), os.stat
    monkeypatch.setattr(os, "stat", lambda path, **more: node if path == "/dev/sda" else real(path, **more))
    assert block.number("/dev/sda", sys) == "104:0"


def test_a_number_is_taken_and_a_partition_is_not(sys: Path) -> None:
    assert block.number("104:0", sys) == "104:0"
    assert block.name("104:0") == "/dev/cciss/c0d0"
    with pytest.raises(InvalidError, match="partition of /dev/sda") as caught:
        block.number("8:1", sys)
    assert "whole disks: /dev/sda" in caught.value.hint


@pytest.mark.parametrize(("text", "word"), [("/dev/null", "not a block device"), ("/no/such", "no such"), ("\0", "no")])
def test_what_is_no_disk(sys: Path, text: str, word: str) -> None:
    with pytest.raises(InvalidError, match=word) as caught:
        block.number(text, sys)
    assert "/dev/sda" in caught.value.hint
