"""Verify: a run's log proves itself, and any change to it, or to what is projected from it, is found and placed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from courante.replay import Difference, Verification, marking_at, state_at, verify_run
from courante.sdk.authoring.steps import FatalError, Steps
from courante.sdk.embedded import Servers
from courante.sdk.events import GENESIS, Facts, RecordedEvent, chain_hash, digest, encode_facts
from courante.sdk.fold.fold import fold
from courante.sdk.moments import from_ms
from courante.sdk.stores.connection import Connection
from courante.sdk.stores.errors import UnknownRun
from integration.floor import Done, Floor, open_floor

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("sweeping")]

SPENT = "1, 1, 1, 1, 1, 1, 1 FROM runs WHERE run_id = $1"
Rewrite = Callable[[list[RecordedEvent]], list[RecordedEvent]]

DOCUMENT: dict[str, Any] = {
    "courante": 1,
    "id": "verified",
    "output": "{'end': steps.end.output, 'n': input.n}",
    "nodes": [
        {"id": "first", "type": "transform", "config": {"mapping": {"n": "input.n", "big": "input.n > 10"}}},
        {
            "id": "decide",
            "type": "conditional",
            "depends_on": "first",
            "config": {"rules": [{"when": "output.n > 1", "next": ["many"]}], "default": ["few"]},
        },
        {"id": "many", "type": "echo", "config": {"value": "many"}},
        {"id": "few", "type": "echo", "config": {"value": "few"}},
        {"id": "only_big", "type": "noop", "depends_on": "first", "when": "steps.first.output.big"},
        {
            "id": "count",
            "type": "transform",
            "depends_on": "first",
            "config": {"expression": "loop.iteration"},
            "loop": {"while": "output < input.n", "back_to": "count", "max_iterations": 9},
        },
        {"id": "end", "type": "noop", "depends_on": ["many", "few", "only_big", "count"], "join": "all"},
    ],
}


@pytest.fixture(scope="module")
async def floor(embedded_servers: Servers) -> AsyncIterator[Floor]:
    steps = Steps()
    steps.add(boom, "boom")
    steps.add(large, "large")
    async with open_floor(embedded_servers, steps) as made:
        yield made


def boom() -> None:
    raise FatalError("as it should")


def large() -> dict[str, str]:
    return {"kind": "large", "text": "x" * 20_000}


@pytest.fixture
async def done(floor: Floor) -> Done:
    done = await floor.run(DOCUMENT, {"n": 2})
    assert done.verification.ok, done.verification
    return done


@asynccontextmanager
async def unguarded(floor: Floor) -> AsyncGenerator[Connection]:
    """A connection for which the log's guards are off, in a transaction that is rolled back."""
    async with floor.client.pool.acquire() as conn:
        transaction = conn.transaction(isolation="repeatable_read")
        await transaction.start()
        await conn.execute("SET LOCAL session_replication_role = replica")
        try:
            yield conn
        finally:
            await transaction.rollback()


async def write_log(conn: Connection, env: str, events: list[RecordedEvent]) -> None:
    """Put a run's whole log in the place of the one that is there, with a chain that holds."""
    run_id, previous = events[0].run_id, GENESIS
    await conn.execute("DELETE FROM event_payloads WHERE run_id = $1", run_id)
    await conn.execute("DELETE FROM event_log WHERE run_id = $1", run_id)
    for seq, event in enumerate(events, start=1):
        facts, at = encode_facts(event.facts), from_ms(event.at_ms)
        address = None if event.payload is None else digest(event.payload)
        hashed = chain_hash(previous, run_id, seq, event.at_ms, facts, address)
        said = event.facts
        await conn.execute(
            "INSERT INTO event_log VALUES ($1, 0, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
            *(env, run_id, seq, said.type, at, said.node, said.scope, said.attempt, said.worker),
            *(facts, address, previous, hashed),
        )
        if event.payload is not None:
            await conn.execute(
                "INSERT INTO event_payloads (env, run_id, seq, at, payload) VALUES ($1, $2, $3, $4, $5)",
                *(env, run_id, seq, at, event.payload),
            )
        previous = hashed
    await conn.execute("UPDATE runs SET last_seq = $2, last_hash = $3 WHERE run_id = $1", run_id, len(events), previous)


