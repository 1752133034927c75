"""The scripts do to a run what the rules do, whatever people, clocks and dying workers do to both.

A simulation drives the same run on a real Redis and in memory: waits for people, signals and mutexes, milestones,
withdrawals, retries, compensation, pauses, cancelling, takeovers, recoveries of an emptied server. After every step
the hash in Redis says what the fold of the log says, and at the end both floors have the same trace.
``COURANTE_LIVE_EXAMPLES`` sets the number of runs.
"""

from __future__ import annotations

import os
from asyncio import Runner

from courante.sdk.floor.calling import Connection
from courante.sdk.marking.scopes import WAKER_NODE
from courante.testing.floor import MemoryFloor
from courante.testing.simulation import CALM, Simulation
from model.compiled import plan_of
from model.eventful import Handlers, begin, eventful, taste_of, without_order
from model.redis_floor import RedisFloor

EXAMPLES = int(os.environ.get("COURANTE_LIVE_EXAMPLES", "0"))
TOKENS = 600


def test_the_scripts_and_the_rules_have_the_same_trace(runner: Runner, floor_redis: Connection) -> None:
    for seed in range(EXAMPLES or 90):
        document = eventful(seed, taste_of(seed))
        plan = plan_of(document)
        traces: list[list[str]] = []
        for floor in (MemoryFloor(plan), RedisFloor(runner, floor_redis, plan)):
            handlers = Handlers(document, seed)
            simulation = begin(seed, floor, plan, handlers)
            simulation.run()
            traces.append(without_order(simulation.trace))
            if isinstance(floor, RedisFloor):
                floor.close()
        assert traces[0] == traces[1], f"seed {seed}"


def test_a_run_that_is_paused_again_while_it_wakes_loses_nothing(runner: Runner, floor_redis: Connection) -> None:
    """More tokens than one call wakes: what the second pause puts aside lies behind the waker."""
    nodes = [{"id": f"n{number}", "type": "noop"} for number in range(TOKENS)]
    plan = plan_of({"courante": 1, "id": "wide", "nodes": nodes})
    floor = RedisFloor(runner, floor_redis, plan)
    simulation = Simulation(plan=plan, handler=Handlers.refuse, floor=floor, seed=0, chances=CALM, compares_every=100)
    simulation.begin()
    for _ in range(2):
        simulation.send("pause")
        assert not simulation.take(2 * TOKENS)
        simulation.send("resume")
        assert len(simulation.take(1)) == 1
        simulation.work_off()
        assert (WAKER_NODE, ()) in floor.marking().tokens, "the waker has seen all at once"
    assert simulation.drive() == "COMPLETED"
    floor.close()
