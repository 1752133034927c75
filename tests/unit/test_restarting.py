"""A run that was cut goes on as a new one: what lives comes back, and what is renewed begins anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from courante.sdk.errors import NotRestartable
from courante.sdk.events import Facts, RecordedEvent
from courante.sdk.fold.cuts import Cut, Cutter, Ending
from courante.sdk.fold.fold import fold
from courante.sdk.marking.marking import Corrupt, Place, Token, TokenKind
from courante.sdk.marking.scopes import START_NODE, WAKER_NODE
from courante.sdk.reenactment.impact import impacted, reused
from courante.sdk.reenactment.restarting import EMISSIONS_MAX, restart_plan, started
from model.compiled import plan_of
from model.restarts import NOW_MS, log_of

NODES: list[dict[str, Any]] = [
    {"id": "a", "type": "echo", "config": {"value": 1}, "compensate": "undo"},
    {"id": "ask", "type": "approval", "config": {"expires": "2h", "escalate_to": "lead"}},
    {"id": "beside", "type": "noop", "while_waiting": "ask"},
    {"id": "hear", "type": "signal", "config": {"name": "go"}},
    {"id": "rest", "type": "wait", "config": {"for": "1h"}},
    {"id": "m1", "type": "noop", "mutex": "m"},
    {"id": "m2", "type": "noop", "mutex": "m"},
    {"id": "b", "type": "transform", "depends_on": "a", "config": {"expression": "steps.a.output"}},
    {"id": "z", "type": "noop", "depends_on": ["b", "beside"]},
    {"id": "undo", "type": "noop"},
]
PLAN = plan_of({"courante": 1, "id": "w", "nodes": NODES})
AT = {node.id: (number, ()) for number, node in enumerate(PLAN.ir.nodes)}


def event(kind: str, node: str = "", *, at_ms: int = 1_000, payload: bytes | None = None, **more: Any) -> RecordedEvent:
    return RecordedEvent(run_id="r", seq=0, at_ms=at_ms, facts=Facts(type=kind, node=node, **more), payload=payload)


BEGIN = [
    event("run.started", payload=b"{}"),
    event("command.applied", payload=b"7", data={"number": 2, "type": "signal", "name": "late"}),
    event("command.applied", payload=b"8", data={"number": 3, "type": "signal", "name": "late"}),
    event("step.waiting", "ask", attempt=1, reason="approval", data={"names": ["!approval/1"], "expires": True}),
    event("join.fired", "beside", data={"live": "*"}),
    event("timer.set", "ask", due=7_201_000),
    event("step.waiting", "hear", attempt=1, reason="signal", data={"names": ["go"]}),
    event("step.waiting", "rest", attempt=1, reason="timer"),
    event("timer.set", "rest", due=3_601_000),
    event("step.waiting", "m1", attempt=1, reason="mutex"),
    event("mutex.granted", "m1"),
    event("step.waiting", "m2", attempt=1, reason="mutex"),
    event("step.succeeded", "a", attempt=1, payload=b"1"),
    event("step.retried", "b", attempt=1),
    event("timer.set", "b", due=9_000, at_ms=2_000),
]


def numbered(events: Sequence[RecordedEvent]) -> list[RecordedEvent]:
    return [
        RecordedEvent(run_id="r", seq=n, at_ms=e.at_ms, facts=e.facts, payload=e.payload)
        for n, e in enumerate(events, 1)
    ]


def cut_of(events: Sequence[RecordedEvent], plan: Any = PLAN) -> Cut:
    cutter = Cutter(plan.ir)
    for one in numbered(events):
        cutter.add(one)
    return cutter.cut()


def begin() -> list[RecordedEvent]:
    """Whether a milestone is a join is the compiler's business."""
    is_join = PLAN.ir.nodes[AT["beside"][0]].join is not None
    return [one for one in BEGIN if is_join or one.facts.type != "join.fired"]


