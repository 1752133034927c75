"""Asking over HTTP: connections that cost next to nothing, so that what is measured is the server that answers.

They know what the API of this project sends, and no more of HTTP/1.1 than that.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager

import anyio

HOST = "127.0.0.1"
KEPT_S = 2.0
"""A connection that nobody has used for longer may be closed by the server at any moment."""


class Refused(Exception):
    """An answer was not what was asked for."""


class Caller:
    """Makes requests for one port, with one key."""

    def __init__(self, port: int, key: str) -> None:
        self.port = port
        self.key = key
        self._head = f"Host: {HOST}:{port}\r\nAuthorization: Bearer {key}\r\n"

    def get(self, path: str, *lines: str) -> bytes:
        return self._request("GET", path, *lines)

    def post(self, path: str, content: bytes) -> bytes:
        lines = ("Content-Type: application/json", f"Content-Length: {len(content)}")
        return self._request("POST", path, *lines) + content

    def _request(self, method: str, path: str, *lines: str) -> bytes:
        more = "".join(f"{line}\r\n" for line in lines)
        return f"{method} {path} HTTP/1.1\r\n{self._head}{more}\r\n".encode()


class Line:
    """One connection that is kept."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._used_at = time.monotonic()

    @property
    def idle_s(self) -> float:
        return time.monotonic() - self._used_at

    async def ask(self, request: bytes) -> bytes:
        """Return the body of the answer. Raises Refused where it is none of success, OSError."""
        self._writer.write(request)
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            length = next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))
            body = await self._reader.readexactly(length)
        except asyncio.IncompleteReadError as cause:
            raise Refused("the connection was closed") from cause
        self._used_at = time.monotonic()
        if not lines[0].split(b" ")[1].startswith(b"2"):
            raise Refused(body[:500].decode(errors="replace"))
        return body

    def close(self) -> None:
        self._writer.transport.abort()


@asynccontextmanager
async def open_line(port: int) -> AsyncGenerator[Line]:
    reader, writer = await asyncio.open_connection(HOST, port)
    line = Line(reader, writer)
    try:
        yield line
    finally:
        line.close()


async def ask_all(
    caller: Caller, requests: Iterable[bytes], lines: int, hear: Callable[[bytes], object] = len
) -> float:
    """Make requests on so many connections, each as soon as the one before is answered; return the seconds.

    hear: is given the bodies of the answers.
    """
    waiting = iter(requests)

    async def work() -> None:
        async with open_line(caller.port) as line:
            for request in waiting:
                hear(await line.ask(request))

    began = time.perf_counter()
    async with anyio.create_task_group() as group:
        for _ in range(lines):
            group.start_soon(work)
    return time.perf_counter() - began


async def ask_steadily(caller: Caller, requests: Iterable[bytes], rate: float, took_s: list[float]) -> None:
    """Make ``rate`` requests a second until cancelled, whatever becomes of those before; note what each took.

    That is from when it was due: one that is late for the slowness of those before it has waited, too.
    """
    free: list[Line] = []
    turns = itertools.cycle(requests)

    async def ask(request: bytes, due: float) -> None:
        async with borrowed_line(caller.port, free) as line:
            await line.ask(request)
        took_s.append(time.perf_counter() - due)

    due = time.perf_counter()
    try:
        async with anyio.create_task_group() as group:
            for request in turns:
                group.start_soon(ask, request, due)
                due += 1 / rate
                await anyio.sleep(max(0, due - time.perf_counter()))
    finally:
        for line in free:
            line.close()


@asynccontextmanager
async def borrowed_line(port: int, free: list[Line]) -> AsyncGenerator[Line]:
    """A connection that nobody uses now, or a new one; the next one may have it."""
    line = free.pop() if free else None
    if line is not None and line.idle_s > KEPT_S:
        line.close()
        line = None
    if line is None:
        line = Line(*await asyncio.open_connection(HOST, port))
    try:
        yield line
    except BaseException:
        line.close()
        raise
    free.append(line)
