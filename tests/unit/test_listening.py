"""Listeners of the benchmarks count what happens, and not that nothing does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from courante.api.frames import ALIVE, HELLO, frame
from courante.bench import listening
from courante.bench.http_asking import HOST

pytestmark = pytest.mark.anyio

EVENT = frame(b'{"run_id":"r","seq":1,"type":"run.started","at":"2026-01-01T00:00:00Z"}', id="1767225600000-r-1")


@asynccontextmanager
async def serving() -> AsyncGenerator[int]:
    """One event for everybody, and that there is nothing else, again and again; gives the port."""
    writers: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + HELLO + EVENT)
        while not writer.is_closing():
            writer.write(ALIVE)
            await asyncio.sleep(0.02)

    server = await asyncio.start_server(answer, HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.close()
            await writer.wait_closed()
        await asyncio.sleep(0.1)  # whoever listened hears of it


@pytest.mark.parametrize("checked", [0, 1])
async def test_a_line_that_is_kept_alive_tells_no_event(checked: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether each event is looked at or only counted; and the silence behind the last one ends it."""
    monkeypatch.setattr(listening, "SILENCE_S", 0.3)
    monkeypatch.setattr(listening, "CHECKED", checked)
    async with serving() as port:
        heard = await listening.listen(listening.Order(port=port, key="k", run_ids=[], listeners=1, most_s=3))
    assert (heard.delivered, heard.fewest, heard.most, heard.seconds) == (1, 1, 1, 0.0)
