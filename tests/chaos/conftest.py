"""Fixtures of the scenarios: one Postgres cluster for all of them, and a fresh site for each."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest

from chaos.calm import run_calmly
from chaos.servers import PostgresServer
from chaos.site import Site, open_site
from command_line import plain_environ
from nursery import Nursery

LOADED = (
    "chaos.checker",
    "chaos.handlers",
    "chaos.impatient",
    "courante.__main__",
    "courante.cli.commands.daemons",
    "courante.cli.commands.replay",
    "courante.cli.crew",
    "courante.cli.main",
    "courante.replay.verify",
    "courante.runner.worker",
    "courante.supervisor.supervisor",
    "uvloop",
)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A cluster that every scenario has a database of its own in. It may be killed: the next one starts it again."""
    folder = Path(tempfile.mkdtemp(prefix="courante-chaos-"))
    server = PostgresServer(folder / "postgres")
    anyio.run(server.start)
    yield server
    server.kill()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Where the members of all scenarios come from."""
    made = Nursery(plain_environ(), LOADED)
    yield made
    made.close()


@pytest.fixture(scope="session")
def calm(nursery: Nursery, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What every kind of run comes to where nothing is disturbed, as the checker keeps it."""
    return anyio.run(run_calmly, postgres, tmp_path_factory.mktemp("calm"), nursery)


@pytest.fixture
async def site(nursery: Nursery, postgres: PostgresServer, calm: Path, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path, postgres, calm, nursery) as made:
        yield made
