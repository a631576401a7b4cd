"""Methods of the engines' contract that an engine cannot carry out, each in one line with its whole signature."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

from runtime.errors import PytopError

P = ParamSpec("P")
T = TypeVar("T")


class Refusing(Protocol):
    """An engine with refused methods."""

    def refusal(self, method: str) -> PytopError:
        """The error that this method of the contract raises here."""
        ...


def refused(method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T]:
    """A method like this one of `Engine` that raises the engine's `refusal`; for the body of a class.

    One that returns an awaitable raises when it is awaited, any other one when it is called.
    """

    def refuse(self: Refusing, *_: Any, **__: Any) -> Any:
        raise self.refusal(method.__name__)

    async def refuse_awaited(self: Refusing, *_: Any, **__: Any) -> Any:
        raise self.refusal(method.__name__)

    chosen = refuse_awaited if inspect.iscoroutinefunction(method) else refuse
    return cast("Callable[Concatenate[Any, P], T]", functools.wraps(method)(chosen))
