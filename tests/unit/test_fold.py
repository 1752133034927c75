"""The fold: what the rules did is rebuilt from the log alone, and a log that contradicts the rules is refused."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from courante.sdk.corrupt import Corrupt
from courante.sdk.events import ErrorInfo, Facts, RecordedEvent
from courante.sdk.fold.fold import Folder, fold
from courante.sdk.marking.marking import Marking, RunPhase, TokenKind
from courante.sdk.marking.rules import is_decision
from courante.sdk.marking.scopes import START_NODE
from model.compiled import Parking, plan_of, with_delays
from model.reading.draw import SMALL, accepted
from model.reading.graph import Document, from_document
from model.reading.oracle import Seeded
from unit.logged_engine import LoggedEngine

GRAPHS = 150
SILENT = {"step.started"}


def engine_of(seed: int) -> LoggedEngine:
    drawn = accepted(seed, SMALL)
    oracle = Seeded.varied(from_document(drawn), seed)
    parking = Parking(seed=seed, share=(0.0, 0.4)[seed % 2])
    return LoggedEngine(plan_of(with_delays(drawn, seed)).ir, oracle, parking)


def finish(engine: LoggedEngine, seed: int) -> None:
    """Deliver the run's tokens in a random order until it has ended."""
    random = Random(seed)
    engine.start()
    while living := engine.living():
        engine.deliver(random.choice(living))
    engine.end()


def is_corrupt(engine: LoggedEngine, log: list[RecordedEvent]) -> bool:
    try:
        fold(engine.ir, log)
    except Corrupt:
        return True
    return False


def state(marking: Marking) -> dict[str, object]:
    return {name: getattr(marking, name) for name in ("phase", "reason", "seq", "tokens", "joins", "last")}


def of(document: Document) -> Folder:
    return Folder(plan_of(document).ir)


def event(seq: int, kind: str, node: str = "", **more: object) -> RecordedEvent:
    payload = more.pop("payload", None)
    assert payload is None or isinstance(payload, bytes)
    facts = msgspec.convert({"type": kind, "node": node, **more}, Facts)
    return RecordedEvent(run_id="run_1", seq=seq, at_ms=seq, facts=facts, payload=payload)


def renumbered(events: list[RecordedEvent]) -> list[RecordedEvent]:
    return [msgspec.structs.replace(one, seq=seq) for seq, one in enumerate(events, start=1)]


DIAMOND: Document = {
    "courante": 1,
    "id": "diamond",
    "nodes": [
        {"id": "a", "type": "noop"},
        {"id": "b", "type": "noop", "depends_on": ["a"]},
        {"id": "c", "type": "noop", "depends_on": ["a"]},
        {"id": "d", "type": "noop", "depends_on": ["b", "c"]},
    ],
}
MAP: list[dict[str, object]] = [
    {"id": "m", "type": "map"},
    {"id": "w", "type": "noop", "depends_on": ["m"]},
    {"id": "all", "type": "aggregate", "depends_on": ["w"]},
]
DIAMOND_LOG = [
    event(1, "run.started", payload=b'{"x":1}'),
    event(2, "step.succeeded", "a", payload=b"1"),
    event(3, "step.succeeded", "b", payload=b"2"),
    event(4, "step.succeeded", "c", payload=b"3"),
    event(5, "join.fired", "d", data={"live": "*"}),
    event(6, "step.succeeded", "d", payload=b"4"),
    event(7, "run.completed", payload=b"4"),
]


def test_the_fold_is_where_the_rules_are() -> None:
    """After every delivery of random runs of random graphs, the fold of the log is the marking of the engine."""
    for seed in range(GRAPHS):
        engine = engine_of(seed)
        random, folder, folded = Random(seed), Folder(engine.ir), 0
        engine.start()
        while living := engine.living():
            engine.deliver(random.choice(living))
            for one in engine.log[folded:]:
                folder.add(one)
            folded = len(engine.log)
            assert state(folder.marking) == state(engine.marking), f"seed {seed}"
        engine.end()
        folder.add(engine.log[-1])
        assert folder.status == engine.status()
        assert folder.marking.phase is RunPhase.ENDED


def test_no_event_can_be_missing() -> None:
    """A log without one of its events, numbered again, contradicts the rules: every event leaves its trace."""
    for seed in range(0, GRAPHS, 5):
        engine = engine_of(seed)
        finish(engine, seed)
        for place in range(len(engine.log)):
            if engine.log[place].facts.type not in SILENT and place < len(engine.log) - 1:
                cut = renumbered(engine.log[:place] + engine.log[place + 1 :])
                assert is_corrupt(engine, cut), f"seed {seed}: {engine.log[place].facts} is not missed"


