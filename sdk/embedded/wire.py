"""Just enough of both protocols to ask a server over its Unix socket whether it answers, and to run one statement.

Real clients cost 100 to 250 ms of imports, which is more than both servers need to start.
Sources: Redis protocol page (inline commands); PostgreSQL manual, "Message Formats".
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from types import TracebackType
from typing import Self

_TIMEOUT_S = 5.0
_AUTHENTICATION_OK = 0
_STARTING_UP = "57P03"


class NotReadyError(Exception):
    """The server does not answer yet."""


class RefusedError(Exception):
    """The server answered with an error."""


def ping_redis(path: Path) -> None:
    """Raises NotReadyError while the server is away or still loading its data."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TIMEOUT_S)
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            reply = connection.recv(256)
    except OSError as cause:
        raise NotReadyError(str(cause)) from cause
    if not reply.startswith(b"+PONG"):
        raise NotReadyError(reply.decode("utf-8", "replace").strip())


class PostgresWire:
    """One connection as user ``postgres`` without a password. A context manager; simple queries only."""

    def __init__(self, directory: Path, database: str) -> None:
        """Connect. Raises NotReadyError while the server is away or starting up."""
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.settimeout(_TIMEOUT_S)
            self._socket.connect(str(directory / ".s.PGSQL.5432"))
            fields = b"user\0postgres\0database\0" + database.encode() + b"\0\0"
            self._socket.sendall(struct.pack("!ii", len(fields) + 8, 196_608) + fields)
            self._read_until_ready()
        except OSError as cause:
            self._socket.close()
            raise NotReadyError(str(cause)) from cause
        except (NotReadyError, RefusedError):
            self._socket.close()
            raise

    def query(self, statement: str) -> int:
        """Run one statement; returns the number of rows that came back."""
        text = statement.encode() + b"\0"
        self._socket.settimeout(60.0)
        self._socket.sendall(b"Q" + struct.pack("!i", len(text) + 4) + text)
        return self._read_until_ready()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Say goodbye. Raises NotReadyError where the server has died in the meantime."""
        with self._socket:
            if error is None:
                try:
                    self._socket.sendall(b"X\0\0\0\4")
                except OSError as cause:
                    raise NotReadyError(str(cause)) from cause

    def _read_until_ready(self) -> int:
        rows, failure = 0, ""
        while True:
            kind, body = self._read()
            if kind == b"E":
                failure = _error_text(body)
                if _STARTING_UP in failure:
                    raise NotReadyError(failure)
                if failure.startswith(("FATAL", "PANIC")):
                    raise RefusedError(failure)
            elif kind == b"R" and struct.unpack("!i", body[:4])[0] != _AUTHENTICATION_OK:
                raise RefusedError("the embedded server asks for a password")
            elif kind == b"D":
                rows += 1
            elif kind == b"Z":
                if failure:
                    raise RefusedError(failure)
                return rows

    def _read(self) -> tuple[bytes, bytes]:
        head = self._read_exactly(5)
        return head[:1], self._read_exactly(struct.unpack("!i", head[1:])[0] - 4)

    def _read_exactly(self, size: int) -> bytes:
        parts = b""
        while len(parts) < size:
            part = self._socket.recv(size - len(parts))
            if not part:
                raise ConnectionResetError("the server closed the connection")
            parts += part
        return parts


def _error_text(body: bytes) -> str:
    fields = {part[:1]: part[1:].decode("utf-8", "replace") for part in body.split(b"\0") if part}
    return f"{fields.get(b'V', '')} {fields.get(b'C', '')}: {fields.get(b'M', '')}"
