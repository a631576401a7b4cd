"""Parsing of durations given as arguments; an invalid one is a usage error with an example."""

from __future__ import annotations

import argparse
import re

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_FACTORS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
SHORTEST_INTERVAL_S = 0.1
LONGEST_INTERVAL_S = 3600


def seconds(text: str) -> float:
    """A duration: "10", "0.5", "500ms", "2m"."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration; say 10, 0.5, 500ms or 2m")
    return float(match[1]) * _FACTORS[match[2] or "s"]


def interval(text: str) -> float:
    """Seconds between two measurements, 0.1 to an hour."""
    value = seconds(text)
    if not SHORTEST_INTERVAL_S <= value <= LONGEST_INTERVAL_S:
        raise argparse.ArgumentTypeError(f"{text!r} is outside 0.1 s to 1 h")
    return value
