"""Moments as text in RFC 3339, as engines and CRI logs write them, and as nanoseconds since the epoch."""

from __future__ import annotations

import datetime
import re
import time
from typing import Final

_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)")


def parse_time_ns(text: str) -> int | None:
    """RFC 3339 with up to nine decimals, exactly; None for "never" (the year 1) and for nonsense."""
    match = _TIME.match(text)
    if match is None or text.startswith("0001-"):
        return None
    zone = "+00:00" if match.group(3) == "Z" else match.group(3)
    seconds = int(datetime.datetime.fromisoformat(match.group(1) + zone).timestamp())
    return seconds * 1_000_000_000 + int((match.group(2) or "0").ljust(9, "0"))


def format_time_ns(time_ns: int) -> str:
    """RFC 3339, UTC, with nine decimals."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09d}Z"
