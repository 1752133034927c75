"""Runs with maps, cut at any event and begun again: the new log tells the same state, and the new run ends as well.

Maps in maps, windows, aggregates of several ways, policies, results in several chunks, and maps that wait for more.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from courante.replay.decisions import Disagreement, check_claim, claim_of
from courante.replay.history import History
from courante.sdk.fold.cuts import Ending
from courante.sdk.fold.fold import fold
from courante.sdk.outcomes.item_values import cut_items
from courante.sdk.outcomes.outcomes import Outcome, Succeeded
from courante.sdk.reenactment.oracle import Memory
from courante.sdk.reenactment.restarting import started
from courante.sdk.user_errors import FatalError
from courante.testing.floor import MemoryFloor
from courante.testing.simulation import Chances, Simulation
from integration.cases import node
from model.compiled import plan_of
from model.restarts import NOW_MS, drawn_cuts, log_of, restart_of, resume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from courante.runner.work import Work
    from courante.sdk.events import RecordedEvent
from courante.sdk.marking.plan import Plan
from courante.sdk.outcomes.node_code import Codes

HANDLED: dict[str, Any] = {"type": "function", "config": {"handler": "h"}}
CHANCES = Chances(meddling=0.05, crashing=0.1, commands=("pause", "resume"))


def gather(*ways: str, policy: Any) -> dict[str, Any]:
    return node("g", *ways, type="aggregate", config={"policy": policy})


def body(*, policy: Any, items: str = "[1, 2, 3, 4]", **config: Any) -> list[dict[str, Any]]:
    """A map whose items go two ways."""
    return [
        node("m", type="map", config={"items": items, **config}),
        {**node("a", "m"), **HANDLED},
        {**node("b", "a"), **HANDLED},
        {**node("c", "a"), **HANDLED},
        gather("b", "c", policy=policy),
        {**node("z", "g"), **HANDLED},
    ]


NESTED = [
    node("m", type="map", config={"items": "[1, 2]"}),
    node("n", "m", type="map", config={"items": "[1, 2]"}),
    {**node("a", "n"), **HANDLED},
    node("h", "a", type="aggregate", config={"policy": "collect"}),
    {**node("b", "h"), **HANDLED},
    gather("b", policy="all"),
]
MANY = f"[{', '.join(map(str, range(260)))}]"
CASES: dict[str, list[dict[str, Any]]] = {
    "all": body(policy="all"),
    "collect, a window": body(policy="collect", max_concurrency=2),
    "fail fast": body(policy="fail_fast", max_concurrency=3),
    "nested": NESTED,
    "chunks": [
        node("m", type="map", config={"items": MANY, "max_concurrency": 15}),
        {**node("a", "m"), **HANDLED},
        gather("a", policy="collect"),
    ],
    "more": body(policy="collect", more={"signal": "extra", "expires": "1h"}),
}


class Drawn:
    """Steps of which some fail, by the seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(self, work: Work) -> Outcome:
        if Random(f"{self.seed} {work.key}").random() < 0.06:
            raise FatalError("drawn")
        return Succeeded(b"1")


def disagreements(plan: Plan, events: list[RecordedEvent]) -> list[Disagreement]:
    """What a run's log says otherwise than its decisions, made again."""
    history, codes = History(plan), Codes(plan)
    found: list[Disagreement | None] = []
    for event in events:
        claim = claim_of(history, codes, event)
        if claim is not None:
            moments = [cut_items(plan, claim.number, claim.scope, values) for values in claim.moments]
            found.append(check_claim(codes, dataclasses.replace(claim, moments=moments)))
        history.add(event)
    return [one for one in found if one is not None]


def heard_as_alone(plan: Plan, events: Sequence[RecordedEvent]) -> Memory:
    """What the events say of the steps and of the end of a run, in one fold, is what they say of the end in its own."""
    memory, alone = Memory(plan.ir, hears_ending=True), Ending(plan.ir)
    for event in events:
        memory.add(event)
        alone.add(event)
    ending = memory.ending
    assert ending is not None
    assert (ending.seq, ending.failed, ending.undone) == (alone.seq, alone.failed, alone.undone)
    assert ending.is_of_items == alone.is_of_items
    return memory


@pytest.mark.parametrize("name", CASES)
def test_a_run_with_maps_goes_on(name: str) -> None:
    plan = plan_of({"courante": 1, "id": "mapped", "policy": {"on_failure": "continue"}, "nodes": CASES[name]})
    met: Counter[str] = Counter()
    for seed in range(3 if name == "chunks" else 6):
        base = Simulation(plan=plan, handler=Drawn(seed), floor=MemoryFloor(plan), seed=seed, chances=CHANCES)
        base.compares_every = 50 if name == "chunks" else 1
        base.run()
        events = [event for call in base.log for event in call]
        memory = heard_as_alone(plan, events)
        for cut, renewed in drawn_cuts(plan, events, Random(seed), 7 if name == "chunks" else 4):
            assert memory.settled_at(cut.seq) == cut.settled
            restart = restart_of(plan, cut, renewed)
            if restart is None:
                continue
            log = log_of(plan, restart)
            assert fold(plan.ir, log) == started(restart.marking, NOW_MS), (seed, cut.seq)
            met.update(kind for kind in ("maps", "chunks", "results") if getattr(restart.marking, kind))
            again = resume(plan, Drawn(seed), restart.marking, log, seed, CHANCES)
            again.compares_every = base.compares_every
            again.drive()
            assert disagreements(plan, [event for call in again.log for event in call]) == []
    assert met["maps"]
    assert met["results"] or name != "chunks"


def test_an_aggregate_that_fails_by_its_items_is_cut_before_the_first_of_them() -> None:
    plan = plan_of({"courante": 1, "id": "mapped", "nodes": NESTED})

    def fails_once(work: Work) -> Outcome:
        if work.node.id == "b" and work.scope == (1,):
            raise FatalError("no")
        return Succeeded(b"1")

    base = Simulation(plan=plan, handler=fails_once, floor=MemoryFloor(plan), seed=1, chances=CHANCES)
    assert base.run() == "FAILED"
    events = [event for call in base.log for event in call]
    ending = Ending(plan.ir)
    for event in events:
        ending.add(event)
    assert (events[ending.seq - 1].facts.type, events[ending.seq - 1].facts.node) == ("step.failed", "b")
    assert {plan.node_ids[number] for number, _ in ending.failed} == {"b", "g"}
