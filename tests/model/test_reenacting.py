"""A run is enacted again from its log: with nothing impacted to its very end, else up to what is to be executed.

Base runs are drawn and simulated, with all that may happen to them. ``COURANTE_SIM_EXAMPLES`` sets how many.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from courante.sdk.fold.fold import fold
from courante.sdk.marking.marking import Marking, TokenKind
from courante.sdk.marking.scopes import scope_text
from courante.sdk.outcomes.outcomes import Outcome, Succeeded
from courante.sdk.outcomes.step_context import encode_json
from courante.sdk.reenactment.impact import downstream, executed
from courante.sdk.reenactment.oracle import Oracle, ask
from courante.sdk.reenactment.reenacting import Enacted
from courante.sdk.reenactment.restarting import started
from courante.sdk.user_errors import FatalError
from courante.testing.floor import MemoryFloor
from courante.testing.simulation import CALM, Simulation
from model import test_eventful_maps, test_every_run_ends
from model.compiled import plan_of
from model.eventful import Handlers
from model.map_documents import Draws, document_of, draw_parts
from model.reading.draw import SMALL, accepted
from model.restarts import NOW_MS, log_of, reenact, restart_of, resume

if TYPE_CHECKING:
    from collections.abc import Iterator

    from courante.runner.work import Work
    from courante.sdk.events import RecordedEvent

EXAMPLES = int(os.environ.get("COURANTE_SIM_EXAMPLES", "80"))
FIRST = 300_000
SIMULATE = {"graphs": test_every_run_ends.simulate, "maps": test_eventful_maps.simulate}
SAME = (
    "reason outputs inputs statuses errors joins last maps chunks results item_errors completed marks signals values "
    "mutexes tokens input"
).split()
"""What of a marking is state of the run, and not when it was or how often."""


def events_of(simulation: Simulation) -> list[RecordedEvent]:
    return [event for call in simulation.log for event in call]


def drawn(kind: str) -> Iterator[tuple[int, str, Simulation, Oracle]]:
    for seed in range(FIRST, FIRST + EXAMPLES):
        base = SIMULATE[kind](seed)
        status = base.run()
        yield seed, status, base, ask(base.plan.ir, events_of(base))


def differences(one: Marking, other: Marking) -> list[str]:
    return [name for name in SAME if getattr(one, name) != getattr(other, name)]


def is_live(enacted: Enacted) -> dict[tuple[int, tuple[int, ...]], TokenKind]:
    return {at: token.kind for at, token in enacted.cut.marking.tokens.items()}


@pytest.mark.parametrize("kind", SIMULATE)
def test_with_nothing_impacted_a_completed_run_comes_to_the_same_end(kind: str) -> None:
    """Nothing is left, and what was said is the same; also where every decision is made again."""
    count = 0
    for seed, status, base, oracle in drawn(kind):
        if status != "COMPLETED":
            continue
        count += 1
        end = fold(base.plan.ir, events_of(base))
        enacted = reenact(base.plan, oracle)
        assert differences(enacted.cut.marking, end) == [], seed
        again = reenact(base.plan, oracle, reroute=True)
        assert not again.rerouted, seed
        assert differences(again.cut.marking, end) == [], seed
    assert count > EXAMPLES // 8


@pytest.mark.parametrize("kind", SIMULATE)
def test_what_is_impacted_stays_on_the_floor_and_everything_else_is_reused(kind: str) -> None:
    """The new run's log tells the state, it ends, and can be enacted again itself."""
    met: Counter[str] = Counter()
    for seed, status, base, oracle in drawn(kind):
        plan, random = base.plan, Random(seed)
        steps = [number for number, node in enumerate(plan.ir.nodes) if not node.is_gate and node.compensates < 0]
        stop = downstream(plan.ir, random.sample(steps, 1))
        enacted = reenact(plan, oracle, stop=stop)
        assert reenact(plan, oracle, stop=stop) == enacted, seed
        settled = enacted.cut.settled
        assert not {at[0] for at, one in settled.items() if one.attempt} & stop, seed
        left = is_live(enacted)
        assert {at for at, kind in left.items() if kind is TokenKind.SKIP} == set(), seed
        unknown = {at for at in left if at[0] not in stop and at in oracle.answers}
        for at in unknown:
            assert oracle.answers[at].settled.status == "FAILED", (seed, plan.node_ids[at[0]], at)
        if status == "COMPLETED" and not oracle.undone:
            ran = {at for at, one in oracle.answers.items() if one.settled.attempt}
            rest = executed(plan.ir, enacted.cut.marking)
            missing = {at for at in ran - set(settled) if at[0] not in rest and not at[0] < 0}
            assert missing == set(), (seed, missing)
        restart = restart_of(plan, enacted.cut)
        if restart is None:
            continue
        log = log_of(plan, restart)
        assert fold(plan.ir, log) == started(restart.marking, NOW_MS), seed
        again = resume(plan, base.handler, restart.marking, log, seed, base.chances)
        met[end := again.drive()] += 1
        if end != "COMPLETED":
            continue
        following = ask(plan.ir, events_of(again))
        third = reenact(plan, following, stop=stop)
        for at, one in settled.items():
            assert third.cut.settled[at]._replace(reason="") == one._replace(reason=""), (seed, at)
    assert {"COMPLETED", "FAILED"} <= set(met)