async def verify_rewritten(floor: Floor, done: Done, rewrite: Rewrite) -> Difference:
    async with unguarded(floor) as conn:
        await write_log(conn, floor.env, rewrite(list(done.events)))
        return found(await verify_as(conn, floor, done))


async def verify_as(conn: Connection, floor: Floor, done: Done) -> Verification:
    """Verify inside of an open transaction that writes."""
    return await verify_run(conn, floor.env, done.result.run_id)


def found(verification: Verification) -> Difference:
    assert not verification.ok
    assert verification.first_difference is not None
    return verification.first_difference


def change(kind: str, node: str, *, payload: bytes | None = None, scope: str = "", **facts: Any) -> Rewrite:
    """Change the facts or the payload of the event of that type, node and scope."""

    def rewrite(events: list[RecordedEvent]) -> list[RecordedEvent]:
        for place, event in enumerate(events):
            if (event.facts.type, event.facts.node, event.facts.scope) == (kind, node, scope):
                changed = msgspec.structs.replace(event.facts, **facts)
                events[place] = msgspec.structs.replace(event, facts=changed, payload=payload or event.payload)
                return events
        raise AssertionError(f"there is no {kind} of {node}")

    return rewrite


def seq_of(done: Done, kind: str, node: str = "", scope: str = "") -> int:
    return next(
        event.seq
        for event in done.events
        if (event.facts.type, event.facts.node, event.facts.scope) == (kind, node, scope)
    )


async def test_a_log_written_again_as_it_was_verifies(floor: Floor, done: Done) -> None:
    """The rewriting of these tests itself changes nothing."""
    async with unguarded(floor) as conn:
        await write_log(conn, floor.env, done.events)
        verification = await verify_as(conn, floor, done)
    assert verification.ok, verification
    assert (verification.events, verification.decisions, verification.unchecked) == (len(done.events), 4, 0)


@pytest.mark.parametrize(
    ("rewrite", "at", "what", "expected", "found_there"),
    [
        (
            change("step.succeeded", "decide", edges="dl-"),
            ("step.succeeded", "decide", ""),
            "edges",
            "many live, few dead",
            "many dead, few live",
        ),
        (
            change("step.succeeded", "decide", payload=b'{"n":0}'),
            ("step.succeeded", "decide", ""),
            "edges",
            "many dead, few live",
            "many live, few dead",
        ),
        (
            change("step.succeeded", "count", scope="1", edges="lx", loop="break"),
            ("step.succeeded", "count", "1"),
            "edges",
            "end open; loop back",
            "end live; loop ends",
        ),
        (
            change("step.succeeded", "count", scope="1", loop="break"),
            ("step.succeeded", "count", "1"),
            "loop",
            "back",
            "break",
        ),
        (
            change("step.skipped", "only_big", type="step.succeeded", reason=""),
            ("step.skipped", "only_big", ""),
            "when",
            "skipped",
            "run",
        ),
        (
            change("step.succeeded", "first", payload=b'{"n":2,"big":true}'),
            ("step.skipped", "only_big", ""),
            "when",
            "run",
            "skipped",
        ),
        (
            change("run.started", "", payload=b'{"n":1}'),
            ("step.succeeded", "count", "1"),
            "edges",
            "end live; loop ends",
            "end open; loop back",
        ),
        (
            change("run.completed", "", payload=b'{"end":{},"n":2}'),
            ("run.completed", "", ""),
            "output",
            '{"end":{"many":"many","count":2},"n":2}',
            '{"end":{},"n":2}',
        ),
    ],
)
async def test_a_changed_decision_is_found(
    floor: Floor, done: Done, rewrite: Rewrite, at: tuple[str, str, str], what: str, expected: str, found_there: str
) -> None:
    """A log whose chain holds and which says otherwise than its own values is found, at the event that says so."""
    difference = await verify_rewritten(floor, done, rewrite)
    assert (difference.seq, difference.what) == (seq_of(done, *at), what)
    assert (difference.expected, difference.found) == (expected, found_there)


async def test_a_join_that_fired_otherwise_is_found(floor: Floor, done: Done) -> None:
    """What the scripts logged of themselves is held against the rules."""
    difference = await verify_rewritten(floor, done, change("join.fired", "end", data={"live": "*"}))
    assert (difference.seq, difference.what) == (seq_of(done, "join.fired", "end"), "rules")


