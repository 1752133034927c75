"""How long does it take until 10,000 unfinished runs have ended, after everything in Redis was deleted?

Each run has made its first step, and the other two wait in a queue. The clock starts with FLUSHALL (on servers that are
not the benchmark's own: with the deletion of its keys) and ends when the last final event is committed in Postgres; in
between a supervisor notices and rebuilds every run from the log. Nobody submits anything meanwhile.

And, beside it: how long after SIGKILL of a worker are its steps in the hands of another one?
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from statistics import median

import anyio
import msgspec

from ..cli.children import Child
from ..sdk.client.client import Submission
from ..sdk.floor.presence import live_workers
from ..sdk.floor.scripts import QUEUE_GROUP
from ..sdk.settings import LogLevel, Settings
from ..sdk.stores.cursors import open_cursor
from .documents import halfway, held
from .load import Ended
from .looking import until
from .measured import Measured, figure
from .plan import BenchPlan
from .stage import Progress, Stage, delete_keys, open_children, open_stage

RUNS = 10_000
QUEUE = "later"
LEASE_MS = 3_000
TOKENS = 64
STREAMS = ("default:high", "default:normal")
LOOK_S = 0.005
PATIENCE_S = 600.0
RENEWED_S = LEASE_MS / 1000
"""Of a takeover: by then every lease was renewed once, so that the kill comes somewhere between two renewals."""


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """One recovery, in s since the deletion: a new epoch was begun; the partition was open; all runs had ended."""

    noticed_s: float
    open_s: float
    ended_s: float


async def measure(settings: Settings, plan: BenchPlan, say: Progress) -> Measured:
    runs = plan.runs_or(RUNS)
    async with open_stage(settings) as stage:
        found: list[Recovery] = []
        for number in range(plan.repetitions):
            found.append(await recover(stage, runs))
            last = found[-1]
            say(
                f"recovery {number + 1}/{plan.repetitions}: noticed after {last.noticed_s:.2f} s, "
                f"open after {last.open_s:.2f} s, {runs:,} runs ended after {last.ended_s:.2f} s"
            )
        took_ms = await measure_takeovers(stage, plan.repetitions, say)
        return Measured(
            question=f"How long after FLUSHALL have {runs:,} unfinished runs ended?",
            unit="s",
            samples=[one.ended_s for one in found],
            machine=stage.machine,
            more={
                "runs": runs,
                "noticed_s": figure(median(one.noticed_s for one in found)),
                "open_s": figure(median(one.open_s for one in found)),
                "takeover": {
                    "lease_ms": LEASE_MS,
                    "tokens": TOKENS,
                    "median_ms": figure(median(took_ms)),
                    "max_ms": figure(max(took_ms)),
                    "over_lease_ms_max": figure(max(took_ms) - LEASE_MS),
                },
            },
        )


async def recover(stage: Stage, runs: int) -> Recovery:
    """Bring runs to their second step, delete everything, and wait for the last of their ends."""
    workflow = await stage.register(halfway(QUEUE))
    ended = Ended(stage, workflow)
    daemons = (["worker"], ["worker", "--queues", QUEUE], ["supervisor"])
    async with open_children(stage, *daemons, log_level=LogLevel.ERROR) as children:
        with anyio.fail_after(PATIENCE_S):
            async with frozen(children[1]):
                total = await ended.count() + runs
                await stage.client.submit_many([Submission(workflow=workflow, input={"n": 1})] * runs)
                await until(lambda: _waits_halfway(stage, runs), look_s=LOOK_S)
                await until(lambda: _is_recorded(stage), look_s=LOOK_S)
                before = await _epoch(stage)
                began = time.perf_counter()
                await _flush(stage)
            async with ended.listen():
                await until(lambda: _has_noticed(stage, before), look_s=LOOK_S)
                noticed = time.perf_counter()
                await until(lambda: _is_open(stage), look_s=LOOK_S)
                opened = time.perf_counter()
                done = await ended.wait(runs, total)
    return Recovery(noticed_s=noticed - began, open_s=opened - began, ended_s=done - began)


async def measure_takeovers(stage: Stage, repetitions: int, say: Progress) -> list[float]:
    """Return how many ms after each kill the steps of the killed worker were in the hands of others."""
    workflow = await stage.register(held())
    took_ms: list[float] = []
    for number in range(repetitions):
        daemons = (["worker"], ["worker"], ["supervisor"])
        async with open_children(
            stage, *daemons, log_level=LogLevel.ERROR, lease_ms=LEASE_MS, cancel_grace_ms=0
        ) as children:
            with anyio.fail_after(PATIENCE_S):
                ids = await stage.client.submit_many([Submission(workflow=workflow)] * TOKENS)
                took_ms.append(await _take_over(stage, children[0]))
                for run_id in ids:
                    await stage.client.cancel(run_id)
                for run_id in ids:
                    await stage.client.wait(run_id, is_recorded=True)
        say(f"takeover {number + 1}/{repetitions}: after {took_ms[-1]:,.0f} ms, with a lease of {LEASE_MS:,} ms")
    return took_ms


async def _take_over(stage: Stage, child: Child) -> float:
    await until(lambda: _hold_all(stage), look_s=LOOK_S)
    (name,) = [worker.name for worker in await live_workers(stage.redis, stage.env, 1) if worker.pid == child.pid]
    await anyio.sleep(RENEWED_S)
    os.kill(child.pid, signal.SIGKILL)
    began = time.perf_counter()
    await until(lambda: _hold_all(stage, but=name), look_s=LOOK_S)
    return (time.perf_counter() - began) * 1000


async def _waits_halfway(stage: Stage, runs: int) -> bool:
    return await stage.redis.xlen(stage.partition.queue(f"{QUEUE}:normal")) >= runs


async def _has_noticed(stage: Stage, before: int) -> bool:
    """before: the epoch of before the loss."""
    return await _epoch(stage) != before


async def _is_open(stage: Stage) -> bool:
    return bool(await stage.redis.hexists(stage.partition.meta, "epoch"))


async def _hold_all(stage: Stage, *, but: str | None = None) -> bool:
    """Whether the workers hold all tokens. but: a worker whose tokens do not count."""
    held = await _held(stage)
    return sum(count for owner, count in held.items() if but is None or not owner.startswith(but)) >= TOKENS


async def _held(stage: Stage) -> dict[str, int]:
    """How many tokens each consumer holds."""
    found: dict[str, int] = {}
    for stream in map(stage.partition.queue, STREAMS):
        for one in (await stage.redis.xpending(stream, QUEUE_GROUP))["consumers"]:
            name = one["name"].decode()
            found[name] = found.get(name, 0) + int(one["pending"])
    return found


@asynccontextmanager
async def frozen(child: Child) -> AsyncGenerator[None]:
    """A process that stands still for as long as the context lasts."""
    os.kill(child.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(child.pid, signal.SIGCONT)


async def _flush(stage: Stage) -> None:
    if stage.services.is_own_redis:
        await stage.redis.flushall()
    else:
        await delete_keys(stage.redis, f"{stage.client.keys.prefix}*")


async def _epoch(stage: Stage) -> int:
    """The epoch of the log."""
    async with stage.client.pool.acquire() as conn:
        return (await open_cursor(conn, stage.env, 0)).epoch


async def _is_recorded(stage: Stage) -> bool:
    async with stage.client.pool.acquire() as conn:
        cursor = await open_cursor(conn, stage.env, 0)
    return int(await stage.redis.hget(stage.partition.meta, "pseq") or 0) == cursor.partition_seq
