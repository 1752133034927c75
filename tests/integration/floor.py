"""A whole floor for tests: a supervisor, a worker and a client in one task group, on real servers.

Everything is started once per module; every run is then verified from its log.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import anyio
import asyncpg

from courante.compiler.analysis import compile_workflow
from courante.compiler.ir import Ir
from courante.compiler.normalize import read_document
from courante.compiler.workflow import Workflow
from courante.replay import Verification, verify_run
from courante.runner.models.terms import ModelTerms
from courante.runner.worker import Worker
from courante.sdk.authoring.steps import Steps
from courante.sdk.client.client import Client
from courante.sdk.client.results import RunResult
from courante.sdk.embedded import Servers
from courante.sdk.embedded.wire import PostgresWire
from courante.sdk.events import RecordedEvent
from courante.sdk.marking.scopes import parse_scope_key, scope_text
from courante.sdk.stores.log import read_events
from courante.sdk.stores.migrate import migrate
from courante.supervisor.supervisor import Supervisor

RUN_S = 30.0


class Command(NamedTuple):
    """Something asked of a run while it goes on: the client's method of that name, after the run's id.

    ``when_done`` asks for nothing: what follows waits until ``step`` has succeeded.
    """

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Done:
    """A run that has ended. ``steps``: (status, node, scope as people read it) in the order of the log."""

    ir: Ir
    result: RunResult
    events: list[RecordedEvent]
    verification: Verification

    @property
    def steps(self) -> list[tuple[str, str, str]]:
        numbers = {node.id: number for number, node in enumerate(self.ir.nodes)}
        return [
            (
                event.facts.type.partition(".")[2],
                event.facts.node,
                scope_text(self.ir, numbers[event.facts.node], parse_scope_key(event.facts.scope)),
            )
            for event in self.events
            if event.facts.type in {"step.succeeded", "step.failed", "step.skipped"}
        ]

    @property
    def completed(self) -> list[str]:
        """The steps that succeeded, ``node`` or ``node scope``, in the order of the log."""
        return [f"{node} {scope}".strip() for status, node, scope in self.steps if status == "succeeded"]

    @property
    def failed(self) -> list[str]:
        return [f"{node} {scope}".strip() for status, node, scope in self.steps if status == "failed"]

    def overlap(self, one: str, other: str) -> bool:
        """Whether two steps were worked on at the same time."""
        spans: dict[str, tuple[int, int]] = {}
        for event in self.events:
            if event.facts.type == "step.succeeded":
                spans[event.facts.node] = (event.at_ms - event.facts.ms, event.at_ms)
        return spans[one][0] < spans[other][1] and spans[other][0] < spans[one][1]


def compile_document(document: Any) -> tuple[Workflow, Ir]:
    """Compile a document of any dialect; it must have no errors."""
    read = read_document(document)
    assert read.workflow is not None, read.diagnostics
    ir, diagnostics = compile_workflow(read.workflow)
    assert ir is not None, diagnostics
    return read.workflow, ir


class Floor:
    """Runs documents."""

    def __init__(self, client: Client, env: str) -> None:
        self.client = client
        self.env = env

    async def run(self, document: Any, input: Any = None, commands: Sequence[Command] = ()) -> Done:
        """Register, submit, wait until the last event is in the log, and verify that log."""
        workflow, ir = compile_document(document)
        await self.client.register(workflow, ir)
        run_id = await self.client.submit(workflow.id, input)
        for command in commands:
            if command.name == "when_done":
                await self._see(run_id, "step.succeeded", command.arguments["step"])
            else:
                await getattr(self.client, command.name)(run_id, **command.arguments)
        result = await self.client.wait(run_id, timeout_s=RUN_S, is_recorded=True)
        async with self.client.pool.acquire() as conn:
            events = await read_events(conn, run_id)
            verification = await verify_run(conn, self.env, run_id)
        return Done(ir=ir, result=result, events=events, verification=verification)

    async def begin(self, document: Any, *, until: str) -> tuple[str, Verification]:
        """Start a run, wait until an event of that type is in the log, and verify what is there."""
        workflow, ir = compile_document(document)
        await self.client.register(workflow, ir)
        run_id = await self.client.submit(workflow.id)
        await self._see(run_id, until)
        async with self.client.pool.acquire() as conn:
            return run_id, await verify_run(conn, self.env, run_id)

    async def _see(self, run_id: str, kind: str, node: str | None = None) -> None:
        """Wait until the log has an event of a type, of a node where one is given."""
        async with self.client.pool.acquire() as conn:
            with anyio.fail_after(RUN_S):
                while not any(  # noqa: ASYNC110 - the log rings no bell
                    event.facts.type == kind and node in (None, event.facts.node)
                    for event in await read_events(conn, run_id)
                ):
                    await anyio.sleep(0.01)


@asynccontextmanager
async def open_floor(
    servers: Servers, steps: Steps | None = None, models: ModelTerms | None = None
) -> AsyncGenerator[Floor]:
    """A floor with a database and an environment of its own."""
    name, env = f"t_{secrets.token_hex(6)}", f"t{secrets.token_hex(6)}"
    parts = urlsplit(servers.database_url)
    directory = Path(parse_qs(parts.query)["host"][0])
    with PostgresWire(directory, "postgres") as wire:
        wire.query(f"CREATE DATABASE {name}")
    database_url = parts._replace(path=f"/{name}").geturl()
    conn = await asyncpg.connect(database_url)
    await migrate(conn)
    await conn.close()
    supervisor = Supervisor(redis_url=servers.redis_url, database_url=database_url, env=env)
    worker = Worker(
        redis_url=servers.redis_url, database_url=database_url, env=env, steps=steps or Steps(), models=models
    )
    try:
        async with Client.open(redis_url=servers.redis_url, database_url=database_url, env=env) as client:
            await client.prepare()
            async with anyio.create_task_group() as group:
                group.start_soon(supervisor.run)
                group.start_soon(worker.run)
                yield Floor(client, env)
                worker.stop()
                supervisor.stop()
    finally:
        with PostgresWire(directory, "postgres") as wire:
            wire.query(f"DROP DATABASE {name} WITH (FORCE)")
