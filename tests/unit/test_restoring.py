"""What a marking holds becomes the state of a run again: all of it, in calls of bounded size."""

from __future__ import annotations

from dataclasses import fields

import pytest

from courante.compiler.analysis import compile_workflow
from courante.compiler.ir import encode_ir, ir_hash
from courante.compiler.normalize import read_document
from courante.sdk.floor import restoring
from courante.sdk.floor.calling import Word
from courante.sdk.floor.live_marking import marking_of
from courante.sdk.floor.restoring import OtherTimer, RestoredRun, halted, restore, restore_calls
from courante.sdk.marking.joins import JoinRecord
from courante.sdk.marking.marking import Marking, Mutex, Place, RunPhase, Token, TokenKind
from courante.sdk.marking.plan import Plan
from courante.sdk.marking.scopes import CLOSING_NODE, START_NODE

WIDE = 60


def plan() -> Plan:
    branches = [f"n{n}" for n in range(WIDE)]
    nodes: list[dict[str, object]] = [{"id": "a", "type": "noop"}]
    nodes.extend({"id": branch, "type": "noop", "depends_on": "a"} for branch in branches)
    nodes.append({"id": "z", "type": "noop", "depends_on": branches})
    read = read_document({"courante": 1, "id": "w", "policy": {"timeout": "1h"}, "nodes": nodes})
    assert read.workflow is not None
    ir, _ = compile_workflow(read.workflow)
    assert ir is not None
    content = encode_ir(ir)
    return Plan.load(ir_hash(content), content)


PLAN = plan()


