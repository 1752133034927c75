"""The scripts do to a run what the rules do, whatever people, clocks and dying workers do to both.

A simulation drives the same run on a real Redis and in memory: waits for people, signals and mutexes, milestones,
withdrawals, retries, compensation, pauses, cancelling, takeovers, recoveries of an emptied server. After every step
the hash in Redis says what the fold of the log says, and at the end both floors have the same trace.
``COURANTE_LIVE_EXAMPLES`` sets the number of runs.
"""

from __future__ import annotations

import os
from asyncio import Runner
from random import Random
from typing import Any

from courante.sdk.floor.calling import Connection
from courante.sdk.marking.scopes import WAKER_NODE
from courante.testing.floor import MemoryFloor
from courante.testing.simulation import CALM, Chances, Simulation
from model.compiled import plan_of
from model.eventful import Handlers, begin, eventful, taste_of, without_order
from model.reading.draw import HANDLER
from model.reading.graph import Document
from model.redis_floor import RedisFloor
from model.test_map_doors import nothing

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


def sharing(random: Random) -> Document:
    """Steps that share the slots of one key, taking turns or not, of every priority."""
    nodes: list[dict[str, Any]] = []
    limit = random.randint(1, 2)
    for number in range(8):
        share: dict[str, Any] = {"key": "'k'", "limit": limit}
        if random.random() < 0.4:
            share["fair"] = random.choice(["'x'", "'y'"])
        made = {"id": f"n{number}", "type": "function", "config": {"handler": HANDLER}, "concurrency": share}
        if number > 4:
            made["depends_on"] = f"n{number - 4}"
        if random.random() < 0.3:
            made["priority"] = random.choice(["high", "low"])
        nodes.append(made)
    return {"courante": 1, "id": "sharing", "nodes": nodes}


def test_so_have_runs_that_are_paused_while_they_wait_for_slots(runner: Runner, floor_redis: Connection) -> None:
    """Who waits leaves the row while its run is paused, and has its place again; nothing is lost with the server."""
    aside = 0
    for seed in range(EXAMPLES or 20):
        document = sharing(Random(f"sharing {seed}"))
        plan = plan_of(document)
        chances = Chances(
            meddling=0.3, crashing=0.1, losing=0.03 * (seed % 2), commands=("pause", "pause", "resume", "cancel_step")
        )
        traces: list[list[str]] = []
        for floor in (MemoryFloor(plan), RedisFloor(runner, floor_redis, plan)):
            simulation = Simulation(plan=plan, handler=nothing, floor=floor, seed=seed, chances=chances)
            simulation.begin()
            while floor.marking().counter:
                simulation.go_on(1)
                aside += isinstance(floor, MemoryFloor) and bool(floor.run.slots.aside)
            simulation.drive()
            traces.append(without_order(simulation.trace))
            if isinstance(floor, RedisFloor):
                floor.close()
        assert traces[0] == traces[1], f"seed {seed}"
    assert aside


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
