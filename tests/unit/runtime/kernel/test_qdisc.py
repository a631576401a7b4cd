"""Queues of interfaces as rtnetlink tells them: packed by hand, and by this kernel."""

from __future__ import annotations

import errno
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.kernel import qdisc

ROOT, NEW_QDISC, ERROR, DONE = 0xFFFFFFFF, 36, 2, 3


def attribute(kind: int, content: bytes) -> bytes:
    head = struct.pack("=HH", 4 + len(content), kind)
    return head + content + b"\0" * (-len(content) % 4)


def message(kind: int, content: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(content), kind, 2, 1, 0) + content + b"\0" * (-len(content) % 4)


def queue(index: int, size: int, *, parent: int = ROOT, nested: int = 0x8000) -> bytes:
    basic = attribute(1, struct.pack("=QI", 5, 6))
    stats = attribute(7 | nested, basic + attribute(3, struct.pack("=IIIII", 1, size, 2, 3, 4)))
    body = struct.pack("=BxxxiIII", 0, index, 0, parent, 0) + attribute(1, b"tbf\0") + stats
    return message(NEW_QDISC, body)


def test_the_root_queue_of_each_interface() -> None:
    found: dict[int, int] = {}
    assert not qdisc.add_backlogs(queue(2, 700) + queue(2, 300, parent=0x10000) + queue(3, 50, nested=0), found)
    assert not qdisc.add_backlogs(queue(7, 0), found)
    assert qdisc.add_backlogs(message(DONE, struct.pack("=i", 0)), found)
    assert found == {2: 700, 3: 50, 7: 0}


def test_an_end_without_a_word_is_an_end() -> None:
    assert qdisc.add_backlogs(b"", {})


def test_a_refusal_is_an_error() -> None:
    with pytest.raises(OSError) as caught:
        qdisc.add_backlogs(message(ERROR, struct.pack("=i", -errno.EPERM)), {})
    assert caught.value.errno == errno.EPERM


@given(
    data=st.binary(max_size=200),
    cut=st.integers(0, 200),
    kind=st.sampled_from([NEW_QDISC, DONE, 99]),
    whole=st.booleans(),
)
def test_whatever_a_datagram_holds_it_ends(data: bytes, cut: int, kind: int, whole: bool) -> None:
    text = queue(2, 700)[:cut] + data if whole else message(kind, data)
    try:
        qdisc.add_backlogs(text, {})
    except OSError:
        assert whole


def test_what_this_kernel_tells() -> None:
    known = {index for index, _ in socket.if_nameindex()}
    found = qdisc.backlogs()
    assert found.keys() <= known
    assert all(size >= 0 for size in found.values())
