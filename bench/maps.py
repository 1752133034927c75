"""How many items a second go through one map and its aggregate, with everything in the log?

No-op items, a tenth of them first and then all, in one run each; one worker process, one supervisor process. Until the
run's final event is committed in Postgres. Meanwhile it is looked at what Redis holds, apart for the run, for what the
log has not yet or was only just given, and for what is stored apart (the list of all items is), and what the worker
holds. Next to each repetition ``throughput``'s load is measured on the same servers.

How long scripts take is measured in maps of their own at the end, while the server goes first: else the pauses that
others make it take, with more processes than cores, count as the script's. That needs the right to do so.
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

import anyio
import msgspec

from ..sdk.settings import Settings
from .documents import chain, mapped
from .limit import measure_limit
from .load import STEPS, run_load
from .looking import until
from .measured import Measured, figure
from .memory import bytes_of, bytes_of_keys, is_let_go, used_bytes
from .plan import BenchPlan
from .script_calls import CallWatch, ScriptCalls, goes_first, told_calls
from .stage import Progress, Stage, open_crew, open_stage

ITEMS = 100_000
REPETITIONS_MAX = 3
LOAD_RUNS = 2_000
MAP_S = 600.0
LOOK_S = 0.1
SIZES = ("run_bytes", "outbox_bytes", "payload_bytes", "redis_bytes", "left_bytes", "worker_bytes")


class MapLoad(msgspec.Struct, frozen=True, kw_only=True):
    """One map that is done. The most at a time: ``run_bytes``: that the run's hash took in Redis; ``outbox_bytes``: the
    outbox; ``payload_bytes``: payloads that are stored apart; ``redis_bytes``: that the server had more than before.
    ``left_bytes``: that it has more when the outbox is empty again. ``worker_bytes``: the most that the worker's
    process had since it began.
    """

    items: int
    seconds: float
    run_bytes: int
    outbox_bytes: int
    payload_bytes: int
    redis_bytes: int
    left_bytes: int
    worker_bytes: int
    calls: ScriptCalls

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
        with goes_first(stage.pids.get("redis", [])) as is_first:
            timed = [await run_map(stage, workflow, items, times_calls=True) for _ in loads]
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
                **{name: _most(loads, name) for name in SIZES},
                **told_calls([load.calls for load in timed]),
                "is_first": is_first,
            },
        )


def _most(loads: list[tuple[MapLoad, MapLoad]], field: str) -> dict[str, int]:
    """By the number of items."""
    return {str(one[0].items): max(getattr(load, field) for load in one) for one in zip(*loads, strict=True)}


async def run_map(stage: Stage, workflow: str, items: int, *, times_calls: bool = False) -> MapLoad:
    """Run a map over so many items to its end in the log. times_calls: the server's slow log is memory of its own."""
    redis = stage.redis
    calls = CallWatch(redis, stage.pids.get("redis", []))
    await calls.begin(is_timed=times_calls)
    await until(lambda: is_let_go(stage), look_s=LOOK_S)
    before = await used_bytes(redis)
    watch, status, output, seconds = _Watch(stage), "", None, 0.0
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
    await until(lambda: is_let_go(stage), look_s=LOOK_S)
    return MapLoad(
        items=items,
        seconds=seconds,
        run_bytes=watch.run,
        outbox_bytes=watch.outbox,
        payload_bytes=watch.payloads,
        redis_bytes=max(0, watch.used - before),
        left_bytes=max(0, await used_bytes(redis) - before),
        worker_bytes=_resident_bytes(stage.pids.get("worker", [])),
        calls=await calls.end(),
    )


class _Watch:
    """Looks until ``done`` what Redis holds, every element counted, and remembers the most of each."""

    def __init__(self, stage: Stage) -> None:
        self._redis = stage.redis
        self._outbox = stage.partition.outbox
        self._payloads = stage.client.keys.blob("*")
        self.done = anyio.Event()
        self.run = self.outbox = self.payloads = self.used = 0

    async def look(self, key: str) -> None:
        while not self.done.is_set():
            self.run = max(self.run, await bytes_of(self._redis, [key.encode()]))
            self.outbox = max(self.outbox, await bytes_of(self._redis, [self._outbox.encode()]))
            self.payloads = max(self.payloads, await bytes_of_keys(self._redis, self._payloads))
            self.used = max(self.used, await used_bytes(self._redis))
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
