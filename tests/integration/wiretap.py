"""A wiretap: which commands that Redis was given, scripts' own ones too, held a text. What was deleted since shows."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import anyio
from anyio.abc import ByteStream

CHUNK = 1 << 16


@dataclass
class Wiretap:
    """``heard``: the commands that held the text. ``commands``: how many there were."""

    text: bytes
    """Also looked for as hex digits."""
    heard: list[str] = field(default_factory=list[str])
    commands: int = 0
    rest: bytes = b""

    def hear(self, chunk: bytes) -> None:
        *lines, self.rest = (self.rest + chunk).split(b"\r\n")
        self.commands += len(lines)
        self.heard += [
            line[:400].decode("latin-1") for line in lines if self.text in line or self.text.hex().encode() in line
        ]


@asynccontextmanager
async def wiretap(redis_url: str, text: str) -> AsyncGenerator[Wiretap]:
    """Listen to all that the server is asked for, until the context ends."""
    tap = Wiretap(text.encode())
    stream = await _connect(redis_url)

    async def listen() -> None:
        while True:
            tap.hear(await stream.receive(CHUNK))

    async with stream, anyio.create_task_group() as group:
        await stream.send(b"MONITOR\r\n")
        tap.hear(await stream.receive(CHUNK))
        group.start_soon(listen)
        yield tap
        group.cancel_scope.cancel()


async def _connect(redis_url: str) -> ByteStream:
    parts = urlsplit(redis_url)
    if parts.scheme == "unix":
        return await anyio.connect_unix(parts.path)
    stream = await anyio.connect_tcp(parts.hostname or "", parts.port or 0)
    if parts.password or parse_qs(parts.query).get("password"):
        await stream.send(f"AUTH {parts.password}\r\n".encode())
        assert (await stream.receive(CHUNK)).startswith(b"+OK")
    return stream
