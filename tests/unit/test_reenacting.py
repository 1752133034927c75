"""A run is enacted again: which steps are answered for, what stands in the place of others, and what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from courante.sdk.fold.fold import fold
from courante.sdk.outcomes.outcomes import Outcome, Succeeded
from courante.sdk.reenactment.impact import downstream, impacted, reused
from courante.sdk.reenactment.oracle import Oracle, ask
from courante.sdk.reenactment.redeciding import Unloaded
from courante.sdk.reenactment.reenacting import Enacted, Enacting
from courante.sdk.reenactment.restarting import restart_plan, started
from courante.sdk.user_errors import FatalError
from courante.testing.floor import MemoryFloor
from courante.testing.simulation import CALM, Simulation
from integration.cases import node
from model.compiled import plan_of
from model.restarts import NOW_MS, log_of, reenact, resume

if TYPE_CHECKING:
    from courante.runner.work import Work
    from courante.sdk.marking.plan import Plan

HANDLED: dict[str, Any] = {"type": "function", "config": {"handler": "h"}}


def step(id: str, *depends_on: str, **more: Any) -> dict[str, Any]:
    return {**node(id, *depends_on, **more), **HANDLED}


class Steps:
    """What steps give, by id; else 1. ``failing``: those that fail. ``done``: what was executed, in order."""

    def __init__(self, **outputs: bytes) -> None:
        self.outputs = outputs
        self.failing: set[str] = set()
        self.done: list[str] = []

    def __call__(self, work: Work) -> Outcome:
        name = f"{work.node.id}{list(work.scope) if work.scope else ''}"
        self.done.append(name)
        if name in self.failing:
            raise FatalError("no")
        return Succeeded(self.outputs.get(work.node.id, b"1"))

    def run(self, plan: Plan) -> Oracle:
        base = Simulation(plan=plan, handler=self, floor=MemoryFloor(plan), seed=1, chances=CALM)
        base.compares_every = 50
        base.run()
        self.done.clear()
        return ask(plan.ir, [event for call in base.log for event in call])

    def go_on(self, plan: Plan, enacted: Enacted) -> Oracle:
        restart = restart_plan(plan, enacted.cut)
        log = log_of(plan, restart)
        assert fold(plan.ir, log) == started(restart.marking, NOW_MS)
        again = resume(plan, self, restart.marking, log, 1, CALM)
        again.compares_every = 50
        again.drive()
        return ask(plan.ir, [event for call in again.log for event in call])


def stop(plan: Plan, *names: str) -> set[int]:
    return downstream(plan.ir, [plan.numbers[name] for name in names])


def left(plan: Plan, enacted: Enacted) -> list[str]:
    return sorted(f"{plan.node_ids[number]}{list(scope) or ''}" for number, scope in enacted.cut.marking.tokens)


def test_a_loop_goes_round_as_a_whole_and_what_is_before_it_is_reused() -> None:
    steps = Steps(c=b"{}")
    loop = {"while": "loop.iteration < 3", "back_to": "b", "max_iterations": 5}
    plan = plan_of({"courante": 1, "id": "w", "nodes": [step("a"), step("b", "a"), step("c", "b", loop=loop)]})
    oracle = steps.run(plan)
    enacted = reenact(plan, oracle, stop=stop(plan, "c"))
    assert left(plan, enacted) == ["b[1]"]
    steps.go_on(plan, enacted)
    assert steps.done == ["b[1]", "c[1]", "b[2]", "c[2]", "b[3]", "c[3]"]


@pytest.mark.parametrize(("first", "items"), [("m", 230), ("b", 7), ("g", 230), ("g", 7), ("z", 230), ("z", 0)])
def test_a_map_is_made_again_from_where_it_is_impacted(first: str, items: int) -> None:
    """Its items from the impacted step on, and the aggregate; twice, the second time from the run made again."""
    steps = Steps()
    config = {"items": str(list(range(items))), "max_concurrency": 500}
    nodes = [
        node("m", type="map", config=config), step("a", "m"), step("b", "a"),
        node("g", "b", type="aggregate", config={"policy": "collect"}), step("z", "g"),
    ]  # fmt: skip
    plan = plan_of({"courante": 1, "id": "w", "nodes": nodes})
    oracle = steps.run(plan)
    for _ in range(2):
        stopped = stop(plan, first)
        steps.done.clear()
        oracle = steps.go_on(plan, reenact(plan, oracle, stop=stopped))
        done = {name.partition("[")[0]: steps.done.count(name) for name in steps.done}
        assert set(done) == {"m": {"a", "b", "z"} if items else {"z"}, "b": {"b", "z"}}.get(first, {"z"})
        assert len(steps.done) == {"m": 2 * items, "b": items}.get(first, 0) + 1
        assert {oracle.answers[plan.numbers[name], ()].settled.output for name in "gz"} == {
            b"1",
            oracle.answers[plan.numbers["g"], ()].settled.output,
        }


def test_items_for_which_there_was_no_room_begin_at_their_beginning() -> None:
    """And are told as impacted."""
    steps = Steps()
    nodes = [
        node("m", type="map", config={"items": "[1, 2, 3]", "max_concurrency": 2}), step("a", "m"), step("b", "a"),
        node("g", "b", type="aggregate"),
    ]  # fmt: skip
    plan = plan_of({"courante": 1, "id": "w", "nodes": nodes})
    enacted = reenact(plan, steps.run(plan), stop=stop(plan, "b"))
    assert left(plan, enacted) == ["b[0]", "b[1]"]
    assert impacted(plan.ir, enacted.cut.marking) == ["a", "b", "g"]
    steps.go_on(plan, enacted)
    assert sorted(steps.done) == ["a[2]", "b[0]", "b[1]", "b[2]"]


def test_the_items_by_which_an_aggregate_failed_are_made_again() -> None:
    steps = Steps()
    steps.failing = {"a[1]"}
    nodes = [
        node("m", type="map", config={"items": "[1, 2, 3]"}), step("a", "m", max_retries=0),
        node("g", "a", type="aggregate", config={"policy": "all"}), step("z"),
    ]  # fmt: skip
    plan = plan_of({"courante": 1, "id": "w", "nodes": nodes})
    oracle = steps.run(plan)
    steps.failing = set()
    enacted = reenact(plan, oracle, stop=stop(plan, "z"))
    assert left(plan, enacted) == ["a[1]", "z"]
    steps.go_on(plan, enacted)
    assert sorted(steps.done) == ["a[1]", "z"]


def test_a_given_output_decides_where_its_step_leads() -> None:
    """Its rules are asked again; what becomes of it is told as a difference from the base run."""
    rules = [{"when": "output.n > 1", "next": ["b"]}]
    nodes = [step("a", rules=rules, default=["c"]), step("b"), step("c"), step("d", "b", "c")]
    plan = plan_of({"courante": 1, "id": "w", "nodes": nodes})
    steps = Steps(a=b'{"n":1}')
    oracle = steps.run(plan)
    at = plan.numbers["a"], ()
    enacted = reenact(plan, oracle, stop=stop(plan, "a"), given={at: b'{"n":2}'})
    assert left(plan, enacted) == ["b"]
    assert enacted.rerouted == {at: ("dl-", "ld-")}
    restart = restart_plan(plan, enacted.cut)
    ran = impacted(plan.ir, restart.marking)
    assert (ran, reused(restart.events, ran)) == (["b", "d"], ["a"])
    (told,) = [(facts, value) for facts, value in restart.events if facts.node == "a"]
    assert (told[0].reason, told[0].edges, told[1]) == ("given", "ld-", b'{"n":2}')
    steps.go_on(plan, enacted)
    assert steps.done == ["b", "d"]
    reference = b"@00112233445566778899aabbccddeeff:7"
    enacting = Enacting(plan, oracle, stop=frozenset(stop(plan, "a")), given={at: reference})
    with pytest.raises(Unloaded) as unloaded:
        enacting.run()
    assert unloaded.value.references == (reference,)
    enacting.contents.put(reference, b'{"n":2}')
    assert enacting.run().rerouted == enacted.rerouted


def test_another_input_may_lead_elsewhere() -> None:
    """Only where decisions are made again; a step that was not executed stays to be."""
    nodes = [step("a"), step("b", "a", when="input.big"), step("c", "a", when="!input.big")]
    plan = plan_of({"courante": 1, "id": "w", "nodes": nodes})
    base = Simulation(plan=plan, handler=Steps(), floor=MemoryFloor(plan), seed=1, chances=CALM, input=b'{"big":true}')
    base.run()
    oracle = ask(plan.ir, [event for call in base.log for event in call])
    assert left(plan, reenact(plan, oracle, input=b'{"big":false}')) == []
    enacted = reenact(plan, oracle, input=b'{"big":false}', reroute=True)
    rerouted = [(plan.node_ids[at[0]], then, now) for at, (then, now) in enacted.rerouted.items()]
    assert sorted(rerouted) == [("b", "-", "when"), ("c", "when", "")]
    assert left(plan, enacted) == ["c"]
