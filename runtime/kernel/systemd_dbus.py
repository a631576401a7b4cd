"""A connection to systemd's manager: reads and changes properties of a unit over D-Bus.

Uses the manager's private socket where that is permitted (root, or the user's own manager), since it needs no bus
daemon; else the system bus. jeepney is imported at the first connection, since most commands need none.
Source: org.freedesktop.systemd1(5), the D-Bus specification.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from runtime.errors import DeniedError, EngineError, InvalidError, NotFoundError, PytopError, UnavailableError
from runtime.kernel.systemd import NAME, PATH, Unit

if TYPE_CHECKING:
    from jeepney import Message

SYSTEM_SOCKET: Final = Path("/run/systemd/private")
SYSTEM_BUS: Final = Path("/run/dbus/system_bus_socket")
ANSWER_TIMEOUT_S: Final = 10.0  # systemd answers in milliseconds, unless it is being reloaded
_NO_UNIT: Final = ("NoSuchUnit", "UnknownObject")
_NO_RIGHT: Final = ("AccessDenied", "InteractiveAuthorizationRequired", "AuthFailed")
_NO_VALUE: Final = ("InvalidArgs", "PropertyReadOnly", "UnknownProperty")
Property = tuple[str, tuple[str, Any]]
"""The name of a property, and its value preceded by the D-Bus signature."""


class Manager:
    """A connection to the systemd that manages a unit. Blocking; every wait is bounded by `ANSWER_TIMEOUT_S`.

    Raises `UnavailableError` when it cannot be reached, `DeniedError` when it refuses. A request that was not answered
    in time is still executed later, before any following request of the same connection; the error of such a time-out
    has no `errno`, while that of a broken connection has one.
    """

    def __init__(self, unit: Unit) -> None:
        import jeepney

        self._numbers = count(1)
        self._parser = jeepney.Parser()
        private = SYSTEM_SOCKET if unit.uid is None else Path(f"/run/user/{unit.uid}/systemd/private")
        try:
            self._socket = _connect(private)
        except PytopError:
            if unit.uid is not None or not SYSTEM_BUS.exists():
                raise
            self._socket = _connect(SYSTEM_BUS)
            self._call(jeepney.message_bus.Hello(), "greet the system bus")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def version(self) -> int:
        """Systemd's major version, 252 for "252.39-1~deb12u2"; 0 when it is not a number."""
        text = str(self._property(PATH, f"{NAME}.Manager", "Version"))
        digits = text.removeprefix("v").partition(".")[0].partition("-")[0].partition("~")[0]
        return int(digits) if digits.isascii() and digits.isdigit() else 0

    def get(self, unit: Unit, name: str) -> Any:
        """Read a property of a unit."""
        return self._property(unit.path, unit.interface, name)

    def set(self, unit: Unit, properties: Sequence[Property]) -> None:
        """Set properties until the unit ends or the host restarts; returns after systemd has written to the kernel.

        systemd answers before it writes, and writes before it reads the next request. So a property is read after the
        change, to wait for the write.
        """
        words = ", ".join(name for name, _ in properties)
        call = ("SetUnitProperties", "sba(sv)", (unit.name, True, list(properties)))
        self.call(*call, title=f"set {words} of {unit.name}")
        self.get(unit, "ControlGroup")

    def call(
        self, method: str, signature: str, body: tuple[Any, ...], *, title: str, seconds: float | None = None
    ) -> tuple[Any, ...]:
        """Call a method of the manager and wait for the answer."""
        import jeepney

        address = jeepney.DBusAddress(PATH, bus_name=NAME, interface=f"{NAME}.Manager")
        return self._call(jeepney.new_method_call(address, method, signature, body), title, seconds)

    def _property(self, path: str, interface: str, name: str) -> Any:
        import jeepney

        address = jeepney.DBusAddress(path, bus_name=NAME, interface="org.freedesktop.DBus.Properties")
        answer = self._call(jeepney.new_method_call(address, "Get", "ss", (interface, name)), f"ask systemd for {name}")
        return answer[0][1]

    def _call(self, message: Message, title: str, seconds: float | None = None) -> tuple[Any, ...]:
        import jeepney

        seconds = ANSWER_TIMEOUT_S if seconds is None else seconds
        number = next(self._numbers)
        deadline = time.monotonic() + seconds
        try:
            self._socket.settimeout(seconds)
            self._socket.sendall(message.serialise(serial=number))
            while True:
                answer = self._receive(deadline)
                if answer.header.fields.get(jeepney.HeaderFields.reply_serial) == number:
                    break
        except TimeoutError as error:
            raise UnavailableError(title, detail=f"systemd did not answer within {seconds:.0f} s") from error
        except OSError as error:
            raise UnavailableError.from_os(title, error) from error
        if answer.header.message_type is jeepney.MessageType.error:
            raise _refusal(title, answer)
        body: tuple[Any, ...] = answer.body
        return body

    def _receive(self, deadline: float) -> Message:
        while (message := self._parser.get_next_message()) is None:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            self._parser.add_data(_receive_some(self._socket))
        return message


def _receive_some(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise ConnectionResetError(errno.ECONNRESET, "the connection was closed")
    return data


def _connect(path: Path) -> socket.socket:
    """An authenticated connection (SASL EXTERNAL: the kernel tells systemd our uid).

    The client's whole side of the handshake is sent at once, as systemd's own clients do. Nothing may follow before the
    answer: systemd does not read data that arrives together with BEGIN until more arrives.
    """
    from jeepney.auth import BEGIN, make_auth_external

    title = "speak to systemd"
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        connection.settimeout(ANSWER_TIMEOUT_S)
        connection.connect(str(path))
        connection.sendall(b"\0" + make_auth_external() + BEGIN)
        answer = b""
        while not answer.endswith(b"\r\n"):
            answer += _receive_some(connection)
    except PermissionError as error:
        connection.close()
        raise DeniedError.from_os(title, error, path=str(path)) from error
    except OSError as error:
        connection.close()
        raise UnavailableError.from_os(title, error, path=str(path)) from error
    if not answer.startswith(b"OK "):
        connection.close()
        raise DeniedError(title, detail=f"it answered {answer.decode(errors='replace').strip()}", path=str(path))
    return connection


def _refusal(title: str, answer: Message) -> PytopError:
    """Systemd's error answer as a `PytopError`."""
    import jeepney

    name = str(answer.header.fields.get(jeepney.HeaderFields.error_name, ""))
    words = ""
    with suppress(IndexError, TypeError):
        words = str(answer.body[0])
    kind = name.rpartition(".")[2]
    detail = f"systemd answered: {words or name}"
    if kind in _NO_UNIT:
        return NotFoundError(title, detail=detail)
    if kind in _NO_RIGHT:
        return DeniedError(title, detail=detail, hint="Run as root")
    return InvalidError(title, detail=detail) if kind in _NO_VALUE else EngineError(title, detail=detail)
