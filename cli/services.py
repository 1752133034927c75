"""Services: Redis and Postgres for one command, the embedded ones where no URL is set, with a schema that fits.

The embedded database is ours and is migrated as needed. A database of someone else's is migrated by itself only when
it is fresh; one that is behind is left alone until ``courante migrate`` or ``courante up``.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from ..sdk.embedded import Servers, hold, status
from ..sdk.payload_terms import PAYLOAD_TERMS
from ..sdk.settings import Settings, mask_password
from .call import Call
from .exits import CliError, ExitCode

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable

    from ..sdk.client import Client
    from ..sdk.stores.connection import Connection

T = TypeVar("T")

DAEMON_GC = (50_000, 20, 20)
"""Thresholds of the garbage collector. A batch of the recorder makes tens of thousands of objects and keeps them all:
with Python's own 700 it took a sixth of the recorder's time."""

CONNECT_S = 10.0


@dataclass(frozen=True)
class Services:
    """Where Redis and Postgres are. ``servers``: the embedded ones, if one of the two is embedded."""

    settings: Settings
    redis_url: str
    database_url: str
    servers: Servers | None

    @property
    def is_own_database(self) -> bool:
        return self.settings.database_url is None

    @property
    def is_own_redis(self) -> bool:
        return self.settings.redis_url is None

    def client(self) -> Client:
        from ..sdk.client import Client

        return Client(
            redis_url=self.redis_url,
            database_url=self.database_url,
            env=self.settings.env,
            partitions=self.settings.partitions,
            outbox_hard_max=self.settings.outbox_entries_hard,
        )


@contextmanager
def open_services(call: Call) -> Generator[Services]:
    """Hold the servers for as long as the context lasts. Raises EmbeddedError."""
    settings = call.settings
    set_payload_terms(settings)
    if settings.redis_url is not None and settings.database_url is not None:
        yield Services(settings, settings.redis_url, settings.database_url, None)
        return
    if status(settings.home) is None:
        call.out.step(f"starting the embedded servers in {settings.home}")
    with hold(settings.home, linger_s=settings.keeper_linger_s, prefer_system=settings.prefer_system_servers) as held:
        servers = held.servers
        yield Services(
            settings, settings.redis_url or servers.redis_url, settings.database_url or servers.database_url, servers
        )


def set_payload_terms(settings: Settings) -> None:
    """How this process keeps payloads. Raises CliError for a key ring that cannot be used."""
    PAYLOAD_TERMS.inline_bytes_max = settings.inline_bytes_max
    if settings.key_ring is None:
        return
    try:
        from ..sdk.key_ring import KeyRing

        PAYLOAD_TERMS.codec = KeyRing.read(Path(settings.key_ring))
    except ImportError as cause:
        hint = "pip install 'courante[encryption]'"
        raise CliError(
            ExitCode.SERVICE, "key_ring_unusable", "a key ring needs the package cryptography", hint
        ) from cause
    except (OSError, ValueError) as cause:
        raise CliError(ExitCode.SERVICE, "key_ring_unusable", f"the key ring cannot be used: {cause}") from cause


def run_async(function: Callable[[], Coroutine[Any, Any, T]], *, is_daemon: bool = False) -> T:
    """Run a coroutine function to its end. is_daemon: on uvloop, where it exists, with rare garbage collections."""
    options: dict[str, Any] = {}
    if is_daemon:
        gc.freeze()
        gc.set_threshold(*DAEMON_GC)
        try:
            import uvloop
        except ImportError:  # Windows
            pass
        else:
            options["loop_factory"] = uvloop.new_event_loop
    return anyio.run(function, backend_options=options)


def ask_client(call: Call, ask: Callable[[Client], Awaitable[T]]) -> T:
    """Ask the client of the environment, with everything in place. Logs are of warnings and worse."""
    call.log(default_level="warning")

    async def go() -> T:
        async with connected_client(services) as client:
            return await ask(client)

    with open_services(call) as services:
        return run_async(go)


@asynccontextmanager
async def database(services: Services) -> AsyncGenerator[Connection]:
    """One connection to a database whose schema fits. Raises CliError."""
    import asyncpg

    try:
        with anyio.fail_after(CONNECT_S):
            connection = await asyncpg.connect(services.database_url)
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as cause:
        raise unreachable("Postgres", services.database_url, cause) from cause
    try:
        await ensure_schema(connection, services)
        yield connection
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(2):
            await connection.close()


async def ensure_schema(connection: Connection, services: Services) -> list[str]:
    """Migrate an embedded or a fresh database; return what was applied. Raises CliError for one that is behind."""
    from ..sdk.stores.migrate import load_migrations, migrate, pending

    missing = await pending(connection)
    if not missing:
        return []
    if services.is_own_database or len(missing) == len(load_migrations()):
        return await migrate(connection)
    shown = mask_password(services.database_url)
    message = f"{len(missing)} migrations are still to be applied to {shown}: {', '.join(missing)}"
    raise CliError(ExitCode.SERVICE, "schema_behind", message, "run 'courante migrate'")


@asynccontextmanager
async def connected_client(services: Services) -> AsyncGenerator[Client]:
    """A client with everything in place: schema, and partitions that are open. Raises CliError, ServiceUnavailable."""
    async with database(services):
        pass
    await check_redis(services)
    async with services.client() as client:
        await client.prepare()
        yield client


async def check_redis(services: Services) -> None:
    """Raises CliError where nothing answers at the URL."""
    from redis.exceptions import RedisError

    from ..sdk.connections import connect_redis

    client = connect_redis(services.redis_url)
    try:
        with anyio.fail_after(CONNECT_S):
            await client.ping()
    except (TimeoutError, OSError, RedisError) as cause:
        raise unreachable("Redis", services.redis_url, cause) from cause
    finally:
        await client.aclose()


def unreachable(name: str, url: str, cause: BaseException) -> CliError:
    """Say which server does not answer, without its password."""
    setting = "COURANTE_REDIS_URL" if name == "Redis" else "COURANTE_DATABASE_URL"
    reason = str(cause) or type(cause).__name__
    return CliError(
        ExitCode.SERVICE,
        f"{name.lower()}_unreachable",
        f"{name} at {mask_password(url)} cannot be used: {reason}",
        f"is it running, and is {setting} right? Without {setting} the embedded one is used",
    )
