"""A server on a loopback port that answers as a test says: whole, piece by piece, late, half, or not at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from integration.http_site import read_request
from integration.loopback import serve

EVENTS = "text/event-stream; charset=utf-8"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """``headers``: names in lower case."""

    path: str
    headers: Mapping[str, str]
    content: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.content)


class Reply:
    """One answer in the making. ``is_gone``: set when the client has closed the connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def whole(
        self, content: bytes, *, status: int = 200, kind: str = "application/json", headers: Mapping[str, str] = {}
    ) -> None:
        lines = {"Content-Type": kind, "Content-Length": str(len(content)), **headers}
        await self._head(status, lines)
        await self.raw(content)

    async def json(self, value: object, **how: Any) -> None:
        await self.whole(json.dumps(value).encode(), **how)

    async def begin(self, kind: str = EVENTS) -> None:
        """Begin an answer that comes in pieces."""
        await self._head(200, {"Content-Type": kind, "Transfer-Encoding": "chunked"})

    async def piece(self, content: bytes) -> None:
        await self.raw(b"%x\r\n%s\r\n" % (len(content), content))

    async def end(self) -> None:
        await self.raw(b"0\r\n\r\n")

    async def events(self, content: bytes, size: int = 1 << 20) -> None:
        """A whole stream, in pieces of this size."""
        await self.begin()
        for at in range(0, len(content), size):
            await self.piece(content[at : at + size])
        await self.end()

    async def raw(self, content: bytes) -> None:
        self._writer.write(content)
        await self._writer.drain()

    def cut(self) -> None:
        """Break the connection off."""
        self._writer.transport.abort()

    async def until_gone(self) -> None:
        """Return when the client has closed the connection."""
        try:
            while await self._reader.read(1):
                pass
        except ConnectionError:
            pass

    async def _head(self, status: int, headers: Mapping[str, str]) -> None:
        lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        await self.raw("\r\n".join(lines).encode())


Give = Callable[[Asked, Reply], Awaitable[None]]


@dataclass
class WireServer:
    """``asked``: every request, in order."""

    port: int = 0
    asked: list[Asked] = field(default_factory=lambda: [])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def open_wire(give: Give) -> AsyncGenerator[WireServer]:
    site = WireServer()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while found := await read_request(reader, 0):
            asked = Asked(path=found.target, headers=found.headers, content=found.body)
            site.asked.append(asked)
            await give(asked, Reply(reader, writer))

    async with serve(talk) as site.port:
        yield site