def test_no_event_can_stand_twice() -> None:
    """A log with one of its events repeated, numbered again, contradicts the rules."""
    for seed in range(0, GRAPHS, 5):
        engine = engine_of(seed)
        finish(engine, seed)
        for place in range(len(engine.log)):
            twice = renumbered([*engine.log[: place + 1], *engine.log[place:]])
            assert is_corrupt(engine, twice), f"seed {seed}: {engine.log[place].facts} may stand twice"


def test_a_prefix_is_a_state() -> None:
    """Every prefix of a log folds; the counter is never negative and zero only at the end."""
    engine = engine_of(11)
    finish(engine, 11)
    for upto in range(1, len(engine.log) - 1):
        marking = fold(engine.ir, engine.log[:upto])
        assert marking.seq == upto
    assert fold(engine.ir, engine.log).counter == 0


def test_outputs_and_input_are_kept() -> None:
    """The run's input and the output of each step stand in the marking as they were logged."""
    marking = fold(plan_of(DIAMOND).ir, DIAMOND_LOG)
    assert marking.input == b'{"x":1}'
    assert marking.outputs == {(0, ()): b"1", (1, ()): b"2", (2, ()): b"3", (3, ()): b"4"}


@pytest.mark.parametrize(
    ("place", "other", "why"),
    [
        (0, event(1, "step.succeeded", "a"), "starts once"),
        (1, event(2, "run.started"), "starts once"),
        (1, event(2, "step.succeeded", "b"), "does not exist|no such token"),
        (1, event(2, "step.succeeded", "nobody"), "no node 'nobody'"),
        (1, event(2, "step.succeeded", "a", scope="1"), "no scope"),
        (1, event(2, "step.succeeded", "a", scope="x"), "no scope"),
        (1, event(2, "step.succeeded", ""), "names no node"),
        (1, event(2, "step.succeeded", "a", edges="ll"), "decides nothing"),
        (1, event(2, "step.succeeded", "a", edges="llb"), "decides nothing"),
        (1, event(2, "step.succeeded", "a", edges="lz-"), "decides nothing"),
        (1, event(2, "path.died", "a"), "no such token"),
        (1, event(2, "effects.continued", "a"), "no such token"),
        (1, event(2, "timer.set", "a", due=5), "otherwise"),
        (1, event(2, "timer.released", "a"), "parked"),
        (1, event(2, "token.dropped", "a"), "goes on"),
        (1, event(2, "token.withdrawn", "a"), "goes on"),
        (1, event(2, "join.fired", "d", data={"live": "*"}), "otherwise"),
        (1, event(2, "run.completed"), "living tokens"),
        (1, event(2, "run.halted"), "half-filled"),
        (4, event(5, "join.fired", "d", data={"live": "+0"}), "otherwise"),
        (4, event(5, "join.died", "d", reason="dead"), "otherwise"),
        (4, event(5, "step.succeeded", "d"), "is missing"),
        (6, event(7, "run.failed"), "ends otherwise"),
        (6, event(7, "run.cancelled"), "ends otherwise"),
        (6, event(8, "run.completed"), "follows"),
    ],
)  # fmt: skip
def test_what_contradicts_the_rules_is_refused(place: int, other: RecordedEvent, why: str) -> None:
    """The fold stops at the first event that cannot be, and says why."""
    folder = of(DIAMOND)
    for one in DIAMOND_LOG[:place]:
        folder.add(one)
    with pytest.raises(Corrupt, match=why):
        folder.add(other)


@pytest.mark.parametrize(("kind", "why"), [("run.completed", "an open map"), ("run.halted", "")])
def test_a_run_does_not_complete_beside_an_open_map(kind: str, why: str) -> None:
    """Where nothing lives and a map is open, the run is corrupt: it may be halted, and cannot end."""
    folder = of({"courante": 1, "id": "t", "nodes": MAP})
    folder.add(event(1, "run.started"))
    folder.add(event(2, "step.succeeded", "m", data={"items": 2}, payload=b"[1,2]"))
    folder.marking.tokens.clear()
    if why:
        with pytest.raises(Corrupt, match=why):
            folder.add(event(3, kind))
    else:
        folder.add(event(3, kind))
        assert folder.marking.phase is RunPhase.HALTED


