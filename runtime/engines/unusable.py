"""An engine that somebody has configured in a way that cannot work: it is listed, and whatever is asked says why."""

from __future__ import annotations

from runtime.engines.protocol import Engine, Facets
from runtime.engines.refusal import refused
from runtime.errors import PytopError


class UnusableEngine:
    """Answers everything with the one error, and has no facets."""

    facets = Facets()

    def __init__(self, key: str, error: PytopError) -> None:
        self._key = key
        self._error = error

    @property
    def key(self) -> str:
        return self._key

    def refusal(self, method: str) -> PytopError:
        """The same for every method, without the traceback of the time before."""
        return self._error.with_traceback(None)

    info = refused(Engine.info)
    capabilities = refused(Engine.capabilities)
    containers = refused(Engine.containers)
    get = refused(Engine.get)
    inspect = refused(Engine.inspect)
    recorded = refused(Engine.recorded)
    events = refused(Engine.events)
    create = refused(Engine.create)
    start = refused(Engine.start)
    stop = refused(Engine.stop)
    restart = refused(Engine.restart)
    kill = refused(Engine.kill)
    pause = refused(Engine.pause)
    unpause = refused(Engine.unpause)
    remove = refused(Engine.remove)
    update = refused(Engine.update)
    logs = refused(Engine.logs)
    wait = refused(Engine.wait)

    async def close(self) -> None:
        """Nothing was opened."""
