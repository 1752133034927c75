"""Fixtures of the integration tests: real servers, one home per test session (per xdist worker).

Isolation: keys are prefixed with ``courante:<env>:``, so a test takes ``env_name``; ``database`` is a fresh database.
All fixtures but ``stage`` are synchronous and bound to no event loop.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
import socket
import time
from asyncio import Runner
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio.to_thread
import asyncpg
import pytest
from playwright.async_api import Browser
from redis.asyncio import Redis

from command_line import Said, spawn
from courante.replay import history
from courante.sdk.connections import connect_redis
from courante.sdk.embedded import Servers, binaries, hold, locks, process, shut_down
from courante.sdk.embedded.identity import own_identity
from courante.sdk.embedded.process import Recipe
from courante.sdk.embedded.wire import PostgresWire
from courante.sdk.floor.calling import Connection
from courante.sdk.stores.connection import Pool
from courante.sdk.stores.migrate import migrate
from courante.supervisor.recording.recorder import Recorder
from integration.browser import open_browser
from integration.outbox_writer import Writer, node_ids, open_pool
from integration.stage import Place, Stage, open_stage

CLUSTER_SLOTS = 16_384
CLUSTER_UP_S = 30.0


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def embedded_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Both embedded servers, up for the whole session, gone with their files after it."""
    home = tmp_path_factory.mktemp("home")
    with hold(home, linger_s=0) as held:
        yield held.servers
    shut_down(home)
    shutil.rmtree(home)


@pytest.fixture(scope="session")
def embedded_home(embedded_servers: Servers) -> Path:
    return embedded_servers.home


@pytest.fixture(scope="session")
def redis_url(embedded_servers: Servers) -> str:
    return embedded_servers.redis_url


@pytest.fixture
def env_name() -> str:
    """An environment name that no other test has."""
    return f"t{secrets.token_hex(6)}"


@pytest.fixture
def database(embedded_servers: Servers) -> Iterator[str]:
    """The URL of a database that only this test has."""
    with _made(embedded_servers, "t", "template1") as url:
        yield url


@pytest.fixture(scope="session")
def migrated_database(embedded_servers: Servers) -> Iterator[str]:
    """The URL of one migrated database for all tests whose environments keep them apart."""
    with _made(embedded_servers, "shared", "template1") as url:
        asyncio.run(_migrate(url))
        yield url


@pytest.fixture(scope="session")
def _migrated_template(embedded_servers: Servers) -> Iterator[str]:
    """The name of a migrated database that nobody is connected to: each test's own is copied from it."""
    with _made(embedded_servers, "template", "template1") as url:
        asyncio.run(_migrate(url))
        yield urlsplit(url).path.removeprefix("/")


@pytest.fixture
def own_migrated_database(embedded_servers: Servers, _migrated_template: str) -> Iterator[str]:
    """The URL of a migrated database that only this test has; where environments are not kept apart."""
    with _made(embedded_servers, "t", _migrated_template) as url:
        yield url


@contextmanager
def _made(servers: Servers, kind: str, template: str) -> Generator[str]:
    """The URL of a new database, a copy of ``template``; it is gone at the end."""
    name = f"{kind}_{secrets.token_hex(6)}"
    parts = urlsplit(servers.database_url)
    directory = Path(parse_qs(parts.query)["host"][0])
    with PostgresWire(directory, "postgres") as connection:
        connection.query(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield parts._replace(path=f"/{name}").geturl()
    with PostgresWire(directory, "postgres") as connection:
        connection.query(f"DROP DATABASE {name} WITH (FORCE)")


async def _migrate(url: str) -> None:
    connection = await asyncpg.connect(url)
    await migrate(connection)
    await connection.close()


@pytest.fixture
def place(redis_url: str, migrated_database: str, env_name: str) -> Place:
    """An environment of its own in the shared database."""
    return Place(redis_url, migrated_database, env_name)


@pytest.fixture
async def stage(place: Place) -> AsyncIterator[Stage]:
    """An open environment with nobody in it yet."""
    async with open_stage(place) as made:
        yield made


@pytest.fixture
async def ask(stage: Stage, redis_url: str, migrated_database: str, tmp_path: Path) -> Callable[..., Any]:
    """Call a command in the stage's environment; its exit code is checked, and its object or what it said returned."""
    place = {"REDIS_URL": redis_url, "DATABASE_URL": migrated_database, "ENV": stage.place.env}
    environ = {f"COURANTE_{name}": value for name, value in place.items()}

    async def call(*argv: str, code: int = 0, is_json: bool = True) -> Any:
        said: Said = await anyio.to_thread.run_sync(
            partial(spawn, *argv, *(["--json"] if is_json else []), cwd=tmp_path, environ=environ)
        )
        assert said.code == code, said
        return said.json if is_json else said

    return call


@pytest.fixture(scope="session")
def cluster_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[str, int]]]:
    """A Redis Cluster of three primaries on loopback, as (host, port) of each; about two seconds to make."""
    folder = tmp_path_factory.mktemp("cluster")
    ports = _free_ports(6)
    nodes = [("127.0.0.1", port) for port in ports[:3]]
    with ExitStack() as stack:
        for (_, port), bus in zip(nodes, ports[3:], strict=True):
            settings = {"cluster-enabled": "yes", "cluster-port": str(bus), "cluster-node-timeout": "2000"}
            server = process.start(*_recipe(folder / str(port), port, settings))
            stack.callback(server.stop)
        _join_nodes(ports[:3], ports[3:])
        yield nodes


