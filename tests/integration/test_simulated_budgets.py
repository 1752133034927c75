"""The scripts keep budgets as the rules do, whatever people, clocks and dying workers do to a run."""

from __future__ import annotations

import os
from asyncio import Runner

from courante.sdk.floor.calling import Connection
from courante.testing.floor import MemoryFloor
from courante.testing.simulation import Simulation
from model.budgets import CHANCES, Calls, drawn
from model.compiled import plan_of
from model.eventful import without_order
from model.redis_floor import RedisFloor

EXAMPLES = int(os.environ.get("COURANTE_LIVE_EXAMPLES", "0"))
ITEMS = b'{"items": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}'


def test_the_scripts_and_the_rules_spend_alike(runner: Runner, floor_redis: Connection) -> None:
    """After each step the hash in Redis says what the fold of the log says, and both floors have the same trace."""
    for seed in range(EXAMPLES or 24):
        plan = plan_of(drawn(seed))
        traces: list[list[str]] = []
        for floor in (MemoryFloor(plan), RedisFloor(runner, floor_redis, plan)):
            chances = CHANCES[seed % len(CHANCES)]
            run = Simulation(plan=plan, handler=Calls(seed), floor=floor, seed=seed, input=ITEMS, chances=chances)
            run.run()
            traces.append(without_order(run.trace))
            if isinstance(floor, RedisFloor):
                floor.close()
        assert traces[0] == traces[1], f"seed {seed}"
