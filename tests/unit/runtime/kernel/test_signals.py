"""The one parser of signals."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import InvalidError
from runtime.kernel.signals import parse_signal, signal_name


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("SIGTERM", 15), ("term", 15), ("hup", 1), ("9", 9), (" kill ", 9), ("USR1", 10)),
        *(("SIGRTMIN", 34), ("RTMIN+1", 35), ("sigrtmin+3", signal.SIGRTMIN + 3), ("40", 40)),
        *(("RTMAX", 64), ("RTMAX-2", 62), ("SIGRTMIN+30", 64)),
    ],
)
def test_signals(text: str, number: int) -> None:
    assert parse_signal(text) == number


@pytest.mark.parametrize(
    "text",
    [
        *("", "SIGNOPE", "SIGNONSENSE", "SIG_DFL", "SIG", "SIGSIGTERM", "TERM+x", "TERM+1", "RTMIN+99", "RTMIN+31"),
        *(
            "RTMIN-1",
            "RTMAX+1",
            "RTMAX-31",
            "RTMAX-40",
            "0",
            "-1",
            "32",
            "65",
            "99",
            "900",
            "9999999999",
            "¹",
            "٣",
            "9 9",
        ),
    ],
)
def test_what_is_no_signal(text: str) -> None:
    with pytest.raises(InvalidError):
        parse_signal(text)


@given(st.sampled_from(sorted(signal.valid_signals())))
def test_every_signal_is_read_back_from_its_name(number: int) -> None:
    assert parse_signal(signal_name(number)) == number


def test_names() -> None:
    assert [signal_name(number) for number in (15, 34, 40, 64)] == ["SIGTERM", "SIGRTMIN", "40", "SIGRTMAX"]
