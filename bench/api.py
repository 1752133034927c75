"""How many runs a second does the HTTP API start, one by one; and what else does it bear?

One API process, one worker, one supervisor, as ``courante api``, ``worker`` and ``supervisor``, with keys as anywhere.
Submissions are runs of three no-op steps, which are executed meanwhile; one by one on some connections at a time, and
in batches. ``GET`` of a run is asked for steadily while runs are submitted and executed as fast as they can be. Then a
thousand listeners, in a process of their own, hear a thousand events a second: each those of a run of its own, and each
those of all runs.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import cast

import anyio
import msgspec
from anyio.streams.buffered import BufferedByteReceiveStream

from ..api.wire.commands import Submitted
from ..api.wire.runs import Result
from ..cli.api_socket import answers, listen
from ..sdk.access import Scope
from ..sdk.client.client import Submission
from ..sdk.moments import EPOCH, from_ms, to_ms
from ..sdk.settings import Settings
from .documents import chain, waiting
from .http_asking import HOST, Caller, ask_all, ask_steadily
from .limit import measure_limit
from .listening import Heard, Order
from .load import STEPS, Ended, run_load
from .looking import until
from .measured import Measured, figure, percentile
from .plan import BenchPlan
from .stage import Progress, Stage, open_children, open_stage

RUNS = 1_000
LINES = (1, 8, 32)
"""Connections that submit side by side."""
BATCHES = (100, 1_000)
GETS_A_SECOND = 50.0
BATCHED, LOAD = 2, 5
"""Times the runs of a repetition: what is submitted in batches of a size, what is executed while runs are asked for."""
WAITS, WAIT_MS = 3, 3_000
"""Of the runs that are listened to: so they make about an event a second each, from the first start to the last end."""
BEGIN_S = 5.0
"""Until listeners are connected. Their runs begin then, one after the other, within one wait."""
LATE = 3
"""Times as long as the runs take: who has not heard all of them by then is waited for no more."""
PATIENCE_S = 300.0
EVENTS = "SELECT count(*) FROM event_log WHERE run_id = ANY($1::text[]) AND at >= $2"
_result = msgspec.json.Decoder(Result).decode
_submitted = msgspec.json.Decoder(Submitted).decode


class Repetition(msgspec.Struct, frozen=True, kw_only=True):
    """``submitted``: runs a second, by connections; ``batched``: by the size of a batch. ``get_ms``: each request."""

    limit: float
    submitted: dict[int, float]
    batched: dict[int, float]
    get_ms: list[float]
    own: dict[str, object]
    all: dict[str, object]


async def measure(settings: Settings, plan: BenchPlan, say: Progress) -> Measured:
    runs = plan.runs_or(RUNS)
    async with open_stage(settings) as stage, open_api(stage) as caller:
        chained = await stage.register(chain(STEPS))
        waits = await stage.register(waiting(WAITS, WAIT_MS))
        await submit_singly(stage, caller, chained, min(runs, LINES[-1]), LINES[-1])
        found = [await repeat(stage, caller, chained, waits, runs, say) for _ in range(plan.repetitions)]
        gets = sorted(took for one in found for took in one.get_ms)
        best = [max(one.submitted.values()) for one in found]
        return Measured(
            question="How many runs a second does the HTTP API start, one by one?",
            unit="runs/s",
            samples=best,
            machine=stage.machine,
            ratios=[rate / one.limit for rate, one in zip(best, found, strict=True)],
            more={
                "runs": runs,
                "limit": figure(median(one.limit for one in found)),
                "submitted": {n: figure(median(one.submitted[n] for one in found)) for n in LINES},
                "batched": {n: figure(median(one.batched[n] for one in found)) for n in BATCHES},
                "get_ms": {"p50": figure(percentile(gets, 50)), "p99": figure(percentile(gets, 99)), "gets": len(gets)},
                "listeners_own": found[-1].own,
                "listeners_all": found[-1].all,
            },
        )


async def repeat(stage: Stage, caller: Caller, chained: str, waits: str, runs: int, say: Progress) -> Repetition:
    limit = await measure_limit(stage.redis, stage.client.keys.prefix)
    ids: list[str] = []
    submitted: dict[int, float] = {}
    for lines in LINES:
        rate, some = await submit_singly(stage, caller, chained, max(lines, runs * min(8, lines) // 8), lines)
        submitted[lines] = rate
        ids += some
    batched = {size: await submit_batches(stage, caller, chained, BATCHED * runs, size) for size in BATCHES}
    single, many = max(submitted.values()), max(batched.values())
    say(f"api: {single:,.0f} runs/s one by one, {many:,.0f} in batches; limit {limit:,.0f}")
    took_s: list[float] = []
    asked = [caller.get(f"/v1/runs/{run_id}") for run_id in random.sample(ids, min(len(ids), 500))]
    async with anyio.create_task_group() as group:
        group.start_soon(ask_steadily, caller, asked, GETS_A_SECOND, took_s)
        await run_load(stage, chained, LOAD * runs)
        group.cancel_scope.cancel()
    get_ms = sorted(took * 1000 for took in took_s)
    say(f"api: GET of a run under load: p50 {percentile(get_ms, 50):.1f} ms, p99 {percentile(get_ms, 99):.1f} ms")
    heard: dict[bool, dict[str, object]] = {}
    for is_own in (True, False):
        heard[is_own] = await hear(stage, caller, waits, runs, is_own=is_own)
        shown = ", ".join(f"{name} {value}" for name, value in heard[is_own].items())
        say(f"api: listeners, each to {'a run of its own' if is_own else 'all runs'}: {shown}")
    return Repetition(
        limit=limit, submitted=submitted, batched=batched, get_ms=get_ms, own=heard[True], all=heard[False]
    )


@asynccontextmanager
async def open_api(stage: Stage) -> AsyncGenerator[Caller]:
    """The API, a worker and a supervisor; who calls has a key that may ask as often as it likes."""
    with listen(HOST, 0) as free:
        port = int(free.getsockname()[1])
    _, key = await stage.client.access.create_key("bench", [Scope.READ, Scope.SUBMIT])
    daemons = (["worker"], ["supervisor"], ["api", "--host", HOST, "--port", str(port)])
    async with open_children(stage, *daemons, api_requests_per_s=1_000_000, api_connections_max=100_000) as children:
        url = f"http://{HOST}:{port}"
        with anyio.fail_after(PATIENCE_S):
            await until(lambda: anyio.to_thread.run_sync(answers, url))
        stage.pids["api"] = [children[-1].pid]
        yield Caller(port, key)


async def submit_singly(stage: Stage, caller: Caller, workflow: str, runs: int, lines: int) -> tuple[float, list[str]]:
    """Return runs a second, and their ids; all of them have ended."""
    request = caller.post("/v1/runs", msgspec.json.encode({"workflow": workflow, "input": {"n": 1}}))
    ids: list[str] = []
    async with _executed(stage, workflow, runs):
        seconds = await ask_all(caller, [request] * runs, lines, lambda body: ids.append(_result(body).run_id))
    return runs / seconds, ids


async def submit_batches(stage: Stage, caller: Caller, workflow: str, runs: int, size: int) -> float:
    """Return runs a second, one batch after the other; all of them have ended."""
    one = {"workflow": workflow, "input": {"n": 1}}
    request = caller.post("/v1/runs/batch", msgspec.json.encode({"runs": [one] * size}))
    count = -(-runs // size)
    done: list[int] = []
    async with _executed(stage, workflow, count * size):
        took = await ask_all(caller, [request] * count, 1, lambda body: done.append(len(_submitted(body).run_ids)))
    return sum(done) / took


@asynccontextmanager
async def _executed(stage: Stage, workflow: str, runs: int) -> AsyncGenerator[None]:
    """Wait at the end until so many more runs have ended: what comes next is not measured beside them."""
    ended = Ended(stage, workflow)
    with anyio.fail_after(PATIENCE_S):
        total = await ended.count() + runs
        async with ended.listen():
            yield
            await ended.wait(runs, total)


async def hear(stage: Stage, caller: Caller, workflow: str, runs: int, *, is_own: bool) -> dict[str, object]:
    """Let as many listeners as there are runs hear of these, each of its own or each of all; return what became of it.

    In the first case every listener looks at every event. In the second some do; the others count them.
    """
    begin = from_ms(to_ms(datetime.now(UTC)) + int(BEGIN_S * 1000))  # as exact as the log: what is due then counts
    gap = timedelta(milliseconds=WAIT_MS / runs)
    ids = await stage.client.submit_many(
        [Submission(workflow=workflow, start_at=begin + number * gap) for number in range(runs)]
    )
    most_s = BEGIN_S + LATE * (WAITS + 1) * WAIT_MS / 1000
    order = Order(port=caller.port, key=caller.key, run_ids=ids if is_own else [], listeners=runs, most_s=most_s)
    before = stage.cpu_s()
    argv = [sys.executable, "-m", "courante.bench.listening"]
    with anyio.fail_after(PATIENCE_S):
        async with await anyio.open_process(argv, stdin=subprocess.PIPE, stderr=None) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            said = BufferedByteReceiveStream(process.stdout)
            await process.stdin.send(msgspec.json.encode(order) + b"\n")
            ready = await said.receive_until(b"\n", 100)
            assert ready == b"ready", ready
            late_s = (datetime.now(UTC) - begin).total_seconds()
            told = b"".join([piece async for piece in said])
    heard = msgspec.json.decode(told, type=Heard)
    used_s = {role: used - before.get(role, 0.0) for role, used in stage.cpu_s().items()} | {"listeners": heard.cpu_s}
    async with stage.client.pool.acquire() as conn:
        events = cast("int", await conn.fetchval(EVENTS, ids, EPOCH if is_own else begin))
    wanted = events if is_own else events * runs
    return {
        "listeners": runs,
        "events": events,
        "events_per_s": figure(events / heard.seconds),
        "delivered_per_s": figure(heard.delivered / heard.seconds),
        "undelivered": wanted - heard.delivered + heard.repeated,
        "lost": heard.lost,
        "repeated": heard.repeated,
        "let_go": heard.again,
        "lag_p50_ms": figure(heard.lag_p50_ms),
        "lag_p99_ms": figure(heard.lag_p99_ms),
        "late_s": figure(max(0.0, late_s)),
        "cpu_s": {role: figure(used) for role, used in used_s.items()},
    }
