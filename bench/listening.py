"""Listening: a process of its own with many listeners to the API's streams, on bare sockets.

python -m courante.bench.listening < the order as JSON, on one line

It says ``ready`` when all are connected, and in the end, as JSON, what they have heard. Whoever is let go connects
again, with Last-Event-ID, as browsers do.
"""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import datetime
from functools import partial
from typing import cast

import anyio
import msgspec

from ..cli.event_loop import run_async
from ..sdk.fold.fold_ends import FINAL
from .http_asking import HOST, Caller
from .looking import until
from .measured import percentile

AGAIN_S = 0.2
CONNECT_S = 60.0
CONNECTED_AT_ONCE = 50
SILENCE_S = 10.0
"""Of all together: then nothing more is to come, whatever is missing."""
CHECKED = 10
"""Listeners to all runs whose every event is looked at; of the others they are counted."""
SAMPLED = 32
"""Of the pieces that come to one that counts, one in so many is looked at for its lag."""
TOKEN = b'\ndata: {"'
"""Of an event that something is said of: nothing stands in those by which a line is kept alive."""
ALL = "/v1/events"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """``run_ids``: one listener for each; empty: ``listeners`` to all runs. ``most_s``: then it ends in any case."""

    port: int
    key: str
    run_ids: list[str]
    listeners: int
    most_s: float


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """``delivered``: events, to all listeners together. ``lost``, ``repeated``: where every event is looked at.

    ``fewest``, ``most``: events of one listener. ``again``: how often somebody was let go and connected again.
    ``seconds``: from the first event to the last one. Lags are of events that happened while their listener was there.
    """

    delivered: int
    lost: int
    repeated: int
    fewest: int
    most: int
    again: int
    seconds: float
    lag_p50_ms: float
    lag_p99_ms: float
    cpu_s: float


class _Event(msgspec.Struct):
    run_id: str
    seq: int
    type: str
    at: datetime


_decode = msgspec.json.Decoder(_Event).decode


class _Room:
    """What all listeners have in common."""

    def __init__(self, order: Order) -> None:
        self.caller = Caller(order.port, order.key)
        self.places = len(order.run_ids) or order.listeners
        self.first_at = self.last_at = 0.0
        self.lag_ms: list[float] = []
        self.again = 0
        self.connected = self.over = self.whole = 0
        self.listeners: list[_Listener] = []
        self.is_closing = False

    async def is_full(self) -> bool:
        return self.connected >= self.places

    async def has_heard_all(self) -> bool:
        if self.last_at and time.time() - self.last_at > SILENCE_S:
            return True
        return self.over >= self.places or bool(self.whole and all(one.count >= self.whole for one in self.listeners))

    def hear(self) -> float:
        self.last_at = time.time()
        self.first_at = self.first_at or self.last_at
        return self.last_at


class _Listener(asyncio.Protocol):
    def __init__(self, room: _Room, path: str, *, is_checked: bool) -> None:
        self._room = room
        self._path = path
        self._is_checked = is_checked
        self._is_connected = False
        self._since = 0.0
        self._tail = b""
        self._pieces = self._ends = 0
        self._last_id = b""
        self.count = 0
        self.repeated = 0
        self.heard: dict[str, set[int]] = {}
        self.is_over = False

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, HOST, self._room.caller.port)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._tail, self._is_connected = b"", False
        lines = [f"Last-Event-ID: {self._last_id.decode()}"] if self._last_id else []
        cast("asyncio.Transport", transport).write(
            self._room.caller.get(self._path, "Accept: text/event-stream", *lines)
        )

    def data_received(self, data: bytes) -> None:
        if not self._is_connected:
            if not data.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(data[:200])
            self._is_connected = True
            self._since = time.time()
            self._room.connected += 1
        if self._is_checked:
            self._look_at(data)
        else:
            self._count(data)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if not self.is_over and not self._room.is_closing:
            self._room.again += 1
            asyncio.get_running_loop().call_later(AGAIN_S, self._connect_again)

    def _connect_again(self) -> None:
        self._task = asyncio.ensure_future(self.connect())

    def _count(self, data: bytes) -> None:
        joined = self._tail + data
        found = joined.count(TOKEN)
        self._tail = joined[1 - len(TOKEN) :]
        if found:
            self.count += found
            now = self._room.hear()
            self._pieces += 1
            place = data.rfind(b"\nid: ")
            end = data.find(b"\n", place + 5)
            if 0 <= place < end:
                self._last_id = data[place + 5 : end]
                if self._pieces % SAMPLED == 1:
                    at = int(self._last_id.partition(b"-")[0]) / 1000
                    if at > self._since:
                        self._room.lag_ms.append((now - at) * 1000)

    def _look_at(self, data: bytes) -> None:
        *events, self._tail = (self._tail + data).split(b"\n\n")
        for event in events:
            _, _, rest = event.partition(b"id: ")
            id, _, content = rest.partition(b"\ndata: ")
            if not content:
                continue  # nothing has happened
            now = self._room.hear()
            told = _decode(content)
            known = self.heard.setdefault(told.run_id, set())
            self.count += 1
            self.repeated += told.seq in known
            known.add(told.seq)
            self._last_id = id
            at = told.at.timestamp()
            if at > self._since:
                self._room.lag_ms.append((now - at) * 1000)
            if told.type in FINAL:
                self._end()

    def _end(self) -> None:
        """A run has ended: of all runs, the last one may have."""
        self._ends += 1
        if self._path != ALL:
            self.is_over = True
            self._room.over += 1
        elif self._ends >= self._room.places:
            self._room.whole = self.count

    @property
    def lost(self) -> int:
        """Numbers of a run that are missing before the last one; who hears of all runs comes later than they begin."""
        firsts = ((min(seqs) if self._path == ALL else 1, seqs) for seqs in self.heard.values())
        return sum(max(seqs) - first + 1 - len(seqs) for first, seqs in firsts)


async def listen(order: Order) -> Heard:
    room = _Room(order)
    if order.run_ids:
        listeners = [_Listener(room, f"/v1/runs/{run_id}/events", is_checked=True) for run_id in order.run_ids]
    else:
        listeners = [_Listener(room, ALL, is_checked=number < CHECKED) for number in range(order.listeners)]
    room.listeners = listeners
    with anyio.fail_after(CONNECT_S):
        for first in range(0, len(listeners), CONNECTED_AT_ONCE):
            await asyncio.gather(*(one.connect() for one in listeners[first : first + CONNECTED_AT_ONCE]))
        await until(room.is_full)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    with anyio.move_on_after(order.most_s):
        await until(room.has_heard_all)
    room.is_closing = True
    counts, lags = [one.count for one in listeners], sorted(room.lag_ms)
    return Heard(
        delivered=sum(counts),
        lost=sum(one.lost for one in listeners),
        repeated=sum(one.repeated for one in listeners),
        fewest=min(counts),
        most=max(counts),
        again=room.again,
        seconds=room.last_at - room.first_at,
        lag_p50_ms=percentile(lags, 50) if lags else 0,
        lag_p99_ms=percentile(lags, 99) if lags else 0,
        cpu_s=time.process_time(),
    )


if __name__ == "__main__":
    order = msgspec.json.decode(sys.stdin.readline(), type=Order)
    sys.stdout.write(msgspec.json.encode(run_async(partial(listen, order), is_daemon=True)).decode())
