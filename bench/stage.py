"""The stage of a benchmark: servers, a fresh environment, and a crew of one worker and one supervisor process.

Where the settings do not name both servers, the benchmark has embedded ones of its own in a temporary directory, so
that nobody else disturbs it. On named servers it deletes its keys afterwards; its rows stay, the log is append-only.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import anyio
import msgspec
from redis.asyncio import Redis

from ..cli.children import Child, environment_of
from ..cli.services import Services, connected_client
from ..compiler.workflow import Json
from ..sdk.client.client import Client
from ..sdk.connections import close_redis, connect_redis
from ..sdk.embedded import Servers, hold, shut_down
from ..sdk.floor.presence import has_supervisor, live_workers
from ..sdk.health.durability import inspect_postgres, inspect_redis
from ..sdk.keys import PartitionKeys
from ..sdk.settings import LogLevel, Settings
from .documents import compiled
from .looking import until
from .machine import Machine, cpu_s, descendants, describe_machine

Progress: TypeAlias = Callable[[str], None]
START_S = 60.0
STOP_S = 20.0
KEYS_AT_ONCE = 1_000


@dataclass(kw_only=True)
class Stage:
    """``pids``: the processes of each role, as far as they are known."""

    services: Services
    client: Client
    redis: Redis
    machine: Machine
    pids: dict[str, list[int]] = field(default_factory=dict[str, list[int]])

    @property
    def env(self) -> str:
        return self.services.settings.env

    @property
    def partition(self) -> PartitionKeys:
        """The one that is measured: benchmarks use a single partition."""
        return self.client.keys.partition(0)

    async def register(self, document: dict[str, Json]) -> str:
        """Return the id of the workflow."""
        workflow, ir = compiled(document)
        await self.client.register(workflow, ir)
        return workflow.id

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU seconds that each role has used so far; empty where that cannot be known."""
        self._find_servers()
        return {role: used for role, pids in self.pids.items() if (used := cpu_s(pids))}

    def _find_servers(self) -> None:
        """Postgres has a process for each connection: they come and go."""
        servers = self.services.servers
        if servers is not None:
            below = descendants(servers.keeper_pid)
            self.pids["postgres"] = [pid for pid in below if pid not in self.pids["redis"]]


@asynccontextmanager
async def open_stage(settings: Settings) -> AsyncGenerator[Stage]:
    """Open a stage in an environment that nobody has used before, on servers that answer."""
    own = msgspec.structs.replace(
        settings, env=f"bench-{secrets.token_hex(4)}", partitions=1, log_level=LogLevel.WARNING
    )
    with ExitStack() as stack:
        services = await anyio.to_thread.run_sync(_open_services, own, stack)
        redis = connect_redis(services.redis_url)
        try:
            async with connected_client(services) as client:
                stage = Stage(services=services, client=client, redis=redis, machine=await _machine(redis, client))
                if services.servers is not None:
                    stage.pids["redis"] = [int((await redis.info("server"))["process_id"])]
                yield stage
        finally:
            with anyio.CancelScope(shield=True):
                if services.servers is None:
                    await delete_keys(redis, f"courante:{own.env}:*")
                await close_redis(redis)
                await anyio.to_thread.run_sync(stack.close)


@asynccontextmanager
async def open_crew(stage: Stage, *, concurrency: int | None = None) -> AsyncGenerator[None]:
    """One worker and one supervisor, as processes of their own, for as long as the context lasts.

    concurrency: slots of the worker, where the settings do not say.
    """
    slots = [] if concurrency is None else ["--concurrency", str(concurrency)]
    async with open_children(stage, ["worker", *slots], ["supervisor"]):
        yield


@asynccontextmanager
async def open_children(stage: Stage, *lines: Sequence[str], **settings: object) -> AsyncGenerator[list[Child]]:
    """Daemons as processes of their own, by their command lines; one that dies is started again.

    settings: of theirs, other than the stage's.
    """
    services = stage.services
    own = msgspec.structs.replace(services.settings, **settings)
    environment = environment_of(own, redis_url=services.redis_url, database_url=services.database_url)
    children = [Child(line, environment) for line in lines]
    workers = sum(child.name == "worker" for child in children)
    async with anyio.create_task_group() as group:
        for child in children:
            group.start_soon(child.run)
        try:
            with anyio.fail_after(START_S):
                await until(lambda: _is_manned(stage, workers))
            stage.pids |= {name: [one.pid for one in children if one.name == name] for name in ("worker", "supervisor")}
            yield children
        finally:
            for child in children:
                child.stop()
            with anyio.CancelScope(shield=True), anyio.move_on_after(STOP_S):
                await until(lambda: _have_ended(children))
            group.cancel_scope.cancel()


async def _have_ended(children: Sequence[Child]) -> bool:
    return all(child.has_ended for child in children)


async def _is_manned(stage: Stage, workers: int) -> bool:
    live = await live_workers(stage.redis, stage.env, 1)
    return len(live) >= workers and await has_supervisor(stage.redis, stage.env, 1)


def _open_services(settings: Settings, stack: ExitStack) -> Services:
    if settings.redis_url is not None and settings.database_url is not None:
        return Services(settings, settings.redis_url, settings.database_url, None)
    home = Path(tempfile.mkdtemp(prefix="courante-bench-"))
    stack.callback(shutil.rmtree, home, ignore_errors=True)
    stack.callback(shut_down, home)
    servers: Servers = stack.enter_context(hold(home, linger_s=0, prefer_system=settings.prefer_system_servers)).servers
    return Services(
        settings, settings.redis_url or servers.redis_url, settings.database_url or servers.database_url, servers
    )


async def _machine(redis: Redis, client: Client) -> Machine:
    async with client.pool.acquire() as conn:
        postgres = await inspect_postgres(conn)
    return describe_machine((await inspect_redis(redis)).version, postgres.version)


async def delete_keys(redis: Redis, pattern: str) -> None:
    """Delete all keys of a pattern, some at a time."""
    cursor = 0
    while True:
        cursor, found = await redis.scan(cursor, match=pattern, count=KEYS_AT_ONCE)
        if found:
            await redis.unlink(*found)
        if not cursor:
            return
