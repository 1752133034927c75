"""Servers of a scenario: a Redis and a Postgres with a port, a directory and a log of their own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import cast
from weakref import finalize

import anyio
import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from chaos.processes import Process
from courante.sdk.embedded import binaries
from courante.sdk.embedded.identity import before_exec, unprivileged_identity

UP_S = 60.0
ENVIRON = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def hold_port(owner: object) -> int:
    """A port that a server may listen at, and again after it was killed: nobody else is given it meanwhile."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    finalize(owner, held.close)
    return int(held.getsockname()[1])


class RedisServer:
    """Redis with an append-only file. ``start`` goes on with what is in its directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = hold_port(self)
        self.url = f"redis://127.0.0.1:{self.port}"
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        assert self._process is not None
        return self._process

    async def start(self, **settings: str) -> None:
        """Start it, and wait until it answers. settings: as in its configuration file, with ``_`` for ``-``."""
        data = self.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        given = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(data), "save": "", "appendonly": "yes"}
        given |= {"appendfsync": "everysec", "maxmemory-policy": "noeviction", "enable-debug-command": "yes"}
        given |= {name.replace("_", "-"): value for name, value in settings.items()}
        argv = [str(binaries.find_redis(prefer_system=False).path)]
        for name, value in given.items():
            argv += [f"--{name}", value]
        self._process = Process.start(argv, ENVIRON, self.folder / "redis.log")
        with anyio.fail_after(UP_S):
            while not await self.answers():
                assert self._process.code is None, self._process.said()
                await anyio.sleep(0.01)

    async def answers(self) -> bool:
        client = Redis.from_url(self.url)
        try:
            return bool(await client.ping())
        except (RedisError, OSError):
            return False
        finally:
            await client.aclose()

    async def do(self, *words: str) -> object:
        """Send one command on a connection of its own."""
        client = Redis.from_url(self.url)
        try:
            return cast("object", await client.execute_command(*words))
        finally:
            await client.aclose()

    def kill(self) -> None:
        self.process.kill()

    def keep_copy(self) -> Path:
        """Copy what is on disk now, as a backup or a slow replica has it."""
        copy = self.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.folder / "data", copy)
        return copy

    def set_back(self, copy: Path) -> None:
        """Put a copy in the place of what is there. The server must not run."""
        shutil.rmtree(self.folder / "data")
        shutil.copytree(copy, self.folder / "data")

    def put_aside(self) -> None:
        """Start with nothing the next time, as an operator does whose file is damaged. The server must not run."""
        (self.folder / "data").rename(self.folder / "damaged")

    def files(self) -> list[Path]:
        """The parts of the append-only file, the one that grows last."""
        found = (self.folder / "data" / "appendonlydir").glob("*.aof")
        return sorted(found, key=lambda path: (".incr." in path.name, path.name))


class PostgresServer:
    """One cluster. ``start`` makes it where there is none. ``template``: a database in it that others are copied of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = hold_port(self)
        self.template = ""
        self._identity = unprivileged_identity()
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        assert self._process is not None
        return self._process

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    async def start(self) -> None:
        """Start it, and wait until it takes connections."""
        binary = binaries.find_postgres(prefer_system=False, major=None).path
        data = self.folder / "data"
        self.folder.mkdir(parents=True, exist_ok=True)
        os.chown(self.folder, self._identity.uid, self._identity.gid)
        if not data.exists():
            self._make(binary.parent / "initdb", data)
        options = {"listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": ""}
        options |= {"shared_buffers": "32MB", "max_connections": "200", "autovacuum": "off"}
        argv = [str(binary), "-D", str(data)]
        for name, value in options.items():
            argv += ["-c", f"{name}={value}"]
        with anyio.fail_after(UP_S):
            self._process = Process.start(argv, ENVIRON, self.folder / "postgres.log", self._identity)
            while not await self.answers():
                if self._process.code is not None:  # what a killed one left behind needs a moment to go
                    await anyio.sleep(0.1)
                    self._process = Process.start(argv, ENVIRON, self.folder / "postgres.log", self._identity)
                await anyio.sleep(0.02)

    def _make(self, initdb: Path, data: Path) -> None:
        argv = [str(initdb), "-D", str(data), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-sync"]
        subprocess.run(
            [*argv, "--no-instructions", "--locale=C.UTF-8"],
            check=True,
            stdout=subprocess.DEVNULL,
            env=ENVIRON,
            cwd="/",
            preexec_fn=before_exec(self._identity, signal.SIGKILL),
        )

    async def answers(self) -> bool:
        try:
            connection = await asyncpg.connect(self.url(), timeout=5)
            await connection.close()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            return False
        return True

    async def do(self, statement: str) -> None:
        """Run a statement that concerns the whole cluster."""
        connection = await asyncpg.connect(self.url())
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def kill(self) -> None:
        self.process.kill()

    async def stop(self) -> None:
        """The fast shutdown: sessions are ended, everything is written."""
        self.process.send(signal.SIGINT)
        await self.process.wait()
