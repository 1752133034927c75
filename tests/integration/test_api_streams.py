"""Streams in trouble: slow and late listeners, servers that go and come back; nothing is lost, and all go on."""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import le
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from courante import Context
from courante.api import listener as listening
from courante.api import live as live_module
from courante.api.backend import open_backend
from courante.api.frames import RETRY_MS
from courante.api.live import Live
from courante.sdk.client.client import Submission
from courante.sdk.moments import EPOCH
from courante.sdk.stores.connection import Connection
from courante.sdk.stores.cursors import Cursor, read_cursors
from courante.sdk.stores.log import stream_window
from integration.house import House, open_house
from integration.http_calls import SentEvent, follow, listen_to, open_server, settings_of
from integration.stage import Stage, open_stage, until

pytestmark = pytest.mark.anyio
HEARD_S = 20
SINCE_EVER = "0-run_none-1"
Place = tuple[str, int]


def places(events: list[SentEvent]) -> list[Place]:
    return [(event.data["run_id"], event.data["seq"]) for event in events]


async def logged(stage: Stage, run_ids: list[str]) -> set[Place]:
    return {(run_id, event.seq) for run_id in run_ids for event in await stage.events(run_id)}


async def test_who_was_away_for_long_hears_everything(stage: Stage) -> None:
    """From the beginning of all times, in their order, each event once, and then what happens; in small reads."""
    stage.worker()
    stage.supervisor()
    await stage.register({"id": "a", "type": "noop"}, {"id": "b", "type": "noop", "depends_on": "a"})
    run_ids = [(await stage.run("w")).run_id for _ in range(12)]
    wanted = await logged(stage, run_ids)
    later = datetime.now(UTC) + timedelta(days=400)
    for limit in (1, 7, 1_000):
        pages = [page async for page in stream_window(stage.client.pool, stage.place.env, EPOCH, later, limit=limit)]
        assert max(map(len, pages)) <= limit
        found = [(event.at_ms, event.run_id, event.seq) for page in pages for event in page]
        assert found == sorted(found)
        assert len(found) == len(wanted)
    async with open_server(stage) as api:
        heard: list[SentEvent] = []
        with anyio.fail_after(HEARD_S):
            async for event in listen_to(api, "/v1/events", SINCE_EVER):
                heard.append(event)
                if len(heard) == len(wanted):
                    run_ids.append(await stage.client.submit("w"))
                if event.data["run_id"] == run_ids[-1] and event.data["type"] == "run.completed" and len(run_ids) > 12:
                    break
        assert Counter(places(heard)) == Counter(await logged(stage, run_ids))
        at = heard[20]
        with anyio.fail_after(HEARD_S):
            rest: list[SentEvent] = []
            async for event in listen_to(api, "/v1/events", at.id):
                rest.append(event)
                if set(places(heard[20:])) <= {*places(rest), *places([at])}:
                    break
        assert at not in rest


