"""Services: Redis and Postgres for one command, the embedded ones where no URL is set, with a schema that fits.

The embedded database is ours and is migrated as needed. A database of someone else's is migrated by itself only when
it is fresh; one that is behind is left alone until ``courante migrate`` or ``courante up``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import anyio

from ..sdk.embedded import Servers, hold, status
from ..sdk.sealing.payload_terms import PAYLOAD_TERMS
from ..sdk.settings import Settings
from ..sdk.urls import mask_password
from .call import Call
from .event_loop import run_async
from .exits import CliError, ExitCode

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable

    from ..sdk.client.client import Client
    from ..sdk.stores.connection import Connection
    from .remote.client import ApiClient

    AnyClient: TypeAlias = Client | ApiClient

T = TypeVar("T")

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
        from ..sdk.client.client import Client

        return Client(
            redis_url=self.redis_url,
            database_url=self.database_url,
            env=self.settings.env,
            partitions=self.settings.partitions,
            outbox_hard_max=self.settings.outbox_entries_hard,
        )


@contextmanager
def open_services(call: Call, *, needs_postgres: bool = True) -> Generator[Services]:
    """Hold the servers for as long as the context lasts. Raises EmbeddedError; CliError where there is only an API.

    needs_postgres: else, with a Redis elsewhere and nothing embedded that runs, there is none, and its URL is empty: a
    Postgres that is made here knows nothing of that Redis.
    """
    settings = call.settings
    refuse_api(call)
    set_payload_terms(settings)
    is_embedded = status(settings.home) is not None
    if settings.redis_url is not None and (settings.database_url is not None or not (needs_postgres or is_embedded)):
        yield Services(settings, settings.redis_url, settings.database_url or "", None)
        return
    if not is_embedded:
        call.out.step(f"starting the embedded servers in {settings.home}")
    with hold(settings.home, linger_s=settings.keeper_linger_s, prefer_system=settings.prefer_system_servers) as held:
        servers = held.servers
        yield Services(
            settings, settings.redis_url or servers.redis_url, settings.database_url or servers.database_url, servers
        )


def refuse_api(call: Call) -> None:
    """Of a command that no API can do. Raises CliError."""
    settings, sources = call.settings_and_sources
    if settings.api_url is not None:
        message = "this needs Redis and Postgres themselves, and the settings name an API to go through"
        hint = f"leave out {sources['api_url']}: with it commands go through {settings.api_url}"
        raise CliError(ExitCode.USAGE, "not_over_api", message, hint)


def set_payload_terms(settings: Settings) -> None:
    """How this process keeps payloads. Raises CliError for a key ring that cannot be used."""
    PAYLOAD_TERMS.inline_bytes_max = settings.inline_bytes_max
    if settings.key_ring is None:
        return
    try:
        from ..sdk.sealing.key_ring import KeyRing

        PAYLOAD_TERMS.codec = KeyRing.read(Path(settings.key_ring))
    except ImportError as cause:
        hint = "pip install 'courante[encryption]'"
        raise CliError(
            ExitCode.SERVICE, "key_ring_unusable", "a key ring needs the package cryptography", hint
        ) from cause
    except (OSError, ValueError) as cause:
        raise CliError(ExitCode.SERVICE, "key_ring_unusable", f"the key ring cannot be used: {cause}") from cause


def ask_client(call: Call, ask: Callable[[AnyClient], Awaitable[T]]) -> T:
    """Ask the client of the environment, with everything in place; or, where the settings name one, an API.

    Logs are of warnings and worse.
    """
    call.log(default_level="warning")
    if call.settings.api_url is not None:
        from .remote.asking import ask_api
        from .remote.client import ApiClient

        return ask_api(call, lambda connection: ask(ApiClient(connection)))

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

    from ..sdk.connections import close_redis, connect_redis

    client = connect_redis(services.redis_url)
    try:
        with anyio.fail_after(CONNECT_S):
            await client.ping()
    except (TimeoutError, OSError, RedisError) as cause:
        raise unreachable("Redis", services.redis_url, cause) from cause
    finally:
        await close_redis(client)


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
