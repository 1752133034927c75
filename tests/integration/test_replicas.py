"""F25: a replica that was behind takes the place of a primary that is gone for good."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import asyncpg
import pytest

from chaos.proxy import open_proxy
from chaos.servers import PostgresServer, RedisServer
from courante.sdk.stores.migrate import migrate
from integration.journal import Journal
from integration.stage import Place, open_stage, until
from integration.standing import park_at_gate, recorded

pytestmark = pytest.mark.anyio
RUNS = 10


async def has_come_to(replica: RedisServer, meta: str, sequence: int) -> bool:
    """Whether it has followed up to an outbox entry, or further."""
    found = await replica.do("HGET", meta, "pseq")
    return isinstance(found, bytes) and int(found) >= sequence


async def test_a_replica_that_was_behind_is_promoted(tmp_path: Path) -> None:
    """The primary's address leads to it: the log wins over what it has, and every run ends once.

    It is behind because it stopped following: what is only frozen is sent all that it has missed.
    """
    primary, replica = RedisServer(tmp_path / "primary"), RedisServer(tmp_path / "replica")
    postgres = PostgresServer(tmp_path / "postgres")
    for server in (primary, replica, postgres):
        await server.start()
    try:
        conn = await asyncpg.connect(postgres.url())
        await migrate(conn)
        await conn.close()
        async with open_proxy(primary.port) as address:
            place = Place(f"redis://127.0.0.1:{address.port}", postgres.url(), "replicas")
            async with open_stage(place) as stage:
                journal = Journal()
                stage.worker(journal.steps())
                stage.supervisor()
                ids = await park_at_gate(stage, journal, RUNS)
                partition = stage.client.keys.partition(0)
                await replica.do("REPLICAOF", "127.0.0.1", str(primary.port))
                sequence = await stage.redis.hget(partition.meta, "pseq")
                await until(partial(has_come_to, replica, partition.meta, int(sequence or 0)), bool)
                await replica.do("REPLICAOF", "NO", "ONE")
                journal.gate.set()
                assert [result.output for result in await stage.results(ids)] == [{"b": n} for n in range(RUNS)]
                late = await stage.client.submit("gated", RUNS)
                await until(lambda: recorded(stage), bool)
                primary.kill()
                address.lead_to(replica.port)
                assert (await stage.result(late)).output == {"b": RUNS}
                await until(
                    lambda: replica.do("HGET", partition.meta, "epoch"), lambda epoch: epoch not in (None, b"1")
                )
                assert (await stage.run("gated", RUNS + 1)).output == {"b": RUNS + 1}
                for run_id in ids:
                    types = await stage.types(run_id)
                    assert (types.count("run.completed"), types.count("step.succeeded")) == (1, 3)
    finally:
        for server in (primary, replica, postgres):
            server.kill()
