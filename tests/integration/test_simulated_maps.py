"""The scripts do to maps what the rules do: both floors have the same trace, and every step is that of the log.

Maps in maps, loops and branches, of every failure policy; workers die, commands come in between, servers are emptied.
``COURANTE_LIVE_EXAMPLES`` sets the number of runs.
"""

from __future__ import annotations

import os
from asyncio import Runner
from random import Random

import pytest

from courante.compiler.analysis import map_nodes
from courante.runner.work import Work
from courante.sdk.floor.calling import Connection
from courante.sdk.marking import maps
from courante.sdk.marking.plan import Plan
from courante.sdk.marking.scopes import scope_text
from courante.sdk.outcomes.outcomes import Outcome, Succeeded
from courante.sdk.outcomes.step_context import encode_json
from courante.sdk.user_errors import FatalError
from courante.testing.floor import MemoryFloor
from courante.testing.simulation import Simulation
from model.compiled import plan_of
from model.eventful import CHANCES, without_order
from model.map_documents import Draws, Part, document_of, draw_parts
from model.redis_floor import RedisFloor

EXAMPLES = int(os.environ.get("COURANTE_LIVE_EXAMPLES", "0")) or 60
SIZES = (100, 1, 2)


def handlers(plan: Plan, draws: Draws, work: Work) -> Outcome:
    where = scope_text(plan.ir, work.number, work.scope)
    if not draws.ok(work.node.id, where):
        raise FatalError("drawn")
    return Succeeded(encode_json(draws.output(work.node.id, where)))


@pytest.mark.parametrize("seed", range(EXAMPLES))
def test_the_scripts_and_the_rules_have_the_same_trace_of_maps(
    runner: Runner, floor_redis: Connection, seed: int
) -> None:
    policies = ("all", "collect", "fail_fast", {"tolerate": 1})
    parts = draw_parts(Random(f"live maps {seed}"), 1 + seed % 2, [0], policies=policies)
    have_the_same_trace(runner, floor_redis, parts, Draws(seed, failing=(0.0, 0.1)[seed % 2]), seed)


@pytest.mark.parametrize("seed", range(EXAMPLES // 2))
def test_so_have_they_of_maps_in_loops(runner: Runner, floor_redis: Connection, seed: int) -> None:
    """Loops whose bodies have maps and branches, inside of maps again."""
    parts = draw_parts(Random(f"live maps in loops {seed}"), 2 + seed % 2, [0], circles=3)
    have_the_same_trace(runner, floor_redis, parts, Draws(seed, failing=(0.0, 0.05)[seed % 2]), seed)


def have_the_same_trace(runner: Runner, floor_redis: Connection, parts: list[Part], draws: Draws, seed: int) -> None:
    traces: list[list[str]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maps, "FILL_MAX", SIZES[seed % len(SIZES)])
        patch.setattr(map_nodes, "CHUNK_MAX", SIZES[seed // 2 % len(SIZES)])
        plan = plan_of(document_of(parts, seed % 4))
        for floor in (MemoryFloor(plan), RedisFloor(runner, floor_redis, plan)):
            simulation = Simulation(
                plan=plan,
                handler=lambda work: handlers(plan, draws, work),
                floor=floor,
                seed=seed,
                chances=CHANCES[seed % len(CHANCES)],
            )
            simulation.run()
            traces.append(without_order(simulation.trace))
            if isinstance(floor, RedisFloor):
                floor.close()
    assert traces[0] == traces[1]
