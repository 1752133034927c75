"""A site: servers, processes and a journal for one scenario, the runs that were acknowledged in it, and the checker.

The harness asks for runs by the client, over connections that no fault touches; an order counts as acknowledged when
the client says so, and is repeated under its key until it does.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import asyncpg
import pytest

from chaos import shapes
from chaos.journal import VARIABLE as JOURNAL_VARIABLE
from chaos.oracles.replayed import REPLAY, read_verdicts
from chaos.processes import Process
from chaos.proxy import Proxy, open_proxy
from chaos.servers import PostgresServer, RedisServer
from chaos.shapes import Order, draw_orders
from command_line import plain_environ
from courante.sdk.client.client import Client
from courante.sdk.errors import AlreadyDecided, ServiceUnavailable
from courante.sdk.fault_points import VARIABLE as FAULT_VARIABLE
from courante.sdk.stores.migrate import migrate
from integration.floor import compile_document
from nursery import Nursery

ENV = "chaos"
LEASE_MS = 60_000
"""Nothing runs out in a scenario, however slow the machine is: whoever takes a token over robs the living."""
SHORT_LEASE_MS = 1_000
"""Where tokens shall be taken over."""
MIDDLE_LEASE_MS = 4_000
"""Likewise, where executions are counted: nobody who lives is silent for so long."""
PATIENCE_S = 120.0


@dataclass
class Site:
    """Made by ``open_site``. ``accepted``: acknowledged runs with the kind of each. ``lease_ms``: of who starts.

    ``partitions``: set it before anybody starts, and the client of the harness is told.
    """

    folder: Path
    redis: RedisServer
    postgres: PostgresServer
    database: str
    calm: Path | None
    stack: AsyncExitStack
    accepted: dict[str, str] = field(default_factory=dict[str, str])
    members: list[Process] = field(default_factory=list[Process])
    client: Client | None = None
    lease_ms: int = LEASE_MS
    partitions: int = 1
    settings: dict[str, str] = field(default_factory=dict[str, str])
    """Further ones of who starts, as variables of the environment."""
    nursery: Nursery | None = None

    @property
    def database_url(self) -> str:
        return self.postgres.url(self.database)

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    async def proxy(self, port: int) -> Proxy:
        """The network between one process and one server."""
        return await self.stack.enter_async_context(open_proxy(port))

    def worker(self, *, fault: str = "", redis: Proxy | None = None, concurrency: int = 4) -> Process:
        """Start a worker. fault: see sdk/fault_points.py. redis: the way that it has to Redis."""
        words = ["worker", "--app", "chaos.handlers", "--concurrency", str(concurrency)]
        return self.member(words, fault=fault, redis=redis)

    def supervisor(self, *, fault: str = "", redis: Proxy | None = None, postgres: Proxy | None = None) -> Process:
        """Start a supervisor."""
        return self.member(["supervisor"], fault=fault, redis=redis, postgres=postgres)

    def member(
        self,
        words: list[str],
        *,
        fault: str = "",
        redis: Proxy | None = None,
        postgres: Proxy | None = None,
    ) -> Process:
        environ = self.environ(redis, postgres)
        environ |= {"COURANTE_LEASE_MS": str(self.lease_ms), "COURANTE_PARTITIONS": str(self.partitions)}
        if fault:
            environ[FAULT_VARIABLE] = fault
        made = self._start("courante", words, environ, self.folder / f"{len(self.members)}-{words[0]}.log")
        self.members.append(made)
        return made

    def _start(self, module: str, words: list[str], environ: dict[str, str], log: Path) -> Process:
        if self.nursery is None:
            return Process.start([sys.executable, "-m", module, *words], environ, log)
        return Process.fork(self.nursery, module, words, environ, log)

    async def until_ready(self) -> None:
        """Wait until everyone who was started is at work, or has ended."""
        for member in self.members:
            await member.until_said("_started")

    async def until(self, command: str, key: str, wanted: int) -> None:
        """Wait until Redis answers a count of a key with this number."""
        found = -1
        with anyio.move_on_after(PATIENCE_S):
            while found != wanted:
                found = int(str(await self.redis.do(command, key)))
                await anyio.sleep(0.01)
        assert found == wanted, f"{command} {key} says {found}"

    def environ(self, redis: Proxy | None = None, postgres: Proxy | None = None) -> dict[str, str]:
        """The environment of everything that is started here."""
        database_url = self.database_url
        if postgres is not None:
            database_url = database_url.replace(str(self.postgres.port), str(postgres.port))
        own = {
            "COURANTE_HOME": str(self.folder / "home"),
            "COURANTE_ENV": ENV,
            "COURANTE_LOG_LEVEL": "info",
            "COURANTE_AUDIT_S": "1",
            "COURANTE_REDIS_URL": self.redis.url if redis is None else f"redis://127.0.0.1:{redis.port}",
            "COURANTE_DATABASE_URL": database_url,
            JOURNAL_VARIABLE: str(self.journal),
        }
        return plain_environ() | self.settings | own

    async def order(self, orders: Iterable[Order], timeout_s: float = PATIENCE_S) -> list[str]:
        """Submit, each until it is acknowledged; return the ids of the runs."""
        ids: list[str] = []
        with anyio.fail_after(timeout_s):
            for one in orders:
                run_id = await self._submit(one)
                self.accepted[run_id] = one.kind
                ids.append(run_id)
                for words in one.said:
                    await self.say(run_id, *words.split())
        return ids

    async def order_until(self, holds: Callable[[], bool], seed: int) -> None:
        """Order a few runs again and again until something holds: how much it takes depends on the machine."""
        with anyio.fail_after(PATIENCE_S):
            while not holds():
                await self.order(draw_orders(seed, 4))
                seed += 1_000
                await anyio.sleep(0.05)

    async def order_then_say_unheard(self, orders: Iterable[Order], *said: str) -> None:
        """Order runs, then ask something of them while the way to Redis is cut: Postgres alone acknowledges it.

        A client must have had a workflow's IR from both servers once before it can do without one of them.
        """
        way = await self.proxy(self.redis.port)
        redis_url = f"redis://127.0.0.1:{way.port}"
        async with Client.open(redis_url=redis_url, database_url=self.database_url, env=ENV, partitions=1) as client:
            whole, self.client = self.client, client
            ids = await self.order(orders)
            way.cut()
            with anyio.fail_after(PATIENCE_S):
                for run_id in ids:
                    for words in said:
                        await self.say(run_id, *words.split())
            self.client = whole

    async def say(self, run_id: str, what: str, name: str = "") -> None:
        """Ask something of a run, until it is acknowledged. What was committed unheard may be asked twice."""
        client = await self.reach_client()
        while True:
            try:
                match what:
                    case "approve":
                        await client.approve(run_id, name, data={"n": 1}, by="harness")
                    case "signal":
                        await client.signal(run_id, name, {"n": 1}, by="harness")
                    case _:
                        await client.cancel(run_id, "a scenario", by="harness")
            except AlreadyDecided:
                return
            except ServiceUnavailable:
                await anyio.sleep(0.1)
            else:
                return

    async def _submit(self, one: Order) -> str:
        while True:
            try:
                client = await self.reach_client()
                return await client.submit(one.workflow, one.input, key=one.key)
            except ServiceUnavailable:
                await anyio.sleep(0.1)

    async def register(self, document: dict[str, Any]) -> None:
        """A workflow that only one scenario has."""
        await (await self.reach_client()).register(*compile_document(document))

    async def reach_client(self) -> Client:
        """The client of the harness; made when it is first needed."""
        if self.client is None:
            url, count = self.redis.url, self.partitions
            client = Client.open(redis_url=url, database_url=self.database_url, env=ENV, partitions=count)
            self.client = await self.stack.enter_async_context(client)
            await self.client.prepare()
            for document in shapes.documents():
                await self.client.register(*compile_document(document))
        return self.client

    async def split(self, partitions: int) -> None:
        """Have several partitions from now on. Nobody may have started."""
        self.partitions, self.client = partitions, None
        await self.reach_client()

    async def query(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        """Ask Postgres on a connection of its own."""
        connection = await asyncpg.connect(self.database_url, timeout=5)
        try:
            return list(await connection.fetch(sql, *arguments))
        finally:
            await connection.close()

    async def unended(self) -> list[str]:
        """Acknowledged runs whose end is not in the log."""
        rows = await self.query("SELECT run_id FROM runs WHERE env = $1 AND finished_at IS NOT NULL", ENV)
        return sorted(set(self.accepted) - {row["run_id"] for row in rows})

    async def until_ended(self, timeout_s: float = PATIENCE_S, *, at_most: int = 0) -> None:
        """Wait until all acknowledged runs but ``at_most`` have ended in the log. Says which ones have not."""
        missing: list[str] = sorted(self.accepted)
        with anyio.move_on_after(timeout_s):
            while len(missing) > at_most:
                with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                    missing = await self.unended()  # where Postgres is away it comes back, or the time is up
                if len(missing) > at_most:
                    await anyio.sleep(0.05)
        if len(missing) > at_most:
            told = "\n".join(f"{member.log.name}: exit code {member.code}" for member in self.members)
            pytest.fail(f"{len(missing)} of {len(self.accepted)} runs have not ended: {missing[:5]}\n{told}")

    async def check(self, *words: str, excess: int = 0) -> dict[str, object]:
        """Run the checker over everything; its findings are the failure. excess: executions that were forgotten."""
        listed = self.folder / "accepted.json"
        listed.write_text(json.dumps(self.accepted))
        argv = ["--env", ENV, "--accepted", str(listed)]
        argv += ["--journal", str(self.journal), "--excess", str(excess), "--partitions", str(self.partitions)]
        if self.lease_ms == LEASE_MS:
            argv += ["--claimed", "0"]
        if self.calm is not None:
            argv += ["--calm", str(self.calm)]
        if self.nursery is not None:
            argv.append("--skip-replay")
        code, said = await self._run("chaos.checker", [*argv, *words])
        assert code == 0, f"{said}\nlogs: {self.folder}"
        counted = dict(json.loads(said.splitlines()[-1]))
        assert (counted["not_walked"], counted["unknown_types"]) == (0, []), said
        if self.nursery is not None:
            await self._check_replay()
        return counted

    async def _check_replay(self) -> None:
        """What the checker asks of the command line where it runs by itself."""
        rows = await self.query("SELECT DISTINCT run_id FROM event_log WHERE env = $1 ORDER BY run_id", ENV)
        ids = [row["run_id"] for row in rows]
        if ids:
            code, said = await self._run("courante", [*REPLAY, *ids])
            findings = list(read_verdicts(ids, said, f"ended with {code}: {said}"))
            assert not findings, f"{findings}\nlogs: {self.folder}"

    async def _run(self, module: str, words: list[str]) -> tuple[int, str]:
        """Run a module to its end; return its exit code and what it said."""
        done = self._start(module, words, self.environ(), self.folder / f"{secrets.token_hex(4)}.log")
        return await done.wait(PATIENCE_S), done.said()

    def require_all_alive(self) -> None:
        """Nobody has ended by itself. Says who has, how, and the end of what it said."""
        ended = [member for member in self.members if member.code is not None]
        told = "\n".join(f"{member.log.name}: exit code {member.code}\n{member.said()[-4000:]}" for member in ended)
        assert not ended, told

    def said(self, pattern: str) -> int:
        """How often the processes have logged it."""
        return sum(len(re.findall(pattern, member.said())) for member in self.members)


@asynccontextmanager
async def open_site(
    folder: Path, postgres: PostgresServer, calm: Path | None = None, nursery: Nursery | None = None
) -> AsyncGenerator[Site]:
    """A site with a fresh Redis and a fresh database; nobody works there yet."""
    name = f"site_{os.getpid()}_{folder.name}".lower().replace("-", "_")[:60]
    redis = RedisServer(folder / "redis")
    async with AsyncExitStack() as stack:
        await redis.start()
        stack.callback(lambda: redis.kill())
        if not await postgres.answers():
            await postgres.start()
        await postgres.do(f'CREATE DATABASE "{name}" TEMPLATE "{await _migrated(postgres)}"')
        site = Site(folder, redis, postgres, name, calm, stack, nursery=nursery)
        stack.push_async_callback(_clear, site)
        await site.reach_client()
        yield site


async def _migrated(postgres: PostgresServer) -> str:
    """The name of a database with the schema, which each site has a copy of; made when it is first needed."""
    if not postgres.template:
        await postgres.do("CREATE DATABASE migrated")
        connection = await asyncpg.connect(postgres.url("migrated"))
        await migrate(connection)
        await connection.close()
        postgres.template = "migrated"
    return postgres.template


async def _clear(site: Site) -> None:
    with anyio.CancelScope(shield=True):
        for member in site.members:
            member.kill()
        if not await site.postgres.answers():
            await site.postgres.start()
        await site.postgres.do(f'DROP DATABASE "{site.database}" WITH (FORCE)')
