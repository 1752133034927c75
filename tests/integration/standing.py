"""How one partition stands, as tests look at it: its epoch, its cursor, and whether Redis is where the log is."""

from __future__ import annotations

from functools import partial

from courante.sdk.client.client import Submission
from courante.sdk.events import RecordedEvent
from courante.sdk.floor.live_marking import read_marking
from courante.sdk.fold.fold import fold
from courante.sdk.history.lineage import read_lineage
from courante.sdk.stores.connection import Connection
from courante.sdk.stores.cursors import Cursor, open_cursor
from courante.sdk.stores.log import read_events
from integration.heads import head_of
from integration.journal import GATED, Journal
from integration.stage import Stage, until
from model.agreement import agree


async def lives_as_logged(stage: Stage, run_ids: list[str]) -> int:
    """fold(log) is the live state of every run that Redis has; return how many that are. Nothing may move meanwhile."""
    partition = stage.client.keys.partition(0)
    found = 0
    async with stage.client.pool.acquire() as conn:
        for run_id in run_ids:
            live = await read_marking(stage.redis, partition, run_id)
            if live is not None:
                head = await head_of(stage.redis, partition.run(run_id))
                lineage = await read_lineage(conn, stage.place.env, run_id)
                assert lineage.last.hash == head.ir_hash
                agree(live, fold(lineage.first.ir, await logged(conn, run_id, live.seq), lineage.irs), lineage.last)
                found += 1
    return found


async def logged(conn: Connection, run_id: str, count: int) -> list[RecordedEvent]:
    """So many events of a run, as soon as the recorder has come so far: that a step takes long is told by itself."""
    return (await until(partial(read_events, conn, run_id), lambda events: len(events) >= count))[:count]


async def epoch_of(stage: Stage) -> int:
    """0 while the partition is closed."""
    return int(await stage.redis.hget(stage.client.keys.partition(0).meta, "epoch") or 0)


async def sequence_of(stage: Stage) -> int:
    """Of the last entry of the outbox."""
    return int(await stage.redis.hget(stage.client.keys.partition(0).meta, "pseq") or 0)


async def cursor_of(stage: Stage) -> Cursor:
    async with stage.client.pool.acquire() as conn:
        return await open_cursor(conn, stage.place.env, 0)


async def recorded(stage: Stage) -> bool:
    """Whether all that Redis knows is in the log."""
    cursor = await cursor_of(stage)
    return (cursor.epoch, cursor.partition_seq) == (await epoch_of(stage), await sequence_of(stage))


async def park_at_gate(stage: Stage, journal: Journal, count: int) -> list[str]:
    """Runs that wait inside of a step; all that led there is in the log."""
    workflow = await stage.register(*GATED, id="gated")
    ids = await stage.client.submit_many([Submission(workflow=workflow, input=number) for number in range(count)])
    await until(journal.count, lambda made: made == 2 * count)
    await until(lambda: recorded(stage), bool)
    return ids