def test_a_damaged_run_is_as_it_was_when_it_is_rebuilt() -> None:
    """Halted, whatever lives, in whatever phase; and then in that phase again, as often as it takes."""
    folder = of(DIAMOND)
    for one in DIAMOND_LOG[:2]:
        folder.add(one)
    before = folder.marking.phase, dict(folder.marking.tokens)
    for seq in (3, 5):
        folder.add(event(seq, "run.halted", reason="counter"))
        assert folder.marking.phase is RunPhase.HALTED
        folder.add(event(seq + 1, "run.rebuilt"))
        assert (folder.marking.phase, folder.marking.tokens) == before
    with pytest.raises(Corrupt, match="nothing of it was damaged"):
        folder.add(event(7, "run.rebuilt"))


def test_nothing_comes_after_the_end() -> None:
    """An ended run has no further events."""
    with pytest.raises(Corrupt, match="has ended before"):
        fold(plan_of(DIAMOND).ir, [*DIAMOND_LOG, event(8, "run.completed")])


def test_an_unknown_event_changes_nothing() -> None:
    """Events of types that the fold does not know only take their number."""
    marking = fold(plan_of(DIAMOND).ir, [DIAMOND_LOG[0], event(2, "step.started", "a")])
    assert (marking.seq, marking.counter) == (2, 1)


def test_a_held_run_is_pending_until_it_is_entered() -> None:
    """A run that starts later holds one token, parked until its time; entering it emits the entry nodes."""
    folder = of(DIAMOND)
    folder.add(event(1, "run.started", data={"held": True}, due=5_000))
    assert folder.status == "PENDING"
    folder.add(event(2, "timer.set", "(start)", due=5_000))
    assert folder.marking.tokens[START_NODE, ()].due == 5_000
    folder.add(event(3, "timer.released", "(start)"))
    folder.add(event(4, "run.entered", "(start)"))
    assert (folder.status, list(folder.marking.tokens)) == ("RUNNING", [(0, ())])


def test_a_run_that_expired_is_timed_out() -> None:
    """Entering after its expiry drains the run, which then ends TIMED_OUT and in no other way."""
    folder = of(DIAMOND)
    folder.add(event(1, "run.started", data={"held": True, "expires": 9}))
    folder.add(event(2, "run.entered", "(start)", reason="expired"))
    assert folder.marking.phase is RunPhase.DRAINING
    folder.add(event(3, "run.swept"))
    with pytest.raises(Corrupt, match="ends otherwise"):
        folder.add(event(4, "run.completed"))
    folder.add(event(4, "run.timed_out"))
    assert folder.status == "TIMED_OUT"


def test_a_failure_drains_the_run() -> None:
    """After a failure under fail_fast nothing is emitted, every other token is dropped, and the run is FAILED."""
    folder = of(DIAMOND)
    for one in DIAMOND_LOG[:2]:
        folder.add(one)
    folder.add(event(3, "step.failed", "b", error={"type": "Boom", "message": "no"}))
    assert folder.marking.phase is RunPhase.DRAINING
    assert folder.marking.error == msgspec.json.encode(ErrorInfo(type="Boom", message="no"))
    folder.add(event(4, "step.succeeded", "c", payload=b"3"))
    assert {token.kind for token in folder.marking.tokens.values()} == {TokenKind.SWEEP}
    folder.add(event(5, "run.swept"))
    folder.add(event(6, "run.failed"))
    assert folder.status == "FAILED"


def test_an_output_that_cannot_be_made_fails_the_run() -> None:
    """A run with nothing failed may end FAILED for its output expression, and for no other reason."""
    folder = of(DIAMOND)
    for one in DIAMOND_LOG[:6]:
        folder.add(one)
    folder.add(event(7, "run.failed", error={"type": "OUTPUT_ERROR", "message": "missing"}))
    assert folder.status == "FAILED"


def test_decisions_fit_their_node() -> None:
    """A decision has a letter for each edge and one for the loop: open edges only where the loop goes back."""
    ir = plan_of(
        {
            "courante": 1,
            "id": "l",
            "nodes": [
                {"id": "a", "type": "noop", "loop": {"while": "false", "back_to": "a"}},
                {"id": "b", "type": "noop", "depends_on": ["a"]},
            ],
        }
    ).ir
    loop, last = ir.nodes[0], ir.nodes[1]
    assert [is_decision(loop, text) for text in ("lx", "dx", "-b", "l-", "lb", "-x", "x", "")] == [True] * 3 + [
        False
    ] * 5
    assert [is_decision(last, text) for text in ("-", "x", "b", "", "l-")] == [True] + [False] * 4
