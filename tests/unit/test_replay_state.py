"""The state of a run at any event, as people see it, and what changes between two events."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest

from courante.replay import Change, NoSuchEvent, diff, marking_at, marking_to_json, state_at
from courante.replay.history import Emptied, History
from courante.replay.steps import StepKey, StepStates
from courante.sdk.events import Facts, RecordedEvent
from courante.sdk.fold.fold import fold
from courante.sdk.marking.marking import Token
from courante.sdk.marking.scopes import SWEEP_NODE
from model.compiled import Parking, plan_of, with_delays
from model.reading.draw import SMALL, accepted
from model.reading.graph import Document, from_document
from model.reading.oracle import Seeded
from unit.logged_engine import LoggedEngine

DOCUMENT: Document = {
    "courante": 1,
    "id": "w",
    "nodes": [
        {"id": "a", "type": "noop"},
        {"id": "p", "type": "noop", "depends_on": ["a"], "loop": {"while": "output == 1", "back_to": "p"}},
        {"id": "w", "type": "wait", "depends_on": ["a"], "config": {"for": "1h"}},
        {"id": "j", "type": "noop", "depends_on": ["p", "w"]},
    ],
}


def event(seq: int, kind: str, node: str = "", *, payload: bytes | None = None, **more: object) -> RecordedEvent:
    facts = msgspec.convert({"type": kind, "node": node, **more}, Facts)
    return RecordedEvent(run_id="run_1", seq=seq, at_ms=seq, facts=facts, payload=payload)


LOG = [
    event(1, "run.started", payload=b'{"n":1}'),
    event(2, "step.succeeded", "a", attempt=1, payload=b"1"),
    event(3, "step.waiting", "w", attempt=1, reason="timer"),
    event(4, "timer.set", "w", due=9_000),
    event(5, "step.succeeded", "p", scope="1", attempt=1, edges="-b", loop="back", payload=b"1"),
    event(6, "step.started", "p", scope="2", attempt=1),
    event(7, "step.succeeded", "p", scope="2", attempt=1, edges="lx", loop="break", payload=b"@0a:90000"),
    event(8, "timer.released", "w"),
    event(9, "step.failed", "w", attempt=1, error={"type": "Boom", "message": "no"}),
    event(10, "run.swept"),
    event(11, "run.failed"),
]
PLAN = plan_of(DOCUMENT)


def statuses(seq: int) -> dict[str, str]:
    steps: list[dict[str, str]] = state_at(PLAN.ir, LOG, seq)["steps"]
    return {f"{step['node']} {step['scope']}".strip(): step["status"] for step in steps}


def test_the_state_before_anything() -> None:
    """Before the first event a run is pending, with every step of its document."""
    state = state_at(PLAN.ir, LOG, 0)
    assert (state["seq"], state["status"], state["counter"]) == (0, "PENDING", 0)
    assert set(statuses(0).values()) == {"PENDING"}


def test_the_state_in_the_middle() -> None:
    """Tokens, joins, outputs and steps are told by id and scope, what is parked with its time."""
    state = state_at(PLAN.ir, LOG, 7)
    assert {name: state[name] for name in ("seq", "status", "phase", "counter", "input")} == {
        "seq": 7,
        "status": "RUNNING",
        "phase": "RUNNING",
        "counter": 1,
        "input": {"n": 1},
    }
    assert state["tokens"] == [{"node": "w", "scope": "", "kind": "step", "due": 9_000}]
    (join,) = state["joins"]
    assert (join["node"], join["live"], join["dead"], join["arity"]) == ("j", 1, 0, 2)
    assert state["outputs"] == [
        {"node": "a", "scope": "", "value": 1},
        {"node": "p", "scope": "p#1", "value": 1},
        {"node": "p", "scope": "p#2", "value": {"reference": "@0a:90000"}},
    ]


def test_steps_have_their_status_at_every_event() -> None:
    """READY with a token, RUNNING when it said so, WAITING while parked, then what became of it; the rest SKIPPED."""
    assert statuses(2) == {"a": "SUCCEEDED", "p p#1": "READY", "w": "READY", "j": "PENDING"}
    assert statuses(5) == {"a": "SUCCEEDED", "p p#1": "SUCCEEDED", "p p#2": "READY", "w": "WAITING", "j": "PENDING"}
    assert statuses(6)["p p#2"] == "RUNNING"
    assert statuses(8)["w"] == "READY"
    assert statuses(9)["w"] == "FAILED"
    assert statuses(11)["j"] == "SKIPPED"
    assert state_at(PLAN.ir, LOG, 11)["status"] == "FAILED"


def test_a_marking_alone_can_be_shown() -> None:
    """Without the events a marking tells what it keeps."""
    shown = marking_to_json(PLAN.ir, marking_at(PLAN.ir, LOG, 5))
    assert [(step["node"], step["status"]) for step in shown["steps"]] == [
        ("a", "SUCCEEDED"),
        ("p", "SUCCEEDED"),
        ("p", "READY"),
        ("w", "WAITING"),
        ("j", "PENDING"),
    ]
    msgspec.json.encode(shown)


def test_tokens_of_the_engine_are_shown() -> None:
    """The sweep of a run that drains has a name."""
    assert [token["node"] for token in state_at(PLAN.ir, LOG, 9)["tokens"]] == ["(sweep)"]
    assert marking_at(PLAN.ir, LOG, 9).tokens[SWEEP_NODE, ()] != Token()


def test_numbers_that_are_no_events_are_refused() -> None:
    """There is no state after the last event, and the error says which is the last."""
    with pytest.raises(NoSuchEvent, match="1 to 11") as raised:
        marking_at(PLAN.ir, LOG, 12)
    assert raised.value.last == 11


def test_what_changed_between_two_events() -> None:
    """A difference names the place by node and scope, with the values before and after."""
    before, after = state_at(PLAN.ir, LOG, 6), state_at(PLAN.ir, LOG, 7)
    assert diff(before, before) == []
    changes = {change.place: (change.before, change.after) for change in diff(before, after)}
    assert changes["seq",] == (6, 7)
    assert changes["counter",] == (2, 1)
    assert changes["tokens", "p p#2"] == ("step", None)
    assert changes["steps", "p p#2"] == ("RUNNING", "SUCCEEDED")
    assert changes["outputs", "p p#2"] == (None, {"reference": "@0a:90000"})
    assert ("steps", "a") not in changes
    one, other = state_at(PLAN.ir, LOG, 3), state_at(PLAN.ir, [event(1, "run.started", payload=b'{"n":2}')], 1)
    assert Change(("input",), {"n": 1}, {"n": 2}) in diff(one, other)


def test_every_state_of_drawn_runs_can_be_shown() -> None:
    """States of random runs are JSON at every event; their counter is the number of their tokens."""
    for seed in range(25):
        drawn = accepted(seed, SMALL)
        oracle = Seeded.varied(from_document(drawn), seed)
        engine = LoggedEngine(plan_of(with_delays(drawn, seed)).ir, oracle, Parking(seed=seed, share=0.2))
        random = Random(seed)
        engine.start()
        while living := engine.living():
            engine.deliver(random.choice(living))
        engine.end()
        log = [with_json(one) for one in engine.log]
        for seq in range(len(log) + 1):
            state: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(state_at(engine.ir, log, seq)))
            assert len(state["tokens"]) == state["counter"]
        assert state_at(engine.ir, log, len(log))["status"] == engine.status()
        assert marking_at(engine.ir, log, len(log) // 2) == fold(engine.ir, log[: len(log) // 2])


def with_json(one: RecordedEvent) -> RecordedEvent:
    return (
        one if one.payload is None else msgspec.structs.replace(one, payload=msgspec.json.encode(one.payload.decode()))
    )


def test_executions_are_told_apart_by_attempt() -> None:
    """Each attempt has its status; a drain cancels what is open at its place and nothing else."""
    states = StepStates()
    for one in (
        event(1, "step.retried", "a", attempt=1, due=5),
        event(2, "step.started", "a", attempt=2),
        event(3, "step.succeeded", "b", attempt=1),
        event(4, "token.dropped", "b"),
        event(5, "token.withdrawn", "a"),
    ):
        states.add(one)
    assert {key: state.status for key, state in states.all.items()} == {
        StepKey("a", "", 1): "FAILED",
        StepKey("a", "", 2): "CANCELLED",
        StepKey("b", "", 1): "SUCCEEDED",
    }
    assert states.all[StepKey("b", "", 1)].output_seq == 3
    last = states.at("a", "")
    assert last is not None
    assert (last.reason, last.seq) == ("withdrawn", 5)


def test_values_are_as_they_stood() -> None:
    """A context value is there from its event on; the last iteration of a loop when the loop has ended."""
    history = History(PLAN)
    for one in LOG[:7]:
        history.add(one)
    fields = ["in", "o0", "?o1~L0", "o1:1", "o3"]
    assert history.values(fields) == [b'{"n":1}', b"1", b"@0a:90000", b"1", None]
    assert history.values(fields, 6) == [b'{"n":1}', b"1", None, b"1", None]
    assert history.values(fields, 1) == [b'{"n":1}', None, None, None, None]
    assert history.moments((2, ()), ["o0"]) == [7]
    assert history.moments((2, ()), ["?o1~L0", "o1:1"]) == [7, 6, 4]


def test_an_emptied_value_is_not_a_missing_one() -> None:
    """What was removed from storage raises; what never was is None."""
    history = History(PLAN)
    history.add(LOG[0])
    history.add(msgspec.structs.replace(LOG[1], payload=None))
    with pytest.raises(Emptied):
        history.values(["o0"])
    assert history.values(["o0"], 1) == [None]
