"""Fixtures of the scenarios: one Postgres cluster for all of them, and a fresh site for each."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest

from chaos import shapes
from chaos.servers import PostgresServer
from chaos.site import Site, open_site


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
def calm(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What every kind of run comes to where nothing is disturbed, as the checker keeps it."""
    folder = tmp_path_factory.mktemp("calm")
    anyio.run(_run_calmly, postgres, folder)
    return folder / "calm.json"


async def _run_calmly(postgres: PostgresServer, folder: Path) -> None:
    async with open_site(folder, postgres) as site:
        site.worker(concurrency=32)
        site.supervisor()
        await site.order(shapes.kinds())
        await site.until_ended()
        await site.check("--keep-calm", str(folder / "calm.json"))


@pytest.fixture
async def site(postgres: PostgresServer, calm: Path, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path, postgres, calm) as made:
        yield made
