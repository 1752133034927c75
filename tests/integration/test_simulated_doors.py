"""The scripts do to maps with doors what the rules do, however many signals wait: both floors have the same trace.

``COURANTE_LIVE_EXAMPLES`` sets the number of runs.
"""

from __future__ import annotations

import os
from asyncio import Runner

import pytest

from courante.compiler.analysis import map_nodes
from courante.sdk.floor.calling import Connection
from courante.sdk.marking import maps
from courante.testing.floor import MemoryFloor
from courante.testing.simulation import Simulation
from model.compiled import plan_of
from model.door_documents import CHANCES, doors_document, driven
from model.eventful import without_order
from model.redis_floor import RedisFloor
from model.test_map_doors import POLICIES, SIZES, TWO_DOORS, doors_at_once, nothing

EXAMPLES = int(os.environ.get("COURANTE_LIVE_EXAMPLES", "0")) or 40


@pytest.mark.parametrize("seed", range(EXAMPLES))
def test_the_scripts_and_the_rules_have_the_same_trace_of_doors(
    runner: Runner, floor_redis: Connection, seed: int
) -> None:
    traces: list[list[str]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maps, "FILL_MAX", SIZES[seed % len(SIZES)])
        patch.setattr(map_nodes, "CHUNK_MAX", SIZES[seed // 2 % len(SIZES)])
        plan = plan_of(doors_document(seed, POLICIES))
        for floor in (MemoryFloor(plan), RedisFloor(runner, floor_redis, plan)):
            chances = CHANCES[seed % len(CHANCES)]
            simulation = Simulation(plan=plan, handler=nothing, floor=floor, seed=seed, chances=chances)
            driven(simulation)
            traces.append(without_order(simulation.trace))
            if isinstance(floor, RedisFloor):
                floor.close()
    assert traces[0] == traces[1]


def test_two_doors_at_once_are_answered_as_the_rules_say(runner: Runner, floor_redis: Connection) -> None:
    """The second one to the same signals leaves them and looks again."""
    plan = plan_of(TWO_DOORS)
    floor = RedisFloor(runner, floor_redis, plan)
    doors_at_once(floor, plan)
    floor.close()