async def test_an_event_left_out_is_found(floor: Floor, done: Done) -> None:
    """An event that is missing with its number breaks the rules; with a gap in the numbers, the chain."""
    place = seq_of(done, "step.succeeded", "many")
    difference = await verify_rewritten(floor, done, lambda events: events[: place - 1] + events[place:])
    assert difference.what == "rules"
    async with unguarded(floor) as conn:
        await conn.execute("DELETE FROM event_log WHERE run_id = $1 AND seq = $2", done.result.run_id, place)
        difference = found(await verify_as(conn, floor, done))
    assert (difference.seq, difference.what) == (place, "chain")


async def test_an_event_left_off_the_end_is_found(floor: Floor, done: Done) -> None:
    """The end of the log is remembered."""
    async with unguarded(floor) as conn:
        await conn.execute("DELETE FROM event_log WHERE run_id = $1 AND seq = $2", done.result.run_id, len(done.events))
        difference = found(await verify_as(conn, floor, done))
    assert (difference.seq, difference.what) == (len(done.events), "chain")


@pytest.mark.parametrize(
    ("change_row", "what", "place"),
    [
        ("UPDATE event_log SET facts = facts || ' '::bytea WHERE run_id = $1 AND seq = 3", "chain", 3),
        ("UPDATE event_payloads SET payload = '9' WHERE run_id = $1 AND seq = 2", "chain", 2),
        ("UPDATE event_log SET node = 'x' WHERE run_id = $1 AND seq = 2", "chain", 2),
        ("UPDATE runs SET status = 'FAILED' WHERE run_id = $1", "run.status", -1),
        ("UPDATE runs SET output_seq = 1 WHERE run_id = $1", "run.output_seq", -1),
        ("UPDATE runs SET is_halted = true WHERE run_id = $1", "run.is_halted", -1),
        ("UPDATE node_executions SET status = 'FAILED' WHERE run_id = $1 AND node = 'first'", "step.status", 2),
        ("DELETE FROM node_executions WHERE run_id = $1 AND node = 'first'", "step.status", 2),
        ("UPDATE node_executions SET output_seq = 1 WHERE run_id = $1 AND node = 'first'", "step.output_seq", 2),
        (f"INSERT INTO run_spending SELECT env, run_id, 'USD', {SPENT}", "run.spent", -1),
        (f"INSERT INTO attempt_spending SELECT env, run_id, 'a', '', 1, '', '', '', {SPENT}", "step.spent", -1),
        ("UPDATE node_executions SET attempt = 2 WHERE run_id = $1 AND node = 'first'", "step.status", 2),
    ],
)
async def test_a_changed_row_is_found(floor: Floor, done: Done, change_row: str, what: str, place: int) -> None:
    """A row of the log, a payload or a projection that was changed is found, with the first event that diverges."""
    async with unguarded(floor) as conn:
        await conn.execute(change_row, done.result.run_id)
        difference = found(await verify_as(conn, floor, done))
    assert difference.what.split(" ")[0] == what
    assert difference.seq == (place if place > 0 else len(done.events))
    assert difference.type == ("" if what == "chain" else done.events[difference.seq - 1].facts.type)


async def test_an_emptied_payload_leaves_the_rest_provable(floor: Floor, done: Done) -> None:
    """Where a payload was emptied, decisions that need it are counted as unchecked; nothing else is in doubt."""
    async with unguarded(floor) as conn:
        place = seq_of(done, "step.succeeded", "first")
        await conn.execute("DELETE FROM event_payloads WHERE run_id = $1 AND seq = $2", done.result.run_id, place)
        verification = await verify_as(conn, floor, done)
    assert verification.ok, verification
    assert 0 < verification.unchecked < 5


async def test_the_ir_is_checked_against_its_address(floor: Floor, done: Done) -> None:
    """A run is replayed by the IR that it started with, or not at all."""
    async with unguarded(floor) as conn:
        await conn.execute("UPDATE irs SET content = content || ' '::bytea WHERE env = $1", floor.env)
        difference = found(await verify_as(conn, floor, done))
    assert (difference.seq, difference.what) == (1, "ir")


async def test_a_run_that_goes_on_verifies(floor: Floor) -> None:
    """A run that waits is verified as far as it has come."""
    document = {
        "courante": 1,
        "id": "waiting",
        "nodes": [
            {"id": "a", "type": "noop"},
            {"id": "w", "type": "wait", "depends_on": "a", "config": {"for": "1h"}},
        ],
    }
    run_id, verification = await floor.begin(document, until="timer.set")
    assert verification.ok, verification
    assert verification.events == 4
    assert run_id == verification.run_id


