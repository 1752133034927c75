"""How many items a second go through one map and its aggregate, with everything in the log?

No-op items, a tenth of them first and then all, in one run each; one worker process, one supervisor process. Until the
run's final event is committed in Postgres. Meanwhile the size of the run in Redis is looked at, and of the server and
the worker. Next to each repetition ``throughput``'s load is measured on the same servers.

How long scripts take is measured once more at the end, by the server's own clock, while the server goes first: else the
pauses that others make it take, with more processes than cores, count as the script's. That needs the right to do so.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import Any

import anyio
import msgspec
from redis.asyncio import Redis

from ..sdk.scripts import load_script
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
"""Calls that take longer are in the server's slow log, whose longest ones are told."""
SLOW_MAX = 20_000
ALLOWED_US = 5_000


class MapLoad(msgspec.Struct, frozen=True, kw_only=True):
    """One map that is done. ``run_bytes``: the most that the run's hash took in Redis; ``redis_bytes``: the most that
    the server had more than before; ``worker_bytes``: the most that the worker's process had since it began.
    ``calls_us``: by script, of its calls that took longer than ``SLOW_US``.
    """

    items: int
    seconds: float
    run_bytes: int
    redis_bytes: int
    worker_bytes: int
    calls_us: dict[str, list[int]]

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
                f"{rates[-1]:,.0f} steps/s; run at most {many.run_bytes:,} bytes"
            )
        with _goes_first(stage.pids.get("redis", [])) as is_first:
            timed = await run_map(stage, workflow, items)
        calls = [took for some in timed.calls_us.values() for took in some]
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
                "run_bytes": _most(loads, "run_bytes"),
                "redis_bytes": _most(loads, "redis_bytes"),
                "worker_bytes": _most(loads, "worker_bytes"),
                "longest_script_ms": {name: figure(max(some) / 1000) for name, some in sorted(timed.calls_us.items())},
                "over_5_ms": sum(took > ALLOWED_US for took in calls),
                "is_first": is_first,
            },
        )


def _most(loads: list[tuple[MapLoad, MapLoad]], field: str) -> dict[str, int]:
    """By the number of items."""
    return {str(one[0].items): max(getattr(load, field) for load in one) for one in zip(*loads, strict=True)}


@contextmanager
def _goes_first(pids: list[int]) -> Generator[bool]:
    """While the context lasts, processes go before all others that the system shares its cores among. Returns whether
    that is so: not on every system, and not for every user.
    """
    try:
        for pid in pids:
            os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))
    except (AttributeError, PermissionError):
        yield False
        return
    try:
        yield bool(pids)
    finally:
        for pid in pids:
            os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))


async def run_map(stage: Stage, workflow: str, items: int) -> MapLoad:
    """Run a map over so many items to its end in the log."""
    redis = stage.redis
    await redis.config_set("slowlog-log-slower-than", SLOW_US)
    await redis.config_set("slowlog-max-len", SLOW_MAX)
    await redis.execute_command("SLOWLOG RESET")
    watch, status, output, seconds = _Watch(redis), "", None, 0.0
    before = await _used_bytes(redis)
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
        redis_bytes=max(0, watch.most_used - before),
        worker_bytes=_resident_bytes(stage.pids.get("worker", [])),
        calls_us=await _calls_us(redis),
    )


class _Watch:
    """Looks until ``done`` how much a key takes (``most``, every element counted), and the server (``most_used``)."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.done = anyio.Event()
        self.most = 0
        self.most_used = 0

    async def look(self, key: str) -> None:
        while not self.done.is_set():
            self.most = max(self.most, await self._redis.memory_usage(key, samples=0) or 0)
            self.most_used = max(self.most_used, await _used_bytes(self._redis))
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


async def _used_bytes(redis: Redis) -> int:
    return int((await redis.info("memory"))["used_memory"])


@cache
def _script_names() -> dict[str, str]:
    """By what they are called as."""
    found = [path.name.removesuffix(".lua") for path in (files("courante") / "lua").iterdir() if path.is_file()]
    return {load_script(name).library.name: name for name in found if not name.endswith(".md")}


async def _calls_us(redis: Redis) -> dict[str, list[int]]:
    """Return how long the calls took that are in the slow log, by script."""
    found: list[dict[str, Any]] = await redis.execute_command("SLOWLOG GET", SLOW_MAX)
    names = _script_names()
    calls: dict[str, list[int]] = {}
    for one in found:
        words: list[str] = one["command"].decode(errors="replace").split(" ", 2)
        if words[0].upper() == "FCALL":
            name = names.get(words[1], words[1])
            calls.setdefault(name, []).append(int(one["duration"]))
    return calls
