"""A proxy: the network between one process and one server, and what can become of it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

CHUNK = 65_536


class Proxy:
    """Listens on a loopback port of its own and passes on to ``target``, a port or the path of a socket.

    Made by ``open_proxy``.
    """

    def __init__(self, target: int | str) -> None:
        self._target = target
        self._links: set[_Link] = set()
        self._is_cut = False
        self._ends = 0
        self._pattern = b""
        self._countdown = 0
        self._open = asyncio.Event()
        self._open.set()
        self.port = 0
        self.delay_s = 0.0
        self.lost = 0

    def cut(self) -> None:
        """End all connections, and every new one at once, until ``mend``."""
        self._is_cut = True
        self._abort()

    def drop(self) -> None:
        """End all connections; new ones are fine."""
        self._abort()

    def reset(self) -> None:
        """End all connections as the kernel does for a process that died with something unread; new ones are fine."""
        for link in list(self._links):
            link.reset()

    def lead_to(self, target: int | str) -> None:
        """From now on the address is that of another server."""
        self._target = target
        self._abort()

    def mend(self) -> None:
        """Everything gets through again."""
        self._is_cut = False
        self._open.set()

    def freeze(self) -> None:
        """Nothing gets through and nobody is told, until ``mend``: a cable that was pulled."""
        self._open.clear()

    def half_close(self) -> None:
        """The servers' side falls silent and says that it is done; what the process sends still gets there."""
        for link in list(self._links):
            link.close_answers()

    def lose_answer(self, pattern: bytes, turn: int = 1) -> None:
        """The turn-th request from now with ``pattern`` gets there; its answer does not, and the connection ends."""
        self._pattern, self._countdown = pattern, turn

    def is_losing(self, found: int) -> bool:
        """Count requests that match; whether the answer of one of them must not come."""
        if not self._countdown or not found:
            return False
        self._countdown = max(0, self._countdown - found)
        self.lost += not self._countdown
        return not self._countdown

    def matches(self, content: bytes, before: bytes) -> int:
        """How often the pattern ends in ``content``, which follows ``before``."""
        if not self._pattern:
            return 0
        return (before[1 - len(self._pattern) :] + content).count(self._pattern)

    async def passable(self) -> None:
        """Wait as long as the network makes a chunk wait."""
        await self._open.wait()
        if self.delay_s:
            await asyncio.sleep(self.delay_s)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until one side ends it."""
        if self._is_cut:
            writer.transport.abort()
            return
        ends = self._ends
        try:
            if isinstance(self._target, str):
                there, back = await asyncio.open_unix_connection(self._target)
            else:
                there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(self, writer, back)
        if self._ends != ends:  # while the way on was opened
            link.abort()
            return
        self._links.add(link)
        try:
            await link.run(reader, there)
        finally:
            self._links.discard(link)
            link.abort()

    def _abort(self) -> None:
        self._ends += 1
        for link in list(self._links):
            link.abort()


class _Link:
    """One connection through the proxy. ``near``: to the process, ``far``: to the server."""

    def __init__(self, proxy: Proxy, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._near = near
        self._far = far
        self._is_losing = False
        self._is_silent = False

    async def run(self, near: asyncio.StreamReader, far: asyncio.StreamReader) -> None:
        ways = {asyncio.create_task(self._requests(near)), asyncio.create_task(self._answers(far))}
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    def abort(self) -> None:
        self._near.transport.abort()
        self._far.transport.abort()

    def reset(self) -> None:
        near = self._near.get_extra_info("socket")
        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.abort()

    def close_answers(self) -> None:
        self._is_silent = True
        if self._near.can_write_eof():
            self._near.write_eof()

    async def _requests(self, reader: asyncio.StreamReader) -> None:
        before = b""
        while content := await reader.read(CHUNK):
            await self._proxy.passable()
            self._is_losing |= self._proxy.is_losing(self._proxy.matches(content, before))
            before = content
            self._far.write(content)
            await self._far.drain()

    async def _answers(self, reader: asyncio.StreamReader) -> None:
        while content := await reader.read(CHUNK):
            await self._proxy.passable()
            if self._is_losing:
                return
            if not self._is_silent:
                self._near.write(content)
                await self._near.drain()


@asynccontextmanager
async def open_proxy(target: int | str) -> AsyncGenerator[Proxy]:
    """A proxy to a port or socket of this machine, in the event loop of the caller."""
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.port = int(server.sockets[0].getsockname()[1])
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        proxy.mend()
        await server.wait_closed()