@pytest.fixture(scope="session")
def unsafe_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """A Redis that evicts and keeps nothing, as (host, port)."""
    (port,) = _free_ports(1)
    settings = {"maxmemory-policy": "allkeys-lru", "maxmemory": "64mb"}
    server = process.start(*_recipe(tmp_path_factory.mktemp("unsafe") / "redis", port, settings))
    try:
        _wait_for("+PONG", port, "PING", time.monotonic() + CLUSTER_UP_S)
        yield "127.0.0.1", port
    finally:
        server.stop()


def _recipe(folder: Path, port: int, settings: dict[str, str]) -> tuple[Recipe, int]:
    """A Redis on a loopback port that keeps nothing."""
    folder.mkdir()
    settings = {"port": str(port), "bind": "127.0.0.1", "dir": str(folder), "save": ""} | settings
    argv = [str(binaries.find_redis(prefer_system=False).path)]
    for name, value in settings.items():
        argv += [f"--{name}", value]
    recipe = Recipe(
        name="redis",
        argv=argv,
        environment={"LC_ALL": "C"},
        log=folder / "redis.log",
        identity=own_identity(),
        stop=(signal.SIGTERM,),
    )
    return recipe, locks.open_lock(folder / "lock")


def _join_nodes(ports: list[int], buses: list[int]) -> None:
    deadline = time.monotonic() + CLUSTER_UP_S
    share = CLUSTER_SLOTS // len(ports)
    for number, port in enumerate(ports):
        _wait_for("+PONG", port, "PING", deadline)
        last = CLUSTER_SLOTS - 1 if port == ports[-1] else (number + 1) * share - 1
        assert _ask(port, f"CLUSTER ADDSLOTSRANGE {number * share} {last}") == "+OK\r\n"
        assert _ask(port, f"CLUSTER SET-CONFIG-EPOCH {number + 1}") == "+OK\r\n"
    for port, bus in zip(ports[1:], buses[1:], strict=True):
        assert _ask(ports[0], f"CLUSTER MEET 127.0.0.1 {port} {bus}") == "+OK\r\n"
    for port in ports:
        _wait_for("cluster_known_nodes:3", port, "CLUSTER INFO", deadline)
        _wait_for("cluster_state:ok", port, "CLUSTER INFO", deadline)


def _wait_for(words: str, port: int, command: str, deadline: float) -> None:
    while words not in (answer := _ask(port, command)):
        assert time.monotonic() < deadline, f"{command} on port {port} still says {answer!r}"
        time.sleep(0.01)


def _ask(port: int, command: str) -> str:
    """One inline command on a connection of its own; the answers wanted here are short. Empty when nobody listens."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(65_536).decode()
    except ConnectionError:
        return ""


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(server.getsockname()[1]) for server in taken]


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    """The loop of tests that are no coroutines: floors on Redis are asked as those in memory are."""
    with Runner() as found:
        yield found


@pytest.fixture(scope="module")
def floor_redis(runner: Runner, redis_url: str) -> Iterator[Connection]:
    redis = connect_redis(redis_url)
    yield redis
    runner.run(redis.aclose())


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect_redis(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
async def pool(own_migrated_database: str) -> AsyncIterator[Pool]:
    """A fresh database with the schema, for a test that writes the outbox by hand."""
    async with open_pool(own_migrated_database) as made:
        yield made


@pytest.fixture
def writer(redis: Redis, env_name: str) -> Writer:
    return Writer(redis, env_name)


@pytest.fixture
async def recorder(redis: Redis, pool: Pool, env_name: str) -> AsyncIterator[Recorder]:
    made = Recorder(redis, pool, env_name, 0, node_ids)
    yield made
    await made.aclose()


@pytest.fixture
def sweeping(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay lets go with every event of what nobody can read any more."""
    monkeypatch.setattr(history, "SWEEP_MIN", 0)
    monkeypatch.setattr(history, "SWEEP_GROWTH", 0)


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One for all tests of a module; each looks with a context of its own."""
    async with open_browser() as opened:
        yield opened