def test_what_waits_waits_again() -> None:
    """A time stays, what may expire keeps what it had left, who asked is asked anew, a backoff is over."""
    restart = restart_plan(PLAN, cut_of(begin()))
    log = log_of(PLAN, restart)
    found = fold(PLAN.ir, log)
    assert found == started(restart.marking, NOW_MS)
    ask, hear, rest = found.tokens[AT["ask"]], found.tokens[AT["hear"]], found.tokens[AT["rest"]]
    assert (ask.place, ask.due, ask.waits) == (Place.SIGNAL, NOW_MS + 7_199_000, ("!approval/1",))
    assert ask.escalates > NOW_MS
    assert (hear.place, hear.due, found.waiting["go"]) == (Place.SIGNAL, 0, [AT["hear"]])
    assert (rest.place, rest.due, rest.extra) == (Place.TIMER, 3_601_000, "woken")
    assert found.tokens[AT["b"]] == Token(attempt=2)
    assert (found.mutexes["m"].holder, found.mutexes["m"].waiters) == (AT["m1"], [AT["m2"]])
    assert found.tokens[AT["m1"]].extra == "held"
    assert found.signals == {"late": [(-2, b"7"), (-1, b"8")]}
    assert (found.completed, len(found.marks)) == ([AT["a"]], 1)
    assert (found.command, found.retries, found.outputs) == (1, 0, {AT["a"]: b"1"})
    kinds = [one.facts.type for one in log]
    assert kinds[0] == "run.started"
    assert kinds.count("run.restored") == 1
    assert [one.facts.node for one in log if one.facts.type == "step.waiting"] == ["ask", "hear", "rest", "m2"]


def test_what_is_renewed_begins_at_its_first_attempt() -> None:
    """It keeps the mutex that it holds; the value that a release had brought is gone."""
    released = [
        event("command.applied", payload=b"1", data={"number": 4, "type": "signal", "name": "go"}),
        event("token.released", "hear", reason="signal", data={"word": "s0"}),
    ]
    cut = cut_of([*begin(), *released])
    assert cut.marking.values == {AT["hear"]: b"1"}
    kept = restart_plan(PLAN, cut).marking
    assert (kept.tokens[AT["hear"]].extra, kept.values) == ("s0", {AT["hear"]: b"1"})
    renewed = restart_plan(PLAN, cut, [AT["hear"], AT["m1"], AT["b"]]).marking
    assert (renewed.tokens[AT["hear"]].extra, renewed.values) == ("", {})
    assert renewed.tokens[AT["m1"]].extra == "held"
    assert renewed.tokens[AT["b"]] == Token(attempt=1)


def test_a_run_may_be_cut_only_between_transitions() -> None:
    with pytest.raises(Corrupt, match="one of several that belong together"):
        cut_of(begin()[:-1])


def test_what_would_be_executed_is_told() -> None:
    restart = restart_plan(PLAN, cut_of(begin()))
    executed = impacted(PLAN.ir, restart.marking)
    assert executed == ["ask", "beside", "hear", "rest", "m1", "m2", "b", "z"]
    assert reused(restart.events, executed) == ["a"]


def refusal(events: Sequence[RecordedEvent]) -> str:
    with pytest.raises(NotRestartable) as found:
        restart_plan(PLAN, cut_of(events))
    return found.value.reason


def test_what_cannot_go_on_is_refused() -> None:
    """A run whose outputs are not stored any more, and one that was halted because its state contradicts the rules."""
    emptied = [one for one in begin() if one.facts.node != "a"][:-2]
    assert refusal([*emptied, event("step.succeeded", "a", attempt=1)]) == "emptied"


def test_how_a_run_came_to_its_end() -> None:
    """Where it began to end, what failed from there on, and what was undone."""
    ending = Ending(PLAN.ir)
    for one in numbered([*begin(), event("step.failed", "m1", attempt=1)]):
        ending.add(one)
    assert (ending.seq, list(ending.failed), ending.undone) == (len(begin()) + 1, [AT["m1"]], [])


def test_of_very_many_tokens_a_waker_queues_the_most() -> None:
    wide = plan_of(
        {"courante": 1, "id": "wide", "nodes": [{"id": f"n{n}", "type": "noop"} for n in range(EMISSIONS_MAX + 2)]}
    )
    cut = cut_of([event("run.started", payload=b"{}"), event("run.entered", "(start)")], wide)
    assert (START_NODE, ()) not in cut.marking.tokens
    restart = restart_plan(wide, cut)
    assert restart.marking.tokens[WAKER_NODE, ()].kind is TokenKind.WAKER
    assert [token.token for token in restart.tokens if token.place == "q"] == [str(WAKER_NODE)]
    assert fold(wide.ir, log_of(wide, restart)) == started(restart.marking, NOW_MS)
