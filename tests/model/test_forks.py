"""A run may be forked at every one of its events: the fork's log tells the state there, and the fork ends.

Also where the run was paused, was ending, or had ended: then the fork ends as the run did. ``COURANTE_SIM_EXAMPLES``
sets how many drawn runs are tried.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from courante.sdk.fold.fold import fold
from courante.sdk.marking.marking import GOES_ON, RunPhase
from courante.sdk.marking.scopes import scope_text
from courante.sdk.outcomes.outcomes import Outcome, Succeeded
from courante.sdk.outcomes.step_context import encode_json
from courante.sdk.reenactment.impact import impacted
from courante.sdk.reenactment.oracle import ask
from courante.sdk.reenactment.restarting import GIVEN, restart_plan, started
from courante.sdk.restarts.given import without_dependents
from courante.sdk.user_errors import FatalError
from courante.testing.floor import MemoryFloor
from courante.testing.simulation import CALM, Simulation
from model.compiled import plan_of
from model.eventful import eventful, taste_of
from model.reading.draw import SMALL, accepted
from model.reading.graph import from_document
from model.reading.oracle import Seeded
from model.restarts import NOW_MS, go_on, log_of, reenact, resume, whole_cut
from model.test_every_run_ends import simulate
from model.test_restarted_maps import CASES, Drawn, disagreements

if TYPE_CHECKING:
    from courante.runner.work import Work
    from courante.sdk.events import RecordedEvent
    from courante.sdk.marking.marking import Marking
    from courante.sdk.marking.plan import Plan

EXAMPLES = int(os.environ.get("COURANTE_SIM_EXAMPLES", "40"))
FIRST = 500_000


def events_of(simulation: Simulation) -> list[RecordedEvent]:
    return [event for call in simulation.log for event in call]


DOING = frozenset({"step.succeeded", "step.failed", "step.skipped", "step.waiting", "step.retried"})


def not_told(plan: Plan, marking: Marking, fork: Simulation) -> set[str]:
    """The steps that a fork executed and that were not said to be; what undoes others is never said."""
    undoing = {node.id for node in plan.ir.nodes if node.compensates >= 0}
    done = {event.facts.node for event in events_of(fork) if event.facts.type in DOING and event.facts.attempt}
    return done - undoing - set(impacted(plan.ir, marking))


def test_a_run_may_be_forked_at_every_event() -> None:
    met: Counter[str] = Counter()
    for seed in range(FIRST, FIRST + EXAMPLES):
        base = simulate(seed)
        status = base.run()
        events = events_of(base)
        for seq in range(1, len(events) + 1):
            cut = whole_cut(base.plan, events, seq)
            if cut is None:
                continue
            met[cut.marking.phase.name] += 1
            restart = restart_plan(base.plan, cut)
            log = log_of(base.plan, restart)
            assert fold(base.plan.ir, log) == started(restart.marking, NOW_MS), (seed, seq)
            again = go_on(base, restart.marking, log, eventful(seed, taste_of(seed)), seed)
            end = again.drive()
            assert not not_told(base.plan, restart.marking, again), (seed, seq)
            if not restart.marking.tokens or restart.marking.phase not in GOES_ON:
                assert end == status, (seed, seq)
            met["ended"] += not restart.marking.tokens
            met["bounded"] += restart.marking.room is not None and restart.marking.phase is RunPhase.DRAINING
    assert {"RUNNING", "PAUSED", "DRAINING", "COMPENSATING", "ENDED", "ended", "bounded"} <= set(+met)


class Steady:
    """Steps that do the same whenever they are asked."""

    def __init__(self, document: Any, seed: int) -> None:
        self.oracle = Seeded.varied(from_document(document), seed)

    def __call__(self, work: Work) -> Outcome:
        where = scope_text(work.plan.ir, work.number, work.scope)
        if not self.oracle.outcome(work.node.id, where).ok:
            raise FatalError("drawn")
        return Succeeded(encode_json(self.oracle.output(work.node.id, where)))


def test_a_fork_ends_as_the_run_did_with_the_same_outputs() -> None:
    """Where nobody meddles and steps do the same again."""
    ends: Counter[str] = Counter()
    for seed in range(FIRST, FIRST + EXAMPLES):
        document = accepted(seed, SMALL)
        plan = plan_of(document)
        steps = Steady(document, seed)
        floor = MemoryFloor(plan)
        base = Simulation(
            plan=plan, handler=steps, floor=floor, seed=seed, input=encode_json(steps.oracle.input()), chances=CALM
        )
        status = base.run()
        ends[status] += 1
        wanted, events = base.folder.marking, events_of(base)
        for seq in range(1, len(events) + 1):
            cut = whole_cut(plan, events, seq)
            if cut is None:
                continue
            restart = restart_plan(plan, cut)
            again = resume(plan, steps, restart.marking, log_of(plan, restart), seed + seq, CALM)
            assert again.drive() == status, (seed, seq)
            assert not not_told(plan, restart.marking, again), (seed, seq)
            found = again.folder.marking
            if status == "COMPLETED":
                assert (found.outputs, found.statuses, found.last) == (wanted.outputs, wanted.statuses, wanted.last)
            assert all(found.outputs[at] == value for at, value in wanted.outputs.items() if at in found.outputs)
    assert set(ends) == {"COMPLETED", "FAILED"}


def test_the_same_output_given_again_changes_nothing() -> None:
    """Whatever step it is given to: what depends on it is done again, and the fork ends as the run did."""
    tried = reused = 0
    for seed in range(FIRST, FIRST + EXAMPLES):
        document = accepted(seed, SMALL)
        plan, steps = plan_of(document), Steady(document, seed)
        base = Simulation(
            plan=plan, handler=steps, floor=MemoryFloor(plan), seed=seed, input=encode_json(steps.oracle.input()),
            chances=CALM,
        )  # fmt: skip
        if base.run() != "COMPLETED":
            continue
        wanted, oracle = base.folder.marking, ask(plan.ir, events_of(base))
        for at, answer in oracle.answers.items():
            output = answer.settled.output
            if output is None or plan.ir.nodes[at[0]].is_gate:
                continue
            known = without_dependents(plan.ir, oracle, [at])
            enacted = reenact(plan, known, given={at: output})
            assert enacted.cut.settled[at].reason == GIVEN, (seed, at)
            restart = restart_plan(plan, enacted.cut)
            log = log_of(plan, restart)
            assert fold(plan.ir, log) == started(restart.marking, NOW_MS), (seed, at)
            again = resume(plan, steps, restart.marking, log, seed, CALM)
            assert again.drive() == "COMPLETED", (seed, at)
            found = again.folder.marking
            assert (found.outputs, found.statuses, found.last) == (wanted.outputs, wanted.statuses, wanted.last)
            tried += 1
            reused += len(enacted.cut.settled) > 1
    assert tried > EXAMPLES
    assert reused > tried // 2


@pytest.mark.parametrize("name", CASES)
def test_a_run_with_maps_may_be_forked_at_every_event(name: str) -> None:
    """Half-filled joins, open and closed maps, cursors and chunks; also where the run drains."""
    plan = plan_of({"courante": 1, "id": "mapped", "nodes": CASES[name]})
    is_large = name == "chunks"
    for seed in range(1 if is_large else 3):
        base = Simulation(plan=plan, handler=Drawn(seed), floor=MemoryFloor(plan), seed=seed, chances=CALM)
        base.compares_every = 50 if is_large else 1
        status, events = base.run(), events_of(base)
        last = len(events)
        for seq in (*range(1, last - 9, 97), *range(last - 9, last + 1)) if is_large else range(1, last + 1):
            cut = whole_cut(plan, events, seq)
            if cut is None:
                continue
            restart = restart_plan(plan, cut)
            log = log_of(plan, restart)
            assert fold(plan.ir, log) == started(restart.marking, NOW_MS), (seed, seq)
            again = resume(plan, Drawn(seed), restart.marking, log, seed + seq, CALM)
            again.compares_every = base.compares_every
            assert again.drive() == status, (seed, seq)
            assert not not_told(plan, restart.marking, again), (seed, seq)
            if status == "COMPLETED":
                assert again.folder.marking.outputs == base.folder.marking.outputs
            assert disagreements(plan, events_of(again)) == []
