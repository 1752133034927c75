"""MCP servers: programs that a worker starts, or services that it calls, for their tools (Model Context Protocol).

A session is opened when a tool of its server is first wanted, kept for all calls of the worker, also those at the same
time, and opened anew when it has broken off, or hangs: for a server that was started this starts another one. What
breaks off in a call fails the attempt, which is tried again as the step's policy says: nobody can tell whether the tool
has run. What a server has answered counts, whatever becomes of it or of another call then.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import anyio
import anyio.to_thread
import structlog
from anyio.abc import TaskGroup

from ...compiler.cel import SECRET_ROOT
from ...compiler.templates import compile_value
from ...sdk.authoring.declared_tools import SECRET_ROOTS, DeclaredServer
from ...sdk.outcomes.step_context import StepError
from ...sdk.secrets.secrets import NamedSecrets, Secrets

if TYPE_CHECKING:
    from mcp import Client
    from mcp.types import CallToolResult, Tool

CONNECT_S = 30.0
"""Until a session stands: a program may have to be fetched first."""
LIST_S = 30.0
PROBE_S = 5.0
"""For a server that has not answered a call to say anything at all."""
PAGES_MAX = 100
MINDER = Path(__file__).with_name("minder.py")
log = structlog.get_logger()


class McpServerUnavailable(ConnectionError):
    """No session with a server, or one that broke off."""


class McpServers:
    """The servers of one worker. ``group``: where their sessions live, and end with it."""

    def __init__(self, declared: Mapping[str, DeclaredServer], secrets: Secrets, group: TaskGroup) -> None:
        self._servers = {name: McpServer(each, secrets, group) for name, each in declared.items()}

    def get(self, name: str) -> McpServer | None:
        return self._servers.get(name)


class McpServer:
    """One server, with a session or without."""

    def __init__(self, declared: DeclaredServer, secrets: Secrets, group: TaskGroup) -> None:
        self.name = declared.name
        self.secrets = NamedSecrets(secrets)
        self._declared = declared
        self._group = group
        self._session: _Session | None = None

    @property
    def is_open(self) -> bool:
        """Whether it has a session that was not seen to end."""
        return self._session is not None and not self._session.is_over

    async def call(self, tool: str, arguments: dict[str, Any], limit_s: float | None) -> CallToolResult:
        """Call a tool once. Raises McpServerUnavailable, StepError, TimeoutError."""
        session = await self._opened()
        from mcp import MCPError
        from mcp.types import REQUEST_TIMEOUT

        # A result is held against what is listed. Asked for it behind the answer, a server that is gone by then would
        # cost that: the tool would be called again.
        await self._find(session, tool)
        try:
            with session.call_in_hand():
                return await session.client.call_tool(tool, arguments, read_timeout_seconds=limit_s)
        except MCPError as error:
            if error.code == REQUEST_TIMEOUT:
                session.is_doubted = True
                within = "" if limit_s is None else f" in {limit_s:g} s"
                raise TimeoutError(f"the MCP server {self.name!r} has not answered{within}") from error
            raise self._failure(session, error) from error
        except (RuntimeError, ValueError) as error:  # it has run, and gives what neither it nor the protocol knows
            raise StepError("OUTPUT_MISMATCH", f"the MCP server {self.name!r}: {error}") from error

    async def find(self, tool: str) -> Tool | None:
        """Return what it says of a tool. Raises McpServerUnavailable, StepError, TimeoutError."""
        return await self._find(await self._opened(), tool)

    async def _find(self, session: _Session, tool: str) -> Tool | None:
        """One that it has not told of may be a new one."""
        if tool not in await self._tools_of(session):
            session.tools = None
        return (await self._tools_of(session)).get(tool)

    async def _tools_of(self, session: _Session) -> Mapping[str, Tool]:
        from mcp import MCPError

        if session.tools is None:
            try:
                with anyio.fail_after(LIST_S), session.call_in_hand():
                    session.tools = {each.name: each for each in await _listed(session.client)}
            except MCPError as error:
                raise self._failure(session, error) from error
            except TimeoutError as error:
                raise TimeoutError(
                    f"the MCP server {self.name!r} has not listed its tools within {LIST_S:g} s"
                ) from error
        return session.tools

    def _failure(self, session: _Session, error: Any) -> Exception:
        """Return what a call fails with. What is no answer to it ends the session: the next one is another."""
        from mcp.types import CONNECTION_CLOSED, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND

        said = f"the MCP server {self.name!r}: {error.message}"
        if error.code in (INVALID_PARAMS, METHOD_NOT_FOUND):
            return StepError("INPUT_INVALID", said)
        if error.code in (CONNECTION_CLOSED, INVALID_REQUEST):  # the latter of a session that the server has forgotten
            session.end()
            return McpServerUnavailable(said)
        return StepError("TOOL_FAILED", said)

    async def _opened(self) -> _Session:
        """Return the session that is open, or open one. All who ask meanwhile wait for the same."""
        session = self._session
        if session is not None and session.is_doubted and not session.is_over:
            await session.probe()
        session = self._session
        if session is None or session.is_over:
            session = self._session = _Session(self._declared, self.secrets)
            self._group.start_soon(session.hold)
        await session.wait()
        return session


class _Session:
    """One session, held by a task of its own: what opens it closes it. ``tools``: as they were listed, once asked.

    ``is_over``: no further call is made in it. ``is_doubted``: a call was given up, and nothing was heard since: the
    server may be slow, or hang for ever.
    """

    def __init__(self, declared: DeclaredServer, secrets: NamedSecrets) -> None:
        self._declared = declared
        self._secrets = secrets
        self._begun = anyio.Event()
        self._over = anyio.Event()
        self._left = anyio.Event()
        self._calls = 0
        self._client: Client | None = None
        self._problem: Exception | None = None
        self.tools: Mapping[str, Tool] | None = None
        self.is_doubted = False

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    @property
    def client(self) -> Client:
        if isinstance(self._problem, StepError):
            raise self._problem
        if self._client is None:
            why = "it has ended" if self._problem is None else _told(self._problem)
            raise McpServerUnavailable(f"the MCP server {self._declared.name!r} cannot be used: {why}")
        return self._client

    def end(self) -> None:
        """Let it go as soon as the calls that are under way have come to an end of their own."""
        self._over.set()
        if not self._calls:
            self._left.set()

    def break_off(self) -> None:
        """Let it go; calls that are under way fail."""
        self._over.set()
        self._left.set()

    @contextmanager
    def call_in_hand(self) -> Generator[None]:
        self._calls += 1
        try:
            yield
        except anyio.get_cancelled_exc_class():
            self.is_doubted = True
            raise
        finally:
            self._calls -= 1
            if self.is_over:
                self.end()

    async def probe(self) -> None:
        """End it unless the server says something soon, whatever that is."""
        from mcp import MCPError

        with anyio.move_on_after(PROBE_S) as waiting, suppress(MCPError, McpServerUnavailable):
            await self.client.list_tools(cache_mode="refresh")
        if waiting.cancelled_caught:
            log.warning("mcp_server_hangs", server=self._declared.name)
            self.break_off()
        self.is_doubted = False

    async def wait(self) -> None:
        """Return when it stands. Raises McpServerUnavailable where it does not come to stand."""
        await self._begun.wait()
        assert self.client

    async def hold(self) -> None:
        """Open it, and close it when it is over, or this is cancelled. Raises nothing."""
        name = self._declared.name
        try:
            # Importing it takes seconds, which the steps of this worker shall not wait for.
            client_type = await anyio.to_thread.run_sync(_import_client)
            client = client_type(_watched(self._transport(), self.end))
            with anyio.fail_after(CONNECT_S) as opening:
                async with client:
                    opening.deadline = float("inf")
                    self._client = client
                    self._begun.set()
                    log.info("mcp_session_opened", server=name)
                    await self._left.wait()
            log.info("mcp_session_closed", server=name)
        except Exception as error:  # noqa: BLE001 - whatever a server does, its worker lives on
            self._problem = error
            log.warning("mcp_session_broken", server=name, error=_told(error))
        finally:
            self._client = None
            self.break_off()
            self._begun.set()

    def _transport(self) -> Any:
        """Raises StepError for a secret that is not there."""
        declared = self._declared
        if declared.url:
            return _over_http(declared.url, self._filled(declared.headers))
        from mcp import StdioServerParameters, stdio_client

        command, *rest = sys.executable, "-I", str(MINDER), *declared.command
        return stdio_client(
            StdioServerParameters(
                command=command, args=list(rest), env=self._filled(declared.env), cwd=declared.directory
            )
        )

    def _filled(self, texts: Mapping[str, str]) -> dict[str, str]:
        filled = compile_value(dict(texts), roots=SECRET_ROOTS).render({SECRET_ROOT: self._secrets})
        return {name: str(value) for name, value in cast("dict[str, Any]", filled).items()}


@asynccontextmanager
async def _over_http(url: str, headers: dict[str, str]) -> AsyncGenerator[Any]:
    """Streams over HTTP. Nothing of the environment is sent, and no redirect leads to another host."""
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    timeout = httpx2.Timeout(CONNECT_S, read=None)  # each call has a limit of its own
    async with (
        httpx2.AsyncClient(headers=headers, timeout=timeout, trust_env=False) as client,
        streamable_http_client(url, http_client=client) as streams,
    ):
        yield streams


@asynccontextmanager
async def _watched(transport: Any, on_end: Callable[[], None]) -> AsyncGenerator[Any]:
    """The streams of a transport; ``on_end`` is called when its server has closed them."""
    async with transport as (receive, send), anyio.create_task_group() as group:
        inlet, outlet = anyio.create_memory_object_stream[Any](0)

        async def pass_on() -> None:
            try:
                async with inlet:
                    async for message in receive:
                        await inlet.send(message)
            except (anyio.ClosedResourceError, anyio.BrokenResourceError):
                pass
            finally:
                on_end()

        group.start_soon(pass_on)
        async with outlet:
            try:
                yield outlet, send
            finally:
                group.cancel_scope.cancel()


def _import_client() -> type[Client]:
    """Raises StepError where the extra is not installed."""
    try:
        from mcp import Client
    except ImportError as error:
        text = "this worker cannot talk to MCP servers: install the extra 'mcp' of courante"
        raise StepError("CONFIG_INVALID", f"{text} ({error})") from error
    return Client


async def _listed(client: Client) -> list[Tool]:
    found: list[Tool] = []
    cursor: str | None = None
    for _ in range(PAGES_MAX):
        page = await client.list_tools(cursor=cursor)
        found += page.tools
        cursor = page.next_cursor
        if not cursor:
            break
    return found


def _told(error: BaseException) -> str:
    """The first cause of what a task group has gathered."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