def marking() -> Marking:
    """Half of the branches are done, one is parked, and the join has a record."""
    made = Marking(
        seq=70, command=3, retries=4, started_ms=5, input=b'{"x": 1}', reason="failed", error=b'{"type": "E"}'
    )
    for number in range(1, WIDE // 2):
        made.tokens[number, ()] = Token(attempt=number)
    made.tokens[WIDE // 2, ()] = Token(place=Place.TIMER, due=1_790_000_000_000)
    made.tokens[WIDE // 2 + 1, ()] = Token(kind=TokenKind.SKIP, extra="d")
    made.outputs = {(number, ()): b"1" * 100 for number in range(WIDE)}
    made.errors[5, ()] = b"{}"
    made.joins[WIDE + 1, ()] = JoinRecord(live=WIDE // 2 - 1)
    wait_in_all_ways(made)
    return made


def wait_in_all_ways(made: Marking) -> None:
    """Two wait for signals, one of them for two names; one for a mutex; one came back by a signal, with its value."""
    one, two, slow, back = ((WIDE // 2 + n, ()) for n in range(2, 6))
    made.tokens[one] = Token(place=Place.SIGNAL, waits=("paid", "gone"), due=1_790_000_000_001, extra="ok")
    made.tokens[two] = Token(place=Place.SIGNAL, waits=("paid",), escalates=1_790_000_000_002)
    made.tokens[slow] = Token(place=Place.MUTEX, waits=("printer",), deliveries=0)
    made.tokens[back] = Token(extra="ok+s1", deliveries=2)
    made.tokens[CLOSING_NODE, ()] = Token(kind=TokenKind.CLOSING, place=Place.HELD)
    made.waiting = {"paid": [two, one], "gone": [one]}
    made.signals = {"early": [(2, b"1"), (3, b"2")]}
    made.values[back] = b'{"decision": "approve"}'
    made.mutexes["printer"] = Mutex(back, [slow])
    made.completed = [(3, ()), (1, ())]
    made.marks = {(7, ())}


def test_every_field_of_a_marking_is_known() -> None:
    """Whoever gives a marking, a token or a join a new field says here how it comes back."""
    assert set(restoring.MARKING) == {field.name for field in fields(Marking)}
    assert {field.name for field in fields(Token)} == restoring.TOKEN
    assert {field.name for field in fields(JoinRecord)} == restoring.JOIN
    assert {field.name for field in fields(Mutex)} == restoring.MUTEX


def test_what_is_restored_reads_as_the_same_marking() -> None:
    one = restore("r", PLAN, marking())
    state = {name.encode(): _bytes(value) for name, value in one.fields}
    state[b"h"] = one.head.encode()
    for token in one.tokens:
        entry = token.due or ("1-0" if token.place == "q" else "")
        record = f"4294967297|{token.place}|{token.deliveries}|{entry}|{token.ready}"
        state[b"t" + token.token.encode()] = record.encode()
    assert marking_of(state) == marking()
    assert not one.is_done


def test_results_of_maps_are_left_to_the_log_that_has_them() -> None:
    """A run that goes on from another one is given them: its own log does not have them yet."""
    made = marking()
    made.results[1, (0,)] = b'[["o",1]]'
    left = restore("r", PLAN, made, is_logged=True)
    assert dict(left.fields) == dict(restore("r", PLAN, marking()).fields)
    assert dict(restore("r", PLAN, made).fields)["r1:0"] == b'[["o",1]]'


def _bytes(value: Word) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


@pytest.mark.parametrize("writes_max", [3, 10, 900])
def test_calls_are_of_bounded_size_and_hold_everything_once(writes_max: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restoring, "WRITES_MAX", writes_max)
    ended = Marking(seq=9)
    runs = [restore(f"r{n}", PLAN, made) for n, made in enumerate([marking(), ended, marking()])]
    calls = list(restore_calls(runs))
    assert (len(calls) == 1) == (writes_max == 900)
    found = {run.run_id: RestoredRun(run.run_id, run.head, [], [], [], False, "") for run in runs}
    for words in calls:
        assert len(words) < 8 * writes_max + 40
        for run_id, is_done, flat, tokens, timers in _read(words):
            one = found[run_id]
            one.fields.extend(zip(map(str, flat[::2]), flat[1::2], strict=True))
            one.tokens.extend(
                restoring.PlacedToken(str(token), str(place), str(due), int(count), str(ready))
                for token, place, due, count, ready in zip(*(tokens[at::5] for at in range(5)), strict=True)
            )
            one.timers.extend(
                OtherTimer(str(name), str(behind), int(due))
                for name, behind, due in zip(*(timers[at::3] for at in range(3)), strict=True)
            )
            assert not one.is_done, "the last part says so"
            found[run_id] = one._replace(is_done=is_done)
    assert list(found.values()) == runs
    assert [run.is_done for run in runs] == [False, True, False]


def _read(words: list[Word]) -> list[tuple[str, bool, list[Word], list[Word], list[Word]]]:
    parts: list[tuple[str, bool, list[Word], list[Word], list[Word]]] = []
    at = 0
    while at < len(words):
        run_id, is_done = str(words[at]), words[at + 3] == "1"
        at += 4
        lists: list[list[Word]] = []
        for _ in range(3):
            count = int(words[at])
            lists.append(words[at + 1 : at + 1 + count])
            at += 1 + count
        parts.append((run_id, is_done, lists[0], lists[1], lists[2]))
    return parts


def test_timers_of_the_run_come_back() -> None:
    """Its deadline, by the time of its start; the time until which it may start; whom a decision is passed on to."""
    made = marking()
    assert restore("r", PLAN, made).timers == [
        OtherTimer("!timeout", "0", 5 + 3_600_000),
        OtherTimer(f"!escalate/{WIDE // 2 + 3}", "", 1_790_000_000_002),
    ]
    made.tokens = {(START_NODE, ()): Token(kind=TokenKind.CURSOR, extra="0@1790000000003")}
    assert restore("r", PLAN, made).timers[1:] == [OtherTimer("!expire", "0", 1_790_000_000_003)]
    made.phase = RunPhase.DRAINING
    assert restore("r", PLAN, made).timers[:1] != [OtherTimer("!timeout", "0", 5 + 3_600_000)]


def test_a_run_that_is_halted_says_no_more_than_that() -> None:
    one = halted("r", "ab", 7)
    state = marking_of({b"h": one.head.encode()})
    assert (state.phase, state.seq, state.counter, one.is_done) == (RunPhase.HALTED, 7, 0, False)
