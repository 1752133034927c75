"""Sweeping: the memory of a replay follows what can still be read, and nothing goes that can."""

from __future__ import annotations

import pytest

from courante.bench.documents import compiled, looping
from courante.compiler.ir import encode_ir, ir_hash
from courante.replay import history
from courante.replay.history import History
from courante.replay.steps import StepKey, StepState, StepStates
from courante.replay.tallies import Tally
from courante.sdk.events import Facts, RecordedEvent
from courante.sdk.plan import Plan
from courante.sdk.stores.runs import StepRow
from courante.sdk.stores.status import StepStatus

ITERATIONS = 3_000
KEPT_MAX = 40


def plan() -> Plan:
    _, ir = compiled(looping())
    return Plan(ir_hash(encode_ir(ir)), ir)


def loop_events(iterations: int) -> list[RecordedEvent]:
    facts: list[tuple[Facts, bytes]] = [(Facts(type="run.started"), b"{}")]
    for number in range(1, iterations + 1):
        word, ends = ("b", "back") if number < iterations else ("x", "break")
        for node, edges, loop in (("step", "", ""), ("count", word, ends)):
            said = Facts(type="step.succeeded", node=node, scope=str(number), attempt=1, edges=edges, loop=loop)
            facts.append((said, str(number).encode()))
    facts.append((Facts(type="run.completed"), str(iterations).encode()))
    return [
        RecordedEvent(run_id="r", seq=seq, at_ms=seq, facts=said, payload=payload)
        for seq, (said, payload) in enumerate(facts, start=1)
    ]


def test_a_long_loop_keeps_what_two_iterations_can_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "SWEEP_MIN", 8)
    replayed = History(plan(), lambda _key, _state: None)
    most = 0
    for event in loop_events(ITERATIONS):
        replayed.add(event)
        most = max(most, replayed.kept + len(replayed.steps.all))
    assert most < KEPT_MAX
    assert replayed.status == "COMPLETED"
    assert replayed.values([f"o0:{ITERATIONS}", f"o1:{ITERATIONS}", "in"]) == [b"3000", b"3000", b"{}"]
    assert replayed.values(replayed.plan.output_reads()) == [b"3000"]


def test_executions_that_are_let_go_are_counted_as_those_that_stay() -> None:
    """A sum does not depend on the order, and shows each field that differs."""
    tally, states = Tally(), StepStates()
    letting_go = StepStates(tally.add)
    for event in loop_events(5):
        states.add(event)
        letting_go.add(event)
    assert not letting_go.all
    assert len(states.all) == 10
    assert counted(states) == tally
    rows = Tally()
    for key, state in reversed(states.all.items()):
        rows.add_row(row(key, state))
    assert rows == tally
    for field, value in (("status", "FAILED"), ("reason", "x"), ("output_seq", 99)):
        first = next(iter(states.all.values()))
        before = getattr(first, field)
        setattr(first, field, value)
        assert counted(states) != tally
        setattr(first, field, before)
    del states.all[next(iter(states.all))]
    assert counted(states) != tally


def counted(states: StepStates) -> Tally:
    tally = Tally()
    for key, state in states.all.items():
        tally.add(key, state)
    return tally


def row(key: StepKey, state: StepState) -> StepRow:
    return StepRow(
        node=key.node,
        scope=key.scope,
        attempt=key.attempt,
        status=StepStatus(state.status),
        reason=state.reason or None,
        worker="w",
        started_at=None,
        finished_at=None,
        due_at=None,
        ms=None,
        error=None,
        output_seq=state.output_seq,
    )
