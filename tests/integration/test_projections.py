"""Projections say what the log says, however it came in, and can be made again from it."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from courante.sdk.events import ErrorInfo
from courante.sdk.moments import from_ms
from courante.sdk.stores.connection import Pool
from courante.sdk.stores.runs import StepRow, get_run, get_statistics, list_steps
from courante.sdk.stores.spending import spending_of_attempts, spending_of_runs
from courante.sdk.stores.status import RunStatus, StepStatus
from courante.supervisor.recording.projection_rebuild import rebuild_projections
from courante.supervisor.recording.recorder import Recorder, RecorderSettings
from integration.outbox_writer import (
    AT_MS,
    COMPLETED,
    IR,
    Writer,
    event,
    node_ids,
    started,
    succeeded,
)

pytestmark = pytest.mark.anyio

TABLES = ("runs", "node_executions", "attempt_spending", "run_spending")
ERROR = ErrorInfo(type="TimeoutError", message="too slow \x00", node="fetch", attempt=1)


async def record(redis: Redis, pool: Pool, env: str, batch_events: int = 4_000) -> None:
    recorder = Recorder(redis, pool, env, 0, node_ids, settings=RecorderSettings(batch_events=batch_events))
    recorder._entries_wanted = batch_events  # pyright: ignore[reportPrivateUsage]
    while await recorder.record_batch():
        pass
    await recorder.aclose()


async def steps_of(pool: Pool, run_id: str) -> dict[tuple[str, str, int], StepRow]:
    async with pool.acquire() as conn:
        return {(step.node, step.scope, step.attempt): step for step in await list_steps(conn, run_id)}


async def write_everything(writer: Writer) -> None:
    """Runs in which every kind of event occurs, each in an entry of its own."""
    await writer.put(
        "run_ok", started(by="ada", tags=["x", 'y"{}'], trigger="update", base_run_id="run_0", input="cd" * 16)
    )
    await writer.put("run_ok", event("step.started", "fetch", attempt=1, worker="w-1"))
    await writer.put("run_ok", event("step.input_kept", "fetch", attempt=1))
    retried = event("step.retried", "fetch", attempt=1, worker="w-1", ms=7, error=ERROR)
    await writer.put("run_ok", retried, codes=[f"P0::{AT_MS + 900}"])
    await writer.put("run_ok", codes=["T0:"])
    await writer.put("run_ok", event("step.started", "fetch", attempt=2, worker="w-2"))
    await writer.put("run_ok", succeeded("fetch", b"[1]", attempt=2, ms=3), codes=["F2::*"])
    await writer.put("run_ok", event("step.waiting", "join", attempt=1, reason="approval"))
    await writer.put("run_ok", succeeded("join", attempt=1))
    await writer.put("run_ok", event("path.died", "score", scope="1", reason="branch_not_taken"))
    await writer.put("run_ok", event("step.skipped", "score", scope="2", attempt=1, reason="condition_false"))
    await writer.put("run_ok", event("gate.passed", "score"), event("effects.continued", "score"))
    await writer.put("run_ok", COMPLETED)
    await writer.put("run_bad", started(held=True))
    await writer.put("run_bad", event("run.entered", "(start)"))
    await writer.put("run_bad", event("step.failed", "fetch", attempt=1, error=ERROR))
    await writer.put("run_bad", event("step.started", "fetch", attempt=2))
    await writer.put("run_bad", event("step.waiting", "join", attempt=1, reason="timer"), codes=[f"P2::{AT_MS + 5}"])
    await writer.put("run_bad", event("run.draining", reason="failed"))
    await writer.put("run_bad", event("token.dropped", "fetch"), codes=["W2:", "S"])
    await writer.put("run_bad", event("run.failed", error=ERROR))
    await writer.put("run_stuck", started(workflow="other"))
    await writer.put("run_stuck", succeeded("fetch"), codes=["Z2"])
    await writer.put("run_held", started(held=True))
    await writer.put("run_paused", started())
    await writer.put("run_paused", event("command.applied", data={"number": 2, "type": "pause", "by": "ada"}))
    await writer.put("run_paused", event("command.applied", data={"number": 3, "type": "resume"}), codes=["N"])
    await writer.put("run_asked", started())
    await writer.put("run_asked", event("step.waiting", "join", attempt=1, reason="approval", data={"names": ["x"]}))
    await writer.put("run_asked", codes=["Y2:"])
    await writer.put(
        "run_asked", event("command.applied", "join", data={"number": 2, "type": "approve"}), codes=["L2::s0"]
    )
    await writer.put("run_asked", event("step.waiting", "join", attempt=1, reason="mutex"), codes=["G2:"])
    await writer.put("run_asked", event("step.started", "fetch", attempt=1))
    await writer.put(
        "run_asked", event("command.applied", "fetch", data={"number": 3, "type": "cancel_step"}), codes=["V0:"]
    )
    await writer.put("run_asked", event("path.died", "fetch", reason="branch_not_taken"))
    await writer.put("run_asked", event("step.waiting", "score", attempt=1, reason="signal"))
    await writer.put(
        "run_asked", event("command.applied", "score", data={"number": 4, "type": "force_skip"}), codes=["J1:"]
    )
    await writer.put("run_asked", event("command.applied", data={"number": 5, "type": "pause"}), codes=[])
    await writer.put("run_asked", event("command.applied", data={"number": 6, "type": "resume"}), codes=[])
    await writer.put("run_spends", started())
    await writer.put("run_spends", event("step.started", "fetch", attempt=1, worker="w-1"))
    await writer.put("run_spends", event("spending.recorded", "fetch", attempt=1, data=spent(unknown=1)))
    retried = event("step.retried", "fetch", attempt=1, error=ERROR, data=spent())
    await writer.put("run_spends", retried, codes=[f"P0::{AT_MS + 900}"])
    await writer.put("run_spends", codes=["T0:"])
    await writer.put("run_spends", event("step.succeeded", "fetch", attempt=2, payload=b"1", data=spent(model="m\0x")))
    free = spent(cost=0, currency="", unpriced=1)
    await writer.put("run_spends", event("step.failed", "join", attempt=1, error=ERROR, data=free))
    await writer.put("run_spends", event("token.dropped", "score", scope="1", attempt=1, data=spent(currency="EUR")))
    await writer.put("run_spends", event("spending.recorded", "score", attempt=1, data={"spent": {"calls": "many"}}))
    await writer.put("run_spends", event("spending.recorded", "score", attempt=1, data=spent(cost=-1)))
    await writer.put("run_waiting", started())
    await writer.put("run_waiting", event("step.waiting", "join", attempt=1, reason="signal"))


def spent(**said: object) -> dict[str, object]:
    """What an event tells of one call."""
    usual = {"provider": "openai", "model": "m", "calls": 1, "input_tokens": 10, "output_tokens": 5, "cached_tokens": 4}
    return {"spent": {**usual, "cost": 7, "currency": "USD", **said}}


async def dump(pool: Pool, table: str, env: str) -> list[dict[str, object]]:
    async with pool.acquire() as conn:
        rows = await conn.fetch(f"SELECT * FROM {table} WHERE env = $1 ORDER BY {table}::text", env)
    return [{name: value for name, value in row.items() if name != "env"} for row in rows]


async def test_a_run_that_went_well(redis: Redis, pool: Pool, env_name: str, writer: Writer) -> None:
    """Status, times, attempts, reasons and outputs stand in the rows."""
    await write_everything(writer)
    await record(redis, pool, env_name)
    async with pool.acquire() as conn:
        run = await get_run(conn, "run_ok")
        statistics = await get_statistics(conn, "run_ok")
        last = await conn.fetchrow("SELECT last_seq, last_hash FROM runs WHERE run_id = 'run_ok'")
        final = await conn.fetchrow("SELECT seq, hash FROM event_log WHERE run_id = 'run_ok' ORDER BY seq DESC LIMIT 1")
    assert (run.workflow, run.version, run.ir_hash, run.by, run.trigger) == ("orders", 1, IR, "ada", "update")
    assert (run.tags, run.base_run_id, run.status) == (("x", 'y"{}'), "run_0", RunStatus.COMPLETED)
    assert run.created_at == from_ms(AT_MS - 5)
    assert run.started_at == from_ms(AT_MS + 1)
    assert last is not None
    assert final is not None
    assert tuple(last) == tuple(final)
    assert run.output_seq == final["seq"]
    steps = await steps_of(pool, "run_ok")
    first, second = steps["fetch", "", 1], steps["fetch", "", 2]
    assert (first.status, first.worker, first.ms) == (StepStatus.FAILED, "w-1", 7)
    assert first.error is not None
    assert (first.error.type, first.error.message) == ("TimeoutError", "too slow \ufffd")
    assert (second.status, second.worker, second.due_at) == (StepStatus.SUCCEEDED, "w-1", from_ms(AT_MS + 900))
    assert (second.started_at, second.finished_at) == (from_ms(AT_MS + 6), from_ms(AT_MS + 7))
    assert second.output_seq == 8
    assert steps["score", "1", 0].reason == "branch_not_taken"
    assert steps["score", "2", 1].status is StepStatus.SKIPPED
    assert steps["join", "", 1].status is StepStatus.SUCCEEDED
    assert (statistics.executions, statistics.succeeded, statistics.failed, statistics.skipped) == (5, 2, 1, 2)
    assert (statistics.retries, statistics.handler_ms) == (1, 10)


async def test_runs_that_did_not(redis: Redis, pool: Pool, env_name: str, writer: Writer) -> None:
    """A drain cancels what was open; held, paused, waiting and halted runs are shown as such."""
    await write_everything(writer)
    await record(redis, pool, env_name)
    async with pool.acquire() as conn:
        bad = await get_run(conn, "run_bad")
        stuck = await get_run(conn, "run_stuck")
        held = await get_run(conn, "run_held")
        statuses = [(await get_run(conn, run_id)).status for run_id in ("run_paused", "run_waiting")]
    assert (bad.status, bad.drain_reason) == (RunStatus.FAILED, "failed")
    assert bad.started_at == from_ms(writer_time(writer, "run.entered"))
    assert bad.error is not None
    steps = await steps_of(pool, "run_bad")
    assert steps["fetch", "", 1].status is StepStatus.FAILED
    assert steps["fetch", "", 2].status is steps["join", "", 1].status is StepStatus.CANCELLED
    assert steps["join", "", 1].due_at == from_ms(AT_MS + 5)
    assert steps["join", "", 1].reason == "withdrawn"
    assert stuck.is_halted
    assert stuck.error is not None
    assert stuck.error.type == "CORRUPT"
    assert (held.status, held.started_at) == (RunStatus.PENDING, None)
    assert statuses == [RunStatus.PAUSED, RunStatus.WAITING]


def writer_time(writer: Writer, kind: str) -> int:
    """When ``write_everything`` wrote the first event of a kind: entries are a millisecond apart."""
    assert writer.at_ms > AT_MS
    return {"run.entered": AT_MS + 15}[kind]


@pytest.mark.parametrize("batch_events", [1, 3])
async def test_rows_do_not_depend_on_batches(
    redis: Redis, pool: Pool, env_name: str, writer: Writer, batch_events: int
) -> None:
    """Recording event by event gives the very rows that one large batch gives."""
    await write_everything(writer)
    await record(redis, pool, env_name)
    at_once = [await dump(pool, table, env_name) for table in TABLES]
    async with pool.acquire() as conn:
        await conn.execute("DELETE FROM runs WHERE env = $1", env_name)
        for table in TABLES:
            assert await conn.fetchval(f"SELECT count(*) FROM {table} WHERE env = $1", env_name) == 0
        await conn.execute("ALTER TABLE event_log DISABLE TRIGGER event_log_refuse_change")
        await conn.execute("DELETE FROM event_log")
        await conn.execute("DELETE FROM event_payloads")
        await conn.execute("DELETE FROM recorder_cursors")
    await record(redis, pool, env_name, batch_events)
    assert [await dump(pool, table, env_name) for table in TABLES] == at_once


@pytest.mark.parametrize("rebuild_events", [1, 4, 5_000])
async def test_projections_can_be_made_again(
    redis: Redis, pool: Pool, env_name: str, writer: Writer, monkeypatch: pytest.MonkeyPatch, rebuild_events: int
) -> None:
    """Damaged rows are as they were after a rebuild; the log is not touched and other environments are not either."""
    other = Writer(redis, f"{env_name}-x")
    await other.put("run_x", started())
    await record(redis, pool, f"{env_name}-x")
    await write_everything(writer)
    await record(redis, pool, env_name)
    before = [await dump(pool, table, env_name) for table in TABLES]
    async with pool.acquire() as conn:
        await conn.execute("UPDATE runs SET workflow = 'wrong', tags = '{}'")
        await conn.execute("DELETE FROM node_executions WHERE status = 'SUCCEEDED'")
        await conn.execute("UPDATE node_executions SET reason = 'wrong'")
        await conn.execute("UPDATE run_spending SET cost = 1")
        monkeypatch.setattr("courante.supervisor.recording.projection_rebuild.REBUILD_EVENTS", rebuild_events)
        count = await rebuild_projections(conn, env_name)
        assert count == await conn.fetchval("SELECT count(*) FROM event_log WHERE env = $1", env_name)
        assert await conn.fetchval("SELECT workflow FROM runs WHERE run_id = 'run_x'") == "wrong"
    assert [await dump(pool, table, env_name) for table in TABLES] == before


async def test_what_was_asked_stands_in_the_rows(redis: Redis, pool: Pool, env_name: str, writer: Writer) -> None:
    """The last command, who was told of an approval, what is queued again, and what was withdrawn."""
    await write_everything(writer)
    await record(redis, pool, env_name, batch_events=1)
    async with pool.acquire() as conn:
        row = await conn.fetchrow("SELECT status, last_command FROM runs WHERE run_id = 'run_asked'")
        assert row is not None
        assert tuple(row) == ("RUNNING", 6)
        escalated = await conn.fetch("SELECT node FROM node_executions WHERE escalated_at IS NOT NULL")
        asked = await conn.fetch("SELECT run_id, node FROM pending_approvals")
    assert [tuple(one) for one in escalated] == [("join",)]
    assert asked == []
    steps = await steps_of(pool, "run_asked")
    assert [
        (steps[key].status, steps[key].reason) for key in (("join", "", 1), ("score", "", 1), ("fetch", "", 1))
    ] == [
        (StepStatus.READY, None),
        (StepStatus.READY, None),
        (StepStatus.CANCELLED, "withdrawn"),
    ]
    assert steps["fetch", "", 0].status is StepStatus.SKIPPED


async def test_a_rebuild_holds_recorders_off(redis: Redis, pool: Pool, env_name: str, writer: Writer) -> None:
    """After a rebuild the recorder goes on as if nothing had been."""
    await writer.put("run_a", started(), event("step.started", "fetch", attempt=1))
    recorder = Recorder(redis, pool, env_name, 0, node_ids)
    await recorder.record_batch()
    async with pool.acquire() as conn:
        await rebuild_projections(conn, env_name)
    await writer.put("run_a", succeeded("fetch"), COMPLETED)
    assert await recorder.record_batch() == 2
    await recorder.aclose()
    assert (await steps_of(pool, "run_a"))["fetch", "", 1].status is StepStatus.SUCCEEDED


async def test_a_long_step_ends_under_another_recorder(redis: Redis, pool: Pool, env_name: str, writer: Writer) -> None:
    """A recorder that does not know of an open execution updates its row all the same."""
    await writer.put("run_a", started(), event("step.started", "fetch", attempt=1, worker="w-9"))
    await record(redis, pool, env_name)
    await writer.put("run_a", succeeded("fetch", ms=500))
    await record(redis, pool, env_name)
    step = (await steps_of(pool, "run_a"))["fetch", "", 1]
    assert (step.status, step.started_at, step.ms) == (StepStatus.SUCCEEDED, from_ms(AT_MS + 1), 500)


async def test_what_was_spent_adds_up(redis: Redis, pool: Pool, env_name: str, writer: Writer) -> None:
    """By attempt and by run, apart for each currency and for what has no price; what nobody can read counts nothing."""
    await write_everything(writer)
    await record(redis, pool, env_name, batch_events=2)
    async with pool.acquire() as conn:
        attempts = {(one.node, one.attempt): one.spent for one in await spending_of_attempts(conn, "run_spends")}
        totals = await spending_of_runs(conn, ["run_spends", "run_ok"])
    first, second = attempts["fetch", 1], attempts["fetch", 2]
    assert (first.calls, first.tokens, first.cached_tokens, first.cost, first.unknown) == (2, 30, 8, 14, 1)
    assert (second.calls, second.cost, second.provider, second.model) == (1, 7, "openai", "m\ufffdx")
    assert (attempts["join", 1].unpriced, attempts["join", 1].cost, attempts["join", 1].tokens) == (1, 0, 15)
    assert attempts["score", 1].currency == "EUR"
    assert len(attempts) == 4
    assert [(one.currency, one.calls, one.cost) for one in totals.pop("run_spends")] == [
        ("", 1, 0),
        ("EUR", 1, 7),
        ("USD", 3, 21),
    ]
    assert totals == {}
