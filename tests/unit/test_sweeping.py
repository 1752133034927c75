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
from courante.sdk.fold.fold import Folder
from courante.sdk.marking.plan import Plan
from courante.sdk.marking.scopes import Scope
from courante.sdk.stores.runs import StepRow
from courante.sdk.stores.status import StepStatus
from unit.test_fold import engine_of, finish

ITERATIONS = 3_000
KEPT_MAX = 40
SEEDS = 60


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


def test_what_a_step_reads_of_the_iteration_before_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it may begin: a condition of the loop's head reads what its end gave."""
    monkeypatch.setattr(history, "SWEEP_MIN", 0)
    monkeypatch.setattr(history, "SWEEP_GROWTH", 0)
    document = looping()
    head = document["nodes"][0]
    head["when"] = "loop.iteration == 1 || steps.count.output < 9"
    _, ir = compiled(document)
    replayed = History(Plan(ir_hash(encode_ir(ir)), ir))
    seen: list[bytes | None] = []
    for event in loop_events(5):
        for (number, scope), token in replayed.marking.tokens.items():
            if number == 0:
                fields = replayed.plan.reads(number, scope, token.live)
                seen += replayed.values(sorted({field for field in fields if field.startswith("o1:")}))
        replayed.add(event)
    assert seen == [None, b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_goes_that_a_living_token_can_read(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In drawn graphs, whatever their nesting: what is in the token's own iterations and in those before, and the last
    iteration of loops that have ended there.
    """
    monkeypatch.setattr(history, "SWEEP_MIN", 0)
    monkeypatch.setattr(history, "SWEEP_GROWTH", 0)
    engine = engine_of(seed)
    finish(engine, seed)
    plan, every = Plan(ir_hash(encode_ir(engine.ir)), engine.ir), Folder(engine.ir)
    swept = History(plan)
    for event in engine.log:
        every.add(event)
        swept.add(event)
        kept = swept.marking.outputs
        for place in every.marking.outputs.keys() - kept.keys():
            assert not any(can_read(every, at, place) for at in every.marking.tokens if at[0] >= 0), (event.seq, place)


def can_read(folder: Folder, reader: tuple[int, Scope], place: tuple[int, Scope]) -> bool:
    """Whether a step may read another's output, level by level."""
    nodes, (node, scope) = folder.ir.nodes, place
    inside = True  # of the regions that are around the reader too
    for depth, (region, index) in enumerate(zip(nodes[node].levels, scope, strict=True)):
        levels, own = nodes[reader[0]].levels, reader[1]
        inside = inside and depth < len(levels) and levels[depth] == region
        if not inside:
            if folder.marking.last.get((region, scope[:depth])) != index:
                return False
        elif index != own[depth]:
            if index != own[depth] - 1:
                return False
            inside = False  # below, it is what has ended in the iteration before
    return True


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
