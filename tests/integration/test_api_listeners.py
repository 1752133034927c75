"""Many who listen to events cost the servers what one costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import anyio
import pytest

from courante.api import live as live_module
from courante.api.live import Live, Told
from courante.sdk.events import RecordedEvent
from courante.sdk.stores.connection import Connection
from courante.sdk.stores.log import read_events_at
from integration.http_calls import SentEvent, listen_to, open_server
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
HEARD_S = 20
Place = tuple[str, int]


async def test_however_many_listen_each_event_is_read_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """And written once: those of one run and those of all runs are told by the same reader."""
    read, written = Counter[Place](), Counter[Place]()
    make = Live._made  # pyright: ignore[reportPrivateUsage]  # how an event is written

    async def counted(conn: Connection, spans: Mapping[str, tuple[int, int]]) -> list[RecordedEvent]:
        found = await read_events_at(conn, spans)
        read.update((event.run_id, event.seq) for event in found)
        return found

    def made(self: Live, event: RecordedEvent, since_ms: int | None) -> Told:
        written[event.run_id, event.seq] += 1
        return make(self, event, since_ms)

    monkeypatch.setattr(live_module, "read_events_at", counted)
    monkeypatch.setattr(Live, "_made", made)
    stage.worker()
    stage.supervisor()
    await stage.register({"id": "s", "type": "signal", "config": {"name": "go"}})
    run_id = await stage.client.submit("w")
    await until(lambda: stage.types(run_id), lambda types: "step.waiting" in types)
    heard: dict[int, list[SentEvent]] = {number: [] for number in range(60)}

    async def hear(number: int) -> None:
        async for event in listen_to(api, "/v1/events" if number % 2 else f"/v1/runs/{run_id}/events"):
            heard[number].append(event)

    async def reached(count: int) -> bool:
        return all(len(events) >= count for events in heard.values())

    async def begun() -> bool:
        await stage.client.submit("w")
        return await reached(1)

    async with open_server(stage) as api, anyio.create_task_group() as group:
        for number in heard:
            group.start_soon(hear, number)
        await until(begun, bool, HEARD_S)
        read.clear()
        written.clear()
        await stage.client.signal(run_id, "go")
        await stage.result(run_id)
        last = len(await stage.events(run_id))
        await until(lambda: told_to(heard, (run_id, last)), lambda count: count == len(heard), HEARD_S)
        assert (run_id, last) in read
        group.cancel_scope.cancel()
    assert set(read.values()) == set(written.values()) == {1}


async def told_to(heard: Mapping[int, list[SentEvent]], place: Place) -> int:
    """How many have heard an event."""
    return sum(any((one.data["run_id"], one.data["seq"]) == place for one in events) for events in heard.values())
