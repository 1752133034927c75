"""Maps to which items are added by signals, many at a time: every run ends as its log says, and nothing comes twice.

``COURANTE_SIM_EXAMPLES`` sets how many are drawn.
"""

from __future__ import annotations

import os
from typing import Any

import msgspec
import pytest

from chaos.oracles import maps as map_rules
from chaos.oracles.graph import read_graph
from courante.compiler.analysis import map_nodes
from courante.compiler.ir import encode_ir
from courante.runner.work import Work
from courante.sdk.corrupt import Corrupt
from courante.sdk.events import RecordedEvent
from courante.sdk.fold.fold import fold
from courante.sdk.marking import maps
from courante.sdk.marking.plan import Plan
from courante.sdk.outcomes.outcomes import Outcome, Succeeded
from courante.sdk.outcomes.step_context import encode_json
from courante.testing.floor import MemoryFloor
from courante.testing.floor_calls import Floor
from courante.testing.simulation import CALM, Simulation
from model.compiled import plan_of
from model.door_documents import CHANCES, doors_document, driven
from model.test_oracle_walk import events_of, walked

EXAMPLES = int(os.environ.get("COURANTE_SIM_EXAMPLES", "40"))
SIZES = (100, 1, 2)
POLICIES = ("all", "collect", "fail_fast")
DOOR: list[dict[str, Any]] = [
    {"id": "m", "type": "map", "config": {"items": "[0]", "more": {"signal": "A"}}},
    {"id": "w", "type": "noop", "depends_on": "m"},
    {"id": "all", "type": "aggregate", "depends_on": "w"},
]

TWO_DOORS = {
    "courante": 1,
    "id": "doors",
    "nodes": [
        {"id": "n", "type": "map", "config": {"items": "[0, 1]"}},
        {**DOOR[0], "depends_on": "n"},
        *DOOR[1:],
        {"id": "both", "type": "aggregate", "depends_on": "all"},
    ],
}


def nothing(_work: Work) -> Outcome:
    return Succeeded(encode_json({"yes": False}))


def simulate(seed: int) -> Simulation:
    plan = plan_of(doors_document(seed, POLICIES))
    chances = CHANCES[seed % len(CHANCES)]
    return Simulation(plan=plan, handler=nothing, floor=MemoryFloor(plan), seed=seed, chances=chances)


def taken_in(events: list[RecordedEvent]) -> int:
    return sum(int(str(event.facts.data.get("early", 0))) for event in events)


def test_every_run_with_doors_ends_as_its_log_says() -> None:
    ends: set[str] = set()
    taken = 0
    for seed in range(EXAMPLES):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(maps, "FILL_MAX", SIZES[seed % len(SIZES)])
            patch.setattr(map_rules, "EMITTED_MAX", SIZES[seed % len(SIZES)])
            patch.setattr(map_nodes, "CHUNK_MAX", SIZES[seed // 2 % len(SIZES)])
            simulation = simulate(seed)
            ends.add(driven(simulation))
            assert walked(read_graph(encode_ir(simulation.plan.ir)), events_of(simulation.log)).has_ended, seed
            taken += taken_in([event for call in simulation.log for event in call])
    assert ends >= {"COMPLETED", "CANCELLED"}
    assert taken > EXAMPLES // 4, "signals that come while a door is busy are taken with the next one"


def simulated_door() -> Simulation:
    plan = plan_of({"courante": 1, "id": "door", "nodes": DOOR})
    made = Simulation(plan=plan, handler=nothing, floor=MemoryFloor(plan), seed=1)
    made.begin()
    return made


def taken_at_once(signals: int) -> tuple[Simulation, RecordedEvent]:
    """A door that is released by one signal, and by whose turn so many have come in all."""
    simulation = simulated_door()
    while simulation.take(1):
        simulation.work_off()
    for _ in range(signals):
        simulation.send("signal", name="A")
    (token,) = simulation.take(1)
    assert token[3] == b"0"
    simulation.work_off()
    events = [event for call in simulation.log for event in call]
    return simulation, next(event for event in reversed(events) if event.facts.node == "m")


@pytest.mark.parametrize("signals", [1, 2, 7])
def test_a_door_takes_what_has_come_by_its_turn_and_waits_for_the_next(signals: int) -> None:
    simulation, event = taken_at_once(signals)
    assert (event.facts.data.get("early", 0), event.facts.data["items"]) == (signals - 1, 1 + signals)
    marking = simulation.floor.marking()
    assert (marking.signals, marking.tokens[0, ()].waits) == ({}, ("A",))


@pytest.mark.parametrize("early", [0, -1, 9, "6", None])
def test_a_log_that_says_it_took_what_had_not_come_is_corrupt(early: object) -> None:
    simulation, said = taken_at_once(7)
    events = [event for call in simulation.log for event in call]
    fold(simulation.plan.ir, events)
    data = {**said.facts.data, "early": early}
    facts = msgspec.structs.replace(said.facts, data=data)
    forged = [msgspec.structs.replace(event, facts=facts) if event is said else event for event in events]
    if early is None:
        assert fold(simulation.plan.ir, forged[: said.seq]).signals, "in a log without that word they still wait"
        return
    with pytest.raises(Corrupt):
        fold(simulation.plan.ir, forged)


def test_who_comes_second_to_the_same_signals_looks_again() -> None:
    """Two doors of one name are worked on at once: what one has taken the other leaves, and none is lost."""
    plan = plan_of(TWO_DOORS)
    doors_at_once(MemoryFloor(plan), plan)


def doors_at_once(floor: Floor, plan: Plan) -> None:
    simulation = Simulation(plan=plan, handler=nothing, floor=floor, seed=1, chances=CALM)
    simulation.begin()
    while simulation.take(1):
        simulation.work_off()
    for _ in range(6):
        simulation.send("signal", name="A")
    doors = [simulation.crew.open(token, floor.now_ms()) for token in floor.take(9)]
    first, second = (simulation.crew.settle(work) for work in doors)
    assert [floor.hand_in(first), floor.hand_in(second)] == ["A", "B"]
    assert second.otherwise is not None
    assert floor.hand_in(second.otherwise) == "A"
    (due,) = floor.due()
    assert floor.ring(due)
    while simulation.take(1):
        simulation.work_off()
    items = {(at, record.count) for at, record in floor.marking().maps.items() if plan.ir.nodes[at[0]].id == "m"}
    assert {(scope, count) for (_, scope), count in items} == {((0,), 6), ((1,), 2)}
    assert floor.marking().signals == {}
