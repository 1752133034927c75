"""A Postgres whose disk is full: what it does not take is refused, all else goes on and is recorded with room again."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import anyio
import pytest
from redis.asyncio import Redis

from chaos.oracles.layout import read_partition
from chaos.servers import PostgresServer
from chaos.shapes import draw_orders
from chaos.site import ENV, PATIENCE_S, Site, open_site
from courante.sdk.errors import ServiceUnavailable
from integration.stage import until
from nursery import Nursery

pytestmark = pytest.mark.anyio
BALLAST = "ballast"
DISK_MB = 192
"""A cluster with one more database has some 70, and one or two segments of its own log."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, in memory.

    Only who may mount can make one that is full: elsewhere the tests with errors of Postgres stand for it
    (tests/integration/test_recorder_refusals.py).
    """
    folder = tmp_path / "disk"
    folder.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=755", "courante-test", str(folder)]
    try:
        made = subprocess.run(argv, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount(8) here")
    if made.returncode:
        pytest.skip(f"no file system can be mounted here, which takes root: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
async def cramped(disk: Path, calm: Path, nursery: Nursery, tmp_path: Path) -> AsyncIterator[Site]:
    postgres = PostgresServer(disk / "postgres")
    await postgres.start()
    try:
        async with open_site(tmp_path, postgres, calm, nursery) as made:
            yield made
            (disk / BALLAST).unlink(missing_ok=True)
    finally:
        postgres.kill()


async def test_the_disk_of_postgres_is_full(cramped: Site, disk: Path) -> None:
    """F51: refused clearly; runs go on to their end; with room again all of it is recorded in order."""
    supervisor, worker = cramped.supervisor(), cramped.worker()
    await cramped.until_ready()
    await cramped.order(draw_orders(51, 20))
    ballast = fill(disk)
    refused = await submit_until_refused(cramped)
    assert refused.message.startswith("the disk of Postgres is full, and was waited for")
    assert "No space left on device" in refused.message
    redis = Redis.from_url(cramped.redis.url)
    await until(lambda: phases(redis), lambda found: found == {"E"})
    await redis.aclose()
    assert cramped.said("recording_failed") > 0
    assert await cramped.unended(), "they have ended, and the log does not have it"
    ballast.unlink()
    await cramped.order(draw_orders(52, 5))
    await cramped.until_ended()
    assert (supervisor.code, worker.code) == (None, None)
    assert cramped.said("event_quarantined") == 0
    await cramped.check()


def fill(disk: Path) -> Path:
    """Take all the room that is left; return the file that has it."""
    ballast = disk / BALLAST
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    return ballast


async def submit_until_refused(site: Site) -> ServiceUnavailable:
    """Return the refusal. Whatever was accepted before is one of the runs that may not be lost."""
    client = await site.reach_client()
    with anyio.fail_after(PATIENCE_S):
        for seed in count(1_000):
            for one in draw_orders(seed, 4, ["chain", "fan", "loop"]):
                try:
                    site.accepted[await client.submit(one.workflow, one.input, key=one.key)] = one.kind
                except ServiceUnavailable as error:
                    return error
    raise AssertionError


async def phases(redis: Redis) -> set[str]:
    """Of all runs, as Redis has them."""
    return {run.phase for run in (await read_partition(redis, ENV, 0)).runs.values()}