async def test_a_failed_run_verifies(floor: Floor) -> None:
    """Failures, handled or not, and what is swept and dropped after them replay as well."""
    nodes: list[dict[str, Any]] = [
        {"id": "a", "type": "noop"},
        {"id": "b", "type": "function", "depends_on": "a", "config": {"handler": "boom"}, "on_error": "e"},
        {"id": "e", "type": "noop", "when": "steps.b.error.type == 'FatalError'"},
        {"id": "w", "type": "wait", "depends_on": "a", "config": {"for": "1h"}},
        {"id": "c", "type": "function", "depends_on": "e", "config": {"handler": "boom"}},
    ]
    done = await floor.run({"courante": 1, "id": "failing", "nodes": nodes})
    assert (done.result.status, done.failed, done.completed) == ("FAILED", ["b", "c"], ["a", "e"])
    assert done.verification.ok, done.verification


async def test_an_output_that_cannot_be_made_verifies(floor: Floor) -> None:
    """A run that failed for its output expression replays, and the expression fails again."""
    nodes = [{"id": "a", "type": "noop"}]
    done = await floor.run({"courante": 1, "id": "no-output", "output": "steps.a.output.x", "nodes": nodes}, {})
    assert done.result.status == "FAILED"
    assert done.result.error is not None
    assert done.verification.ok, done.verification
    difference = await verify_rewritten(
        floor, done, change("run.failed", "", type="run.completed", error=None, payload=b"1")
    )
    assert difference.what == "output"


async def test_stored_payloads_are_decided_on(floor: Floor) -> None:
    """A payload that is stored apart is read where a decision needs it."""
    nodes: list[dict[str, Any]] = [
        {
            "id": "a",
            "type": "function",
            "config": {"handler": "large"},
            "rules": [{"when": "output.kind == 'large' && size(output.text) == 20000", "next": ["b"]}],
            "default": ["c"],
        },
        {"id": "b", "type": "transform", "config": {"expression": "size(steps.a.output.text)"}},
        {"id": "c", "type": "noop"},
    ]
    done = await floor.run({"courante": 1, "id": "large", "nodes": nodes})
    assert done.result.output == {"b": 20_000}
    assert done.verification.ok, done.verification
    assert done.verification.decisions == 1


async def test_what_a_token_may_have_seen_is_accepted(floor: Floor) -> None:
    """Behind ``any`` a step may read another's output before it is there: the replay takes either for the truth."""
    nodes: list[dict[str, Any]] = [
        {"id": "a", "type": "noop"},
        {"id": "p", "type": "noop", "depends_on": "a"},
        {"id": "q", "type": "sleep", "depends_on": "a", "config": {"for": "100ms"}},
        {"id": "j", "type": "sleep", "depends_on": ["p", "q"], "join": "any", "config": {"for": "200ms"}},
        {"id": "k", "type": "noop", "depends_on": "j"},
    ]
    nodes[3]["rules"] = [{"when": "has(steps.q.output)", "next": ["k"]}]
    nodes[3]["default"] = ["l"]
    nodes.append({"id": "l", "type": "noop"})
    done = await floor.run({"courante": 1, "id": "race", "nodes": nodes})
    assert "l" in done.completed
    assert done.completed.index("q") < done.completed.index("j")
    assert done.verification.ok, done.verification


async def test_the_state_at_any_event(floor: Floor, done: Done) -> None:
    """The state can be shown after each event; the last one is the end."""
    for seq in range(len(done.events) + 1):
        assert state_at(done.ir, done.events, seq)["seq"] == seq
    assert state_at(done.ir, done.events, len(done.events))["status"] == "COMPLETED"
    assert marking_at(done.ir, done.events, 3) == fold(done.ir, done.events[:3])


async def test_an_unknown_run_is_told(floor: Floor) -> None:
    """There is nothing to verify of a run that nobody knows."""
    async with floor.client.pool.acquire() as conn:
        with pytest.raises(UnknownRun):
            await verify_run(conn, floor.env, "run_nobody")


def test_facts_have_defaults() -> None:
    """The rewriting relies on facts that leave out what is not said."""
    assert encode_facts(Facts(type="x")) == b'{"type":"x"}'
