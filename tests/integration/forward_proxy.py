"""A forward proxy on a loopback port: it tunnels to the hosts that a test names, and forwards nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from integration.loopback import serve


@dataclass
class Proxy:
    """``asked``: the first lines of what it was asked, in order."""

    port: int = 0
    asked: list[str] = field(default_factory=lambda: [])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def open_proxy(ports: Mapping[str, int]) -> AsyncGenerator[Proxy]:
    """ports: by ``host:port``, the port of this machine that it stands for; to others 403 is the answer."""
    proxy = Proxy()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        proxy.asked.append(head.partition(" HTTP/")[0])
        method, _, place = proxy.asked[-1].partition(" ")
        if method != "CONNECT" or place not in ports:
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            return
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", ports[place])
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(_carry(reader, inner_writer), _carry(inner_reader, writer))

    async with serve(talk) as proxy.port:
        yield proxy


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(65_536):
        writer.write(part)
        await writer.drain()
    writer.close()
