"""The toolbox: what a worker has for the nodes that it runs, and lends to its steps (``Context.tools``)."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from ..sdk.authoring.declared_tools import NOTHING_DECLARED, DeclaredTools
from ..sdk.authoring.step_log import NO_LOG, StepLog
from ..sdk.authoring.steps import Steps
from ..sdk.floor.cold_payloads import PostgresPayloads
from ..sdk.sealing.artifacts import Artifact, check_content_type
from ..sdk.secrets.secrets import Secrets
from ..sdk.spending.prices import PriceTable, load_prices
from .blobs import Blobs
from .cells import Cells
from .elsewhere import Elsewhere
from .models.terms import ModelTerms
from .step_logs import AttemptLog, Speaker, StepLogs
from .tools.shelf import Shelf, check_names

if TYPE_CHECKING:
    import httpx

    from ..sdk.http.client import Connections
    from .tools.mcp_servers import McpServers
    from .work import Work

LOG_END_S = 1.0
"""How long the end of an attempt that has said something waits for its last words to be in Redis."""


@dataclass(slots=True, kw_only=True)
class Toolbox:
    """``worker``: its name, which its consumers and events bear. ``traces``: whether nodes tell whom they call which
    trace they are part of.
    """

    steps: Steps
    worker: str
    cells: Cells
    secrets: Secrets = field(default_factory=Secrets)
    http_allow: str = ""
    http_proxy: str = ""
    traces: bool = False
    prices: PriceTable = field(default_factory=lambda: load_prices(None))
    resources: Mapping[str, Any] = field(default_factory=dict[str, Any])
    blobs: Blobs | None = None
    cold: PostgresPayloads | None = None
    models: ModelTerms = field(default_factory=ModelTerms)
    declared: DeclaredTools = NOTHING_DECLARED
    servers: McpServers | None = None
    elsewhere: Elsewhere = field(default_factory=Elsewhere)
    _shelf: Shelf | None = None
    logs: StepLogs | None = None
    _connections: Connections | None = None
    _model_connections: Connections | None = None

    @property
    def shelf(self) -> Shelf:
        """All tools of this worker."""
        if self._shelf is None:
            self._shelf = Shelf(self.steps, self.declared, self.servers, self, self.secrets)
        return self._shelf

    @property
    def connections(self) -> Connections:
        """The HTTP connections of this worker, which are opened when the first node or step needs them."""
        if self._connections is None:
            from ..sdk.http.client import Connections
            from ..sdk.http.reach import read_reach

            self._connections = Connections(read_reach(self.http_allow, self.http_proxy))
        return self._connections

    @property
    def model_connections(self) -> Connections:
        """Those to the APIs of models, which may also be where nodes and steps must not call."""
        if self._model_connections is None:
            from ..sdk.http.client import Connections
            from ..sdk.http.reach import read_reach

            self._model_connections = Connections(read_reach(f"{self.http_allow},{self.models.reach}", self.http_proxy))
        return self._model_connections

    def open_http(self) -> httpx.AsyncClient:
        from ..sdk.http.client import open_client

        return open_client(self.connections)

    async def keep_artifact(self, content: bytes, content_type: str) -> Artifact:
        """Store a content, before the output that refers to it. Raises StepError, ValueError."""
        kind = check_content_type(content_type)
        assert self.blobs is not None
        return Artifact(await self.blobs.keep(content), kind, len(content))

    def read_secret(self, name: str) -> str:
        return self.secrets.read(name)

    def step_log(self, work: Work) -> StepLog:
        """Return where the attempt of this work says what it does; the same one each time."""
        if work.step_log is None and self.logs is not None and work.partition is not None:
            work.step_log = self.logs.open(_speaker(work), work.partition, self.worker)
        return work.step_log or NO_LOG

    async def end_log(self, said: AttemptLog) -> None:
        """End the log of an attempt. What was said is in Redis then, unless that takes too long.

        So whoever sees that a step has ended can read all that it has said.
        """
        said.end()
        if said.has_said and self.logs is not None:
            with anyio.move_on_after(LOG_END_S):
                await self.logs.flush()

    async def close(self) -> None:
        """Close connections and end processes."""
        await self.cells.close()
        for connections in (self._connections, self._model_connections):
            if connections is not None:
                await connections.shut()
        if self.cold is not None:
            await self.cold.aclose()


def _speaker(work: Work) -> Speaker:
    return Speaker(work.run_id, work.node.id, work.key.partition(":")[2], work.attempt, work.now_ms)


@asynccontextmanager
async def open_toolbox(
    steps: Steps,
    worker: str,
    *,
    processes: int = 0,
    http_allow: str = "",
    http_proxy: str = "",
    secrets_dir: Path | None = None,
    prices: PriceTable | None = None,
    blobs: Blobs | None = None,
    cold: PostgresPayloads | None = None,
    models: ModelTerms | None = None,
    declared: DeclaredTools = NOTHING_DECLARED,
    logs: StepLogs | None = None,
    traces: bool = False,
) -> AsyncGenerator[Toolbox]:
    """Open what the lifespans of the steps share. Raises what they raise, ValueError where two give the same name.

    declared: tools that are no functions. MCP servers are started when they are first wanted.

    processes: of steps that run apart, at once; 0: as many as there are processors.
    """
    resources: dict[str, Any] = {}
    check_names(steps, declared)
    async with AsyncExitStack() as stack:
        for each in steps.lifespans:
            shared = await stack.enter_async_context(each()) or {}
            twice = resources.keys() & shared.keys()
            if twice:
                raise ValueError(f"two lifespans give {', '.join(sorted(map(repr, twice)))}")
            resources.update(shared)
        secrets = Secrets(secrets_dir)
        tools = Toolbox(
            steps=steps,
            worker=worker,
            cells=Cells(
                processes or os.cpu_count() or 1, secrets=secrets, http_allow=http_allow, http_proxy=http_proxy
            ),
            secrets=secrets,
            http_allow=http_allow,
            http_proxy=http_proxy,
            prices=prices or load_prices(None),
            resources=resources,
            blobs=blobs,
            cold=cold,
            models=models or ModelTerms(),
            declared=declared,
            logs=logs,
            traces=traces,
        )
        if declared.servers:
            from .tools.mcp_servers import McpServers

            group = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(group.cancel_scope.cancel)
            tools.servers = McpServers(declared.servers, secrets, group)
        stack.push_async_callback(tools.close)
        yield tools
