"""A stage: one environment on real servers, with a client and as many workers and supervisors as a test calls up.

All of them live in this process.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import anyio
from anyio.abc import TaskGroup
from redis.asyncio import Redis

from courante.runner.meter import Meter
from courante.runner.models.terms import ModelTerms
from courante.runner.terms import Terms
from courante.runner.worker import Worker
from courante.sdk.authoring.declared_tools import NOTHING_DECLARED, DeclaredTools
from courante.sdk.authoring.steps import Steps
from courante.sdk.client.client import Client, RunResult
from courante.sdk.connections import close_redis, connect_redis
from courante.sdk.events import RecordedEvent
from courante.sdk.floor.scripts import DONE_GROUP, INTAKE_GROUP, QUEUE_GROUP
from courante.sdk.spending.prices import PriceTable
from courante.sdk.stores.log import read_events, verify_chain
from courante.supervisor.supervisor import Supervisor
from integration.floor import compile_document

T = TypeVar("T")
PATIENCE_S = 20.0
HOUR_MS = 3_600_000
FINAL = frozenset({"run.completed", "run.failed", "run.cancelled", "run.timed_out"})


@dataclass
class Place:
    """Where the servers are, and in whose name."""

    redis_url: str
    database_url: str
    env: str


@dataclass
class Stage:
    """Made by ``open_stage``."""

    place: Place
    client: Client
    redis: Redis
    group: TaskGroup
    workers: list[Worker] = field(default_factory=lambda: [])
    supervisors: list[Supervisor] = field(default_factory=lambda: [])
    ends: list[anyio.Event] = field(default_factory=lambda: [])
    scopes: list[anyio.CancelScope] = field(default_factory=lambda: [])

    def worker(
        self,
        steps: Mapping[str, Callable[..., Any]] | Steps | None = None,
        *,
        concurrency: int = 128,
        redis_url: str = "",
        queues: Sequence[str] = ("default",),
        partitions: Sequence[int] = (0,),
        http_allow: str = "",
        http_proxy: str = "",
        secrets_dir: Path | None = None,
        database_url: str = "",
        models: ModelTerms | None = None,
        declared: DeclaredTools = NOTHING_DECLARED,
        prices: PriceTable | None = None,
        meter: Meter | None = None,
        traces: bool = False,
        **terms: int,
    ) -> Worker:
        """Start a worker that knows these steps. redis_url: its own way to Redis. terms: see ``runner.terms``."""
        registry = steps if isinstance(steps, Steps) else steps_of(steps or {})
        worker = Worker(
            redis_url=redis_url or self.place.redis_url,
            env=self.place.env,
            steps=registry,
            queues=queues,
            partitions=partitions,
            concurrency=concurrency,
            terms=Terms(**terms),
            http_allow=http_allow,
            http_proxy=http_proxy,
            secrets_dir=secrets_dir,
            database_url=database_url,
            models=models,
            declared=declared,
            prices=prices,
            meter=meter,
            traces=traces,
        )
        self._call_up(worker.run)
        self.workers.append(worker)
        return worker

    def supervisor(self, **options: Any) -> Supervisor:
        """Start a supervisor. options: of ``Supervisor``."""
        place = self.place
        supervisor = Supervisor(redis_url=place.redis_url, database_url=place.database_url, env=place.env, **options)
        self._call_up(supervisor.run)
        self.supervisors.append(supervisor)
        return supervisor

    def _call_up(self, run: Callable[[], Awaitable[None]]) -> None:
        ended, scope = anyio.Event(), anyio.CancelScope()
        self.ends.append(ended)
        self.scopes.append(scope)

        async def play() -> None:
            with scope:
                await run()
            ended.set()

        self.group.start_soon(play)

    async def kill(self, number: int) -> None:
        """End the one that was called up as number ``number``, in the middle of whatever it does."""
        self.scopes[number].cancel()
        await self.ends[number].wait()

    async def register(self, *nodes: Mapping[str, object], id: str = "w", **fields: Any) -> str:
        """Register a workflow and return its id."""
        workflow, ir = compile_document({"courante": 1, "id": id, "nodes": list(nodes), **fields})
        await self.client.register(workflow, ir)
        return id

    async def run(self, workflow: str, input: Any = None, **options: Any) -> RunResult:
        """Submit, and wait until the end is in the log."""
        run_id = await self.client.submit(workflow, input, **options)
        return await self.result(run_id)

    async def result(self, run_id: str, timeout_s: float = PATIENCE_S) -> RunResult:
        return await self.client.wait(run_id, timeout_s=timeout_s, is_recorded=True)

    async def results(self, run_ids: Iterable[str], timeout_s: float = PATIENCE_S) -> list[RunResult]:
        return [await self.result(run_id, timeout_s) for run_id in run_ids]

    async def events(self, run_id: str) -> list[RecordedEvent]:
        """The log of a run, whose chain holds and which ends once."""
        async with self.client.pool.acquire() as conn:
            assert await verify_chain(conn, run_id) is None
            events = await read_events(conn, run_id)
        ends = [event.seq for event in events if event.facts.type in FINAL]
        assert len(ends) <= 1
        assert not ends or ends == [len(events)]
        return events

    async def types(self, run_id: str) -> list[str]:
        return [event.facts.type for event in await self.events(run_id)]

    async def succeeded(self, run_id: str) -> list[str]:
        """Nodes that succeeded, in the order of the log."""
        return [event.facts.node for event in await self.events(run_id) if event.facts.type == "step.succeeded"]

    async def pending(self) -> dict[str, int]:
        """Entries that are in somebody's hands, by stream; those with none are left out."""
        keys = self.client.keys.partition(0)
        groups = {keys.done: DONE_GROUP, keys.submit: INTAKE_GROUP}
        async for stream in self.redis.scan_iter(match=keys.queue("*")):
            groups[stream.decode()] = QUEUE_GROUP
        found: dict[str, int] = {}
        for name, group in groups.items():
            if await self.redis.exists(name):
                summary = await self.redis.xpending(name, group)
                if summary["pending"]:
                    found[name] = int(summary["pending"])
        return found

    async def run_out(self, worker: Worker | None = None) -> None:
        """Let the leases of all that a worker holds run out, or of all that is held: as if nobody had been heard of for
        an hour.
        """
        streams = [stream async for stream in self.redis.scan_iter(match=self.client.keys.partition(0).queue("*"))]
        for stream in streams:
            for entry in await self.redis.xpending_range(stream, QUEUE_GROUP, "-", "+", 1_000):
                holder = entry["consumer"].decode()
                if worker is None or holder.startswith(worker.name):
                    place = (stream, QUEUE_GROUP, holder, 0, [entry["message_id"]])
                    await self.redis.xclaim(*place, idle=HOUR_MS, justid=True)

    async def commands(self) -> int:
        """How many starts Postgres has accepted."""
        async with self.client.pool.acquire() as conn:
            return int(await conn.fetchval("SELECT count(*) FROM commands WHERE env = $1", self.place.env))

    async def forget(self, run_id: str) -> None:
        """Do what the time-to-live of an ended run does in the end."""
        keys = self.client.keys.partition(0)
        assert await self.redis.ttl(keys.run(run_id)) > 0
        assert await self.redis.delete(keys.run(run_id)) == 1

    async def dismiss(self) -> None:
        """Tell all to stop; they end by themselves, and soon."""
        for worker in self.workers:
            worker.stop()
        for supervisor in self.supervisors:
            supervisor.stop()
        with anyio.fail_after(10):
            for ended in self.ends:
                await ended.wait()


def steps_of(functions: Mapping[str, Callable[..., Any]]) -> Steps:
    """A registry of functions by name."""
    made = Steps()
    for name, function in functions.items():
        made.add(function, name)
    return made


async def until(what: Callable[[], Awaitable[T]], holds: Callable[[T], bool], timeout_s: float = PATIENCE_S) -> T:
    """Ask again until the answer is as wanted, and return it; the last one stands in the failure."""
    found: T | None = None
    with anyio.move_on_after(timeout_s):
        while True:
            found = await what()
            if holds(found):
                return found
            await anyio.sleep(0.005)
    raise AssertionError(f"waited {timeout_s} s; the last answer was {found!r}")


@asynccontextmanager
async def open_stage(place: Place, *, partitions: int = 1) -> AsyncGenerator[Stage]:
    """An environment whose partitions are open. Workers and supervisors end with it, all by themselves."""
    client = Client.open(
        redis_url=place.redis_url, database_url=place.database_url, env=place.env, partitions=partitions
    )
    async with client:
        await client.prepare()
        redis = connect_redis(place.redis_url)
        try:
            async with anyio.create_task_group() as group:
                stage = Stage(place, client, redis, group)
                yield stage
                await stage.dismiss()
        finally:
            await close_redis(redis)
