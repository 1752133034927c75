"""How many items a second go through one map and its aggregate, with everything in the log?

No-op items, a tenth of them first and then all, in one run each; one worker process, one supervisor process. Until the
run's final event is committed in Postgres. Meanwhile the size of the run in Redis is looked at, and afterwards the
longest call of a script. Next to each repetition ``throughput``'s load is measured on the same servers.
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

import anyio
import msgspec
from redis.asyncio import Redis

from ..sdk.settings import Settings
from .documents import chain, mapped
from .limit import measure_limit
from .load import STEPS, run_load
from .measured import Measured, figure
from .plan import BenchPlan
from .stage import Progress, Stage, open_crew, open_stage

ITEMS = 100_000
REPETITIONS_MAX = 3
LOAD_RUNS = 2_000
MAP_S = 600.0
LOOK_S = 0.1
SLOW_US = 1_000
"""Calls that take longer are in the server's slow log, whose longest one is told."""
SLOW_MAX = 2_000


class MapLoad(msgspec.Struct, frozen=True, kw_only=True):
    """One map that is done. ``run_bytes``: the most that the run's hash took in Redis; ``worker_bytes``: likewise, of
    the worker's process since it began. ``longest_us``: of a script, 0 where none took as long as ``SLOW_US``.
    """

    items: int
    seconds: float
    run_bytes: int
    worker_bytes: int
    longest_us: int

    @property
    def rate(self) -> float:
        return self.items / self.seconds


async def measure(settings: Settings, plan: BenchPlan, say: Progress) -> Measured:
    items = plan.runs_or(ITEMS)
    async with open_stage(settings) as stage, open_crew(stage):
        workflow, small = await stage.register(mapped()), max(1, items // 10)
        steps = await stage.register(chain(STEPS))
        await run_map(stage, workflow, small)
        loads: list[tuple[MapLoad, MapLoad]] = []
        limits: list[float] = []
        rates: list[float] = []
        for number in range(min(plan.repetitions, REPETITIONS_MAX)):
            limits.append(await measure_limit(stage.redis, stage.client.keys.prefix))
            rates.append((await run_load(stage, steps, max(1, min(LOAD_RUNS, items)))).rate)
            loads.append((await run_map(stage, workflow, small), await run_map(stage, workflow, items)))
            few, many = loads[-1]
            say(
                f"map {number + 1}: {small:,} items {few.rate:,.0f}/s, {items:,} items {many.rate:,.0f}/s, throughput "
                f"{rates[-1]:,.0f} steps/s; run at most {many.run_bytes:,} bytes; longest script {many.longest_us} us"
            )
        return Measured(
            question="How many items a second go through one map and its aggregate, with everything in the log?",
            unit="items/s",
            samples=[many.rate for _, many in loads],
            machine=stage.machine,
            ratios=[many.rate / limit for (_, many), limit in zip(loads, limits, strict=True)],
            more={
                "items": items,
                "limit": figure(median(limits)),
                "throughput": figure(median(rates)),
                "of_throughput": figure(median(many.rate / rate for (_, many), rate in zip(loads, rates, strict=True))),
                "small": {"items": small, "rate": figure(median(few.rate for few, _ in loads))},
                "run_bytes": {
                    str(one[0].items): max(load.run_bytes for load in one) for one in zip(*loads, strict=True)
                },
                "worker_bytes": max(many.worker_bytes for _, many in loads),
                "longest_script_ms": figure(max(load.longest_us for pair in loads for load in pair) / 1000),
            },
        )


async def run_map(stage: Stage, workflow: str, items: int) -> MapLoad:
    """Run a map over so many items to its end in the log."""
    redis = stage.redis
    await redis.config_set("slowlog-log-slower-than", SLOW_US)
    await redis.config_set("slowlog-max-len", SLOW_MAX)
    await redis.execute_command("SLOWLOG RESET")
    watch, status, output, seconds = _Watch(redis), "", None, 0.0
    with anyio.fail_after(MAP_S):
        began = time.perf_counter()
        run_id = await stage.client.submit(workflow, list(range(items)))
        async with anyio.create_task_group() as group:
            group.start_soon(watch.look, stage.partition.run(run_id))
            result = await stage.client.wait(run_id, timeout_s=MAP_S, is_recorded=True)
            status, output = result.status, result.output
            watch.done.set()
        seconds = time.perf_counter() - began
    if status != "COMPLETED" or output != items:
        raise AssertionError(f"the map came to {status}, {output!r}")
    return MapLoad(
        items=items,
        seconds=seconds,
        run_bytes=watch.most,
        worker_bytes=_resident_bytes(stage.pids.get("worker", [])),
        longest_us=await _longest_us(redis),
    )


class _Watch:
    """Looks at how much a key takes until ``done``. ``most``: bytes, every element counted."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.done = anyio.Event()
        self.most = 0

    async def look(self, key: str) -> None:
        while not self.done.is_set():
            self.most = max(self.most, await self._redis.memory_usage(key, samples=0) or 0)
            with anyio.move_on_after(LOOK_S):
                await self.done.wait()


def _resident_bytes(pids: list[int]) -> int:
    """The most memory that processes have had, 0 where that cannot be known."""
    most = 0
    for pid in pids:
        status = Path(f"/proc/{pid}/status")
        lines = status.read_text().splitlines() if status.exists() else []
        most += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    return most


async def _longest_us(redis: Redis) -> int:
    """Return how long the longest script took that is in the slow log."""
    found: list[dict[str, Any]] = await redis.execute_command("SLOWLOG GET", SLOW_MAX)
    return max((int(one["duration"]) for one in found if one["command"].upper().startswith(b"EVALSHA")), default=0)
