"""How much of Redis does a run take that is parked in a wait?

Each run has 200 bytes of input and has made its first step. Counted is every key of the partition, after the recorder
has let go of what it has recorded. ``used_bytes`` is what the whole server has grown by, allocator and all.
"""

from __future__ import annotations

from collections.abc import Sequence

import anyio
from redis.asyncio import Redis

from ..sdk.client.client import Submission
from ..sdk.settings import Settings
from .documents import parked
from .looking import until
from .machine import Machine
from .measured import Measured, figure
from .plan import BenchPlan
from .stage import Progress, Stage, open_crew, open_stage

RUNS = 100_000
REPETITIONS_MAX = 3
"""Bytes do not jitter, and each repetition fills a server of its own."""
INPUT_BYTES = 200
INPUT = {"text": "x" * (INPUT_BYTES - len('{"text":""}'))}
PARK_S = 600.0
LOOK_S = 0.1
ENTRIES_LEFT_MAX = 2
"""Of the outbox: the recorder keeps the last entry that it has recorded."""
KEYS_AT_ONCE = 1_000


async def measure(settings: Settings, plan: BenchPlan, say: Progress) -> Measured:
    runs = plan.runs_or(RUNS)
    repetitions = min(plan.repetitions, REPETITIONS_MAX)
    samples: list[float] = []
    used: list[float] = []
    machines: list[Machine] = []
    for number in range(repetitions):
        async with open_stage(settings) as stage:
            async with open_crew(stage):
                workflow = await stage.register(parked())
                before = await used_bytes(stage.redis)
                await _park(stage, workflow, runs)
                used.append((await used_bytes(stage.redis) - before) / runs)
                samples.append(await bytes_of_keys(stage.redis, f"{stage.partition.base}*") / runs)
            machines.append(stage.machine)
        say(f"memory {number + 1}/{repetitions}: {samples[-1]:,.0f} bytes a run, the server {used[-1]:,.0f}")
    return Measured(
        question="How many bytes of Redis does a run take that is parked in a wait after its first step?",
        unit="bytes/run",
        samples=samples,
        machine=machines[0],
        more={"runs": runs, "used_bytes": figure(sorted(used)[len(used) // 2]), "input_bytes": INPUT_BYTES},
    )


async def _park(stage: Stage, workflow: str, runs: int) -> None:
    """Return when every run waits and all that led there is in the log."""
    with anyio.fail_after(PARK_S):
        await stage.client.submit_many([Submission(workflow=workflow, input=INPUT)] * runs)
        await until(lambda: _is_parked(stage, runs), look_s=LOOK_S)


async def _is_parked(stage: Stage, runs: int) -> bool:
    is_parked = await stage.redis.zcard(stage.partition.timers) >= runs
    return is_parked and await is_let_go(stage)


async def is_let_go(stage: Stage) -> bool:
    """Whether the recorder has let go of everything."""
    return bool(await stage.redis.xlen(stage.partition.outbox) <= ENTRIES_LEFT_MAX)


async def used_bytes(redis: Redis) -> int:
    """Return what the whole server has, allocator and all."""
    return int((await redis.info("memory"))["used_memory"])


async def bytes_of_keys(redis: Redis, pattern: str) -> int:
    """Return what MEMORY USAGE says of all keys of a pattern, every element of theirs counted."""
    total, cursor = 0, 0
    while True:
        cursor, found = await redis.scan(cursor, match=pattern, count=KEYS_AT_ONCE)
        total += await bytes_of(redis, found)
        if not cursor:
            return total


async def bytes_of(redis: Redis, keys: Sequence[bytes]) -> int:
    """Return what MEMORY USAGE says of some keys, nothing of those that are not there."""
    pipe = redis.pipeline(transaction=False)
    for key in keys:
        pipe.memory_usage(key.decode(), samples=0)  # pyright: ignore[reportUnusedCoroutine]
    return sum(size or 0 for size in await pipe.execute())
