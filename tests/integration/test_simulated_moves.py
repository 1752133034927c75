"""The script moves a run to another version as the rules do: the same trace on a real Redis and in memory."""

from __future__ import annotations

import os
from asyncio import Runner
from collections import Counter

from courante.sdk.floor.calling import Connection
from courante.testing.floor import MemoryFloor
from model.eventful import begin, without_order
from model.moving import move_on_the_way, plans_of
from model.redis_floor import RedisFloor

EXAMPLES = int(os.environ.get("COURANTE_LIVE_EXAMPLES", "0")) or 25


def test_the_script_and_the_rules_move_a_run_alike(runner: Runner, floor_redis: Connection) -> None:
    verdicts: Counter[str] = Counter()
    for seed in range(EXAMPLES):
        old, new, handlers, others = plans_of(seed)
        traces: list[list[str]] = []
        for floor in (MemoryFloor(old), RedisFloor(runner, floor_redis, old)):
            simulation = begin(seed, floor, old, handlers)
            simulation.begin()
            verdict = move_on_the_way(simulation, new, others, seed)
            verdicts[verdict] += 1
            if verdict == "A":
                simulation.drive()
            traces.append(without_order(simulation.trace))
            if isinstance(floor, RedisFloor):
                floor.close()
        assert traces[0] == traces[1], f"seed {seed}"
    assert {"A", "-"} <= set(verdicts), verdicts