async def test_what_was_trimmed_before_it_was_heard_is_told(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is slow for a while finds in the log what the recorder has taken away, and tells it once.

    What another environment has done meanwhile, in a partition of the same number, it does not.
    """
    may_hear, hear_entries = anyio.Event(), Live.hear

    async def held(self: Live, entries: dict[str, str]) -> None:
        await may_hear.wait()
        await hear_entries(self, entries)

    stage.worker()
    stage.supervisor()
    await stage.register(
        {"id": "s", "type": "signal", "config": {"name": "go"}}, {"id": "b", "type": "noop", "depends_on": "s"}
    )
    first = await stage.client.submit("w")
    heard: dict[str, list[SentEvent]] = {"run": [], "all": []}
    own = set[Place]()
    run_ids = list[str]()
    elsewhere = open_stage(replace(stage.place, env=f"{stage.place.env}o"))
    async with elsewhere as other, open_server(stage) as api, anyio.create_task_group() as group:

        async def hear(name: str, path: str) -> None:
            async for event in listen_to(api, path):
                heard[name].append(event)

        group.start_soon(hear, "all", "/v1/events")
        group.start_soon(hear, "run", f"/v1/runs/{first}/events")
        await until(lambda: counted(heard["run"], "step.waiting"), bool, HEARD_S)
        run_ids.append(await stage.client.submit("w"))
        await until(lambda: counted(heard["all"], "step.waiting"), bool, HEARD_S)
        monkeypatch.setattr(Live, "hear", held)
        run_ids += await stage.client.submit_many([Submission(workflow="w")] * 20)
        for run_id in (first, *run_ids):
            await stage.client.signal(run_id, "go")
        await stage.results([first, *run_ids])
        other.worker()
        other.supervisor()
        await other.register({"id": "b", "type": "noop"})
        await other.run("w")
        outbox = stage.client.keys.partition(0).outbox
        await until(lambda: stage.redis.xlen(outbox), lambda count: count <= 1)
        may_hear.set()
        wanted = await logged(stage, [first, *run_ids])
        own |= {place for place in wanted if place[0] == first}
        await until(lambda: missing(heard["run"], own), lambda found: not found, HEARD_S)
        await until(lambda: missing(heard["all"], wanted - own), lambda found: not found, HEARD_S)
        group.cancel_scope.cancel()
    assert places(heard["run"]) == sorted(own)
    assert {run_id for run_id, _ in places(heard["all"])} <= {first, *run_ids}
    assert len(heard["all"]) == len(set(places(heard["all"])))


async def test_who_reads_too_slowly_is_let_go_and_goes_on(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are told meanwhile; with the id of what he heard last he misses nothing."""
    monkeypatch.setattr(listening, "HELD_MAX", 50)
    stage.worker()
    stage.supervisor()
    await stage.register({"id": "a", "type": "noop"}, {"id": "b", "type": "noop", "depends_on": "a"})
    async with open_server(stage, send_bytes=4_096) as api:
        slow = await listen_slowly(api, "/v1/events")
        run_ids: list[str] = []
        quick: list[SentEvent] = []
        async with anyio.create_task_group() as group:

            async def hear() -> None:
                async for event in listen_to(api, "/v1/events"):
                    quick.append(event)  # noqa: PERF401 - one by one, as it comes

            group.start_soon(hear)
            await anyio.lowlevel.checkpoint()
            for _ in range(10):
                some = await stage.client.submit_many([Submission(workflow="w")] * 30)
                await stage.results(some)
                run_ids += some
            wanted = await logged(stage, run_ids)
            with anyio.fail_after(HEARD_S):
                lines = [line async for line in slow]
            early = sum(line.startswith(b"data: ") for line in lines)
            assert 0 < early < len(wanted), "he was let go in between"
            last = [line for line in lines if line.startswith(b"id: ")][-1].removeprefix(b"id: ").decode()
            told = {place for place in (place_of(line) for line in lines) if place is not None}
            rest: list[SentEvent] = []
            with anyio.fail_after(HEARD_S):
                async for event in follow(api, "/v1/events", last):
                    rest.append(event)
                    if wanted <= told | set(places(rest)):
                        break
            group.cancel_scope.cancel()
        assert len(quick) == len(set(places(quick)))


@pytest.mark.parametrize(
    ("part", "last", "status"),
    [
        ("events", "999999", 200),
        ("events", "9" * 15, 200),
        ("events", "9" * 16, 400),
        ("events", "-1", 400),
        ("events", "1 OR 1=1", 400),
        ("events", "\xb2", 400),
        ("logs", "999999", 200),
        ("logs", "9" * 16, 400),
        ("logs", "END", 400),
        ("all", "32503680000000-run_x-1", 200),
        ("all", "0", 200),
        ("all", "9" * 30, 400),
        ("all", "-1-run_x-1", 400),
        ("all", "yesterday", 400),
    ],
)
async def test_from_where_nothing_was_told(stage: Stage, part: str, last: str, status: int) -> None:
    """What is the id of nothing is refused; who goes on from what is still to come hears what comes behind it."""
    stage.worker()
    stage.supervisor()
    await stage.register({"id": "s", "type": "signal", "config": {"name": "go"}})
    run_id = await stage.client.submit("w")
    await until(lambda: stage.types(run_id), lambda types: "step.waiting" in types)
    path = "/v1/events" if part == "all" else f"/v1/runs/{run_id}/{part}"
    headers = {b"Accept": b"text/event-stream", b"Last-Event-ID": last.encode("latin-1")}
    async with open_server(stage) as api:
        async with api.stream("GET", path, headers=headers) as answer:
            assert answer.status_code == status
            if status == 400:
                assert json.loads(await answer.aread())["code"] == "query_invalid"
                return
            lines = answer.aiter_lines()
            assert await anext(lines) == f"retry: {RETRY_MS}"
            await stage.client.signal(run_id, "go")
            with anyio.fail_after(HEARD_S):
                heard = [line async for line in until_told(lines, "run.completed" if part == "all" else "")]
        assert any(line.startswith("data: ") and run_id in line for line in heard) is (part != "events")


async def until_told(lines: AsyncIterator[str], word: str) -> AsyncIterator[str]:
    """Lines up to the one with a word, or to the end of the stream."""
    async for line in lines:
        yield line
        if word and word in line:
            return


async def listen_slowly(api: httpx.AsyncClient, path: str) -> AsyncIterator[bytes]:
    """Ask for a stream now, and give what it tells, line by line, only when that is read."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.connect((api.base_url.host, api.base_url.port))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n".encode())
    await anyio.wait_readable(connection)

    async def read() -> AsyncIterator[bytes]:
        content = b""
        with connection:
            connection.setblocking(False)
            while not content.endswith(b"0\r\n\r\n"):
                await anyio.wait_readable(connection)
                content += connection.recv(65_536)
        for line in content.split(b"\n"):
            yield line

    return read()


def place_of(line: bytes) -> Place | None:
    """Where an event stands that a line gives the id of."""
    if not line.startswith(b"id: "):
        return None
    _, run_id, seq = line.removeprefix(b"id: ").decode().split("-")
    return run_id, int(seq)


async def test_listeners_outlive_the_trouble_of_servers(tmp_path: Path) -> None:
    """Nobody records for a while; Redis is killed; Redis has lost everything: each event of the run is heard once."""
    may_end = anyio.Event()

    async def talk(context: Context) -> str:
        context.log("begun")
        await may_end.wait()
        context.log("done")
        return "x"

    async with open_house(tmp_path) as house, open_server(house.stage) as api:
        stage = house.stage
        stage.worker({"talk": talk})
        stage.supervisor()
        nodes: list[dict[str, Any]] = [
            {"id": name, "type": "signal", "config": {"name": name}, "depends_on": before}
            for name, before in (("one", []), ("two", ["one"]), ("three", ["two"]))
        ]
        talks = {"id": "talk", "type": "function", "config": {"handler": "talk"}, "depends_on": ["three"]}
        await stage.register(*nodes, talks)
        run_id = await stage.client.submit("w")
        heard: dict[str, list[SentEvent]] = {"run": [], "all": [], "logs": []}

        async def hear(name: str, path: str, after: str = "") -> None:
            async for event in follow(api, path, after):
                heard[name].append(event)

        async def waits(count: int) -> None:
            """Until both have heard that a signal is waited for, so often."""
            for name in ("run", "all"):
                await until(partial(counted, heard[name], "step.waiting"), partial(le, count), HEARD_S)

        async with anyio.create_task_group() as group:
            group.start_soon(hear, "all", "/v1/events", SINCE_EVER)
            with anyio.fail_after(2 * HEARD_S):
                async with anyio.create_task_group() as own:
                    own.start_soon(hear, "run", f"/v1/runs/{run_id}/events")
                    own.start_soon(hear, "logs", f"/v1/runs/{run_id}/logs")
                    await go_on(house, run_id, waits, may_end)
            wanted = await logged(stage, [run_id])
            assert places(heard["run"]) == sorted(wanted)
            await until(lambda: missing(heard["all"], wanted), lambda found: not found, HEARD_S)
            assert [event.data["text"] for event in heard["logs"] if event.name == "log"] == ["begun", "done"]
            assert heard["logs"][-1].name == "end"
            group.cancel_scope.cancel()


async def test_who_comes_while_a_server_is_away_is_let_go(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """He waits for nothing that may never be: he comes again, and is heard when the server is back."""
    is_away = True

    async def read(conn: Connection, env: str) -> dict[int, Cursor]:
        if is_away:
            raise ConnectionError("away")
        return await read_cursors(conn, env)

    monkeypatch.setattr(live_module, "read_cursors", read)
    async with open_backend(stage.client, settings_of(stage.place), stage.place.redis_url) as backend:
        async with backend.live.listening() as early:
            assert (await early.next(), early.is_gone) == ([], True)
        is_away = False
        with anyio.fail_after(HEARD_S):
            while True:
                async with backend.live.listening() as later:
                    if not later.is_gone:
                        break


async def go_on(house: House, run_id: str, waits: Any, may_end: anyio.Event) -> None:
    stage = house.stage
    await waits(1)
    await stage.kill(1)
    await stage.client.signal(run_id, "one")
    stage.supervisor()
    await waits(2)
    house.redis.kill()
    await house.redis.start()
    await stage.client.signal(run_id, "two")
    await waits(3)
    await stage.redis.flushall()
    await stage.client.signal(run_id, "three")
    may_end.set()
    await stage.result(run_id, HEARD_S)


async def counted(events: list[SentEvent], type: str) -> int:
    """How many different ones."""
    return len({place for place, event in zip(places(events), events, strict=True) if event.data["type"] == type})


async def missing(events: list[SentEvent], wanted: set[Place]) -> set[Place]:
    return wanted - set(places(events))