@pytest.mark.parametrize("kind", SIMULATE)
def test_a_run_made_again_gives_what_its_base_gave(kind: str) -> None:
    """Where nothing but the steps themselves decides, whatever is executed again; what is not, is not."""
    count = 0
    for seed in range(FIRST, FIRST + EXAMPLES):
        done: list[str] = []
        base = plain(kind, seed, done)
        if base.run() != "COMPLETED":
            continue
        plan, random = base.plan, Random(seed)
        ran = Counter(done)
        done.clear()
        stop = downstream(plan.ir, random.sample(range(len(plan.ir.nodes)), 1))
        restart = restart_of(plan, reenact(plan, ask(plan.ir, events_of(base)), stop=stop).cut)
        if restart is None:
            continue
        log = log_of(plan, restart)
        again = resume(plan, base.handler, restart.marking, log, seed, CALM)
        assert again.drive() == "COMPLETED", seed
        one, other = fold(plan.ir, events_of(base)), fold(plan.ir, events_of(again))
        assert differences(without_order(one), without_order(other)) == [], seed
        for number, key in ((plan.numbers[key.split()[0]], key) for key in ran):
            is_again = done.count(key) == ran[key]
            assert is_again if number in stop else key not in done or number in executed(plan.ir, restart.marking), seed
        count += 1
    assert count > EXAMPLES // 20


def plain(kind: str, seed: int, done: list[str]) -> Simulation:
    """A run in which nobody waits and nothing happens besides. done: what was executed."""
    drawn_maps = Draws(seed, failing=0.02)
    document: Any = document_of(draw_parts(Random(f"plain {seed}"), 2, [0], circles=1))
    if kind == "graphs":
        document = accepted(seed, SMALL)
    handlers = Handlers(document, seed)
    draws = handlers.oracle

    def handler(work: Work) -> Outcome:
        place = work.node.id, scope_text(work.plan.ir, work.number, work.scope)
        done.append(" ".join(place))
        is_ok = draws.outcome(*place).ok if kind == "graphs" else drawn_maps.ok(*place)
        if not is_ok:
            raise FatalError("drawn")
        return Succeeded(encode_json(draws.output(*place) if kind == "graphs" else drawn_maps.output(*place)))

    plan = plan_of(document)
    floor = MemoryFloor(plan)
    return Simulation(plan=plan, handler=handler, floor=floor, seed=seed, input=handlers.input(), chances=CALM)


def without_order(marking: Marking) -> Marking:
    """In which order items and steps ended is not the same."""
    return replace(marking, completed=sorted(marking.completed))
