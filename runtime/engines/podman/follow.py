"""Follows Podman's events, also across rotations of its event file.

With `events_logger = "file"` that file is rotated when it is full, and streams that follow it end, while Podman still
runs; a new stream reads the new file. Source: containers/podman, libpod/events/logfile.go.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

from runtime.engines.daemon import streams
from runtime.engines.podman import translate
from runtime.engines.podman.client import PodmanClient
from runtime.errors import UnavailableError
from runtime.model import ContainerRef, Event, EventKind

SINCE_MARGIN_S: Final = 0.001  # subtracted from `since`: Podman parses that time as a float and rounds it
MIN_STREAM_S: Final = 0.2  # a stream that ends sooner did not end by a rotation and is not reopened
OVERLAP_S: Final = 2.0  # of events are requested again after a rotation; known ones are skipped
MAX_REMEMBERED_EVENTS: Final = 512


async def follow(client: PodmanClient, key: str, since: float) -> AsyncIterator[Event]:
    """Yields the events of containers from the time `since` on (seconds since the epoch), each once.

    Raises `UnavailableError` when Podman stops.
    """
    yielded: deque[tuple[int, EventKind, ContainerRef]] = deque(maxlen=MAX_REMEMBERED_EVENTS)
    since, lasted = since - SINCE_MARGIN_S, MIN_STREAM_S
    while lasted >= MIN_STREAM_S:
        begun = time.monotonic()
        query = {"filters": json.dumps({"type": ["container"]}), "since": f"{since:.6f}", "stream": "true"}
        async with client.stream("GET", "/events", "follow Podman", query=query) as response:
            async for line in streams.split(response.content.iter_any()):
                event = translate.event(json.loads(line), key)
                if event is not None and (event_key := (event.time_ns, event.kind, event.ref)) not in yielded:
                    yielded.append(event_key)
                    yield event
        lasted, since = time.monotonic() - begun, max(since, time.time() - OVERLAP_S)
    raise UnavailableError("follow Podman", detail="it ended its stream of events")
