"""Anchors beside retention: what was moved away is told, and keeps nobody from anchoring the rest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from courante.replay.audit.anchors import check_anchors, make_anchor
from courante.supervisor.retention.policy import Policy
from courante.supervisor.retention.retention import Retention
from integration.cases import node
from integration.stage import Stage

pytestmark = pytest.mark.anyio
LATER = timedelta(days=400)


@pytest.fixture
def migrated_database(own_migrated_database: str) -> str:
    """A database of its own: months are of all environments."""
    return own_migrated_database


@pytest.mark.parametrize("was_anchored", [False, True])
async def test_runs_whose_log_was_moved_away_are_told_and_stop_no_anchor(stage: Stage, was_anchored: bool) -> None:
    """Whether or not they were anchored before: the next anchor has the others, and a check tells all."""
    stage.worker()
    stage.supervisor()
    env, pool = stage.place.env, stage.client.pool
    await stage.register(node("a"))
    old = [(await stage.run("w", number)).run_id for number in range(2)]
    async with pool.acquire() as conn:
        first = await make_anchor(conn, env) if was_anchored else None
    policy = Policy(log=timedelta(days=30))
    done = await Retention(stage.redis, pool, stage.client.keys, policy, now=datetime.now(UTC) + LATER).carry_out()
    assert sum(one.runs for one in done.months if not one.kept) == 2
    async with pool.acquire() as conn:
        made = await make_anchor(conn, env)
        assert (made.line.heads, made.bad) == (0, [])
        if first is not None:
            found = await check_anchors(conn, env, [first.content, made.content], with_chains=True)
            assert sorted({str(bad.run_id) for bad in found.bad}) == sorted(old)
            assert all("retention" in bad.found for bad in found.bad)


async def test_who_only_says_that_events_were_moved_away_is_found_out(stage: Stage) -> None:
    """Events before an anchored head that are missing are told, whatever the row of the run says."""
    stage.worker()
    stage.supervisor()
    await stage.register(node("a"))
    run_id = (await stage.run("w", 1)).run_id
    async with stage.client.pool.acquire() as conn:
        made = await make_anchor(conn, stage.place.env)
        async with conn.transaction():
            await conn.execute("SET LOCAL session_replication_role = replica")
            await conn.execute("DELETE FROM event_log WHERE run_id = $1 AND seq = 2", run_id)
            await conn.execute("UPDATE runs SET archived_at = now() WHERE run_id = $1", run_id)
        found = await check_anchors(conn, stage.place.env, [made.content], with_chains=True)
        assert [(bad.run_id, bad.what) for bad in found.bad] == [(run_id, "chain")]
